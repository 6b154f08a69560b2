//! k3s starts, or restarts during a run: k3s-boot waits for each phase. The answers were recorded from real servers.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};
use super::scenario::started;

const PATHS: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the request has been made before all known HTTP paths have been installed, please try again","reason":"ServiceUnavailable","details":{"retryAfterSeconds":5},"code":503}"#;

const STORAGE: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"storage is (re)initializing","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}"#;

const READYZ: &str = "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]etcd-readiness ok\n\
    [-]poststarthook/generic-apiserver-start-informers failed: reason withheld\n[+]informer-sync ok\n\
    [-]poststarthook/priority-and-fairness-config-consumer failed: reason withheld\n\
    [-]poststarthook/priority-and-fairness-filter failed: reason withheld\n\
    [-]poststarthook/storage-object-count-tracker-hook failed: reason withheld\n\
    [-]poststarthook/crd-informer-synced failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n";

const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";

const CHARTS: &str = "/apis/helm.cattle.io/v1/helmcharts";

/// An answer to the next request for this path, or for any path.
fn once(path: &str, status: u16, body: &str) -> Value {
    let args = if path.is_empty() { vec![] } else { vec![path] };
    json!({"tool": "api", "args": args, "times": 1, "status": status, "stdout": body})
}

fn status(message: &str) -> String {
    format!(
        r#"{{"kind":"Status","metadata":{{}},"status":"Failure","message":"{message}","reason":"ServiceUnavailable","code":503}}"#
    )
}

/// The log lines about the API server.
fn lines(ran: &RunResult) -> String {
    let lines = ran.stdout.lines().filter(|line| line.contains(" API server "));
    // The duration differs from run to run.
    let line = |line: &str| match (line.split_once("outage="), line.split_once("after=")) {
        (Some((before, _)), _) => format!("{before}outage=[OUTAGE]"),
        (_, Some((before, _))) => format!("{before}after=[AFTER]"),
        _ => line.to_owned(),
    };
    lines.map(line).collect::<Vec<_>>().join("\n")
}

/// A HelmChart of k3s that installs cilium.
fn helm_chart() -> Value {
    json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "cilium", "namespace": "kube-system"},
        "spec": {"chart": "cilium"}})
}

