//! Hooks are named while they run, when they fail and when they hang. A failed hook runs again: a deployed release is up to
//! date only once its hooks have succeeded.

use super::fixture::{Fixture, RunResult};
use super::small_charts::{APPS, releases, write};

/// A hook that records each call, and fails while a file with its name exists.
fn hook(event: &str, name: &str) -> String {
    format!(
        "      - events: [{event}]\n        name: {name}\n        command: bash\n        args: [-c, 'echo {name} >>../../hooks.txt; if test \
         -e ../../fail-{name}; then echo it was not so >&2; exit 3; fi']\n"
    )
}

fn release(name: &str, needs: &str, hooks: &[String]) -> String {
    let hooks = if hooks.is_empty() { String::new() } else { format!("    hooks:\n{}", hooks.concat()) };
    format!("    name: {name}\n    namespace: media\n    needs: [{needs}]\n    values: [{{a: 1}}]\n{hooks}")
}

/// Sequential releases, each with hooks of the same name.
fn fixture(name: &str) -> Fixture {
    let fixture = Fixture::start(name);
    let all = [
        release("first", "", &[hook("presync", "before-first"), hook("postsync", "first")]),
        release("second", "media/first", &[hook("postsync", "second")]),
        release("third", "media/second", &[]),
    ];
    write(&fixture, &releases(&all.each_ref().map(String::as_str)));
    fixture
}

/// The hooks that have run since the last call.
fn hooks(fixture: &Fixture) -> Vec<String> {
    let file = fixture.root.join("hooks.txt");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    _ = std::fs::remove_file(&file);
    text.lines().map(ToOwned::to_owned).collect()
}

