//! Hooks of helmfile: which one is running, what it printed, and why it failed. Several releases that fail in one sync.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::listener::Listener;
use super::scenario::{apps_build, started, synced};

/// A `postsync` hook of flux-instance. It reads its stdin until it is stopped.
const SCRIPT: &str = "echo waiting; read -r line; :";

/// A repository in which flux-instance has this hook.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let hook = format!(
        "    needs:\n      - kube-system/cilium\n    hooks:\n      - events: [postsync]\n        name: networking\n        command: /bin/sh\n        \
         args: [-c, '{SCRIPT}']\n"
    );
    let build = apps_build(&fixture.canaries).replace("    needs:\n      - kube-system/cilium\n", &hook);
    fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
}

/// The output of helmfile until the hooks of flux-instance.
fn until_hook() -> String {
    format!("{}{}", synced("kube-system", "cilium"), synced("flux-system", "flux-instance"))
}

/// The error of helmfile 1.7.4 and 1.8.0 when a hook fails.
fn hook_failed(release: &str, stderr: &str, combined: &str) -> String {
    format!(
        "failed processing release {release}: hook[networking]: command `/bin/sh` failed: command \"/bin/sh\" exited with non-zero status:\n\n\
         PATH:\n  /bin/sh\n\nARGS:\n  0: sh (2 bytes)\n  1: -c (2 bytes)\n  2: {SCRIPT} (29 bytes)\n\nERROR:\n  exit status 3\n\nEXIT STATUS\n  3\n\n\
         STDERR:\n  {stderr}\n\nCOMBINED OUTPUT:\n{combined}"
    )
}

fn fails(error: &str) -> Fixture {
    let stderr = format!("{}in ./01-apps.yaml: {error}\n", until_hook());
    fixture()
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1, "stderr": stderr}))
}

/// A sync that stays in the hook until the test continues or interrupts it.
fn hanging(listener: &Listener) -> Fixture {
    fixture()
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "connect": listener.address(),
        "on_int": "end", "stderr": until_hook(), "hook": ["/bin/sh", "-c", SCRIPT]}))
}

#[test]
fn failed_hook_is_named_with_its_output() {
    let error = hook_failed(
        "flux-instance",
        "no such file: networking.yaml",
        "  first\n  no such file: networking.yaml\n",
    );
    let ran = fails(&error).run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="flux-system/flux-instance" event="postsync" command="/bin/sh -c 'echo waiting; read -r line; :'" exit_code="3" reason="hook `networking` failed: no such file: networking.yaml" resume="k3s-boot apps --from apps" output="first\nno such file: networking.yaml" log="[LOG]""#);
    let ran = fails(&error).args(&["-o", "json"]).run();
    let failure = &ran.report()["failure"];
    let expected = json!({"name": "networking", "event": "postsync", "command": format!("/bin/sh -c '{SCRIPT}'"), "exit_code": 3,
        "output": ["first", "no such file: networking.yaml"]});
    assert_eq!((&failure["hook"], &failure["culprit"]), (&expected, &json!("flux-system/flux-instance")));
    let releases = ran.report()["releases"].clone();
    let statuses =
        releases.as_array().unwrap().iter().map(|one| format!("{} {}", one["name"], one["status"]));
    let expected = ["prometheus-operator-crds\" \"synced", "cilium\" \"synced", "flux-instance\" \"failed"];
    assert_eq!(statuses.collect::<Vec<_>>(), expected.map(|words| format!("\"{words}\"")));
}

/// The words of a known failure, from a program that k3s-boot does not know.
#[test]
fn cause_of_a_failed_hook_is_not_guessed() {
    let refused = "connect: connection refused";
    let curl = format!("curl: (7) dial tcp 10.0.0.9:443: {refused}");
    let ran = fails(&hook_failed("flux-instance", &curl, "  x\n")).run();
    ran.assert().code(5);
    assert!(!ran.stderr.contains("cause="), "{}", ran.stderr);
    assert_eq!(ran.calls_of("helmfile", "sync").len(), 2, "not retried");
    // The timeout is that of the command in the hook.
    let kubectl = "error: timed out waiting for the condition on customresourcedefinitions/x";
    let ran = fails(&hook_failed("flux-instance", kubectl, "  x\n")).run();
    ran.assert().code(6);
    assert!(ran.stderr.contains("raise the timeout in the command of the hook"), "{}", ran.stderr);
}

