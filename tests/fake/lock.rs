//! The lock of a cluster, and recovery from a killed run.

use std::time::Instant;

use insta::assert_snapshot;
use k3s_boot::internals::Identity;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult, Running};
use super::listener::{HANG_TIMEOUT, Listener};
use super::scenario::{record, started, syncing};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/k3s-boot";

/// The lock with this holder.
pub(crate) fn lease(holder: &str) -> Value {
    json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "k3s-boot", "namespace": "kube-system"},
        "spec": {"holderIdentity": holder, "acquireTime": "2026-11-23T08:00:00.000000Z"}})
}

/// A run of another machine.
pub(crate) const ELSEWHERE: &str = "laptop/boot/1/4711/99";

/// A run on this machine that has ended: its process ID was reused.
pub(crate) fn exited_run() -> String {
    with_field(4, "1")
}

/// A run on this machine before its last restart.
fn run_before_restart() -> String {
    with_field(1, "5e1f0c9a-0000-4000-8000-0123456789ab")
}

/// Whether restarts can be detected here: not in a container, nor without a machine ID.
fn can_detect_restarts() -> bool {
    Identity::own().to_string().split('/').count() == 6
}

/// The identity of this process with one field replaced.
fn with_field(index: usize, value: &str) -> String {
    let own = Identity::own().to_string();
    let mut fields: Vec<_> = own.split('/').collect();
    fields[index] = value;
    fields.join("/")
}

/// A free lock with the note that this run was about to sync a release at this revision.
pub(crate) fn lease_with_note(run: &str, release: &str, after: u64) -> Value {
    let mut lease = lease("");
    let operation = json!({release: {"run": run, "after": after, "began": 1, "timeout": 900}});
    lease["metadata"]["annotations"] =
        json!({"k3s-boot/operations": operation.to_string(), "k3s-boot/repository": "example.org/home"});
    lease
}

fn assert_complete(ran: &RunResult) {
    ran.assert().code(0);
    assert!(ran.stdout.contains("Bootstrap complete!"), "{}", ran.stdout);
}

#[test]
fn active_lock_is_waited_for() {
    let ran = Fixture::new().updated_object(&lease(ELSEWHERE)).run();
    ran.assert().code(8);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Another run is in progress holder="laptop, process 4711" since="2026-11-23T08:00:00.000000Z" log="[LOG]" fix="wait until that run has finished, or set how long to wait with --wait-lock""#);
    let waits = "[TS] INFO Waiting for another run elapsed=\"[ELAPSED]\" holder=\"laptop, process 4711\" since=\"2026-11-23T08:00:00.000000Z\" \n";
    assert!(ran.stdout.contains(waits), "{}", ran.stdout);
    assert_eq!(ran.mutating(), [""; 0]);
}

#[test]
fn expired_lock_is_taken() {
    let ran = Fixture::new().objects([lease(ELSEWHERE)]).run();
    assert_complete(&ran);
    assert!(ran.stdout.contains("Re-running the preflight"), "{}", ran.stdout);
}

