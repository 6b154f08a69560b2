//! The stage `verify`: when Flux is ready, what is reported, and which reconciliations are requested.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult, identity};
use super::scenario;

/// A Kustomization that the root Kustomization has applied. Its controller handles requests.
fn direct(name: &str, ready: [&str; 3]) -> Value {
    child(name, "flux-system", ready)
}

/// As [`direct`], applied by another Kustomization.
fn child(name: &str, parent: &str, [status, reason, message]: [&str; 3]) -> Value {
    let spec = json!({"sourceRef": {"kind": "GitRepository", "name": "flux-system"}});
    let ready = json!({"type": "Ready", "status": status, "reason": reason, "message": message});
    let mut child = scenario::resource("Kustomization", name, &spec, &ready);
    let label = |what: &str| format!("kustomize.toolkit.fluxcd.io/{what}");
    child["metadata"]["labels"] = json!({label("name"): parent, label("namespace"): "flux-system"});
    child["status"]["lastHandledReconcileAt"] = "{requested}".into();
    child["status"].as_object_mut().unwrap().remove("lastAppliedRevision");
    child
}

/// Adds dependencies to a Kustomization.
fn waits_for(name: &str, others: &[&str]) -> Value {
    let message = format!("dependency 'flux-system/{}' is not ready", others[0]);
    let mut waits = direct(name, ["False", "DependencyNotReady", &message]);
    waits["spec"]["dependsOn"] = others.iter().map(|name| json!({"name": name})).collect();
    waits
}

/// A Kustomization whose health check is running.
fn checking(name: &str) -> Value {
    let mut checking = direct(name, ["Unknown", "Progressing", "Reconciliation in progress"]);
    let conditions = checking["status"]["conditions"].as_array_mut().unwrap();
    for (kind, status) in [("Reconciling", "True"), ("Healthy", "Unknown")] {
        conditions.push(json!({"type": kind, "status": status, "reason": "Progressing",
            "message": "Running health checks for revision main@sha1:4b1c with a timeout of 5m0s"}));
    }
    checking
}

const READY: [&str; 3] = ["True", "ReconciliationSucceeded", "Applied revision: main@sha1:4b1c"];
const UNHEALTHY: [&str; 3] =
    ["False", "HealthCheckFailed", "timeout waiting for: [Deployment/media/x status: 'InProgress']"];
const UNBUILT: [&str; 3] = [
    "False",
    "BuildFailed",
    "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'gone.yaml': no such file or directory'",
];
const UNAPPLIED: [&str; 3] = [
    "False",
    "ReconciliationFailed",
    "ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"",
];

/// The source. Its controller handles requests.
fn source() -> Value {
    let mut source = scenario::source();
    source["status"]["lastHandledReconcileAt"] = "{requested}".into();
    source
}

/// A first run, after which these Kustomizations exist.
fn fixture(children: impl IntoIterator<Item = Value>) -> Fixture {
    let all: Vec<_> = [source(), scenario::root()].into_iter().chain(children).collect();
    Fixture::new().flux(&all)
}

/// The objects that Flux was requested to reconcile, in order.
fn requests(ran: &RunResult) -> Vec<&str> {
    let names = ran.reconcile_requests().into_iter().map(|call| {
        let path = call["argv"][1].as_str().unwrap().split('?').next().unwrap();
        path.split_once("/namespaces/flux-system/").unwrap().1
    });
    names.collect()
}

fn warnings(ran: &RunResult) -> String {
    let lines = ran.stdout.lines().filter(|line| line.contains(" WARN "));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn completes(ran: &RunResult) {
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("Bootstrap complete!"), "{}", ran.stdout);
}

