//! Signals: tools are stopped gracefully, nothing is left behind, and the exit code is 128+n.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult, Running};
use super::listener::Listener;
use super::lock::{ELSEWHERE, lease};
use super::scenario::{self, started};

const INSTANCES: &str = "/apis/fluxcd.controlplane.io/v1/fluxinstances";

/// A sync that runs until the test ends it.
fn sync(listener: &Listener, on_int: &str) -> Value {
    json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "connect": listener.address(), "on_int": on_int,
        "stderr": started("kube-system", "cilium")})
}

#[test]
fn int_stops_helmfile_gracefully() {
    let listener = Listener::new();
    let fixture = Fixture::new().rule(sync(&listener, "end"));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(helmfile.remaining_lines(), ["INT"], "once");
    let ran = running.wait();
    ran.assert().code(130);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Interrupted signal="SIGINT" fix="run k3s-boot again: it continues where this run stopped" resume="k3s-boot apps --from apps""#);
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @r#"[TS] WARN Interrupted, shutting down (press Ctrl-C again to kill) signal="SIGINT""#);
    assert!(ran.calls_of("api", INSTANCES).is_empty(), "nothing more was started");
}

/// Sends INT until `wait` returns: signals within a moment count as one.
fn send_int_until<T>(running: &Running<'_>, wait: impl FnOnce() -> T) -> T {
    let (pid, done) = (running.pid(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // The process may have exited.
                _ = kill(pid, Signal::SIGINT);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let result = wait();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// The first INT stops tools gracefully. This tool ignores it and is killed after the second.
#[track_caller]
fn assert_second_int_kills(mut rule: Value) -> RunResult {
    let listener = Listener::new();
    rule["connect"] = listener.address().to_string().into();
    rule["on_int"] = "ignore".into();
    let fixture = Fixture::new().rule(rule);
    let running = fixture.start();
    let mut tool = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(tool.line().as_deref(), Some("INT"));
    assert_eq!(send_int_until(&running, || tool.remaining_lines()), [""; 0], "killed");
    let ran = running.wait();
    ran.assert().code(130);
    assert!(
        ran.stdout.contains("[TS] WARN Interrupted again, killing running processes signal=\"SIGINT\" \n"),
        "{}",
        ran.stdout
    );
    ran
}

#[test]
fn second_int_kills_in_every_stage() {
    for rule in [
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"]}),
        json!({"tool": "helm", "args": ["pull", "oci://registry.invalid/charts/cilium"]}),
        json!({"tool": "sops", "args": ["decrypt", "*/bootstrap/github.sops.yaml"]}),
    ] {
        let ran = assert_second_int_kills(rule.clone());
        assert_eq!(ran.mutating(), [""; 0], "{rule}");
    }
    for rule in [
        json!({"tool": "kubectl", "args": ["apply"]}),
        json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "sync"]}),
    ] {
        let ran = assert_second_int_kills(rule.clone());
        assert!(ran.stderr.contains("resume="), "{rule}: {}", ran.stderr);
    }
}

/// Releasing the lock may take seconds; a second INT does not wait for it.
#[test]
fn second_int_does_not_wait_for_the_lock() {
    let (listener, lock) = (Listener::new(), Listener::new());
    let fixture = Fixture::new().args(&["--log-level", "debug"]).rules([
        sync(&listener, "end"),
        json!({"tool": "api", "args": ["PATCH", "*/leases/k3s-boot"], "connect": lock.address()}),
    ]);
    let running = fixture.start();
    let mut helmfile = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    let mut release = lock.accept();
    send_int_until(&running, || release.remaining_lines());
    let ran = running.wait();
    ran.assert().code(130);
    assert!(ran.stdout.contains("DEBUG Leaving the lock to expire"), "{}", ran.stdout);
}

#[test]
fn int_while_waiting_for_another_run() {
    let fixture = Fixture::new().updated_object(&lease(ELSEWHERE));
    let running = fixture.start();
    running.wait_for("Waiting for another run");
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    assert_eq!((ran.code(), ran.mutating()), (130, Vec::new()));
}

