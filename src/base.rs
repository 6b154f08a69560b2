//! What everything else is built on: files, YAML, addresses, findings, errors, the log.

pub mod duration;
pub mod env;
pub mod error;
pub mod escape;
pub mod fact;
pub mod files;
pub mod finding;
pub mod fingerprint;
pub mod github;
pub mod known_failures;
pub mod logger;
#[cfg(test)]
pub(crate) mod mutate;
pub mod progress;
pub mod redact;
pub mod scratch;
pub mod stages;
pub mod url;
pub mod waiting;
pub mod yaml;