#[test]
fn reconciling_chain_of_kustomizations_is_not_requested_again() {
    let ran = fixture([
        waits_for("a", &["b"]),
        waits_for("b", &["c"]),
        waits_for("c", &["d"]),
        checking("d"),
        waits_for("e", &["f"]),
        waits_for("f", &["unhealthy"]),
        direct("unhealthy", UNHEALTHY),
        direct("ready", READY),
    ])
    .run();
    completes(&ran);
    assert_eq!(requests(&ran), [""; 0]);
    assert_snapshot!(warnings(&ran), @r#"[TS] WARN Flux failed to reconcile object="Kustomization flux-system/unhealthy" reason="HealthCheckFailed: timeout waiting for: [Deployment/media/x status: 'InProgress']" fix="kubectl --namespace flux-system describe kustomization unhealthy""#);
}

#[test]
fn broken_child_fails_the_run_after_a_retry() {
    let ran = fixture([
        direct("ready", READY),
        checking("checking"),
        direct("unhealthy", UNHEALTHY),
        waits_for("follows", &["apps"]),
        direct("apps", UNBUILT),
        direct("pending", ["Unknown", "Progressing", "Reconciliation in progress"]),
    ])
    .run();
    ran.assert().code(5);
    assert!(!ran.stdout.contains("Bootstrap complete!"));
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="Kustomization flux-system/apps" cause="`kustomize build` fails for the folder of the Kustomization" fix="run `kustomize build` on that folder, correct what it reports, push, then retry" resume="k3s-boot apps --from verify" reason="BuildFailed: kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'gone.yaml': no such file or directory'" log="[LOG]""#);
    // The fix may already be committed, and the source is fetched only once a minute.
    assert_eq!(requests(&ran), ["gitrepositories/flux-system", "kustomizations/apps"]);
}

#[test]
fn commit_from_before_the_run_counts() {
    let fixed = direct("apps", READY);
    let fixture = fixture([direct("apps", UNBUILT)])
        .object_after(&fixed, &["PATCH", "*/gitrepositories/flux-system?fieldManager=k3s-boot"]);
    let ran = fixture.run();
    completes(&ran);
    assert_eq!(requests(&ran)[0], "gitrepositories/flux-system");
}

/// The message is one of source-controller 1.7.3, recorded in the sandbox.
fn without_branch() -> Value {
    let mut source = source();
    source["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "GitOperationFailed",
        "message": "failed to checkout and determine revision: unable to resolve ref 'refs/heads/main' to a specific commit"}]);
    source
}

#[test]
fn missing_branch_fails_the_run_after_one_more_fetch() {
    let ran = Fixture::new().flux(&[without_branch(), scenario::root()]).run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="GitRepository flux-system/flux-system" cause="the Git repository has no such branch, tag or commit" fix="correct `instance.sync.ref` in the values of flux-instance, or push the branch" resume="k3s-boot apps --from secrets" reason="GitOperationFailed: failed to checkout and determine revision: unable to resolve ref 'refs/heads/main' to a specific commit" log="[LOG]""#);
    assert_eq!(requests(&ran), ["gitrepositories/flux-system"]);
    assert!(warnings(&ran).contains("the Git repository has no such branch"), "{}", ran.stdout);
}

#[test]
fn branch_that_is_pushed_meanwhile_counts() {
    let ran = Fixture::new()
        .flux(&[without_branch(), scenario::root()])
        .object_after(&source(), &["PATCH", "*/gitrepositories/flux-system?fieldManager=k3s-boot"])
        .run();
    completes(&ran);
}

#[test]
fn missing_folder_in_the_repository_fails_the_run() {
    let message =
        "kustomization path not found: stat /tmp/kustomization-2/kubernetes/gone: no such file or directory";
    let ran = fixture([direct("apps", ["False", "ArtifactFailed", message])]).run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="Kustomization flux-system/apps" cause="the path of the Kustomization does not exist in the Git revision that Flux fetched" fix="correct `spec.path` of the Kustomization (for the root one: `instance.sync.path` in the values of flux-instance) or push the folder, then retry" resume="k3s-boot apps --from apps" reason="ArtifactFailed: kustomization path not found: stat /tmp/kustomization-2/kubernetes/gone: no such file or directory" log="[LOG]""#);
    assert_eq!(requests(&ran), ["gitrepositories/flux-system", "kustomizations/apps"]);
}

