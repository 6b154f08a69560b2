//! `k3s-boot version`, `check --list`, and which versions are remembered.

use serde_json::json;

use super::fixture::Fixture;

#[test]
fn versions_are_shown_with_those_that_are_supported() {
    let old = json!({"tool": "helmfile", "args": ["--version"], "stdout": "helmfile version 1.6.0\n"});
    let fixture =
        || Fixture::for_command("version").rule(old.clone()).without("bin/sops").without_env("KUBECONFIG");
    let ran = fixture().run();
    ran.assert().code(0).stderr("");
    let mut lines = ran.stdout.lines();
    let own = lines.next().unwrap();
    assert!(own.starts_with(concat!("k3s-boot ", env!("CARGO_PKG_VERSION"), " (")), "{own}");
    assert!(own.contains(std::env::consts::ARCH), "the target: {own}");
    assert_eq!(
        lines.next().unwrap(),
        "helmfile 1.6.0 [TMP]/bin/helmfile (not supported: 1.7.1 or later, below 2)"
    );
    assert!(
        ran.stdout.contains("\nsops not installed (not supported: 3.9 or later, below 4)\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains(" [TMP]/bin/kubectl (supported: 1.28 or later)\n"), "{}", ran.stdout);
    let report = fixture().args(&["-o", "json"]).run().report();
    assert_eq!(report["programs"][0]["supported"], false, "{report:#}");
    assert_eq!(
        report["programs"][2],
        json!({"name": "sops", "supported": false, "accepted": "3.9 or later, below 4"})
    );
}

#[test]
fn all_checks_are_listed() {
    let ran = Fixture::for_command("check").args(&["--list"]).run();
    ran.assert().code(0);
    assert!(ran.stdout.starts_with("Environment\n  config "), "{}", ran.stdout);
    let ids = k3s_boot::internals::rule_ids();
    let listed: Vec<_> =
        ran.stdout.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert_eq!(listed, ids.collect::<Vec<_>>());
    assert!(ran.calls.is_empty());
}

/// A shim of a version manager is a link to a program of another name, and so are the fake tools.
#[test]
fn the_version_of_a_shim_is_asked_each_time() {
    let fixture = Fixture::for_command("version");
    for _ in 0..2 {
        assert_eq!(fixture.run().calls_of("helm", "version").len(), 1);
    }
}
