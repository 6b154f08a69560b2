//! The progress display on a terminal.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::listener::Listener;
use super::scenario::{started, waiting_pod};

/// Removes the spinner and the counters. A line as wide as the terminal is joined with the next one.
fn stable(frame: &str, columns: usize) -> String {
    let parse_progress = |line: &str| {
        let rest = line.strip_prefix(['-', '\\', '|', '/', ' '])?;
        let (seconds, rest) = rest.trim_start().split_once("s ")?;
        seconds.parse::<u32>().ok()?;
        let counted = rest.strip_prefix('(').and_then(|rest| rest.split_once("s left) "));
        Some(match counted {
            Some((_, rest)) => format!("* [N]s ([N]s left) {}", rest.trim_end()),
            None => format!("* [N]s {}", rest.trim_end()),
        })
    };
    let line = |line: &str| {
        if parse_progress(line).is_none() {
            return vec![line.to_owned()];
        }
        let all: Vec<_> = line.chars().collect();
        let rows = all.chunks(columns).map(String::from_iter);
        rows.map(|row| parse_progress(&row).unwrap_or(row)).collect()
    };
    frame.lines().flat_map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// A sync of the apps that stays at cilium until the test continues it.
fn syncing_cilium(listener: &Listener, pod: &Value) -> Fixture {
    let sync = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "connect": listener.address(),
        "on_int": "end", "stderr": started("kube-system", "cilium")});
    let fixture = Fixture::new().rule(sync).env("TERM", "xterm").env("NO_COLOR", "1");
    let objects = waiting_pod(pod);
    objects.iter().fold(fixture, |fixture, object| fixture.object_after(object, &["*/01-apps.yaml", "sync"]))
}

fn no_image() -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "operator",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"quay.io/x:1\": ErrImagePull: quay.io/x:1: not found"}}}]})
}

/// The log of a run without a terminal, up to the sync of cilium.
fn log_until_cilium() -> Vec<String> {
    let log = Fixture::new().run().stdout;
    let end =
        log.lines().position(|line| line.contains("Syncing release release=\"kube-system/cilium\"")).unwrap();
    log.lines().take(end + 1).map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn successful_run() {
    let listener = Listener::new();
    let fixture = syncing_cilium(&listener, &json!({"phase": "Pending"}));
    let mut terminal = fixture.start_on_terminal(24, 100);
    let helmfile = listener.accept();
    let frame = terminal.frame(|frame| frame.contains("cilium: Deployment/cilium-operator 0/1"));
    let frame = stable(&frame, 100);
    let lines: Vec<_> = frame.lines().map(str::trim_end).collect();
    let (log, progress) = lines.split_at(lines.len() - 2);
    assert_eq!(progress, ["* [N]s stage apps", "* [N]s kube-system/cilium: Deployment/cilium-operator 0/1"]);
    assert_eq!(log, log_until_cilium(), "the log above the progress display");
    helmfile.finish();
    let ran = terminal.wait();
    ran.assert().code(0);
    let screen = stable(&ran.stdout, 100);
    assert!(!screen.contains("[N]s"), "the progress display is removed: {screen}");
    assert!(screen.lines().last().unwrap().contains("Bootstrap complete!"), "{screen}");
}

#[test]
fn failed_run() {
    let listener = Listener::new();
    let fixture = syncing_cilium(&listener, &no_image()).args(&["--fail-fast"]);
    let terminal = fixture.start_on_terminal(40, 100);
    let mut helmfile = listener.accept();
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    let ran = terminal.wait();
    ran.assert().code(5);
    let screen = stable(&ran.stdout, 100);
    let lines: Vec<_> = screen.lines().map(str::trim_end).collect();
    let end = lines.iter().position(|line| line.contains(" Stopping helmfile: ")).unwrap();
    let (log, end) = lines.split_at(end);
    assert_eq!(log, log_until_cilium());
    assert_snapshot!(end.join("\n"), @r#"
    [TS] INFO Stopping helmfile: the release cannot become ready release="kube-system/cilium"
    [TS] ERROR Failed to sync Helm releases release="kube-system/cilium"
      object: Pod kube-system/cilium-operator-6f5d4c-x2x4z
      state: container operator: ImagePullBackOff: Back-off pulling image "quay.io/x:1": ErrImagePull:
        not found
      cause: the image or tag does not exist in the registry
      fix: correct the image tag in the values, or the chart version
      resume: k3s-boot apps --fail-fast --from apps
      reason: helmfile was stopped early: the release cannot become ready
      log: [TMP]/state/k3s-boot/logs/[LOG]
    "#);
}

#[test]
fn countdown_continues_without_output() {
    let listener = Listener::new();
    let fixture = syncing_cilium(&listener, &json!({"phase": "Pending"})).args(&["--release-timeout", "50s"]);
    let mut terminal = fixture.start_on_terminal(24, 60);
    let helmfile = listener.accept();
    let mut seen = Vec::new();
    // Nothing changes in the cluster, so nothing is read again.
    while seen.len() < 3 {
        let known = seen.clone();
        let left = |frame: &str| {
            let (before, _) =
                frame.lines().find(|line| line.contains("cilium: Deployment/"))?.split_once("s left)")?;
            let (_, left) = before.rsplit_once('(')?;
            left.parse::<u32>().ok().filter(|left| !known.contains(left))
        };
        let frame = terminal.frame(|frame| left(frame).is_some());
        seen.push(left(&frame).unwrap());
    }
    assert!(seen.is_sorted_by(|one, next| one > next), "{seen:?}");
    assert!(seen[0] - seen[2] < 10, "more often than the cluster is read: {seen:?}");
    helmfile.finish();
    terminal.wait().assert().code(0);
}

#[test]
fn narrow_terminal_truncates_only_progress() {
    let listener = Listener::new();
    let fixture = syncing_cilium(&listener, &json!({"phase": "Pending"}));
    let mut terminal = fixture.start_on_terminal(60, 40);
    let helmfile = listener.accept();
    let frame = terminal.frame(|frame| frame.contains("cilium: Deployment/"));
    let screen = stable(&frame, 40);
    assert_snapshot!(screen.lines().last().unwrap(), @"* [N]s kube-system/cilium: Deployment/ci");
    helmfile.finish();
    let ran = terminal.wait();
    ran.assert().code(0);
    assert!(!ran.stdout.contains("Deployment/"), "the progress display is removed: {}", ran.stdout);
}
