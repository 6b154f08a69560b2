//! Problems of Helm and Flux: `check` reports each, and reports none on a healthy cluster.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult, temp_is_empty};
use super::manifests::BUNDLED_COREDNS;
use super::problem_table::blocks;

const CILIUM: (&str, &str) = ("kube-system", "cilium");
const COREDNS: (&str, &str) = ("kube-system", "coredns");
const INSTANCE: &str = "/apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux";
const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";

/// A problem: its name, the check, its mark and texts of the report.
type Problem<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

#[test]
fn problems_of_helm_and_flux() {
    let fixture = Fixture::start("helm-and-flux");
    let mut rows = Vec::new();
    before(&fixture, &mut rows);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert_healthy(&fixture);
    let mark = fixture.sandbox.audit_mark().unwrap();
    pending(&fixture, &mut rows);
    managed(&fixture, &mut rows);
    flux(&fixture, &mut rows);
    removals(&fixture, &mut rows);
    assert_eq!(fixture.changes(mark), [""; 0]);
    assert_healthy(&fixture);
    release_of_a_helm_release_is_left_alone(&fixture);
    for row in &rows {
        println!("{row}");
    }
    println!("problems: {}", rows.len());
}

/// Sets up a problem, runs `check` and removes the problem.
#[track_caller]
fn check_problem(
    fixture: &Fixture,
    rows: &mut Vec<String>,
    problem: &Problem<'_>,
    set_up: impl FnOnce(),
    reset: impl FnOnce(),
) {
    let (name, rule, mark, texts) = problem;
    set_up();
    let ran = fixture.k3s_boot(&["check"]).run();
    reset();
    let start = format!("  {mark} {rule}: ");
    let blocks = blocks(&ran.stdout);
    let mut found = blocks.iter().filter(|block| block.starts_with(&start));
    let block = found.find(|block| texts.iter().all(|text| block.contains(text)));
    let block = block.unwrap_or_else(|| panic!("{name}: no `{start}` with {texts:?}"));
    assert_eq!(ran.code, Some(i32::from(*mark == "✗")), "{name}");
    assert!(!ran.stdout.contains("take-ownership"), "{name}");
    let line: Vec<_> = block.lines().map(str::trim).collect();
    rows.push(format!("| `{rule}` | {name} | {} |", line.join(" · ").replace('|', "\\|")));
}

#[track_caller]
fn problems(ran: &RunResult) -> Vec<&str> {
    ran.stdout.lines().filter(|line| line.starts_with("  ✗ ") || line.starts_with("  ! ")).collect()
}

/// Checks that `check`, `status` and `diff` report no problem, change nothing and leave no files.
fn assert_healthy(fixture: &Fixture) {
    let mark = fixture.sandbox.audit_mark().unwrap();
    let check = fixture.k3s_boot(&["check", "--strict"]).run();
    assert_eq!(problems(&check), [""; 0]);
    check.assert().code(0);
    assert!(temp_is_empty(fixture), "after check");
    let status = fixture.k3s_boot(&["status"]).run();
    status.assert().code(0).stderr("");
    assert_eq!(status.stdout.lines().last(), Some("Everything is ready"), "{}", status.stdout);
    assert!(temp_is_empty(fixture), "after status");
    let diff = fixture.k3s_boot(&["diff", "--exit-code"]).run();
    diff.assert().code(0).stderr("");
    assert_eq!(diff.stdout.lines().last(), Some("Nothing to change"), "{}", diff.stdout);
    assert!(temp_is_empty(fixture), "after diff");
    let requests = fixture.sandbox.audit_since(mark).unwrap();
    let requests = requests.iter().filter(|event| event.is_from_admin()).count();
    let changes = fixture.changes(mark);
    println!("check, status and diff: {requests} requests, {} of them mutating", changes.len());
    assert!(requests > 0);
    assert_eq!(changes, [""; 0]);
}

