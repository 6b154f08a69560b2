//! Selecting stages and releases.

use insta::assert_snapshot;
use serde_json::json;

use super::fixture::{Fixture, RunResult};

/// The calls that may change something; of helmfile, the selected releases.
fn changes(ran: &RunResult) -> Vec<String> {
    let calls = ran.mutating();
    let lines = calls.iter().filter(|call| !call.starts_with("api ")).map(|call| {
        let words: Vec<_> = call.split(' ').collect();
        let picked = words.iter().filter(|word| word.starts_with("namespace="));
        let picked: Vec<_> = picked.map(|word| word.split("name=").last().unwrap()).collect();
        let file = if call.contains("00-crds") {
            " crds"
        } else if call.contains("01-apps") {
            " apps"
        } else {
            ""
        };
        format!("{}{file} {}", words[0], picked.join(" ")).trim().to_owned()
    });
    lines.collect()
}

fn namespaces(fixture: Fixture) -> Fixture {
    let namespace = |name: &str| json!({"kind": "Namespace", "metadata": {"name": name, "uid": name}, "status": {"phase": "Active"}});
    fixture.objects(["flux-system", "cert-manager", "network", "monitoring"].map(namespace))
}

#[test]
fn selected_stages_run() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--only", "namespaces"], &["kubectl"]),
        (&["--only", "secrets", "--only", "crds"], &["kubectl", "helmfile crds"]),
        (&["--from", "apps"], &["helmfile apps"]),
        (&["--skip", "apps", "--skip", "verify"], &["kubectl", "helmfile crds"]),
        (&["--from", "secrets", "--skip", "secrets"], &["helmfile crds", "helmfile apps"]),
    ];
    for (args, expected) in cases {
        // A Secret needs its namespace.
        let fixture = Fixture::new().args(args);
        let ran = if args == ["--only", "namespaces"] { fixture.run() } else { namespaces(fixture).run() };
        assert_eq!(ran.code(), 0, "{args:?}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(changes(&ran), expected, "{args:?}");
        let verified = ran.stdout.contains("Bootstrap complete!");
        let left_out = args.contains(&"verify") || args[0] == "--only";
        assert_eq!(verified, !left_out, "{args:?}: {}", ran.stdout);
    }
}

#[test]
fn skipped_stages_are_reported() {
    let ran = Fixture::new().args(&["--only", "namespaces"]).run();
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @r#"[TS] INFO Done; Flux was not verified (stage `verify` skipped) skipped="nodes secrets manifests crds apps verify" took="[TOOK]""#);
    let ran = Fixture::new().args(&["--only", "namespaces", "-o", "json"]).run();
    let report = ran.report();
    assert_eq!(report["result"], "partial");
    let stages: Vec<_> = report["stages"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(stages, ["preflight", "namespaces"]);
}

#[test]
fn stage_without_its_requirement_is_an_error() {
    let fixture = Fixture::new().args(&["--only", "secrets"]);
    assert_snapshot!(fixture.refusal(), @r#"
    [TS] ERROR Namespace is missing namespace="flux-system" object="Secret flux-system/sops-age" fix="do not skip the stage `namespaces`" 
    [TS] ERROR Namespace is missing namespace="flux-system" object="Secret flux-system/github" fix="do not skip the stage `namespaces`"
    "#);
}

#[test]
fn no_stages_selected() {
    let ran = Fixture::new().args(&["--only", "apps", "--skip", "apps"]).run();
    assert_eq!((ran.code(), ran.calls.len()), (2, 0));
    assert!(ran.stderr.contains("no stages to run"), "{}", ran.stderr);
    for stage in ["preflight", "guard", "lock", "x"] {
        let ran = Fixture::new().args(&["--skip", stage]).run();
        assert_eq!((ran.code(), ran.calls.len()), (2, 0), "{stage}");
        assert!(ran.stderr.contains("namespaces, secrets, manifests, crds, apps, verify"), "{}", ran.stderr);
    }
}

#[test]
fn stages_are_listed_without_a_cluster() {
    let list = || Fixture::new().args(&["--list", "--from", "crds"]).without_env("KUBECONFIG");
    let ran = list().run();
    assert_eq!((ran.code(), ran.calls.len()), (0, 0), "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("nodes (skipped)\nnamespaces (skipped)\n  flux-system (Flux)\n"),
        "{}",
        ran.stdout
    );
    let ran = list().args(&["-o", "json"]).run();
    let stage =
        |name: &str, skipped: bool, items: &[&str]| json!({"name": name, "skipped": skipped, "items": items});
    let mut listed = stage("namespaces", true, &["flux-system", "monitoring", "kube-system"]);
    listed["sources"] = json!({"flux-system": "Flux", "monitoring": "release monitoring/prometheus-operator-crds",
        "kube-system": "release kube-system/cilium"});
    let expected = json!([
        stage("nodes", true, &[]),
        listed,
        stage("secrets", true, &["age.key", "bootstrap/github.sops.yaml"]),
        stage("manifests", true, &[]),
        stage("crds", false, &["monitoring/prometheus-operator-crds"]),
        stage("apps", false, &["kube-system/cilium", "flux-system/flux-instance"]),
        stage("verify", false, &[]),
    ]);
    assert_eq!(ran.report()["stages"], expected);
    let fixture = Fixture::new().args(&["--list"]).without("root/bootstrap/helmfile.d/01-apps.yaml");
    let ran = fixture.run();
    ran.assert().code(1).stdout("");
    assert!(ran.stderr.contains("Helmfile not found"), "{}", ran.stderr);
}

#[test]
fn selected_releases_are_synced() {
    let synced = |args: &[&str]| {
        let ran = Fixture::new().args(args).run();
        assert_eq!(ran.code(), 0, "{args:?}: {}{}", ran.stdout, ran.stderr);
        let changes = changes(&ran);
        changes.into_iter().filter(|call| call.starts_with("helmfile")).collect::<Vec<_>>()
    };
    assert_eq!(synced(&["--release", "cilium", "--skip", "verify"]), ["helmfile apps cilium"]);
    // Releases in `needs` that are not installed are synced too.
    assert_eq!(synced(&["--release", "flux-system/flux-instance"]), ["helmfile apps"]);
    assert_eq!(synced(&["--skip-release", "cilium"]), ["helmfile crds", "helmfile apps flux-instance"]);
    let unknown = Fixture::new().args(&["--release", "unknown"]);
    assert_snapshot!(unknown.refusal(), @r#"[TS] ERROR Release is not in the helmfiles release="unknown" flag="--release" accepted="monitoring/prometheus-operator-crds kube-system/cilium flux-system/flux-instance""#);
}
