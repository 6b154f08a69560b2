//! The binary with the real tools on a real control plane.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

mod changes;
mod contexts;
mod encrypted;
mod ending;
mod faults;
mod figures;
mod first_run;
mod fixes;
mod guard;
mod hooks;
mod jobs;
mod kills;
mod manifests;
mod pins;
mod refusals;
mod renders;
mod repositories;
mod restart;
mod second_run;
mod secret_values;
mod seed;
mod small;
mod standing;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod takeover;
mod taskfile;
mod world;