/// Before the bootstrap, when no release is installed.
fn before(fixture: &Fixture, rows: &mut Vec<String>) {
    let mark = fixture.sandbox.audit_mark().unwrap();
    let map = |metadata: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cilium-config", "namespace": "kube-system"}});
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        object.to_string()
    };
    let annotations = |namespace: &str, name: &str| json!({"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace});
    let helm = json!({"app.kubernetes.io/managed-by": "Helm"});
    let flux = json!({"kustomize.toolkit.fluxcd.io/name": "infra", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    let objects: [(&str, &[&str], String); 4] = [
        ("an object without owner", &["owner: none that Helm knows"], map(json!({}))),
        (
            "an object of another Helm release",
            &["owner: Helm release media/net"],
            map(json!({"labels": helm, "annotations": annotations("media", "net")})),
        ),
        (
            "an object of a Kustomization",
            &[
                "owner: Kustomization flux-system/infra",
                "skip the release with --skip-release kube-system/cilium",
            ],
            map(json!({"labels": flux})),
        ),
        (
            "an object without Helm's label",
            &["owner: none: its label `managed-by` is missing"],
            map(json!({"annotations": annotations("kube-system", "cilium")})),
        ),
    ];
    for (name, words, object) in objects {
        let words = [&["release: kube-system/cilium", "ConfigMap kube-system/cilium-config"], words].concat();
        check_problem(
            fixture,
            rows,
            &(name, "ownership", "✗", &words),
            || fixture.apply(&object),
            || fixture.delete(&object),
        );
    }
    check_problem(
        fixture,
        rows,
        &("bundled CoreDNS of k3s", "coredns-bundled", "✗", &["Deployment/coredns", "Service/kube-dns"]),
        || fixture.apply(BUNDLED_COREDNS),
        || fixture.delete(BUNDLED_COREDNS),
    );
    check_problem(
        fixture,
        rows,
        &(
            "Flux without a FluxInstance",
            "flux-owned",
            "i",
            &["release: flux-system/flux-instance", "owner: Flux without a FluxInstance"],
        ),
        || fixture.apply(CONTROLLER),
        || fixture.delete(CONTROLLER),
    );
    let terminating = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "monitoring", "finalizers": ["example.org/held"]}});
    check_problem(
        fixture,
        rows,
        &(
            "a namespace that is being deleted",
            "plan",
            "✗",
            &["Namespace is being deleted", "namespace: monitoring"],
        ),
        || {
            fixture.apply(&terminating.to_string());
            fixture.kubectl(&["delete", "namespace", "monitoring", "--wait=false"]);
        },
        || {
            let free = r#"{"metadata": {"finalizers": null}}"#;
            fixture.kubectl(&["patch", "namespace", "monitoring", "--type=merge", "--patch", free]);
            fixture.kubectl(&["wait", "--for=delete", "namespace/monitoring", "--timeout=60s"]);
        },
    );
    assert_eq!(fixture.changes(mark), [""; 0]);
}

/// Releases in `pending-*`.
fn pending(fixture: &Fixture, rows: &mut Vec<String>) {
    let operations = [
        ("a first install that did not finish", COREDNS, 1, "pending-install"),
        ("an upgrade that did not finish", CILIUM, 2, "pending-upgrade"),
        ("a rollback that did not finish", CILIUM, 2, "pending-rollback"),
        ("an uninstall that did not finish", COREDNS, 1, "uninstalling"),
    ];
    for (name, release, revision, status) in operations {
        let record = record(fixture, release, 1);
        let changed = with_status(&record, revision, status);
        let status_line = format!("status: {status}");
        let named = format!("release: {}/{}", release.0, release.1);
        let words = ["Release is stuck in `", &status_line, &named, "fix: k3s-boot recover"];
        check_problem(
            fixture,
            rows,
            &(name, "pending", "✗", &words),
            || fixture.apply(&changed.to_string()),
            || {
                fixture.delete(&changed.to_string());
                fixture.apply(&record.to_string());
            },
        );
    }
}

/// Releases that Flux or k3s manage.
fn managed(fixture: &Fixture, rows: &mut Vec<String>) {
    let helm_release = |suspend: bool| {
        json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": "cilium", "namespace": "kube-system"}, "spec": {"suspend": suspend}})
    };
    let chart = json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart",
        "metadata": {"name": "coredns", "namespace": "kube-system"}, "spec": {"chart": "coredns"}});
    let states: [Problem<'_>; 3] = [
        ("a release of a HelmRelease", "flux-owned", "i", &["owner: HelmRelease kube-system/cilium"]),
        (
            "a release of a suspended HelmRelease",
            "flux-owned",
            "i",
            &["owner: HelmRelease kube-system/cilium", "suspended: yes"],
        ),
        ("a release of a HelmChart of k3s", "flux-owned", "i", &["owner: HelmChart kube-system/coredns"]),
    ];
    let objects = [helm_release(false), helm_release(true), chart];
    install_crd(fixture, "helmreleases", "HelmRelease", "helm.toolkit.fluxcd.io", "v2");
    install_crd(fixture, "helmcharts", "HelmChart", "helm.cattle.io", "v1");
    for (state, object) in states.iter().zip(objects) {
        let object = object.to_string();
        check_problem(fixture, rows, state, || fixture.apply(&object), || fixture.delete(&object));
    }
}

fn flux(fixture: &Fixture, rows: &mut Vec<String>) {
    let ready = || {
        fixture.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "fluxinstance/flux",
            "-n",
            "flux-system",
            "--timeout=60s",
        ]);
    };
    let sync = fixture.sandbox.get(INSTANCE).unwrap().unwrap()["spec"]["sync"].clone();
    let patch = |sync: &Value| {
        let patch = json!({"spec": {"sync": sync}}).to_string();
        fixture.kubectl(&[
            "patch",
            "fluxinstance",
            "flux",
            "-n",
            "flux-system",
            "--type=merge",
            "--patch",
            &patch,
        ]);
        ready();
    };
    check_problem(
        fixture,
        rows,
        &(
            "a stalled FluxInstance",
            "flux-state",
            "!",
            &["FluxInstance is stalled", "BuildFailed: no such artifact"],
        ),
        || fixture.sandbox.flux_stall("no such artifact"),
        || {
            fixture.sandbox.set_flux_behavior(sandbox::FluxBehavior::Works);
            ready();
        },
    );
    check_problem(
        fixture,
        rows,
        &("a FluxInstance without a source", "flux-state", "!", &["Flux has no source to sync"]),
        || patch(&Value::Null),
        || patch(&sync),
    );
}