#[test]
fn transient_failure_is_named_at_the_timeout() {
    let children =
        || [direct("a", ["Unknown", "Progressing", "x"]), waits_for("b", &["c"]), direct("c", UNAPPLIED)];
    let ran = fixture(children()).args(&["--verify-timeout", "1s"]).run();
    ran.assert().code(6);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="Kustomization flux-system/c" cause="the CRD for this kind is not installed" fix="add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, then retry" resume="k3s-boot apps --verify-timeout 1s --from verify" reason="ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"" after="[AFTER]" log="[LOG]""#);
    assert_eq!(requests(&ran), [""; 0]);
    let ran = fixture(children()).args(&["--verify-timeout", "1s", "-o", "json"]).run();
    let report = ran.report();
    let failure = &report["failure"];
    let object = "Kustomization flux-system/c";
    assert_eq!([&failure["class"], &failure["culprit"], &failure["object"]], ["timeout", object, object]);
}

#[test]
fn slow_kustomization_is_named_at_the_timeout() {
    let mut root = scenario::root();
    root["status"] = checking("flux-system")["status"].clone();
    let ran = Fixture::new().flux(&[source(), root]).args(&["--verify-timeout", "1s"]).run();
    ran.assert().code(6);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Timed out stage="verify" after="[AFTER]" waiting_for="Kustomization flux-system/flux-system: Progressing: Running health checks for revision main@sha1:4b1c with a timeout of 5m0s" fix="k3s-boot status  # shows what is not ready and why; to wait longer, set --verify-timeout and --timeout" resume="k3s-boot apps --verify-timeout 1s --from verify" log="[LOG]""#);
    assert_eq!(requests(&ran), [""; 0]);
}

#[test]
fn missing_dependency_is_named_at_the_timeout() {
    let ran =
        fixture([waits_for("a", &["b"]), waits_for("b", &["gone"])]).args(&["--verify-timeout", "1s"]).run();
    ran.assert().code(6);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="Kustomization flux-system/gone" reason="NotFound: Kustomization flux-system/b depends on it" fix="correct `dependsOn` in the Git repository, or add the Kustomization, and push" resume="k3s-boot apps --verify-timeout 1s --from verify" after="[AFTER]" log="[LOG]""#);
    assert_eq!(requests(&ran), [""; 0]);
}

#[test]
fn dependency_cycle_fails_the_run() {
    let ran = fixture([waits_for("a", &["b"]), waits_for("b", &["c"]), waits_for("c", &["a"])]).run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux failed to reconcile object="Kustomization flux-system/a" reason="DependencyNotReady: cycle in `dependsOn`: flux-system/a → flux-system/b → flux-system/c → flux-system/a" fix="remove one `dependsOn` of the cycle from the Git repository, and push" resume="k3s-boot apps --from verify" log="[LOG]""#);
    assert_eq!(requests(&ran), ["gitrepositories/flux-system"]);
}

