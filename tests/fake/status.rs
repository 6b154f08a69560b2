//! `k3s-boot status` as text and as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insta::assert_snapshot;
use nix::sys::signal::Signal;
use sandbox::files;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};
use super::listener::Listener;
use super::scenario;

/// Every request for this path fails with this status.
fn fails(args: &[&str], status: u16, words: &str) -> Value {
    let answer = json!({"kind": "Status", "message": words, "code": status});
    json!({"tool": "api", "args": args, "status": status, "stdout": answer.to_string()})
}

fn workload(kind: &str, id: &str, release: &str, status: &Value) -> Value {
    let (namespace, name) = id.split_once('/').unwrap();
    let (release_namespace, release) = release.split_once('/').unwrap();
    json!({"kind": kind, "spec": {"replicas": 1}, "status": status, "metadata": {"namespace": namespace, "name": name,
        "annotations": {"meta.helm.sh/release-namespace": release_namespace, "meta.helm.sh/release-name": release}}})
}

/// A cluster with one node and this many ready pods of cilium.
fn cluster(ready_pods: u32) -> [Value; 3] {
    let node = json!({"kind": "Node", "metadata": {"name": "node-1", "labels": {"node-role.kubernetes.io/control-plane": "true"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.3+k3s1"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.10"}]}});
    let namespace = json!({"kind": "Namespace", "status": {"phase": "Active"},
        "metadata": {"name": "kube-system", "uid": "7f0c", "creationTimestamp": "2026-11-23T08:00:00Z"}});
    let pods = json!({"desiredNumberScheduled": 1, "numberAvailable": ready_pods});
    let cilium = workload("DaemonSet", "kube-system/cilium", "kube-system/cilium", &pods);
    [namespace, node, cilium]
}

const INSTALLED: [(&str, &str, u32); 3] = [
    ("flux-system/flux-instance", "deployed", 1),
    ("kube-system/cilium", "deployed", 2),
    ("monitoring/prometheus-operator-crds", "deployed", 1),
];

/// The Secrets of these releases, each with a secret value.
fn records<'a>(installed: &'a [(&str, &str, u32)], secret: &'a str) -> impl Iterator<Item = Value> + 'a {
    installed.iter().map(move |(id, status, revision)| {
        let (namespace, name) = id.split_once('/').unwrap();
        let record = json!({"name": name, "namespace": namespace, "version": revision, "info": {"status": status},
            "chart": {"metadata": {"name": name, "version": "1.2.3"}}, "config": {"password": secret}});
        let labels = json!({"owner": "helm", "name": name, "version": revision.to_string(), "status": status,
            "modifiedAt": "1763900000"});
        let metadata = json!({"namespace": namespace, "name": format!("sh.helm.release.v1.{name}.v{revision}"), "labels": labels});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "data": {"release": STANDARD.encode(STANDARD.encode(record.to_string()))}})
    })
}

/// The objects of Flux.
fn flux(root: Value) -> [Value; 3] {
    [scenario::instance(), scenario::source(), root]
}

/// A bootstrapped cluster that Flux has reconciled.
fn ready_cluster() -> Fixture {
    let fixture = Fixture::for_command("status");
    let secret = fixture.canaries.value.clone();
    fixture.objects(cluster(1)).objects(records(&INSTALLED, &secret)).objects(flux(scenario::root()))
}

/// Runs `status`, which must call no tool except kubectl, change nothing and keep no log.
#[track_caller]
fn run_status(fixture: &Fixture) -> RunResult {
    let ran = fixture.run();
    assert_eq!(ran.mutating(), [""; 0]);
    assert!(ran.calls.iter().all(|call| call["tool"] == "kubectl" || call["tool"] == "api"));
    for place in ["home", "tmp", "cache", "state"] {
        let left = files(&fixture.path(place)).unwrap();
        assert!(left.is_empty(), "files remain: {left:?}");
    }
    ran
}

/// The report of a cluster that can be read.
#[track_caller]
fn report(fixture: Fixture) -> Value {
    let ran = run_status(&fixture.args(&["-o", "json"]));
    ran.assert().code(0).stderr("");
    ran.report()
}

/// The values of some fields of each item.
fn fields(items: &Value, names: &[&str]) -> Vec<Value> {
    let items = items.as_array().unwrap().iter();
    items.map(|item| names.iter().map(|name| item[*name].clone()).collect()).collect()
}

