//! What is logged while helm waits for a release, and when the wait ends early.

use serde_json::json;

use super::fixture::Fixture;
use super::listener::Listener;
use super::scenario::{apps_build, instance, syncing, waiting_pod};

const SYNC: [&str; 2] = ["*/01-apps.yaml", "sync"];

#[test]
fn flux_instance_shows_what_is_pending() {
    let mut progressing = instance();
    progressing["status"]["conditions"] = json!([{"type": "Ready", "status": "Unknown", "reason": "Progressing",
        "message": "Reconciliation in progress"}]);
    let controller = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}, "status": {},
        "metadata": {"name": "source-controller", "namespace": "flux-system",
            "labels": {"app.kubernetes.io/part-of": "flux"}}});
    let listener = Listener::new();
    let fixture = Fixture::new().flux_with(&progressing, &[]).object_after(&controller, &SYNC).rule(syncing(
        &listener,
        "flux-system",
        "flux-instance",
    ));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    running.wait_for("Waiting for release");
    running.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    let ran = running.wait();
    let line = ran.stdout.lines().find(|line| line.contains("Waiting for release")).unwrap();
    let pending = "pending=\"Deployment/source-controller 0/1, FluxInstance flux-system/flux: Progressing: Reconciliation in progress\"";
    assert!(line.contains(pending), "{line}");
}

/// Takes half a minute: a CNI may come from a chart that is not known, or from k3s a little later.
#[test]
fn a_cluster_without_a_cni_ends_the_wait() {
    let unplaced = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 node(s) had untolerated taint(s)."}]});
    let node = json!({"kind": "Node", "metadata": {"name": "node-1"},
        "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message":
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"}]}});
    let listener = Listener::new();
    let fixture = Fixture::new();
    let build = apps_build(&fixture.canaries).replace("charts/cilium\n", "charts/agent\n");
    let objects = waiting_pod(&unplaced);
    let fixture = objects.iter().fold(fixture, |fixture, object| fixture.object_after(object, &SYNC));
    let fixture = fixture
        .without_objects("Node")
        .objects([node])
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
        .rule(syncing(&listener, "kube-system", "cilium"));
    let running = fixture.start();
    assert_eq!(listener.accept().remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(5);
    let cause = "cause=\"the nodes wait for a CNI, and no release installs a known one\"";
    assert!(ran.stderr.contains(cause), "{}", ran.stderr);
    let fix = "fix=\"add a CNI to the helmfile, or enable flannel in k3s\"";
    assert!(ran.stderr.contains(fix), "{}", ran.stderr);
    let warned =
        ran.stdout.lines().filter(|line| line.contains("wait") && line.contains("CNI") && line.contains(fix));
    assert_eq!(warned.count(), 2, "in the preflight, and when the release is blocked: {}", ran.stdout);
}