#[test]
fn starting_api_server_is_waited_for() {
    let retry = |mut rule: Value| {
        rule["retry_after"] = 1.into();
        rule
    };
    let fixture = Fixture::new().objects([helm_chart()]).rules([
        once(LEASES, 503, &status("starting")),
        once(LEASES, 503, &status("starting")),
        once(LEASES, 503, &status("apiserver not ready")),
        once("/readyz", 500, READYZ),
        retry(once(CHARTS, 503, PATHS)),
        once(CHARTS, 404, "404 page not found\n"),
        retry(once(CHARTS, 429, STORAGE)),
    ]);
    let ran = fixture.run();
    ran.assert().code(0);
    // Leases and `/readyz` are read concurrently, so a line may appear twice.
    let lines = lines(&ran);
    for line in [
        r#"API server is starting, waiting for it reason="starting" timeout="1m""#,
        "API server answers again outage=[OUTAGE]",
        r#"API server is not ready, waiting for it failed="poststarthook/generic-apiserver-start-informers, poststarthook/priority-and-fairness-config-consumer, poststarthook/priority-and-fairness-filter, …" timeout="30s""#,
        "API server is ready after=[AFTER]",
        r#"API server does not serve all kinds yet, waiting for it reason="404 page not found" timeout="1m""#,
    ] {
        assert!(lines.contains(line), "no `{line}` in\n{lines}");
    }
    // The owner is known although the API server did not serve its kind at first.
    assert!(
        ran.stdout.contains(r#"Release is managed elsewhere release="kube-system/cilium""#),
        "{}",
        ran.stdout
    );
}

#[test]
fn status_waits_for_a_starting_api_server() {
    let ran = Fixture::for_command("status")
        .rules([once("", 503, &status("starting")), once("/readyz", 500, READYZ)])
        .run();
    assert!(ran.stderr.contains("API server is starting, waiting for it"), "{}", ran.stderr);
    assert!(ran.stderr.contains("API server is not ready, waiting for it"), "{}", ran.stderr);
}

#[test]
fn unavailable_proxy_is_not_waited_for() {
    let fixture = Fixture::new()
        .rule(json!({"tool": "api", "status": 503, "stdout": "<html>503 Service Unavailable</html>\n"}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR A proxy or web server answers instead of the cluster server="https://10.0.0.10:6443" context="default" reason="the answer is a web page, HTTP status 503" fix="correct `server` in the kubeconfig, or the load balancer in front of the API server""#);
}

#[test]
fn restart_during_a_run_is_waited_for() {
    let events = "/api/v1/events?fieldSelector=type%3DWarning";
    let flux = "/apis/fluxcd.controlplane.io/v1/fluxinstances";
    let fixture = Fixture::new().rules([
        once(events, 502, "dial tcp 10.0.0.10:6443: connect: connection refused\n"),
        once(events, 503, &status("starting")),
        once(events, 503, &status("apiserver not ready")),
        once(flux, 503, PATHS),
        once(flux, 404, "404 page not found\n"),
        once(flux, 429, STORAGE),
    ]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert_snapshot!(lines(&ran), @r#"
    [TS] WARN API server does not answer, retrying reason="dial tcp 10.0.0.10:6443: connect: connection refused" 
    [TS] INFO API server answers again outage=[OUTAGE]
    [TS] INFO API server does not serve all kinds yet, waiting for it reason="the request has been made before all known HTTP paths have been installed, please try again" timeout="1m"
    "#);
    assert!(ran.stdout.contains("Bootstrap complete!"), "{}", ran.stdout);
}

#[test]
fn objects_are_applied_after_a_restart() {
    let refused =
        "The connection to the server 10.0.0.10:6443 was refused - did you specify the right host or port?\n";
    let fixture = Fixture::new().rules([
        json!({"tool": "kubectl", "args": ["apply"], "times": 1, "exit": 1, "stderr": refused}),
        json!({"tool": "api", "args": ["/readyz"], "times": 2, "stdout": "ok"}),
        once("/readyz", 503, &status("apiserver not ready")),
        once("/readyz", 500, READYZ),
    ]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert_snapshot!(lines(&ran), @r#"
    [TS] WARN Objects cannot be applied, retrying cause="the API server became unavailable: it restarts, or its node is down" reason="The connection to the server 10.0.0.10:6443 was refused - did you specify the right host or port?" retry_in="0.5s" 
    [TS] INFO API server is starting, waiting for it reason="apiserver not ready" timeout="1m" 
    [TS] INFO API server answers again outage=[OUTAGE]
    [TS] INFO API server is not ready, waiting for it failed="poststarthook/generic-apiserver-start-informers, poststarthook/priority-and-fairness-config-consumer, poststarthook/priority-and-fairness-filter, …" timeout="30s" 
    [TS] INFO API server is ready after=[AFTER]
    "#);
}

#[test]
fn namespace_without_service_account_is_retried() {
    let words = "pods \"cilium-test\" is forbidden: error looking up service account kube-system/default: serviceaccount \\\"default\\\" not found";
    let talk = format!(
        "{}in x.yaml: failed processing release cilium: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  Error: UPGRADE FAILED: {}\n\nCOMBINED OUTPUT:\n  x\n",
        started("kube-system", "cilium"),
        words.replace('\\', "")
    );
    let sync = ["*/01-apps.yaml", "sync"];
    let ran = Fixture::new()
        .rule(json!({"tool": "helmfile", "args": sync, "times": 1, "exit": 1, "stderr": talk}))
        .run();
    ran.assert().code(0);
    let again = ran.stdout.lines().find(|line| line.contains("releases, retrying")).unwrap();
    assert!(again.contains("the ServiceAccount `default` does not exist yet"), "{again}");
}

#[test]
fn something_else_answers_for_the_api_server() {
    let cases = [
        (
            200,
            "<html>Sign in</html>",
            "A proxy or web server answers instead of the cluster",
            "correct `server` in the kubeconfig",
        ),
        (
            400,
            "Client sent an HTTP request to an HTTPS server.",
            "Kubeconfig uses HTTP, and the API server HTTPS",
            "write `https://`",
        ),
        (
            404,
            "404 page not found",
            "What answers is not a Kubernetes API server",
            "correct host and port of `server`",
        ),
        (
            500,
            "etcdserver: mvcc: database space exceeded",
            "cause=\"the database of etcd is full",
            "etcdctl alarm disarm",
        ),
    ];
    for (status, body, message, fix) in cases {
        let answer = json!({"tool": "api", "args": ["GET", "/version"], "status": status, "stdout": format!("{body}\n")});
        let refusal = Fixture::new().rule(answer).refusal();
        assert!(refusal.contains(message) && refusal.contains(fix), "{refusal}");
        assert!(!refusal.contains("journalctl"), "{refusal}");
    }
}
