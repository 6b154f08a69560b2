//! The binary with the real tools on a real control plane.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

mod changes;
mod check_counts;
mod cluster_identity;
mod contexts;
mod encrypted;
mod environment;
mod faults;
mod files_and_access;
mod first_run;
mod fixes;
mod fixture;
mod fleet;
mod getting_started;
mod helm_and_flux;
mod hooks;
mod init;
mod interrupted;
mod jobs;
mod k3s_and_nodes;
mod kills;
mod kubernetes_jobs;
mod layouts;
mod manifests;
mod many_problems;
mod namespaces;
mod original_files;
mod pins;
mod preflight;
mod problem_table;
mod rendered_crds;
mod rendering;
mod restart;
mod second_run;
mod secret_values;
mod small_charts;
#[path = "../support/mod.rs"]
mod support;
mod taskfile;
mod verify;
mod worker;