/// Changes that would remove something.
fn removals(fixture: &Fixture, rows: &mut Vec<String>) {
    check_problem(
        fixture,
        rows,
        &(
            "`installed: false` for a release that is installed",
            "plan",
            "✗",
            &["Release would be uninstalled", "release: monitoring/prometheus-operator-crds"],
        ),
        || {
            fixture.replace(
                "bootstrap/helmfile.d/00-crds.yaml",
                "version: 19.1.0\n",
                "version: 19.1.0\n    installed: false\n",
            );
        },
        || fixture.restore(),
    );
    check_problem(
        fixture,
        rows,
        &(
            "an age key without the identity in the cluster",
            "plan",
            "✗",
            &["This would remove an age identity from the cluster", "secret: flux-system/sops-age"],
        ),
        || _ = std::fs::copy(fixture.sandbox.other_age_key(), fixture.root.join("age.key")).unwrap(),
        || fixture.restore(),
    );
}

/// Of two releases with changes, the one that a HelmRelease manages is not changed.
fn release_of_a_helm_release_is_left_alone(fixture: &Fixture) {
    fixture.apply(
        r#"{"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": "cilium", "namespace": "kube-system"}, "spec": {"suspend": false}}"#,
    );
    fixture.replace(VALUES, "rollOutCiliumPods: true", "rollOutCiliumPods: false");
    fixture.replace(
        VALUES,
        "priorityClassName: system-cluster-critical",
        "priorityClassName: system-node-critical",
    );
    let diff = fixture.k3s_boot(&["diff"]).run();
    assert!(diff.stdout.contains("HelmRelease kube-system/cilium"), "{}", diff.stdout);
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    let line = ran.stdout.lines().find(|line| line.contains("HelmRelease kube-system/cilium"));
    println!("apps logs: {}", line.unwrap_or("nothing"));
    assert!(line.is_some(), "{}", ran.stdout);
    let changes = fixture.changes(mark);
    let of = |name: &str| {
        changes.iter().filter(|change| change.contains(&format!("sh.helm.release.v1.{name}."))).count()
    };
    println!("writes to Secrets of Helm: cilium {}, coredns {}", of("cilium"), of("coredns"));
    assert_eq!(of("cilium"), 0);
    assert!(of("coredns") > 0, "{changes:?}");
    assert_eq!(changes.iter().filter(|change| change.contains("cilium")).count(), 0, "{changes:?}");
}

/// Installs a CRD.
pub(super) fn install_crd(fixture: &Fixture, plural: &str, kind: &str, group: &str, version: &str) {
    let name = format!("{plural}.{group}");
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    fixture.apply(
        &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
            "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
        .to_string(),
    );
    fixture.kubectl(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=60s"]);
}

/// The Secret of a revision of a release, which can be applied again.
pub(crate) fn record(fixture: &Fixture, (namespace, name): (&str, &str), revision: u64) -> Value {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.{name}.v{revision}");
    let secret = fixture.sandbox.get(&path).unwrap().unwrap();
    let metadata = &secret["metadata"];
    json!({"apiVersion": "v1", "kind": "Secret", "type": secret["type"], "data": secret["data"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": metadata["labels"]}})
}

/// The Secret with another revision and status, as during an operation of helm.
pub(crate) fn with_status(record: &Value, revision: u64, status: &str) -> Value {
    let packed = STANDARD.decode(record["data"]["release"].as_str().unwrap()).unwrap();
    let packed = STANDARD.decode(packed).unwrap();
    let mut text = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    let mut release: Value = serde_json::from_str(&text).unwrap();
    release["info"]["status"] = status.into();
    release["version"] = revision.into();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(release.to_string().as_bytes()).unwrap();
    let mut changed = record.clone();
    changed["data"]["release"] = STANDARD.encode(STANDARD.encode(encoder.finish().unwrap())).into();
    let name = changed["metadata"]["labels"]["name"].as_str().unwrap().to_owned();
    changed["metadata"]["name"] = format!("sh.helm.release.v1.{name}.v{revision}").into();
    changed["metadata"]["labels"]["status"] = status.into();
    changed["metadata"]["labels"]["version"] = revision.to_string().into();
    changed
}

/// A controller as installed by `flux install`.
const CONTROLLER: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: flux-system
  labels: {app.kubernetes.io/part-of: flux}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: source-controller
  namespace: flux-system
  labels: {app.kubernetes.io/part-of: flux}
spec:
  replicas: 0
  selector: {matchLabels: {app: source-controller}}
  template:
    metadata: {labels: {app: source-controller}}
    spec: {containers: [{name: manager, image: source-controller}]}
";
