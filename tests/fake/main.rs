//! The binary with tools that play a script: what it tells whom, and how it ends.
//!
//! No test waits for time to pass: tools that have to be at work connect to the test and last until it lets them go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

mod agreement;
mod answers;
mod checks;
mod fail_fast;
mod failures;
mod features;
mod fixture;
mod frames;
mod good;
mod hostile;
mod jobs;
mod listener;
mod lock;
mod log;
mod machines;
mod manifests;
mod printed;
mod recover;
mod refusals;
mod renders;
mod scenario;
mod signals;
mod stages;
mod starting;
mod status;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod terminal;