#[test]
fn ready_cluster_as_text() {
    let ran = run_status(&ready_cluster());
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.stdout, @"
    Cluster default
      https://10.0.0.10:6443, v1.36.3+k3s1
      UID 7f0c, created 2026-11-23T08:00:00Z

    Nodes
      ✓ node-1  server  v1.36.3+k3s1  10.0.0.10

    Releases
      ✓ monitoring/prometheus-operator-crds  prometheus-operator-crds 1.2.3  deployed  revision 1  helmfile
      ✓ kube-system/cilium                   cilium 1.2.3                    deployed  revision 2  helmfile
      ✓ flux-system/flux-instance            flux-instance 1.2.3             deployed  revision 1  helmfile

    Flux
      ✓ FluxInstance   flux-system/flux         fine
      ✓ GitRepository  flux-system/flux-system  fine
      ✓ Kustomization  flux-system/flux-system  fine

    Everything is ready
    ");
    assert_snapshot!(ran.transcript(), @"
    api GET /api/v1/namespaces < null
    api GET /api/v1/nodes < null
    api GET /api/v1/secrets?labelSelector=owner%3Dhelm < null
    api GET /api/v1/secrets?labelSelector=owner%3Dhelm%2Cstatus%21%3Dsuperseded%2Cname%20in%20%28cilium%2Cflux-instance%2Cprometheus-operator-crds%29 < null
    api GET /api/v1/services < null
    api GET /apis < null
    api GET /apis/apps/v1/daemonsets < null
    api GET /apis/apps/v1/deployments < null
    api GET /apis/apps/v1/statefulsets < null
    api GET /apis/fluxcd.controlplane.io/v1/fluxinstances < null
    api GET /apis/kustomize.toolkit.fluxcd.io/v1/kustomizations < null
    api GET /apis/source.toolkit.fluxcd.io/v1/gitrepositories < null
    api GET /readyz < null
    api GET /version < null
    kubectl --context default --kubeconfig [TMP]/kubeconfig proxy --unix-socket=[TMP]/tmp/k3s-boot.[RUN]/api.sock < null
    ");
}

#[test]
fn ready_cluster_as_json() {
    let ran = run_status(&ready_cluster().args(&["-o", "json"]));
    ran.assert().code(0).stderr("");
    let report = ran.report();
    assert_eq!((&report["result"], &report["exit_code"]), (&json!("ready"), &json!(0)));
    assert_eq!(report["cluster"]["uid"], "7f0c");
    assert_eq!(report["releases"][0]["name"], "prometheus-operator-crds", "in the order of the helmfiles");
    assert_eq!(
        report["releases"][1],
        json!({"namespace": "kube-system", "name": "cilium", "chart": "cilium", "version": "1.2.3", "status": "deployed",
            "revision": 2, "owner": "helmfile", "in_helmfile": true, "ready": true})
    );
    assert_eq!(report["flux"][2]["revision"], "main@sha1:4b1c");
    assert_eq!((&report["problems"], &report["unknown"]), (&json!([]), &json!([])));
}

#[test]
fn status_needs_only_kubectl() {
    let fixture = ["bin/helmfile", "bin/helm", "bin/sops", "root/age.key", "root/bootstrap/github.sops.yaml"]
        .iter()
        .fold(ready_cluster(), |fixture, name| fixture.without(name));
    let ran = run_status(&fixture);
    ran.assert().code(0).stderr("");
    assert!(ran.stdout.ends_with("\nEverything is ready\n"), "{}", ran.stdout);
    // Outside of a repository no helmfile selects releases, so no release Secret is read.
    let fixture = fixture
        .without("root/bootstrap/helmfile.d/00-crds.yaml")
        .without("root/bootstrap/helmfile.d/01-apps.yaml")
        .args(&["-o", "json"]);
    let ran = run_status(&fixture);
    ran.assert().code(0).stderr("");
    let report = ran.report();
    assert_eq!(report["result"], "ready");
    let release = |id: &str, revision: u64| {
        let (namespace, name) = id.split_once('/').unwrap();
        json!([namespace, name, Value::Null, "deployed", revision, "unknown", true])
    };
    assert_eq!(
        fields(&report["releases"], &["namespace", "name", "chart", "status", "revision", "owner", "ready"]),
        [
            release("flux-system/flux-instance", 1),
            release("kube-system/cilium", 2),
            release("monitoring/prometheus-operator-crds", 1),
        ]
    );
    let reason = "no helmfiles in `[TMP]/root/bootstrap`";
    assert_eq!(report["unknown"], json!([{"what": "helmfiles", "reason": reason}]));
    assert_eq!(report["problems"], json!([]));
    let ran = run_status(&fixture.without("bin/kubectl"));
    ran.assert().code(1);
    assert_eq!(ran.report()["problems"][0]["reason"], "Missing required deps");
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Missing required deps deps="kubectl" fix="install kubectl (https://kubernetes.io/docs/tasks/tools/), or add it to PATH""#);
}

#[test]
fn unready_workload_is_shown_with_its_last_event() {
    let fixture = ready_cluster();
    let warning = |pod: &str, message: &str, last: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "kube-system", "name": last},
            "involvedObject": {"kind": "Pod", "namespace": "kube-system", "name": pod}, "reason": "Failed",
            "message": message, "lastTimestamp": last, "count": 3})
    };
    let message = format!("pull with {} failed\nforever", fixture.canaries.token);
    let warnings = [
        warning("cilium-x2x4z", &message, "2026-11-23T09:00:00Z"),
        warning("cilium-x2x4z", "an old one", "2026-11-23T08:00:00Z"),
        warning("cilium-operator-6f5d-x2x4z", "of another", "2026-11-23T10:00:00Z"),
    ];
    let fixture = fixture.objects(cluster(0)).objects(warnings);
    let ran = run_status(&fixture);
    let line = "  ✗ Release kube-system/cilium: DaemonSet kube-system/cilium 0/1 ready: Failed: pull with [redacted] failed forever";
    assert_eq!(ran.stdout.lines().last(), Some(line), "{}", ran.stdout);
    let report = report(fixture);
    assert_eq!(report["result"], "not-ready");
    let ready = fields(&report["releases"], &["name", "ready"]);
    let expected = [("prometheus-operator-crds", true), ("cilium", false), ("flux-instance", true)];
    assert_eq!(ready, expected.map(|(name, ready)| json!([name, ready])));
    let problem = "DaemonSet kube-system/cilium 0/1 ready: Failed: pull with [redacted] failed\nforever";
    assert_eq!(
        report["problems"],
        json!([{"severity": "error", "object": "Release kube-system/cilium", "reason": problem}])
    );
}

