//! The Ansible role against two clusters; `cargo sandbox fleet` runs it against more.

use sandbox::{Fleet, python_programs, run_fleet};

use super::fixture::tools;
use super::support::k3s_boot;

#[test]
fn role_reports_each_cluster_and_then_changes_nothing() {
    let fleet = Fleet { clusters: vec![2], large_crds: false };
    run_fleet(tools(), k3s_boot(), &python_programs().unwrap(), &fleet, &|line| println!("{line}")).unwrap();
}