#[test]
fn lock_of_an_exited_process_is_taken_at_once() {
    let ran = Fixture::new().objects([lease(&exited_run())]).run();
    assert_complete(&ran);
    assert!(!ran.stdout.contains("Waiting for another run"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("Re-running the preflight"), "nothing has changed since: {}", ran.stdout);
}

#[test]
fn lock_from_before_a_restart_is_taken_at_once() {
    let ran = Fixture::new().objects([lease(&run_before_restart())]).run();
    assert_complete(&ran);
    // Nothing has changed in between either.
    for words in ["Waiting for another run", "Re-running the preflight"] {
        assert_eq!(ran.stdout.contains(words), !can_detect_restarts(), "{}", ran.stdout);
    }
}

/// The lock is free; only the note shows who owns the release.
#[test]
fn release_pending_since_before_a_restart_is_recovered() {
    let mut locked = record("cilium", "kube-system", "pending-install", "1.18.6", &Value::Null);
    locked["metadata"]["labels"]["modifiedAt"] = "4000000000".into();
    let fixture =
        Fixture::new().objects([locked, lease_with_note(&run_before_restart(), "kube-system/cilium", 2)]);
    if !can_detect_restarts() {
        assert!(fixture.refusal().contains("Release may still be synced by a run elsewhere"));
        return;
    }
    let ran = fixture.run();
    assert_complete(&ran);
    assert!(ran.stdout.contains("INFO Release recovered release=\"kube-system/cilium\""), "{}", ran.stdout);
}

#[test]
fn lost_lock_stops_the_run() {
    let listener = Listener::new();
    let fixture = Fixture::new().rule(syncing(&listener, "kube-system", "cilium"));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    let mine = running.request("GET", LEASE, "");
    let mut lease: Value = serde_json::from_str(&mine).unwrap();
    assert!(
        lease["spec"]["holderIdentity"].as_str().unwrap().contains(&running.pid().to_string()),
        "{lease}"
    );
    lease["spec"]["holderIdentity"] = ELSEWHERE.into();
    running.request("PUT", LEASE, &lease.to_string());
    assert_eq!(helmfile.remaining_lines(), ["INT"], "one INT, then it exits by itself");
    let ran = running.wait();
    ran.assert().code(8);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Lock lost fix="wait until the run that holds the lock has finished, then retry" resume="k3s-boot apps --from apps""#);
    assert!(ran.stdout.contains("[TS] WARN Another run has taken the lock, shutting down"));
}

#[test]
fn release_of_a_killed_run_is_recovered() {
    let locked = record("cilium", "kube-system", "pending-install", "1.18.6", &Value::Null);
    let fixture =
        Fixture::new().objects([locked.clone(), lease_with_note(&exited_run(), "kube-system/cilium", 2)]);
    let ran = fixture.run();
    assert_complete(&ran);
    let line = ran.stdout.lines().find(|line| line.contains("Release recovered")).unwrap();
    let host = Identity::own().host;
    assert_eq!(
        line.replace(&host, "[HOST]"),
        "[TS] INFO Release recovered release=\"kube-system/cilium\" status=\"pending-install\" started_by=\"[HOST]\" "
    );
    let changes = ran.mutating();
    let at = |words: &str| changes.iter().position(|call| call.contains(words)).expect(words);
    let deleted = at("DELETE /api/v1/namespaces/kube-system/secrets/sh.helm.release.v1.cilium.v3");
    assert!(at("/leases") < deleted && deleted < at("helmfile"), "{changes:?}");

    // There is no note about another revision.
    let other = Fixture::new().objects([locked, lease_with_note(&exited_run(), "kube-system/cilium", 1)]);
    assert_snapshot!(other.refusal(), @r#"[TS] ERROR Release is stuck in `pending-install`; its owner is unknown release="kube-system/cilium" status="pending-install" fix="k3s-boot recover  # if no other operation is running""#);
}

#[test]
fn pending_release_of_another_machine_is_left_alone() {
    let mut locked = record("cilium", "kube-system", "pending-install", "1.18.6", &Value::Null);
    // In the future.
    locked["metadata"]["labels"]["modifiedAt"] = "4000000000".into();
    let fixture = Fixture::new().objects([locked, lease_with_note(ELSEWHERE, "kube-system/cilium", 2)]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Release may still be synced by a run elsewhere release="kube-system/cilium" status="pending-install" since="2096-10-02T07:06:40Z" host="laptop" until="2096-10-02T07:21:40Z" fix="wait until then, or, if that run has ended: k3s-boot recover --force""#);
}

#[test]
fn killed_helm_is_retried() {
    let locked = record("cilium", "kube-system", "pending-install", "1.18.6", &Value::Null);
    let mut locked: Value = locked;
    locked["metadata"]["labels"]["version"] = "1".into();
    let killed = "in ./01-apps.yaml: failed processing release cilium: command \"helm\" exited with non-zero status:\n\nERROR:\n  signal: killed\n";
    let fixture = Fixture::new()
        .object_after(&locked, &["*/01-apps.yaml", "sync"])
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "times": 1, "exit": 1,
            "stderr": format!("{}{killed}", started("kube-system", "cilium"))}));
    let ran = fixture.run();
    assert_complete(&ran);
    let line = ran.stdout.lines().find(|line| line.contains("recovered, retrying")).unwrap();
    assert!(
        line.contains(
            "[TS] WARN Release recovered, retrying release=\"kube-system/cilium\" status=\"pending-install\""
        ),
        "{line}"
    );
    assert_eq!(ran.calls_of("helmfile", "sync").len(), 3);
}

#[test]
fn lock_is_always_released() {
    let listener = Listener::new();
    let fixture = Fixture::new().rule(syncing(&listener, "kube-system", "cilium"));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(130);
    assert!(ran.released_lock(), "{}", ran.transcript());
}

/// Waits until the Lease matches, and returns it.
#[track_caller]
fn wait_for_lease(running: &Running<'_>, matches: impl Fn(&Value) -> bool) -> Value {
    let limit = Instant::now() + HANG_TIMEOUT;
    loop {
        let lease: Value = serde_json::from_str(&running.request("GET", LEASE, "")).unwrap();
        if matches(&lease) {
            return lease;
        }
        assert!(Instant::now() < limit, "{lease}");
        std::thread::yield_now();
    }
}

