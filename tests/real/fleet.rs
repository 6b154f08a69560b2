//! The Ansible role against two clusters; `cargo sandbox fleet` runs it against more.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use sandbox::{Fleet, python_programs, run_fleet};
use serde_json::{Map, json};

use super::fixture::tools;
use super::support::k3s_boot;

/// A script: it is linked, because a program that was just written cannot always be started (`ETXTBSY`).
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/worker.sh");

#[test]
fn role_reports_each_cluster_and_then_changes_nothing() {
    let fleet = Fleet { clusters: vec![2], large_crds: false };
    run_fleet(tools(), k3s_boot(), &python_programs().unwrap(), &fleet, &|line| println!("{line}")).unwrap();
}

#[test]
fn role_repeats_timeouts_and_locks_only() {
    let folder = tempfile::tempdir().unwrap();
    // The recap, and the number of runs.
    let cases = [
        ("recovers", "8\n6\n0\n", "ok=2    changed=1    unreachable=0    failed=0", 3),
        ("locked", "8\n8\n8\n8\n", "ok=1    changed=0    unreachable=0    failed=1", 3),
        ("final", "5\n0\n", "ok=1    changed=0    unreachable=0    failed=1", 1),
        ("preflight", "1\n0\n", "ok=1    changed=0    unreachable=0    failed=1", 1),
        ("usage", "2\n0\n", "ok=1    changed=0    unreachable=0    failed=1", 1),
    ];
    let mut hosts = Map::new();
    for (name, codes, ..) in cases {
        let program = folder.path().join(name);
        symlink(PROGRAM, &program).unwrap();
        std::fs::write(folder.path().join(format!("{name}.codes")), codes).unwrap();
        hosts.insert(name.to_owned(), json!({"k3s_boot_program": program}));
    }
    let variables = json!({"k3s_boot_kubeconfig": "/none", "k3s_boot_root": "/none", "k3s_boot_retry_delay": 0,
        "k3s_boot_reports": folder.path().join("reports")});
    let inventory = folder.path().join("clusters.json");
    std::fs::write(&inventory, json!({"clusters": {"hosts": hosts, "vars": variables}}).to_string()).unwrap();
    let output = Command::new(python_programs().unwrap().join("ansible-playbook"))
        .args(["--inventory".as_ref(), inventory.as_os_str(), "bootstrap.yml".as_ref()])
        .env("NO_COLOR", "1")
        .env("HOME", folder.path())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ansible"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    for (name, _, recap, runs) in cases {
        let line = text.lines().rfind(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(recap), "{line}\n{text}");
        let ran = std::fs::read_to_string(folder.path().join(format!("{name}.runs"))).unwrap();
        assert_eq!(ran.lines().count(), runs, "{name}: {text}");
    }
    for words in ["It failed: release\n", "cause: no\n", "fix: retry\n", "error: unexpected argument\n"] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
}