/// kubectl 1.36 after an update of Cilium that removes a version of a CRD.
#[test]
fn unknown_kind_in_a_hook_has_a_cause() {
    let kubectl = "error: resource mapping not found for name: \"pool\" namespace: \"\" from \"STDIN\": no matches for kind \
                   \"CiliumLoadBalancerIPPool\" in version \"cilium.io/v2alpha1\"\n  ensure CRDs are installed first";
    let ran = fails(&hook_failed("flux-instance", kubectl, "  x\n")).run();
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="flux-system/flux-instance" event="postsync" command="/bin/sh -c 'echo waiting; read -r line; :'" exit_code="3" cause="the CRD for this kind is not installed" fix="install the CRDs in 00-crds.yaml, or disable what uses them in the values (such as `serviceMonitor`)" resume="k3s-boot apps --from apps" reason="hook `networking` failed: error: resource mapping not found for name: \"pool\" namespace: \"\" from \"STDIN\": no matches for kind \"CiliumLoadBalancerIPPool\" in version \"cilium.io/v2alpha1\"" log="[LOG]""#);
}

#[test]
fn output_of_a_hook_is_logged_without_secrets() {
    let fixture = fixture();
    let logs =
        "\nhook[postsync] logs | applied\nhook[postsync] logs | token CANARY\nhook[postsync] logs | \n";
    let logs = logs.replace("CANARY", &fixture.canaries.decrypted);
    let stderr = format!("{}{logs}", until_hook());
    let fixture =
        fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "stderr": stderr}));
    let ran = fixture.run();
    ran.assert().code(0);
    assert_snapshot!(ran.lines("INFO Hook").join("\n"), @r#"
    [TS] INFO Hook output event="postsync" line="applied"
    [TS] INFO Hook output event="postsync" line="token [redacted]"
    "#);
}

#[cfg(target_os = "linux")]
#[test]
fn hanging_hook_is_named_and_stopped() {
    let listener = Listener::new();
    // Long enough for a line of progress.
    let fixture = hanging(&listener).args(&["--release-timeout", "12s"]);
    let running = fixture.start();
    let mut helmfile = listener.accept();
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(6);
    let waiting = ran.lines("INFO Waiting for hook").join("\n");
    let owner = r#"release="flux-system/flux-instance" event="postsync" command="/bin/sh -c 'echo waiting; read -r line; :'" elapsed="#;
    assert!(waiting.contains(owner), "{}", ran.stdout);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="flux-system/flux-instance" event="postsync" command="/bin/sh -c 'echo waiting; read -r line; :'" reason="postsync hook `networking` did not finish within 12.0s (--release-timeout)" fix="correct the command of the hook, or what it waits for; to wait longer, set --release-timeout and --timeout" resume="k3s-boot apps --release-timeout 12s --from apps" log="[LOG]""#);
    assert!(ran.released_lock());
}

/// The shell of a hook has replaced itself with the program, and no release has been started.
#[cfg(target_os = "linux")]
#[test]
fn hook_before_the_first_release_is_named_and_stopped() {
    let listener = Listener::new();
    let fixture = Fixture::new();
    let hook = "    namespace: kube-system\n    timeout: 2\n    hooks:\n      - events: [presync, postsync]\n        command: /bin/sh\n        \
                args: [-c, 'exec cat \"-\" >/dev/null']\n";
    let build = apps_build(&fixture.canaries).replace("    namespace: kube-system\n", hook);
    let fixture = fixture
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "connect": listener.address(), "on_int": "end",
            "hook": ["/bin/cat", "-"]}))
        .args(&["-o", "json"]);
    let running = fixture.start();
    let mut helmfile = listener.accept();
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(6);
    let report = ran.report();
    let failure = &report["failure"];
    let expected =
        json!({"name": "/bin/sh", "event": "presync", "command": "/bin/sh -c 'exec cat \"-\" >/dev/null'"});
    assert_eq!((&failure["hook"], &failure["release"]), (&expected, &json!("kube-system/cilium")));
    assert_eq!(
        failure["reason"],
        "presync hook `/bin/sh` did not finish within 2.0s (`timeout` in the helmfile)"
    );
    assert_eq!(report["releases"][1]["status"], "failed", "{report:#}");
}

