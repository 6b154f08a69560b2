//! Runs that fail: the reason, the fix and the command to resume.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use sandbox::files;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::listener::Listener;
use super::scenario::{self, started, synced, syncing, waiting_pod};

/// A short timeout that still leaves enough time on a busy machine: it is derived from the duration of a whole run.
fn short_timeout() -> Duration {
    let start = Instant::now();
    Fixture::new().run().assert().code(0);
    Duration::from_secs(2) + 4 * start.elapsed()
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The output of helmfile 1.7.4 when helm 4.2.4 prints this error.
fn helmfile_failed(release: &str, error: &str) -> String {
    format!(
        "in ./01-apps.yaml: failed processing release {release}: command \"/bin/helm\" exited with non-zero status:

PATH:
  /bin/helm

ARGS:
  0: helm (4 bytes)
  1: upgrade (7 bytes)
  2: --install (9 bytes)

ERROR:
  exit status 1

EXIT STATUS
  1

STDERR:
  level=WARN msg=\"upgrade failed\"
  Error: {error}

COMBINED OUTPUT:
  Release \"{release}\" does not exist. Installing it now.
  Error: {error}
"
    )
}

fn sync_fails(error: &str) -> Fixture {
    let stderr = format!("{}{}", started("kube-system", "cilium"), helmfile_failed("cilium", error));
    Fixture::new()
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1, "stderr": stderr}))
}

