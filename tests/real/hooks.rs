//! A failed hook runs again: a deployed release is up to date only once its hooks have succeeded.

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
    let reason = format!(r#"release="media/{release}" reason="hook `{hook}` failed: it was not so""#);
    assert!(ran.stderr.contains(&reason), "{}", ran.stderr);
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
