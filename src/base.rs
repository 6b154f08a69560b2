//! What everything else is built on: files, YAML, addresses, findings, errors, the log.

pub(crate) mod diagnosis;
pub(crate) mod distribution;
pub(crate) mod duration;
pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod escape;
pub(crate) mod fact;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod finding;
pub(crate) mod fingerprint;
pub(crate) mod github;
pub(crate) mod known_failures;
pub(crate) mod logger;
#[cfg(test)]
pub(crate) mod mutate;
pub(crate) mod object_ref;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod redact;
pub(crate) mod release_id;
pub(crate) mod scratch;
pub(crate) mod stages;
pub(crate) mod url;
pub(crate) mod version_range;
pub(crate) mod waiting;
pub(crate) mod yaml;