#[test]
fn int_while_the_api_server_is_unavailable() {
    let words = "dial tcp 10.0.0.10:6443: connect: connection refused\n";
    let mut instance = scenario::instance();
    instance["status"]["conditions"] =
        json!([{"type": "Ready", "status": "Unknown", "reason": "Progressing", "message": "reconciling"}]);
    let fixture = Fixture::new().flux_with(&instance, &[]).rules([
        json!({"tool": "api", "args": ["*/fluxinstances"], "times": 1}),
        json!({"tool": "api", "args": ["*/fluxinstances"], "status": 502, "stdout": words}),
    ]);
    let running = fixture.start();
    running.wait_for("API server does not answer, retrying");
    running.signal(Signal::SIGINT);
    running.wait().assert().code(130);
}

#[test]
fn second_int_kills() {
    let args = ["*/01-apps.yaml", "sync"];
    let ran = assert_second_int_kills(
        json!({"tool": "helmfile", "args": args, "stderr": started("kube-system", "cilium")}),
    );
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Interrupted signal="SIGINT" fix="run k3s-boot again: it recovers and syncs the release that was interrupted" resume="k3s-boot apps --from apps""#);
}

#[track_caller]
fn ends_with(signal: Signal, code: i32, running: Running<'_>, listener: &Listener) {
    let mut helmfile = listener.accept();
    running.signal(signal);
    assert_eq!(helmfile.remaining_lines(), ["INT"], "helmfile always gets INT");
    let ran = running.wait();
    ran.assert().code(code);
    assert!(
        ran.stderr.contains(&format!("[TS] ERROR Interrupted signal=\"{signal}\" fix=")),
        "{}",
        ran.stderr
    );
}

#[test]
fn term_stops_the_run() {
    let listener = Listener::new();
    let fixture = Fixture::new().rule(sync(&listener, "end"));
    ends_with(Signal::SIGTERM, 143, fixture.start(), &listener);
}

/// Whether HUP is ignored in this test, as under `nohup`; child processes inherit that.
#[cfg(target_os = "linux")]
fn hup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 != 0
}

#[cfg(target_os = "linux")]
#[test]
fn hup_stops_the_run_except_under_nohup() {
    if hup_is_ignored() {
        println!("HUP is ignored here, so only the second half is tested");
    } else {
        let listener = Listener::new();
        let fixture = Fixture::new().rule(sync(&listener, "end"));
        ends_with(Signal::SIGHUP, 129, fixture.start(), &listener);
    }
    let listener = Listener::new();
    let fixture = Fixture::new().rule(sync(&listener, "end")).started_by(&[
        "/bin/sh",
        "-c",
        "trap '' HUP; exec \"$0\" \"$@\"",
    ]);
    let running = fixture.start();
    let helmfile = listener.accept();
    running.signal(Signal::SIGHUP);
    // INT would be delivered after HUP: pending signals are delivered by number.
    running.signal(Signal::SIGTSTP);
    running.wait_for("Cannot be suspended");
    helmfile.finish();
    let ran = running.wait();
    ran.assert().code(0).stderr("");
}

#[test]
fn tool_that_ignores_int_is_killed_after_the_grace_period() {
    let listener = Listener::new();
    let fixture = Fixture::new().rule(
        json!({"tool": "sops", "args": ["decrypt"], "connect": listener.address(), "on_int": "ignore"}),
    );
    let running = fixture.start();
    let mut sops = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(sops.remaining_lines(), ["INT"], "then it was killed");
    let ran = running.wait();
    ran.assert().code(130);
    assert!(ran.mutating().is_empty());
}

#[test]
fn orphaned_processes_of_helmfile_are_killed() {
    let listener = Listener::new();
    let mut rule = sync(&listener, "end");
    rule["grandchild"] = true.into();
    let fixture = Fixture::new().rule(rule);
    let running = fixture.start();
    let mut tools = [listener.accept(), listener.accept()];
    tools.sort_by_key(|tool| tool.name == "grandchild");
    let [mut helmfile, mut grandchild] = tools;
    running.signal(Signal::SIGINT);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    // The signal goes to the process group. This process ignores it and keeps the pipes open.
    assert_eq!(grandchild.remaining_lines(), ["INT"], "then it was killed");
    running.wait().assert().code(130);
}

