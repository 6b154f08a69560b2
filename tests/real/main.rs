//! The binary with the real tools on a real control plane.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

mod changes;
mod ending;
mod faults;
mod figures;
mod first_run;
mod guard;
mod kills;
mod manifests;
mod refusals;
mod renders;
mod repositories;
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
mod world;