#[test]
fn failure_below_the_children_is_a_warning() {
    let ran = fixture([
        direct("apps", READY),
        child("unbuilt", "apps", UNBUILT),
        child("unapplied", "apps", UNAPPLIED),
        child("tenant", "other", UNBUILT),
    ])
    .run();
    completes(&ran);
    assert_snapshot!(warnings(&ran), @r#"
    [TS] WARN Flux failed to reconcile object="Kustomization flux-system/unapplied" cause="the CRD for this kind is not installed" fix="add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, then retry" reason="ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"" 
    [TS] WARN Flux failed to reconcile object="Kustomization flux-system/unbuilt" cause="`kustomize build` fails for the folder of the Kustomization" fix="run `kustomize build` on that folder, correct what it reports, push, then retry" reason="BuildFailed: kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'gone.yaml': no such file or directory'"
    "#);
    assert_eq!(requests(&ran), [""; 0]);
    let many = (0..12).map(|number| child(&format!("app-{number:02}"), "apps", UNBUILT));
    let ran = fixture(many.chain([direct("apps", READY)])).run();
    completes(&ran);
    let warnings = warnings(&ran);
    assert_eq!(warnings.lines().count(), 11);
    assert_snapshot!(warnings.lines().last().unwrap(), @r#"[TS] WARN Flux failed to reconcile more objects more="2" fix="k3s-boot status  # shows all""#);
}

#[test]
fn only_failed_kustomizations_are_requested_again() {
    let fixed = direct("apps", READY);
    let fixture = fixture([
        direct("apps", UNAPPLIED),
        direct("unhealthy", UNHEALTHY),
        checking("checking"),
        waits_for("waits", &["apps", "unhealthy"]),
        direct("ready", READY),
        child("below", "ready", UNAPPLIED),
    ])
    .object_after(&fixed, &["PATCH", "*/kustomizations/apps?fieldManager=k3s-boot"]);
    let running = fixture.start();
    running.wait_for("WARN Flux is blocked object=\"Kustomization flux-system/apps\"");
    running.wait_for("Asking Flux to reconcile again");
    let ran = running.wait();
    completes(&ran);
    assert_eq!(requests(&ran), ["kustomizations/apps"]);
    assert_snapshot!(warnings(&ran), @r#"
    [TS] WARN Flux is blocked object="Kustomization flux-system/apps" cause="the CRD for this kind is not installed" fix="add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, then retry" reason="ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"" 
    [TS] WARN Flux failed to reconcile object="Kustomization flux-system/unhealthy" reason="HealthCheckFailed: timeout waiting for: [Deployment/media/x status: 'InProgress']" fix="kubectl --namespace flux-system describe kustomization unhealthy" 
    [TS] WARN Flux failed to reconcile object="Kustomization flux-system/below" cause="the CRD for this kind is not installed" fix="add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, then retry" reason="ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\""
    "#);
}

#[test]
fn rotated_key_requests_idle_kustomizations() {
    let other = identity();
    let live = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sops-age", "namespace": "flux-system"},
        "stringData": {"age.agekey": other}});
    let mut root = scenario::root();
    root["status"]["lastHandledReconcileAt"] = "{requested}".into();
    let children = [
        direct("apps", READY),
        checking("checking"),
        direct("unhealthy", UNHEALTHY),
        waits_for("waits", &["checking"]),
        child("below", "apps", READY),
    ];
    let all: Vec<_> = [source(), root].into_iter().chain(children).collect();
    let ran = Fixture::new().canary(&other).objects([live]).flux(&all).args(&["--rotate-age-key"]).run();
    completes(&ran);
    let mut requested = requests(&ran);
    requested.sort_unstable();
    assert_eq!(requested, ["kustomizations/apps", "kustomizations/below", "kustomizations/flux-system"]);
}

#[test]
fn verify_without_flux_fails_at_once() {
    let fixture = Fixture::new().args(&["--only", "verify"]);
    let ran = fixture.run();
    ran.assert().code(1);
    assert!(!ran.stdout.contains("Releases are installed"), "{}", ran.stdout);
    assert_eq!(ran.mutating(), [""; 0]);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Flux is not installed release="flux-system/flux-instance" reason="the helmfiles install Flux, but the cluster has no FluxInstance" fix="k3s-boot apps" log="[LOG]""#);
    let ran = Fixture::new().args(&["--only", "verify", "-o", "json"]).run();
    let report = ran.report();
    let failure = &report["failure"];
    assert_eq!([&failure["class"], &failure["fix"]], ["flux", "k3s-boot apps"]);
}

#[test]
fn skipped_releases_are_not_reported_as_installed() {
    let instance = scenario::resource("FluxInstance", "flux", &json!({}), &scenario::ready());
    let fixture =
        Fixture::new().objects([instance]).args(&["--only", "verify", "--cluster", "uid-of-kube-system"]);
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @r#"[TS] WARN Flux has no repository to sync missing="`spec.sync` in FluxInstance flux-system/flux" took="[TOOK]" fix="set `instance.sync` in the values of flux-instance""#);
    // With the release skipped, a missing Flux is no surprise.
    let ran = Fixture::new()
        .flux_with(&json!({"kind": "ConfigMap", "metadata": {"name": "x", "namespace": "x"}}), &[])
        .args(&["--skip-release", "flux-instance"])
        .run();
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @r#"[TS] WARN Flux is not installed missing="FluxInstance" took="[TOOK]" fix="k3s-boot apps""#);
}