#[cfg(target_os = "linux")]
#[track_caller]
fn was_killed(rule: &Value, listener: &Listener, leftovers: (usize, usize)) {
    let mut rule = rule.clone();
    // Files that tools leave behind may have secrets.
    rule["leave_file"] = "values: something".into();
    let fixture = Fixture::new().rule(rule.clone());
    let folder = fixture.path("");
    let left = || {
        let left = |name: &str| std::fs::read_dir(folder.join(name)).unwrap().count();
        (left("tmp"), left("cache/k3s-boot/staging"))
    };
    let running = fixture.start();
    let mut tool = listener.accept();
    running.signal(Signal::SIGKILL);
    assert_eq!(tool.remaining_lines(), ["INT"], "from the kernel");
    let ran = running.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ran.status), Some(9));
    assert_eq!(left(), leftovers);
    rule["connect"] = Value::Null;
    rule["leave_file"] = Value::Null;
    let fixture = fixture.rule(rule);
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    assert_eq!(left(), (0, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn tools_of_a_killed_run_end_and_the_next_run_cleans_up() {
    let listener = Listener::new();
    was_killed(&sync(&listener, "end"), &listener, (1, 0));
    // While charts are downloaded.
    let build = scenario::first_run(&Fixture::new().canaries)
        .into_iter()
        .find(|rule| rule["args"] == json!(["*/00-crds.yaml", "build"]));
    let mut build = build.unwrap();
    build["connect"] = listener.address().to_string().into();
    build["on_int"] = "end".into();
    was_killed(&build, &listener, (1, 1));
}

#[test]
fn int_while_charts_are_downloaded() {
    let listener = Listener::new();
    let build = |file: &str| json!({"tool": "helmfile", "args": [file, "build"], "connect": listener.address(), "on_int": "end"});
    let fixture = Fixture::new().rules([build("*/00-crds.yaml"), build("*/01-apps.yaml")]);
    let running = fixture.start();
    let mut tools = [listener.accept(), listener.accept()];
    running.signal(Signal::SIGINT);
    for tool in &mut tools {
        assert_eq!(tool.remaining_lines(), ["INT"], "once each");
    }
    let ran = running.wait();
    ran.assert().code(130);
    assert!(ran.mutating().is_empty());
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Interrupted signal="SIGINT" fix="run k3s-boot again: it continues where this run stopped""#);
}

#[test]
fn int_while_secrets_are_decrypted() {
    let listener = Listener::new();
    let fixture = Fixture::new()
        .rule(json!({"tool": "sops", "args": ["decrypt", "*/bootstrap/github.sops.yaml"],
        "connect": listener.address(), "on_int": "end"}));
    let running = fixture.start();
    let mut sops = listener.accept();
    running.signal(Signal::SIGINT);
    assert_eq!(sops.remaining_lines(), ["INT"]);
    let ran = running.wait();
    ran.assert().code(130);
    assert_eq!(ran.mutating(), [""; 0]);
}

#[test]
fn int_before_a_retry_of_the_registry() {
    let words = "Error: GET \"https://registry.invalid/v2/charts/cilium/manifests/1.18.6\": response status code 503: Service Unavailable\n";
    let fixture = Fixture::new()
        .rule(json!({"tool": "helm", "args": ["pull", "oci://registry.invalid/charts/cilium"],
        "exit": 1, "stderr": words}));
    let running = fixture.start();
    running.wait_for("Chart cannot be fetched, retrying");
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    ran.assert().code(130);
    assert_eq!(ran.mutating(), [""; 0]);
}

#[test]
fn int_before_a_retry_of_the_sync() {
    let webhook = "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": no endpoints available for service \"cert-manager-webhook\"";
    let talk = format!(
        "{}in x.yaml: failed processing release cilium: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  Error: UPGRADE FAILED: {webhook}\n\nCOMBINED OUTPUT:\n  x\n",
        started("kube-system", "cilium")
    );
    let fixture = Fixture::new()
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1, "stderr": talk}));
    let running = fixture.start();
    running.wait_for("Failed to sync Helm releases, retrying");
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    ran.assert().code(130);
    assert!(ran.stdout.contains("cause=\"the API server calls a webhook"), "{}", ran.stdout);
}