#[test]
fn failed_release_is_reported() {
    let fixture = sync_fails(
        "UPGRADE FAILED: Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value: {}: field is immutable",
    );
    let ran = fixture.run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" cause="the chart changes a field that is immutable once the object exists" fix="delete the named object, then retry: helm recreates it (never a CRD or a PersistentVolumeClaim: their data would be lost)" resume="k3s-boot apps --from apps" reason="UPGRADE FAILED: Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value: {}: field is immutable" log="[LOG]""#);
    assert_snapshot!(ran.stdout.lines().rev().take(3).collect::<Vec<_>>().join("\n"), @r#"
    [TS] INFO Syncing release release="kube-system/cilium" version="1.18.6" 
    [TS] INFO Syncing Helm releases file="bootstrap/helmfile.d/01-apps.yaml" releases="2" 
    [TS] INFO Release synced release="monitoring/prometheus-operator-crds" version="19.1.0" took="[TOOK]"
    "#);
    let logs = files(&fixture.path("state")).unwrap();
    assert_eq!(logs.len(), 1);
    let mode = std::fs::metadata(&logs[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(logs[0].parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let log = std::fs::read_to_string(&logs[0]).unwrap();
    assert!(
        log.contains("helmfile stderr:   level=WARN msg=\"upgrade failed\"\n"),
        "the whole output: {log}"
    );
    assert!(log.contains("helmfile ended: exit code 1\n"), "{log}");
}

#[test]
fn unready_release_times_out() {
    let ran = sync_fails("resource Deployment/kube-system/cilium-operator not ready. status: InProgress, message: Available: 0/1\n  context deadline exceeded").run();
    ran.assert().code(6);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" object="Deployment kube-system/cilium-operator" reason="resource Deployment/kube-system/cilium-operator not ready. status: InProgress, message: Available: 0/1; context deadline exceeded" fix="k3s-boot status  # shows what is not ready and why; to wait longer, set --release-timeout and --timeout" resume="k3s-boot apps --from apps" log="[LOG]""#);
}

#[test]
fn release_that_helm_waits_for_although_it_is_ready() {
    let late = "resource Deployment/kube-system/cilium-operator not ready. status: InProgress\n  context deadline exceeded";
    let mut ready = scenario::deployment(1);
    ready["status"] = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    let ran = sync_fails(late).objects([ready]).run();
    ran.assert().code(6);
    let state = r#"object="Deployment kube-system/cilium-operator" state="Deployment/cilium-operator 1/1""#;
    assert!(ran.stderr.contains(state) && ran.stderr.contains("`trackMode: helm-legacy`"), "{}", ran.stderr);
}

#[test]
fn unready_pod_is_named() {
    let late = "resource Deployment/kube-system/cilium-operator not ready. status: InProgress\n  context deadline exceeded";
    let taint = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."}]});
    let ran = sync_fails(late).objects(waiting_pod(&taint)).run();
    ran.assert().code(6);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" object="Pod kube-system/cilium-operator-6f5d4c-x2x4z" state="0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}." cause="every node has a taint that the pod does not tolerate" fix="add a toleration in the values, or remove the taint: kubectl taint nodes --all KEY-" resume="k3s-boot apps --from apps" reason="resource Deployment/kube-system/cilium-operator not ready. status: InProgress; context deadline exceeded" log="[LOG]""#);
    let crash = json!({"phase": "Running", "containerStatuses": [{"name": "operator", "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]});
    let container_log = json!({"tool": "api", "args": ["GET", "/api/v1/namespaces/kube-system/pods/cilium-operator-6f5d4c-x2x4z/log?*"],
        "stdout": "level=info starting\nlevel=fatal no such flag\n"});
    let ran = sync_fails(late).rule(container_log).objects(waiting_pod(&crash)).args(&["-o", "json"]).run();
    let pod = "Pod kube-system/cilium-operator-6f5d4c-x2x4z";
    let expected = json!({
        "class": "release",
        "message": "Failed to sync Helm releases",
        "culprit": pod,
        "cause": "the container is crash-looping",
        "fix": "kubectl -n kube-system logs cilium-operator-6f5d4c-x2x4z --previous  # the last lines show why",
        "reason": "resource Deployment/kube-system/cilium-operator not ready. status: InProgress; context deadline exceeded",
        "resume": "k3s-boot apps -o json --from apps",
        "release": "kube-system/cilium",
        "object": pod,
        "state": "container operator: CrashLoopBackOff, exited with code 1 (Error), 4 restarts",
        "container_logs": ["level=info starting", "level=fatal no such flag"],
    });
    assert_eq!(ran.report()["failure"], expected);
}

/// The same objects under another name.
fn renamed(objects: &[Value], name: &str) -> Vec<Value> {
    let text = serde_json::to_string(objects).unwrap();
    serde_json::from_str(
        &text.replace("cilium-operator", name).replace("\"operator\"", &format!("\"{name}\"")),
    )
    .unwrap()
}

#[test]
fn all_blocked_pods_are_named() {
    let late = "resource Deployment/kube-system/cilium-operator not ready. status: InProgress\n  context deadline exceeded";
    let image = "docker.io/library/nginx:1.99";
    let head = "failed to do request: Head \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: Temporary failure in name resolution";
    let message = format!(
        "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {head}"
    );
    let pull = json!({"phase": "Pending", "containerStatuses": [{"name": "operator", "state": {"waiting":
        {"reason": "ImagePullBackOff", "message": format!("Back-off pulling image \"{image}\": ErrImagePull: {message}")}}}]});
    let unready = json!({"phase": "Running", "containerStatuses": [{"name": "operator", "ready": false, "state": {"running": {}}}]});
    let objects = [
        &waiting_pod(&pull)[..],
        &renamed(&waiting_pod(&unready), "relay"),
        &renamed(&waiting_pod(&pull), "ui"),
    ]
    .concat();
    let ran = sync_fails(late).objects(objects).args(&["-o", "json"]).run();
    ran.assert().code(6);
    let failure = &ran.report()["failure"];
    assert_eq!(failure["object"], "Pod kube-system/cilium-operator-6f5d4c-x2x4z");
    let whole = format!(
        "container operator: ImagePullBackOff: Back-off pulling image \"{image}\": ErrImagePull: {message}"
    );
    assert_eq!(failure["state"], whole);
    let short =
        format!("container ui: ImagePullBackOff: Back-off pulling image \"{image}\": ErrImagePull: {head}");
    let others = json!([
        format!("Pod kube-system/ui-6f5d4c-x2x4z: {short}"),
        "Pod kube-system/relay-6f5d4c-x2x4z: container relay: running but not ready"
    ]);
    assert_eq!(failure["also_blocked"], others);
    assert!(
        ran.stderr.contains(&head.replace('"', "\\\""))
            && !ran.stderr.contains("failed to resolve reference"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_unready_container_has_logs() {
    let late = "resource Deployment/kube-system/cilium-operator not ready. status: InProgress\n  context deadline exceeded";
    let unready = json!({"phase": "Running", "containerStatuses": [{"name": "operator", "ready": false, "state": {"running": {}}}]});
    let logs = |text: &str| {
        json!({"tool": "api", "stdout": text,
        "args": ["GET", "/api/v1/namespaces/kube-system/pods/cilium-operator-6f5d4c-x2x4z/log?container=operator&previous=false*"]})
    };
    let run = |text: &str| sync_fails(late).rule(logs(text)).objects(waiting_pod(&unready)).run();
    let ran = run("level=info waiting for etcd\n");
    ran.assert().code(6);
    assert!(ran.stderr.contains("container_logs=\"level=info waiting for etcd\""), "{}", ran.stderr);
    let ran = run(
        "[FATAL] plugin/loop: Loop (127.0.0.1:60292 -> :53) detected for zone \".\", see https://coredns.io/plugins/loop\n",
    );
    let cause =
        "cause=\"/etc/resolv.conf of the node names the node itself, so CoreDNS forwards queries to itself\"";
    assert!(ran.stderr.contains(cause), "a line that is known says more than the state: {}", ran.stderr);
    let ran = run("unable to retrieve container logs for containerd://98404cb4e006");
    assert!(!ran.stderr.contains("container_logs"), "{}", ran.stderr);
}

#[test]
fn helmfile_without_error_message() {
    let ran =
        Fixture::new().rule(json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "sync"], "exit": 3})).run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases reason="helmfile gave no reason" resume="k3s-boot apps --from crds" log="[LOG]""#);
}

#[test]
fn failure_is_reported_as_json() {
    let ran = sync_fails("UPGRADE FAILED: no").args(&["--output", "json"]).run();
    ran.assert().code(5);
    let report = ran.report();
    assert_eq!((&report["result"], &report["exit_code"]), (&json!("failed"), &json!(5)));
    assert_eq!(report["changed"], true, "the namespaces were created");
    assert_eq!(report["error"], "failed to sync Helm releases: kube-system/cilium: UPGRADE FAILED: no");
    let expected = json!({
        "class": "release",
        "message": "Failed to sync Helm releases",
        "culprit": "kube-system/cilium",
        "cause": "UPGRADE FAILED: no",
        "fix": "read the output of the tools in [TMP]/state/k3s-boot/logs/[LOG], fix the problem, then retry",
        "reason": "UPGRADE FAILED: no",
        "resume": "k3s-boot apps --output json --from apps",
        "release": "kube-system/cilium",
    });
    assert_eq!(report["failure"], expected);
    assert_eq!(report["cluster"]["uid"], "uid-of-kube-system");
    let stage = |(name, ok): (&str, bool)| json!({"name": name, "ok": ok, "seconds": 0});
    let stages = [
        ("preflight", true),
        ("nodes", true),
        ("namespaces", true),
        ("secrets", true),
        ("crds", true),
        ("apps", false),
    ];
    assert_eq!(report["stages"], json!(stages.map(stage)));
    let releases = report["releases"].as_array().unwrap();
    let statuses: Vec<_> =
        releases.iter().map(|release| json!([release["name"], release["status"]])).collect();
    assert_eq!(statuses, [json!(["prometheus-operator-crds", "synced"]), json!(["cilium", "failed"])]);
    assert!(report["log"].is_number(), "normalized: {report:#}");
}

#[test]
fn output_of_tools_is_redacted() {
    let fixture = Fixture::new();
    let error = format!("Error: cannot use {} nor {}", fixture.canaries.decrypted, fixture.canaries.age);
    let fixture = fixture
        .args(&["--log-level", "debug"])
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1,
        "stderr": format!("{}{}", started("kube-system", "cilium"), helmfile_failed("cilium", &error))}));
    let ran = fixture.run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" reason="Error: cannot use [redacted] nor [redacted]" resume="k3s-boot apps --log-level debug --from apps" log="[LOG]""#);
    let log = std::fs::read_to_string(&files(&fixture.path("state")).unwrap()[0]).unwrap();
    assert!(log.contains("cannot use [redacted] nor [redacted]"), "{log}");
}

#[test]
fn rejected_secret_is_redacted() {
    let fixture = Fixture::new()
        .args(&["--log-level", "debug"])
        .rule(json!({"tool": "kubectl", "args": ["apply", "-f", "-"], "exit": 1, "echo_stdin": true,
            "stderr": "Error from server (BadRequest): Secret in version \"v1\" cannot be handled\n"}))
        // The first call applies the namespaces.
        .rule(json!({"tool": "kubectl", "args": ["apply", "-f", "-"], "times": 1}));
    let ran = fixture.run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Bootstrap failed reason="`kubectl --context default --kubeconfig [TMP]/kubeconfig --request-timeout=10s apply --server-side --force-conflicts --validate=ignore --field-manager=k3s-boot -f -` failed: Error from server (BadRequest): Secret in version \"v1\" cannot be handled" resume="k3s-boot apps --log-level debug --from secrets" log="[LOG]""#);
    assert_eq!(ran.mutating().len(), 4, "the lock, and no helmfile after that");
}

#[test]
fn namespaces_cannot_be_created() {
    let ran = Fixture::new()
        .rule(json!({"tool": "kubectl", "args": ["apply"], "exit": 1,
            "stderr": "Error from server (Forbidden): namespaces is forbidden\n"}))
        .run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Bootstrap failed reason="`kubectl --context default --kubeconfig [TMP]/kubeconfig --request-timeout=10s apply --server-side --force-conflicts --validate=ignore --field-manager=k3s-boot -f -` failed: Error from server (Forbidden): namespaces is forbidden" resume="k3s-boot apps --from namespaces" log="[LOG]""#);
}

#[test]
fn run_times_out_during_sync() {
    let listener = Listener::new();
    let timeout = short_timeout();
    let unplaced = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
    let fixture = Fixture::new()
        .args(&["--timeout", &millis(timeout)])
        .objects(waiting_pod(&unplaced))
        .rule(syncing(&listener, "kube-system", "cilium"));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    assert_eq!(helmfile.remaining_lines(), ["INT"], "one INT, then it exits by itself");
    let ran = running.wait();
    ran.assert().code(6);
    // The cause is diagnosed after the timeout, and the lock is released then too.
    let error = ran.stderr.lines().last().unwrap().replace(&millis(timeout), "[TIMEOUT]");
    let (before, after) = error.split_once("timed out after ").unwrap_or_else(|| panic!("{}", ran.stderr));
    assert_snapshot!(before, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" object="Pod kube-system/cilium-operator-6f5d4c-x2x4z" state="0/1 nodes are available: 1 Insufficient cpu." cause="no node has enough free CPU for the requests of the pod" fix="lower `resources.requests.cpu` in the values, or add a node" resume="k3s-boot apps --timeout [TIMEOUT] --from apps" reason="the run"#);
    let (_, after) = after.split_once('s').unwrap_or_else(|| panic!("{after}"));
    assert_snapshot!(after, @r#", still waiting for Deployment/cilium-operator 0/1" log="[LOG]""#);
    assert!(ran.released_lock(), "{}", ran.transcript());
    // helm gets the remaining time minus a margin, so that it can still report its own reason.
    let sync = ran.calls_of("helmfile", "sync");
    let args: Vec<_> = sync[1]["argv"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let at = args.iter().position(|arg| *arg == "--timeout").unwrap();
    let given: u64 = args[at + 1].parse().unwrap();
    assert!((1..=timeout.as_secs()).contains(&given), "{given}");
}

#[test]
fn run_times_out_while_charts_are_downloaded() {
    let listener = Listener::new();
    let fixture = Fixture::new()
        .args(&["--timeout", &millis(short_timeout())])
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "connect": listener.address(), "on_int": "end"}));
    let running = fixture.start();
    assert_eq!(listener.accept().remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(6);
    assert!(ran.mutating().is_empty());
    let (before, after) = ran.stderr.split_once(" within ").unwrap();
    assert_snapshot!(before, @r#"[TS] ERROR Bootstrap failed reason="`helmfile` did not finish"#);
    assert_snapshot!(after.split_once('"').unwrap().1, @r#" log="[LOG]""#);
}

#[test]
fn too_few_nodes_register() {
    let ran = Fixture::new().args(&["--nodes", "2", "--timeout", &millis(short_timeout())]).run();
    ran.assert().code(6);
    assert!(ran.mutating().is_empty());
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Timed out stage="nodes" after="[AFTER]" waiting_for="1 of 2 nodes registered" fix="start k3s on the missing nodes, or expect fewer nodes (--nodes, or `nodes` in k3s-boot.yaml); to wait longer, set --nodes-timeout and --timeout" log="[LOG]""#);
}

#[test]
fn flux_times_out() {
    let mut source = scenario::source();
    source["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "GitOperationFailed",
        "message": "failed to checkout and determine revision: unable to clone 'https://example.org/home.git': dial tcp: lookup example.org: no such host"}]);
    let timeout = millis(short_timeout());
    let ran = Fixture::new().args(&["--timeout", &timeout]).flux(&[source, scenario::root()]).run();
    ran.assert().code(6);
    assert!(!ran.stdout.contains("Bootstrap complete!"));
    assert_snapshot!(ran.stderr.replace(&timeout, "[TIMEOUT]"), @r#"[TS] ERROR Flux failed to reconcile object="GitRepository flux-system/flux-system" cause="pods cannot reach the Git server" fix="check the host in `instance.sync.url`, and the DNS and network of the pods; if a firewall blocks port 22, use https://" resume="k3s-boot apps --timeout [TIMEOUT] --from secrets" reason="GitOperationFailed: failed to checkout and determine revision: unable to clone 'https://example.org/home.git': dial tcp: lookup example.org: no such host" after="[AFTER]" log="[LOG]""#);
}

#[test]
fn stalled_flux_instance_fails_the_run() {
    let mut instance = scenario::instance();
    instance["status"]["conditions"] = json!([
        {"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "doc is missing path"},
        {"type": "Stalled", "status": "True", "reason": "BuildFailed", "message": "remove operation does not apply: doc is missing path"}]);
    let ran = Fixture::new().flux_with(&instance, &[]).run();
    ran.assert().code(5);
    assert!(!ran.stdout.contains("Bootstrap complete!"));
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="FluxInstance flux-system/flux" reason="BuildFailed: remove operation does not apply: doc is missing path" fix="kubectl --namespace flux-system describe fluxinstance flux" resume="k3s-boot apps --from apps" log="[LOG]""#);
}

#[test]
fn failed_decryption_counts_after_flux_has_retried() {
    let mut child = scenario::resource(
        "Kustomization",
        "apps",
        &json!({}),
        &json!({"type": "Ready", "status": "False",
        "reason": "BuildFailed", "message": "decryption failed for 'secret': failed to decrypt and format 'media/secret' Secret data: cannot get sops data key: Failed to get the data key required to decrypt the SOPS file."}),
    );
    child["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "flux-system", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    // A status from before the request says nothing about the key of this run.
    child["status"]["lastHandledReconcileAt"] = "{requested}".into();
    let ran = Fixture::new().flux(&[scenario::source(), scenario::root(), child]).run();
    ran.assert().code(5);
    assert!(!ran.stdout.contains("Bootstrap complete!"));
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="Kustomization flux-system/apps" cause="the file is not encrypted for the age key in the cluster" fix="put the age key that this repository is encrypted for into age.key, then retry with --rotate-age-key" resume="k3s-boot apps --rotate-age-key --from secrets" reason="BuildFailed: decryption failed for 'secret': failed to decrypt and format 'media/secret' Secret data: cannot get sops data key: Failed to get the data key required to decrypt the SOPS file." log="[LOG]""#);
    let requests = ran.reconcile_requests();
    assert_eq!(requests.len(), 1, "once");
    let path = requests[0]["argv"][1].as_str().unwrap();
    let expected = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps?";
    assert!(path.starts_with(expected), "{path}");
}

#[test]
fn second_helmfile_is_not_synced_after_a_failure() {
    let ran = Fixture::new()
        .rule(json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "sync"], "exit": 1, "stderr":
            format!("{}Error: something else\n", synced("monitoring", "prometheus-operator-crds"))}))
        .run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases reason="Error: something else" resume="k3s-boot apps --from crds" log="[LOG]""#);
    assert_eq!(ran.calls_of("helmfile", "sync").len(), 1);
}

#[test]
fn blocked_release_is_reported_while_helm_waits() {
    let pull = json!({"phase": "Pending", "containerStatuses": [{"name": "operator",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "quay.io/x:1: not found"}}}]});
    let listener = Listener::new();
    let fixture = Fixture::new().objects(waiting_pod(&pull)).rule(json!({"tool": "helmfile",
        "args": ["*/01-apps.yaml", "sync"], "connect": listener.address(), "stderr": started("kube-system", "cilium")}));
    let running = fixture.start();
    let helmfile = listener.accept();
    running.wait_for("Release is blocked");
    helmfile.finish();
    let ran = running.wait();
    ran.assert().code(0);
    let warned: Vec<_> = ran.stdout.lines().filter(|line| line.contains("Release is blocked")).collect();
    assert_eq!(warned.len(), 1, "once: {}", ran.stdout);
    assert_snapshot!(warned[0], @r#"[TS] WARN Release is blocked release="kube-system/cilium" object="Pod kube-system/cilium-operator-6f5d4c-x2x4z" state="container operator: ErrImagePull: quay.io/x:1: not found" cause="the image or tag does not exist in the registry" fix="correct the image tag in the values, or the chart version""#);
}

#[test]
fn permanent_failure_stops_the_run() {
    let refused = json!({"kind": "Event", "type": "Warning", "reason": "FailedCreate",
        "metadata": {"name": "refused", "namespace": "kube-system"},
        "involvedObject": {"kind": "Deployment", "namespace": "kube-system", "name": "cilium-operator"},
        "message": "Error creating: pods \"cilium-operator-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)"});
    let listener = Listener::new();
    let [workload, ..] = waiting_pod(&json!({}));
    let sync = ["*/01-apps.yaml", "sync"];
    let fixture = Fixture::new().objects([refused]).object_after(&workload, &sync).rule(json!({"tool": "helmfile",
        "on_int": "end", "args": sync, "connect": listener.address(), "stderr": started("kube-system", "cilium")}));
    let running = fixture.start();
    assert_eq!(listener.accept().remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" object="Deployment kube-system/cilium-operator" state="FailedCreate: Error creating: pods \"cilium-operator-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)" cause="the Pod Security level of the namespace forbids this pod" fix="kubectl label --overwrite namespace kube-system pod-security.kubernetes.io/enforce=privileged  # from then on, every pod of kube-system may take over its node: use it for a network plugin only; otherwise correct `securityContext` in the values, or move the release to a namespace of its own" resume="k3s-boot apps --from apps" reason="helmfile was stopped early: the release cannot become ready" log="[LOG]""#);
}

/// The cluster keeps the events of earlier runs for an hour.
#[test]
fn old_event_does_not_stop_the_run() {
    let time = "2026-11-23T07:59:00Z";
    let refused = json!({"kind": "Event", "type": "Warning", "reason": "FailedCreate", "lastTimestamp": time,
        "metadata": {"name": "refused", "namespace": "kube-system"},
        "involvedObject": {"kind": "Deployment", "namespace": "kube-system", "name": "cilium-operator"},
        "message": "Error creating: pods \"cilium-operator-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)"});
    let listener = Listener::new();
    let [workload, ..] = waiting_pod(&json!({}));
    let events = "/api/v1/namespaces/kube-system/events?fieldSelector=type%3DWarning";
    let sync = Listener::new();
    let fixture = Fixture::new().objects([workload, refused]).rules([
        json!({"tool": "api", "args": [events], "times": 1}),
        json!({"tool": "api", "args": [events], "times": 1, "connect": listener.address()}),
        json!({"tool": "helmfile", "on_int": "end", "args": ["*/01-apps.yaml", "sync"], "connect": sync.address(),
            "stderr": started("kube-system", "cilium")}),
    ]);
    let running = fixture.start();
    let helmfile = sync.accept();
    // The second read, after which a current event would be reported.
    listener.accept().finish();
    helmfile.finish();
    let ran = running.wait();
    ran.assert().code(0);
    assert!(!ran.stdout.contains("Release is blocked"), "{}", ran.stdout);
}

#[test]
fn unavailable_webhook_is_retried() {
    let webhook = "failed calling webhook \"webhook.cert-manager.io\": no endpoints available for service \"cert-manager-webhook\"";
    let output = format!(
        "{}in x.yaml: failed processing release cilium: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  Error: UPGRADE FAILED: {webhook}\n\nCOMBINED OUTPUT:\n  x\n",
        started("kube-system", "cilium")
    );
    let fixture = Fixture::new().rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "times": 2, "exit": 1, "stderr": output}));
    let ran = fixture.run();
    ran.assert().code(0);
    let tries = ran.stdout.lines().filter(|line| line.contains("Failed to sync Helm releases, retrying"));
    assert_eq!(tries.count(), 2, "{}", ran.stdout);
    assert_eq!(ran.calls_of("helmfile", "sync").len(), 4, "one for the CRDs, three for the apps");
}
