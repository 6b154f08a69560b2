//! With `--fail-fast`, only pods of the revision that is being rolled out stop a run.

use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};
use super::listener::Listener;
use super::scenario::{deployment, revision, started};

const SYNC: [&str; 2] = ["*/01-apps.yaml", "sync"];

const PODS: &str = "/api/v1/namespaces/kube-system/pods";

fn no_image() -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "operator", "state": {"waiting":
        {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"quay.io/x:1\": ErrImagePull: quay.io/x:1: not found"}}}]})
}

/// A Deployment whose image could not be pulled before the run either.
fn with_failed_image() -> Fixture {
    Fixture::new().args(&["--fail-fast"]).objects([deployment(1)]).objects(revision(1, "6f5d4c", &no_image()))
}

/// Adds objects that exist once the sync has started.
fn with_applied(fixture: Fixture, objects: &[Value]) -> Fixture {
    objects.iter().fold(fixture, |fixture, object| fixture.object_after(object, &SYNC))
}

/// Runs a sync that ends once pods were read `reads` + 1 times.
fn run(fixture: Fixture, reads: u32) -> RunResult {
    let (sync, read) = (Listener::new(), Listener::new());
    let fixture = fixture.rules([
        json!({"tool": "api", "args": [PODS], "times": reads}),
        json!({"tool": "api", "args": [PODS], "times": 1, "connect": read.address()}),
        json!({"tool": "helmfile", "on_int": "end", "args": SYNC, "connect": sync.address(),
            "stderr": started("kube-system", "cilium")}),
    ]);
    let running = fixture.start();
    let helmfile = sync.accept();
    read.accept().finish();
    helmfile.finish();
    running.wait()
}

#[test]
fn pod_of_the_previous_revision_is_ignored() {
    let new = revision(2, "7a6b5c", &json!({"phase": "Pending"}));
    let ran = run(with_applied(with_failed_image(), &[&[deployment(2)], &new[..]].concat()), 1);
    ran.assert().code(0);
    assert!(!ran.stdout.contains("Release is blocked"), "the pod is being replaced: {}", ran.stdout);
}

#[test]
fn pod_of_an_unchanged_workload_is_ignored() {
    let ran = run(with_failed_image(), 1);
    ran.assert().code(0);
    let warnings = ran.stdout.lines().filter(|line| line.contains("Release is blocked"));
    assert_eq!(warnings.count(), 1, "{}", ran.stdout);
}

#[test]
fn pod_of_an_unknown_revision_is_ignored() {
    let [_, pod] = revision(2, "7a6b5c", &no_image());
    let ran = run(with_applied(with_failed_image(), &[deployment(2), pod]), 1);
    ran.assert().code(0);
    assert!(ran.stdout.contains("Release is blocked"), "{}", ran.stdout);
}

#[test]
fn pod_of_the_new_revision_stops_the_run() {
    let listener = Listener::new();
    let objects = [&[deployment(2)], &revision(2, "7a6b5c", &no_image())[..]].concat();
    let fixture = with_applied(with_failed_image(), &objects)
        .rule(json!({"tool": "helmfile", "on_int": "end", "args": SYNC,
        "connect": listener.address(), "stderr": started("kube-system", "cilium")}));
    let running = fixture.start();
    assert_eq!(listener.accept().remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(5);
    assert!(ran.stderr.contains("Pod kube-system/cilium-operator-7a6b5c-x2x4z"), "{}", ran.stderr);
}

/// Pods of a new namespace are rejected until its `ServiceAccount` exists.
#[test]
fn missing_service_account_is_ignored() {
    let [replica_set, _] = revision(2, "7a6b5c", &json!({}));
    let refused = json!({"kind": "Event", "type": "Warning", "reason": "FailedCreate",
        "metadata": {"name": "refused", "namespace": "kube-system"},
        "involvedObject": {"kind": "ReplicaSet", "namespace": "kube-system", "name": "cilium-operator-7a6b5c"},
        "message": "Error creating: pods \"cilium-operator-7a6b5c-\" is forbidden: error looking up service account kube-system/default: serviceaccount \"default\" not found"});
    let fixture = with_applied(Fixture::new().args(&["--fail-fast"]), &[deployment(2), replica_set, refused]);
    // A rejected pod would stop the run after the second read.
    let ran = run(fixture, 4);
    ran.assert().code(0);
}