#[test]
fn pending_and_failed_releases_are_shown() {
    let mut rows = INSTALLED;
    rows[0].1 = "pending-install";
    rows[2].1 = "failed";
    let fixture = ready_cluster();
    let secret = fixture.canaries.value.clone();
    let fixture = fixture.objects(records(&rows, &secret));
    let report = report(fixture);
    assert_eq!(
        fields(&report["releases"], &["name", "status", "ready"]),
        [
            json!(["prometheus-operator-crds", "failed", false]),
            json!(["cilium", "deployed", true]),
            json!(["flux-instance", "pending-install", false]),
        ]
    );
    let error = |object: &str, reason: &str| json!({"severity": "error", "object": object, "reason": reason});
    assert_eq!(
        report["problems"],
        json!([
            error("Release monitoring/prometheus-operator-crds", "failed"),
            error("Release flux-system/flux-instance", "pending-install since 2025-11-23T12:13:20Z"),
        ])
    );
}

#[test]
fn failed_kustomization_is_shown() {
    let failed =
        json!({"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "no such file"});
    let root = scenario::resource("Kustomization", "flux-system", &json!({}), &failed);
    let suspended = scenario::resource("Kustomization", "media", &json!({"suspend": true}), &failed);
    let fixture = ready_cluster().objects(flux(root)).objects([suspended]);
    let report = report(fixture);
    assert_eq!(
        fields(&report["flux"], &["kind", "name", "ready", "reason", "suspended"])[2..],
        [
            json!(["Kustomization", "flux-system", "False", "BuildFailed", false]),
            json!(["Kustomization", "media", "False", "BuildFailed", true]),
        ]
    );
    assert_eq!(
        report["problems"],
        json!([
            {"severity": "error", "object": "Kustomization flux-system/flux-system", "reason": "BuildFailed: no such file"},
            {"severity": "warning", "object": "Kustomization flux-system/media", "reason": "suspended"},
        ])
    );
}

#[test]
fn unreadable_parts_are_unknown() {
    let fixture = ready_cluster().rules([
        fails(&["/api/v1/secrets*"], 403, "secrets is forbidden"),
        fails(&["/apis"], 500, "etcd is slow"),
    ]);
    let report = report(fixture);
    assert_eq!((&report["releases"], &report["flux"]), (&Value::Null, &Value::Null));
    assert_eq!(
        report["unknown"],
        json!([
            {"what": "releases", "reason": "secrets is forbidden"},
            {"what": "flux", "reason": "etcd is slow"},
        ])
    );
}

/// A cluster that does not answer.
fn unreachable() -> Value {
    json!({"tool": "api", "status": 500, "stdout": "dial tcp 10.0.0.10:6443: connect: connection refused\n"})
}

#[test]
fn cluster_does_not_answer() {
    let fixture = Fixture::for_command("status").rule(unreachable());
    let ran = run_status(&fixture);
    ran.assert().code(1).stdout("");
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Cluster unreachable server="https://10.0.0.10:6443" context="default" reason="dial tcp 10.0.0.10:6443: connect: connection refused" fix="check that the server is running, and that the kubeconfig names its address instead of 127.0.0.1""#);
    let fixture = fixture.args(&["-o", "json"]);
    let json = run_status(&fixture);
    assert_eq!((json.code(), &json.stderr), (1, &ran.stderr));
    let reason = "Cluster unreachable: dial tcp 10.0.0.10:6443: connect: connection refused";
    let expected = json!({
        "schema_version": 1,
        "result": "failed",
        "exit_code": 1,
        "cluster": null,
        "nodes": [],
        "releases": null,
        "flux": null,
        "workloads": [],
        "problems": [{"severity": "error", "object": "api", "reason": reason}],
        "unknown": [],
    });
    assert_eq!(json.report(), expected);
    assert_eq!(run_status(&fixture.args(&["--watch"])).code(), 1, "an unreachable cluster is not waited for");
}

#[test]
fn kubeconfig_cannot_be_used() {
    let error = |fixture: &Fixture| {
        let ran = run_status(fixture);
        assert_eq!((ran.code(), ran.stdout.as_str(), ran.calls.len()), (1, "", 0));
        ran.stderr
    };
    assert_snapshot!(error(&ready_cluster().without_env("KUBECONFIG")), @r#"[TS] ERROR Missing required env variables envs="KUBECONFIG" fix="export KUBECONFIG=...""#);
    assert_snapshot!(error(&ready_cluster().args(&["--context", "other"])), @r#"[TS] ERROR Context not found in kubeconfig file="[TMP]/kubeconfig" context="other" available="default" fix="select one of them with --context""#);
}

#[test]
fn status_has_no_secrets_at_debug_level() {
    let ran = run_status(&ready_cluster().env("LOG_LEVEL", "debug"));
    ran.assert().code(0);
    assert!(ran.stderr.contains("DEBUG Running "), "{}", ran.stderr);
}

#[test]
fn int_stops_status_and_watch() {
    let listener = Listener::new();
    let slow = json!({"tool": "api", "args": ["/api/v1/nodes"], "connect": listener.address()});
    let fixture = ready_cluster().rule(slow);
    let running = fixture.start();
    let mut tool = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(tool.remaining_lines(), [""; 0]);
    running.wait().assert().code(130);

    let fixture = ready_cluster().args(&["--watch"]);
    let running = fixture.start();
    running.wait_for("Everything is ready");
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    ran.assert().code(130);
    assert!(!ran.stdout.contains('\u{1b}'), "no terminal");
    assert_snapshot!(ran.stderr, @r#"[TS] WARN Interrupted, shutting down (press Ctrl-C again to kill) signal="SIGINT""#);
}

#[test]
fn watch_shows_changes_and_survives_an_outage() {
    let version = |mut rule: Value| {
        rule["args"] = json!(["/version"]);
        rule["times"] = 1.into();
        rule
    };
    let answers = json!({"tool": "api", "stdout": r#"{"gitVersion":"v1.36.3+k3s1"}"#});
    let fixture = ready_cluster().rules([version(answers), version(unreachable())]);
    let fixture = fixture.args(&["--watch", "--output", "json"]);
    let running = fixture.start();
    running.wait_for(r#"{"schema_version":1,"result":"ready","exit_code":0,"#);
    running.wait_for(r#"{"schema_version":1,"result":"failed","exit_code":1,"#);
    running.wait_for(r#"{"schema_version":1,"result":"ready","exit_code":0,"#);
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    assert_eq!((ran.code(), ran.stdout.lines().count()), (130, 3));
}
