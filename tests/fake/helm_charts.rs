//! `apps --adopt` of a release that a HelmChart of k3s installs.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};

const CHART: &str = "/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts/cilium";

fn chart() -> Value {
    json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart",
        "metadata": {"name": "cilium", "namespace": "kube-system", "uid": "u", "resourceVersion": "7",
            "finalizers": ["wrangler.cattle.io/on-helm-chart-remove"], "annotations": {
                "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
                "objectset.rio.cattle.io/owner-name": "cilium"}},
        "spec": {"chart": "cilium"}})
}

/// The file of the HelmChart.
fn addon() -> Value {
    json!({"apiVersion": "k3s.cattle.io/v1", "kind": "Addon",
        "metadata": {"name": "cilium", "namespace": "kube-system"},
        "spec": {"source": "/var/lib/rancher/k3s/server/manifests/cilium.yaml"}})
}

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "kube-system",
        "labels": {"helmcharts.helm.cattle.io/chart": "cilium"}}})
}

fn fixture() -> Fixture {
    Fixture::new().objects([chart()]).args(&["--adopt", "kube-system/cilium"])
}

/// The changes of the HelmChart, and the syncs.
fn changes(ran: &RunResult) -> String {
    let of_chart = |line: &&String| line.contains("helmcharts") || line.contains("helmfile");
    ran.mutating().iter().filter(of_chart).cloned().collect::<Vec<_>>().join("\n")
}

/// The bodies of the requests that change the HelmChart.
fn bodies(ran: &RunResult) -> Vec<Value> {
    let calls = ran.calls_of("api", CHART).into_iter();
    calls.filter(|call| call["argv"][0] != "GET").map(|call| call["body"].clone()).collect()
}

#[test]
fn the_annotation_comes_first_and_the_sync_last() {
    let config = json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig",
        "metadata": {"name": "cilium", "namespace": "kube-system"}});
    let ran = fixture().objects([config]).run();
    ran.assert().code(0);
    let changes = changes(&ran);
    let requests: Vec<_> = changes.lines().filter(|line| line.contains("helmcharts")).collect();
    assert_eq!(requests, ["PATCH", "PATCH", "DELETE"].map(|method| format!("api {method} {CHART} < pipe")));
    let last = changes.rfind("helmcharts").unwrap();
    assert!(changes[last..].contains("01-apps.yaml"), "{changes}");
    let bodies = bodies(&ran);
    assert_eq!(
        bodies[0],
        json!({"metadata": {"uid": "u", "annotations": {"helmcharts.helm.cattle.io/unmanaged": "true"}}})
    );
    assert_eq!(bodies[1]["metadata"]["finalizers"], json!([]));
    assert_eq!(bodies[2]["preconditions"]["uid"], "u");
    assert!(bodies[2]["preconditions"]["resourceVersion"].is_string());
    assert_snapshot!(ran.stdout.lines().find(|line| line.contains("HelmChart removed")).unwrap(), @r#"[TS] INFO HelmChart removed, release kept release="kube-system/cilium" helm_chart="kube-system/cilium" unused="HelmChartConfig kube-system/cilium""#);
    let ran = Fixture::new().objects([chart()]).args(&["--dry-run", "--adopt", "cilium"]).run();
    assert_eq!(ran.mutating(), [""; 0]);
    assert!(
        ran.stdout.contains("HelmCharts\n  - remove kube-system/cilium, and keep the release\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_conflict_is_tried_again_only_while_the_chart_is_ignored() {
    let conflict =
        || json!({"tool": "api", "args": ["DELETE", CHART], "times": 1, "status": 409, "stdout": "{}"});
    let ran = fixture().rule(conflict()).run();
    ran.assert().code(0);
    assert_eq!(bodies(&ran).len(), 5, "{}", changes(&ran));
    // The annotation is gone: k3s would uninstall.
    let managed = json!({"tool": "api", "args": ["GET", CHART], "stdout": chart().to_string()});
    let ran = fixture().rules([conflict(), managed]).run();
    assert_eq!((ran.code(), bodies(&ran).len()), (5, 3));
    assert!(ran.stderr.contains("somebody has removed the annotation"), "{}", ran.stderr);
    assert!(!changes(&ran).contains("01-apps.yaml"), "{}", changes(&ran));
}

#[test]
fn a_deletion_in_between_ends_the_run() {
    let mut deleted = chart();
    deleted["metadata"]["deletionTimestamp"] = "2026-11-28T08:00:00Z".into();
    let ran = fixture()
        .rule(json!({"tool": "api", "args": ["PATCH", CHART], "times": 1, "stdout": deleted.to_string()}))
        .run();
    assert_eq!((ran.code(), bodies(&ran).len()), (5, 1));
    assert!(ran.stderr.contains("which may uninstall the release"), "{}", ran.stderr);
}

#[test]
fn a_job_that_starts_in_between_is_waited_for() {
    let ran = fixture()
        .object_after(&job("helm-install-cilium"), &["PATCH", CHART])
        .args(&["--release-timeout", "1s"])
        .run();
    assert_eq!((ran.code(), bodies(&ran).len()), (6, 1));
    assert!(ran.stderr.contains("Job kube-system/helm-install-cilium"), "{}", ran.stderr);
}

#[test]
fn what_would_uninstall_is_refused_before_anything_is_changed() {
    let forbidden = json!({"tool": "api", "args": ["/apis/k3s.cattle.io/v1/addons"], "status": 403,
        "stdout": r#"{"message": "addons is forbidden"}"#});
    let cases = [
        (fixture().objects([addon()]), "from the file `/var/lib/rancher/k3s/server/manifests/cilium.yaml`"),
        (fixture().objects([job("helm-delete-cilium")]), "Job kube-system/helm-delete-cilium"),
        (fixture().objects([addon()]).rule(forbidden), "cannot be read: addons is forbidden"),
    ];
    for (fixture, reason) in cases {
        let ran = fixture.run();
        assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()), "{reason}");
        assert!(
            ran.stderr.contains("Release cannot be taken over from the Helm controller yet"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(reason), "no `{reason}` in {}", ran.stderr);
        // Without the check, the release is left to k3s.
        let ran = fixture.args(&["--skip-check", "flux-owned"]).run();
        assert_eq!((ran.code(), bodies(&ran).len()), (0, 0));
        assert!(ran.stdout.contains(r#"owner="HelmChart kube-system/cilium""#), "{}", ran.stdout);
    }
}