#[test]
fn fields_of_others_survive_the_release_of_the_lock() {
    let (sync, verify) = (Listener::new(), Listener::new());
    let fixture = Fixture::new().rules([
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "connect": sync.address(),
            "stderr": started("kube-system", "cilium")}),
        json!({"tool": "api", "args": ["GET", "*/fluxinstances"], "times": 1, "connect": verify.address()}),
    ]);
    let running = fixture.start();
    let helmfile = sync.accept();
    let others = json!({
        "annotations": {"example.org/note": "by a person"}, "labels": {"team": "home"},
        "finalizers": ["example.org/keep"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "1"}],
    });
    running.request("PATCH", LEASE, &json!({"metadata": others}).to_string());
    helmfile.finish();
    let verify = verify.accept();
    // Renewing and releasing the lock keeps these fields.
    let lease = wait_for_lease(&running, |lease| lease["spec"].get("holderIdentity").is_none());
    let metadata = &lease["metadata"];
    assert_eq!(metadata["annotations"]["example.org/note"], "by a person");
    assert_eq!(metadata["annotations"]["k3s-boot/repository"], "example.org/home");
    for name in ["labels", "finalizers", "ownerReferences"] {
        assert_eq!(metadata[name], others[name], "{name}");
    }
    assert_eq!((lease["spec"].get("acquireTime"), &lease["spec"]["leaseTransitions"]), (None, &json!(0)));
    verify.finish();
    assert_complete(&running.wait());
}

/// The answer of `kubectl proxy` if its connection to the API server breaks before the answer.
fn lost_answer(method: &str, path: &str) -> Value {
    json!({"tool": "api", "args": [method, path], "times": 1, "execute": true, "status": 500, "stdout": "EOF"})
}

/// A proxy on the way asks for a retry, after the request took effect.
fn lost_answer_with_retry(method: &str, path: &str) -> Value {
    json!({"tool": "api", "args": [method, path], "times": 1, "execute": true, "status": 503, "stdout": "",
        "retry_after": 0})
}

fn calls(ran: &RunResult, method: &str, path: &str) -> usize {
    let is_it =
        |call: &&Value| call["argv"][0] == method && call["argv"][1].as_str().unwrap().ends_with(path);
    ran.calls.iter().filter(|call| call["tool"] == "api").filter(is_it).count()
}

#[test]
fn created_lock_is_ours_without_an_answer() {
    let ran = Fixture::new().rule(lost_answer_with_retry("POST", "*/leases")).run();
    assert_complete(&ran);
    assert_eq!(calls(&ran, "POST", "/leases"), 2);
    assert!(!ran.stdout.contains("Re-running the preflight"), "no other run had it: {}", ran.stdout);
    assert!(ran.released_lock(), "{}", ran.transcript());
}

#[test]
fn taken_lock_is_ours_without_an_answer() {
    let fixture =
        Fixture::new().objects([lease("")]).rule(lost_answer_with_retry("PATCH", "*/leases/k3s-boot"));
    let ran = fixture.run();
    assert_complete(&ran);
    assert!(!ran.stdout.contains("Re-running the preflight"), "no other run had it: {}", ran.stdout);
    assert!(ran.released_lock(), "{}", ran.transcript());
    // If another run was first, it is waited for.
    let mut other = lease(ELSEWHERE);
    other["metadata"]["resourceVersion"] = "2".into();
    let taken = json!({"tool": "api", "args": ["GET", "/apis/coordination.k8s.io/v1/leases"], "times": 1,
        "stdout": json!({"items": [lease("")]}).to_string()});
    let ran = Fixture::new().rule(taken).updated_object(&other).run();
    ran.assert().code(8);
}

#[test]
fn released_lock_is_free_without_an_answer() {
    let fixture =
        Fixture::new().args(&["--log-level", "debug"]).rule(lost_answer("PATCH", "*/leases/k3s-boot"));
    let ran = fixture.run();
    assert_complete(&ran);
    assert_eq!(calls(&ran, "PATCH", "/leases/k3s-boot"), 2, "{}", ran.transcript());
    assert!(!ran.stdout.contains("Failed to release the lock"), "{}", ran.stdout);
}

const SECRET: &str = "*/secrets/sh.helm.release.v1.cilium.v3";

#[test]
fn release_is_recovered_without_an_answer() {
    let locked = record("cilium", "kube-system", "pending-install", "1.18.6", &Value::Null);
    let fixture =
        || Fixture::new().objects([locked.clone(), lease_with_note(&exited_run(), "kube-system/cilium", 2)]);
    let ran = fixture().rule(lost_answer("DELETE", SECRET)).run();
    assert_complete(&ran);
    assert_eq!(calls(&ran, "DELETE", &SECRET[1..]), 2);
    assert!(ran.stdout.contains("INFO Release recovered release=\"kube-system/cilium\""), "{}", ran.stdout);

    // If the request never reached the API server, another client has deleted the Secret.
    let refused = "dial tcp 10.0.0.10:6443: connect: connection refused";
    let never = json!({"tool": "api", "args": ["DELETE", SECRET], "times": 1, "execute": true, "status": 500,
        "stdout": refused});
    let ran = fixture().rule(never).run();
    assert_complete(&ran);
    assert_eq!(calls(&ran, "DELETE", &SECRET[1..]), 2);
    assert!(!ran.stdout.contains("Release recovered"), "{}", ran.stdout);
}