fn fails(fixture: &Fixture, name: &str, is_failing: bool) {
    let file = fixture.root.join(format!("fail-{name}"));
    if is_failing { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
}

#[track_caller]
fn assert_hook_failed(ran: &RunResult, release: &str, hook: &str) {
    ran.assert().code(5);
    let event = if hook.starts_with("before-") { "presync" } else { "postsync" };
    let begins = format!(r#"release="media/{release}" event="{event}" command="bash -c 'echo {hook} >>"#);
    let ends = format!(r#"exit_code="3" reason="hook `{hook}` failed: it was not so""#);
    assert!(ran.stderr.contains(&begins) && ran.stderr.contains(&ends), "{}", ran.stderr);
    assert!(!ran.stderr.contains("cause="), "{}", ran.stderr);
}

#[track_caller]
fn assert_nothing_to_change(fixture: &Fixture) {
    let ran = fixture.apps(&[]).run();
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
    assert_eq!(hooks(fixture), [""; 0]);
}

#[test]
fn failed_hook_syncs_the_release_again() {
    let fixture = fixture("hooks");
    fails(&fixture, "second", true);
    assert_hook_failed(&fixture.apps(&[]).run(), "second", "second");
    assert_eq!(hooks(&fixture), ["before-first", "first", "second"]);
    let differs = r#"Release is out of date release="media/second" reason="its hooks did not finish in an earlier run""#;
    let ran = fixture.k3s_boot(&["diff"]).run();
    assert!(ran.stdout.contains("its hooks did not finish in an earlier run"), "{}", ran.stdout);

    // It runs again as long as it fails; releases that succeeded before are not synced again.
    let ran = fixture.apps(&[]).run();
    assert!(ran.stdout.contains(differs), "{}", ran.stdout);
    assert_hook_failed(&ran, "second", "second");
    assert_eq!(hooks(&fixture), ["second"]);
    fails(&fixture, "second", false);
    let ran = fixture.apps(&[]).run();
    assert_eq!((ran.code, hooks(&fixture)), (Some(0), vec!["second".to_owned()]), "{}", ran.stderr);
    assert_nothing_to_change(&fixture);

    // If a presync hook fails next, the failed postsync hook still runs later.
    fixture.replace(
        APPS,
        "name: first\n    namespace: media\n    needs: []\n    values: [{a: 1}]",
        "name: first\n    namespace: media\n    needs: []\n    values: [{a: 2}]",
    );
    fails(&fixture, "first", true);
    assert_hook_failed(&fixture.apps(&[]).run(), "first", "first");
    fails(&fixture, "before-first", true);
    assert_hook_failed(&fixture.apps(&[]).run(), "first", "before-first");
    fails(&fixture, "before-first", false);
    assert_hook_failed(&fixture.apps(&[]).run(), "first", "first");
    fails(&fixture, "first", false);
    hooks(&fixture);
    fixture.apps(&[]).run().assert().code(0);
    assert_eq!(hooks(&fixture), ["before-first", "first"]);
    assert_nothing_to_change(&fixture);
}

/// A `postsync` hook that waits for a `ConfigMap` which does not exist, as hooks wait for a CRD.
const WAITING: &str = "      - events: [postsync]\n        name: wait-for-map\n        command: bash\n        args: [-c, 'until kubectl get \
                       configmap later --namespace media; do sleep 1; done']\n";

#[test]
fn hanging_hook_is_named_and_stopped() {
    let fixture = Fixture::start("hanging-hook");
    track_modes_are_supported(&fixture);
    let hook = "      - {events: [postsync], command: bash, args: [-c, 'kubectl get no-such-kind']}\n";
    let all = [
        release("waits", "", &[WAITING.to_owned()]),
        release("fails", "", &[hook.to_owned()]),
        release("after", "media/waits", &[]),
    ];
    write(&fixture, &releases(&all.each_ref().map(String::as_str)));

    // Both are synced concurrently: the one fails at once, and helmfile waits for the other.
    let ran = fixture.apps(&["--release-timeout", "14s"]).run();
    ran.assert().code(6);
    let command =
        r#"command="bash -c 'until kubectl get configmap later --namespace media; do sleep 1; done'""#;
    let waiting = format!(r#"Waiting for hook release="media/waits" event="postsync" {command} elapsed="#);
    assert!(ran.stdout.contains(&waiting), "{}", ran.stdout);
    let failed = format!(
        r#"Failed to sync Helm releases release="media/waits" event="postsync" {command} reason="postsync hook `wait-for-map` did not finish within 14.0s (--release-timeout)""#
    );
    assert!(ran.stderr.contains(&failed), "{}", ran.stderr);
    assert!(!ran.stderr.contains("cause="), "{}", ran.stderr);

    // What the hook waits for appears. The release is synced again, because its hook did not finish.
    fixture.sandbox.kubectl(&["create", "configmap", "later", "--namespace", "media"]).unwrap();
    let ran = fixture.apps(&[]).run();
    let again =
        r#"Release is out of date release="media/waits" reason="its hooks did not finish in an earlier run""#;
    assert!(ran.stdout.contains(again), "{}", ran.stdout);
    // Now the hook of the other release is the only failure.
    ran.assert().code(5);
    let failed = r#"release="media/fails" event="postsync" command="bash -c 'kubectl get no-such-kind'" exit_code="1" reason="hook `bash` failed: error: the server doesn't have a resource type"#;
    assert!(ran.stderr.contains(failed), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("Failed to sync Helm releases").count(), 1, "{}", ran.stderr);
}

/// helmfile's own tracking, and the wait of Helm 3, as a release or `helmDefaults` selects them.
fn track_modes_are_supported(fixture: &Fixture) {
    let modes = ["helm-legacy", "kubedog"];
    let all = modes.map(|mode| {
        let lines = release(mode, "", &[hook("postsync", &format!("after-{mode}"))]);
        // With kubedog, helmfile 1.7.4 and 1.8.0 delete the file with the values before helm reads it.
        let lines = if mode == "kubedog" { lines.replace("    values: [{a: 1}]\n", "") } else { lines };
        format!("{lines}    trackMode: {mode}\n    wait: true\n")
    });
    write(fixture, &releases(&all.each_ref().map(String::as_str)));
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    for mode in modes {
        let synced = format!(r#"Release synced release="media/{mode}""#);
        assert!(ran.stdout.contains(&synced), "{}", ran.stdout);
    }
    let mut ran_hooks = hooks(fixture);
    ran_hooks.sort_unstable();
    assert_eq!(ran_hooks, ["after-helm-legacy", "after-kubedog"]);
    assert_nothing_to_change(fixture);
}

/// The API server rejects the port of this Service.
const REJECTED: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  type: NodePort\n  ports: [{port: 80, nodePort: 80}]\n";

#[test]
fn every_failed_release_of_a_sync_is_reported() {
    let fixture = Fixture::start("two-failures");
    let first = release("first", "", &[hook("presync", "before-first")]);
    let all = [first, release("second", "", &[]), release("third", "", &[]), release("good", "", &[])];
    let text = releases(&all.each_ref().map(String::as_str));
    // Both of this chart fail in Helm.
    let of_chart = |text: &str, name: &str| {
        let (before, after) = text.split_once(&format!("small\n    name: {name}\n")).unwrap();
        format!("{before}rejected\n    name: {name}\n{after}")
    };
    write(&fixture, &of_chart(&of_chart(&text, "second"), "third"));
    fixture.write("bootstrap/charts/rejected/Chart.yaml", "apiVersion: v2\nname: rejected\nversion: 1.0.0\n");
    fixture.write("bootstrap/charts/rejected/templates/all.yaml", REJECTED);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(5);
    for name in ["second", "third"] {
        let failed = format!(r#"ERROR Failed to sync Helm releases release="media/{name}" "#);
        let line = ran.stderr.lines().find(|line| line.contains(&failed));
        let reason = line.and_then(|line| line.split_once(" reason=\"")).map(|(_, reason)| reason);
        assert!(reason.is_some_and(|reason| reason.contains("nodePort")), "{name}: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("Failed to sync Helm releases").count(), 2, "{}", ran.stderr);
    for name in ["first", "good"] {
        let synced = format!(r#"Release synced release="media/{name}""#);
        assert!(ran.stdout.contains(&synced), "{name}: {}", ran.stdout);
    }
}