#[cfg(target_os = "linux")]
#[test]
fn running_hook_is_named_on_a_terminal() {
    let listener = Listener::new();
    let fixture = hanging(&listener).env("TERM", "xterm").env("NO_COLOR", "1");
    let mut terminal = fixture.start_on_terminal(24, 120);
    let helmfile = listener.accept();
    terminal.frame(|frame| {
        frame.contains("flux-system/flux-instance: postsync hook `networking`: /bin/sh -c 'echo waiting;")
    });
    helmfile.finish();
    let ran = terminal.wait();
    ran.assert().code(0);
    assert!(!ran.stdout.contains("postsync hook"), "the progress display is removed: {}", ran.stdout);
}

/// Helm's record of a first revision that failed.
fn failed_record(namespace: &str, name: &str, error: &str) -> Value {
    let description = format!("Release \"{name}\" failed: {error}");
    let release = json!({"name": name, "namespace": namespace, "version": 1, "manifest": "",
        "info": {"status": "failed", "description": description}, "chart": {"metadata": {"name": name, "version": "1.0.0"}}});
    let data = STANDARD.encode(STANDARD.encode(release.to_string()));
    let labels = json!({"owner": "helm", "name": name, "status": "failed", "version": "1"});
    let metadata =
        json!({"name": format!("sh.helm.release.v1.{name}.v1"), "namespace": namespace, "labels": labels});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"release": data}})
}

#[test]
fn every_failed_release_of_a_sync_is_reported() {
    // helmfile prints the error of one.
    let stderr = format!(
        "{}{}in ./01-apps.yaml: failed processing release flux-instance: command \"/bin/helm\" exited with non-zero status:\n\nERROR:\n  \
         exit status 1\n\nSTDERR:\n  Error: resource FluxInstance/flux-system/flux not ready. status: InProgress\n  context deadline \
         exceeded\n\nCOMBINED OUTPUT:\n  x\n",
        started("kube-system", "cilium"),
        started("flux-system", "flux-instance")
    );
    let sync = ["*/01-apps.yaml", "sync"];
    let fixture = || fixture().rule(json!({"tool": "helmfile", "args": sync, "exit": 1, "stderr": stderr}));
    let immutable = failed_record(
        "kube-system",
        "cilium",
        "Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value: {}: field is immutable",
    );
    let ran = fixture().object_after(&immutable, &sync).run();
    // What does not recover by itself decides the exit code.
    ran.assert().code(5);
    assert_snapshot!(ran.stderr, @r#"
    [TS] ERROR Failed to sync Helm releases release="flux-system/flux-instance" object="FluxInstance flux-system/flux" reason="resource FluxInstance/flux-system/flux not ready. status: InProgress; context deadline exceeded" fix="k3s-boot status  # shows what is not ready and why; to wait longer, set --release-timeout and --timeout" 
    [TS] ERROR Failed to sync Helm releases release="kube-system/cilium" cause="the chart changes a field that is immutable once the object exists" fix="delete the named object, then retry: helm recreates it (never a CRD or a PersistentVolumeClaim: their data would be lost)" resume="k3s-boot apps --from apps" reason="Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value: {}: field is immutable" log="[LOG]"
    "#);
    let ran = fixture().object_after(&immutable, &sync).args(&["-o", "json"]).run();
    let report = ran.report();
    let failure = &report["failure"];
    assert_eq!(failure["release"], "kube-system/cilium");
    let others = failure["others"].as_array().unwrap();
    assert_eq!(
        others.iter().map(|other| &other["release"]).collect::<Vec<_>>(),
        ["flux-system/flux-instance"]
    );
    let failed = |name: &str| {
        let releases = report["releases"].as_array().unwrap();
        releases.iter().any(|release| release["name"] == name && release["status"] == "failed")
    };
    assert!(failed("cilium") && failed("flux-instance"), "{report:#}");

    // helm failed before it wrote a record.
    let ran = fixture().run();
    let unknown = r#"release="kube-system/cilium" reason="helm failed; helmfile prints only the error of one release, so this one is shown when it fails again""#;
    assert!(ran.stderr.contains(unknown), "{}", ran.stderr);
}
