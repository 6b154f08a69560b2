//! A failed hook runs again: a deployed release is up to date only once its hooks have succeeded.

use super::small::{APPS, releases, write};
use super::world::{Ran, World};

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
fn world(name: &str) -> World {
    let world = World::start(name);
    let all = [
        release("first", "", &[hook("presync", "before-first"), hook("postsync", "first")]),
        release("second", "media/first", &[hook("postsync", "second")]),
        release("third", "media/second", &[]),
    ];
    write(&world, &releases(&all.each_ref().map(String::as_str)));
    world
}

/// The hooks that have run since the last call.
fn hooks(world: &World) -> Vec<String> {
    let file = world.root.join("hooks.txt");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    _ = std::fs::remove_file(&file);
    text.lines().map(ToOwned::to_owned).collect()
}

fn fails(world: &World, name: &str, is_failing: bool) {
    let file = world.root.join(format!("fail-{name}"));
    if is_failing { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
}

#[track_caller]
fn has_failed(ran: &Ran, release: &str, hook: &str) {
    ran.assert().code(5);
    let reason = format!(r#"release="media/{release}" reason="hook `{hook}` failed: it was not so""#);
    assert!(ran.stderr.contains(&reason), "{}", ran.stderr);
}

#[track_caller]
fn is_unchanged(world: &World) {
    let ran = world.apps(&[]).run();
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
    assert_eq!(hooks(world), [""; 0]);
}

#[test]
fn failed_hook_syncs_the_release_again() {
    let world = world("hooks");
    fails(&world, "second", true);
    has_failed(&world.apps(&[]).run(), "second", "second");
    assert_eq!(hooks(&world), ["before-first", "first", "second"]);
    let differs = r#"Release is out of date release="media/second" reason="its hooks did not finish in an earlier run""#;
    let ran = world.boot(&["diff"]).run();
    assert!(ran.stdout.contains("its hooks did not finish in an earlier run"), "{}", ran.stdout);

    // It runs again as long as it fails; releases that succeeded before are not synced again.
    let ran = world.apps(&[]).run();
    assert!(ran.stdout.contains(differs), "{}", ran.stdout);
    has_failed(&ran, "second", "second");
    assert_eq!(hooks(&world), ["second"]);
    fails(&world, "second", false);
    let ran = world.apps(&[]).run();
    assert_eq!((ran.code, hooks(&world)), (Some(0), vec!["second".to_owned()]), "{}", ran.stderr);
    is_unchanged(&world);

    // If a presync hook fails next, the failed postsync hook still runs later.
    world.replace(
        APPS,
        "name: first\n    namespace: media\n    needs: []\n    values: [{a: 1}]",
        "name: first\n    namespace: media\n    needs: []\n    values: [{a: 2}]",
    );
    fails(&world, "first", true);
    has_failed(&world.apps(&[]).run(), "first", "first");
    fails(&world, "before-first", true);
    has_failed(&world.apps(&[]).run(), "first", "before-first");
    fails(&world, "before-first", false);
    has_failed(&world.apps(&[]).run(), "first", "first");
    fails(&world, "first", false);
    hooks(&world);
    world.apps(&[]).run().assert().code(0);
    assert_eq!(hooks(&world), ["before-first", "first"]);
    is_unchanged(&world);
}
