//! `k3s-boot recover`.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::lock::{ELSEWHERE, exited_run, lease, lease_with_note};
use super::scenario::record;
use super::terminal::closed;

/// A release that has been stuck since the year 2000.
fn pending_release(name: &str) -> Value {
    let mut release = record(name, "kube-system", "pending-upgrade", "1.18.6", &Value::Null);
    release["metadata"]["labels"]["modifiedAt"] = "978307200".into();
    release
}

fn recent_release(name: &str) -> Value {
    let mut release = pending_release(name);
    release["metadata"]["labels"]["modifiedAt"] = "4000000000".into();
    release
}

#[test]
fn recover_changes_nothing_without_confirmation() {
    let fixture =
        Fixture::for_command("recover").objects([pending_release("cilium"), recent_release("coredns")]);
    let ran = fixture.run();
    assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()));
    assert_snapshot!(ran.stdout, @r#"
    [TS] INFO Target cluster context="default" server="https://10.0.0.10:6443" uid="uid-of-kube-system" 
    [TS] WARN Release is stuck release="kube-system/cilium" status="pending-upgrade" since="2001-01-01T00:00:00Z" started_by="unknown" action="delete revision 3, keep its objects" 
    [TS] WARN Release is stuck release="kube-system/coredns" status="pending-upgrade" since="2096-10-02T07:06:40Z" started_by="unknown" skip_reason="the operation may still be running until 2096-10-02T07:21:40Z" fix="wait, or use --force if nothing is working on the release"
    "#);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Recovery needs a confirmation, nothing was changed reason="questions are asked on a terminal only, and not with --log-format json" fix="use --yes""#);
    let mut terminal = fixture.start_on_terminal(24, 120);
    terminal.frame(|frame| frame.contains("Recover the release?"));
    terminal.type_line("no");
    let ran = terminal.wait();
    assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()));
    assert!(ran.stdout.contains("ERROR Recovery was declined, nothing was changed"), "{}", ran.stdout);
    let ran = fixture.args(&["--yes"]).run();
    assert_eq!(ran.code(), 1, "one release is still pending");
    assert_snapshot!(ran.mutating().join("\n"), @"
    api POST /apis/coordination.k8s.io/v1/namespaces/kube-system/leases < pipe
    api DELETE /api/v1/namespaces/kube-system/secrets/sh.helm.release.v1.cilium.v3 < pipe
    api PATCH /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/k3s-boot < pipe
    ");
    assert_snapshot!(ran.stdout.lines().skip(3).collect::<Vec<_>>().join("\n"), @r#"
    [TS] INFO Release recovered release="kube-system/cilium" status="pending-upgrade" 
    [TS] INFO The next run syncs the recovered releases next="k3s-boot apps"
    "#);
}

#[test]
fn exit_code_does_not_depend_on_stdout() {
    let fixture = Fixture::for_command("recover").objects([pending_release("cilium")]).args(&["-o", "json"]);
    fixture.run_into(closed()).assert().code(1);
    let ran = fixture.args(&["--yes"]).run_into(closed());
    ran.assert().code(0);
    assert!(ran.mutating()[1].contains("DELETE"), "{:?}", ran.mutating());
}

#[test]
fn refusal_is_in_the_report() {
    let ran =
        Fixture::for_command("recover").args(&["-o", "json"]).objects([pending_release("cilium")]).run();
    let report = ran.report();
    assert_eq!((ran.code(), &report["result"]), (1, &json!("failed")));
    assert_eq!(report["failure"]["class"], "preflight");
    assert_eq!(report["problems"][0]["message"], "Recovery needs a confirmation, nothing was changed");
    assert_eq!(report["releases"][0]["recovered"], false);
}

#[test]
fn active_release_is_recovered_only_with_force() {
    let fixture = || {
        Fixture::for_command("recover")
            .objects([recent_release("coredns"), lease_with_note(ELSEWHERE, "kube-system/coredns", 2)])
    };
    let ran = fixture().args(&["--yes", "coredns"]).run();
    assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()));
    let ran = fixture().args(&["--yes", "--force"]).run();
    ran.assert().code(0);
    assert!(ran.mutating()[1].contains("DELETE"), "{:?}", ran.mutating());
    let ran = fixture().args(&["--yes", "--force", "other"]).run();
    assert_eq!((ran.code(), ran.mutating()), (0, Vec::new()));
}

#[test]
fn young_release_of_an_ended_run_is_recovered() {
    let fixture = Fixture::for_command("recover")
        .objects([recent_release("coredns"), lease_with_note(&exited_run(), "kube-system/coredns", 2)]);
    let ran = fixture.args(&["--yes", "-o", "json"]).run();
    ran.assert().code(0);
    let report = ran.report();
    assert_eq!((&report["result"], &report["releases"][0]["recovered"]), (&json!("recovered"), &json!(true)));
}

#[test]
fn release_managed_by_flux_is_left_alone() {
    let owner = json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"name": "net", "namespace": "infra"},
        "spec": {"releaseName": "cilium", "storageNamespace": "kube-system", "suspend": true}});
    let ran = Fixture::for_command("recover")
        .args(&["--yes", "--force"])
        .objects([pending_release("cilium"), owner])
        .run();
    assert_eq!((ran.code(), ran.mutating()), (0, Vec::new()));
    assert_snapshot!(ran.stdout, @r#"
    [TS] INFO Target cluster context="default" server="https://10.0.0.10:6443" uid="uid-of-kube-system" 
    [TS] WARN Release is stuck release="kube-system/cilium" status="pending-upgrade" since="2001-01-01T00:00:00Z" started_by="unknown" skip_reason="managed by HelmRelease infra/net" fix="flux reconcile helmrelease net --namespace infra --force" 
    [TS] INFO No releases to recover
    "#);
}

#[test]
fn no_releases_to_recover() {
    let ran = Fixture::for_command("recover").run();
    assert_eq!((ran.code(), ran.mutating()), (0, Vec::new()));
    assert!(ran.stdout.contains("No releases to recover"), "{}", ran.stdout);
}

#[test]
fn recover_needs_the_lock_and_the_right_cluster() {
    let fixture = Fixture::for_command("recover").args(&["--yes"]).objects([pending_release("cilium")]);
    let ran = fixture.updated_object(&lease(ELSEWHERE)).run();
    assert_eq!((ran.code(), ran.mutating()), (8, Vec::new()));
    let ran = Fixture::for_command("recover")
        .args(&["--yes", "--cluster", "other"])
        .objects([pending_release("cilium")])
        .run();
    assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()));
    assert!(ran.stderr.contains("Cluster does not match --cluster"), "{}", ran.stderr);
    let ran = Fixture::for_command("recover")
        .args(&["--yes"])
        .file("k3s-boot.yaml", "clustr: {uid: other}\n")
        .objects([pending_release("cilium")])
        .run();
    assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()), "an invalid pin is an error");
    let elsewhere = Fixture::for_command("recover").env("HELM_DRIVER", "configmap").run();
    assert_eq!((elsewhere.code(), elsewhere.calls.len()), (1, 0));
}