#[test]
fn int_while_waiting_for_nodes() {
    let listener = Listener::new();
    let fixture = Fixture::new().without_objects("Node").rules([
        json!({"tool": "api", "args": ["/api/v1/nodes"], "times": 1}),
        json!({"tool": "api", "args": ["/api/v1/nodes"], "times": 1, "connect": listener.address()}),
    ]);
    let running = fixture.start();
    // The second read, so the run is waiting now.
    listener.accept().finish();
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    ran.assert().code(130);
    assert!(ran.mutating().is_empty());
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Interrupted signal="SIGINT" fix="run k3s-boot again: it continues where this run stopped""#);
}

#[test]
fn int_while_waiting_for_flux() {
    let listener = Listener::new();
    let mut instance = scenario::instance();
    instance["status"]["conditions"] =
        json!([{"type": "Ready", "status": "Unknown", "reason": "Progressing", "message": "reconciling"}]);
    let fixture = Fixture::new().flux_with(&instance, &[]).rules([
        json!({"tool": "api", "args": ["*/fluxinstances"], "times": 1}),
        json!({"tool": "api", "args": ["*/fluxinstances"], "times": 1, "connect": listener.address()}),
    ]);
    let running = fixture.start();
    listener.accept().finish();
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    ran.assert().code(130);
    assert!(!ran.stdout.contains("Bootstrap complete!"));
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Interrupted signal="SIGINT" fix="run k3s-boot again: it continues where this run stopped" resume="k3s-boot apps --from verify""#);
}

#[test]
fn unready_flux_controller_is_named_while_waiting() {
    let mut instance = scenario::instance();
    instance["status"]["conditions"] =
        json!([{"type": "Ready", "status": "Unknown", "reason": "Progressing", "message": "reconciling"}]);
    let labels = json!({"app.kubernetes.io/part-of": "flux"});
    let controller = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}, "status": {},
        "metadata": {"name": "source-controller", "namespace": "flux-system", "labels": labels}});
    let message = "Back-off pulling image \"ghcr.io/x:1\": ErrImagePull: ghcr.io/x:1: not found";
    let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "status": {"containerStatuses": [{"name": "manager", "state": state}]},
        "metadata": {"name": "source-controller-6f5d4c-x2x4z", "namespace": "flux-system"}});
    let sync = ["*/01-apps.yaml", "sync"];
    let fixture =
        Fixture::new().object_after(&controller, &sync).object_after(&pod, &sync).flux_with(&instance, &[]);
    let running = fixture.start();
    running.wait_for("Flux is blocked");
    running.signal(Signal::SIGINT);
    let ran = running.wait();
    ran.assert().code(130);
    let line = ran.stdout.lines().find(|line| line.contains("Flux is blocked")).unwrap();
    assert_snapshot!(line, @r#"[TS] WARN Flux is blocked object="Pod flux-system/source-controller-6f5d4c-x2x4z" state="container manager: ImagePullBackOff: Back-off pulling image \"ghcr.io/x:1\": ErrImagePull: not found" cause="the image or tag does not exist in the registry" fix="correct the image tag in the values, or the chart version" "#);
}

#[cfg(target_os = "linux")]
#[test]
fn terminal_stop_is_ignored() {
    let listener = Listener::new();
    let fixture = Fixture::new().rule(sync(&listener, "end"));
    let running = fixture.start();
    let helmfile = listener.accept();
    running.signal(Signal::SIGTSTP);
    running.wait_for(" WARN Cannot be suspended; press Ctrl-C to stop ");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
    let state = stat.rsplit_once(") ").unwrap().1.chars().next();
    assert_ne!(state, Some('T'));
    helmfile.finish();
    let ran = running.wait();
    ran.assert().code(0).stderr("");
}
