//! Runs the binary with fake tools.
//!
//! No test sleeps: a tool that must be running connects to the test and ends when the test allows it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

mod age_keys;
mod api_outage;
mod applied_manifests;
mod checks;
mod cli;
mod distributions;
mod dry_run;
mod environment;
mod fail_fast;
mod failures;
mod fixture;
mod flux_source;
mod helm_charts;
mod helm_features;
mod hooks;
mod hostile;
mod init;
mod jobs;
mod listener;
mod lock;
mod log;
mod logins;
mod machine_output;
mod manifests;
mod namespaces;
mod parity;
mod preflight;
mod progress;
mod recover;
mod rendering;
mod runner_commands;
mod scenario;
mod secrets_commands;
mod signals;
mod stages;
mod status;
mod success;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod unknown;
mod verify;
mod versions;
mod waiting;
mod worker;
