//! `diff` matches `apps`: generated changes of every kind on one cluster.

mod effect;
mod kinds;
mod repository;

use serde_json::Value;

use self::effect::{State, objects, planned};
use self::kinds::{Change, KINDS};
use self::repository::{CANARY, CHARTS, Repository, VERSIONS, chart};
use super::fixture::Fixture;

const SEED: u64 = 20_261_123;

fn fixture() -> Fixture {
    let versions = CHARTS.iter().flat_map(|name| VERSIONS.map(|version| chart(name).with_version(version)));
    let mut fixture = Fixture::with_charts("changes", &versions.collect::<Vec<_>>());
    fixture.add_secret(CANARY);
    fixture.sandbox.set_node_ready("node-1", true).unwrap();
    fixture
}

#[track_caller]
fn assert_nothing_to_change(fixture: &Fixture) {
    let ran = fixture.k3s_boot(&["diff", "--exit-code"]).run();
    ran.assert().code(0);
    assert_eq!(ran.stdout.lines().last(), Some("Nothing to change"), "{}", ran.stdout);
}

#[test]
fn diff_matches_apps() {
    let seed = std::env::var("CHANGES_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("seed: {seed}");
    let fixture = fixture();
    let mut repository = Repository::new(&fixture, seed);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert_nothing_to_change(&fixture);
    manifests(&mut repository);

    let mut kinds = KINDS.to_vec();
    repository.random.shuffle(&mut kinds);
    let mut rows = Vec::new();
    let mut state = State::default();
    for kind in kinds {
        let change = kind(&mut repository);
        repository.write();
        println!("=== {}", change.what);
        let number = rows.len() + 1;
        let (row, after) = prove(&fixture, number, &change, &state);
        rows.push(row);
        state = after;
    }
    assert_nothing_to_change(&fixture);
    for row in &rows {
        println!("{row}");
    }
}

/// Plans and applies a change; returns its row of the table and the new state. What `apps` left undone would be in the plan of the
/// next change.
#[track_caller]
fn prove(fixture: &Fixture, number: usize, change: &Change, known: &State) -> (String, State) {
    let what = &change.what;
    let before = State::read(fixture, known);
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.k3s_boot(&["diff", "--output", "json", "--exit-code"]).run();
    let (code, nothing) = if change.expected.is_empty() { (0, true) } else { (7, false) };
    assert_eq!(ran.code, Some(code), "{what}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["changes"], !nothing, "{what}");
    let (plan, words) = planned(&report);
    assert_eq!(plan, change.expected, "{what}: the plan");
    let words = words.join("; ");
    for wanted in &change.words {
        assert!(words.contains(wanted), "{what}: no `{wanted}` in {words}");
    }
    assert_eq!(fixture.changes(mark), [""; 0], "{what}: a plan changes nothing");

    let ran = fixture.apps(&[]).run();
    assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
    let after = State::read(fixture, &before);
    let (effect, revisions) = before.effect(&after);
    assert_eq!(effect, plan, "{what}: the effect");
    assert!(after.releases.values().all(|release| release.status == "deployed"), "{what}");
    if nothing {
        assert_eq!(fixture.changes(mark), [""; 0], "{what}");
    }
    let or_nothing = |text: String| if text.is_empty() { "nothing".to_owned() } else { text };
    let seen = or_nothing([effect, revisions].concat().join("; "));
    (format!("| {number} | {what} | {} | {seen} |", or_nothing(words)), after)
}

/// `--manifests` shows each changed object and field, and nothing else; `apps --dry-run` prints the same as `diff`.
fn manifests(repository: &mut Repository<'_>) {
    let fixture = repository.fixture;
    let release = &mut repository.releases[1];
    let (id, name) = (release.id(), release.name.clone());
    release.values["settings"]["color"] = "green".into();
    release.values["auth"]["password"] = format!("{CANARY}other").into();
    repository.write();

    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.k3s_boot(&["diff", "--manifests", "--output", "json"]).run();
    ran.assert().code(0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = serde_json::json!([
        {"release": id, "object": format!("ConfigMap {id}"), "action": "change",
            "fields": [{"path": "data.color", "old": "red", "new": "green"}]},
        {"release": id, "object": format!("Secret {id}"), "action": "change",
            "fields": [{"path": "data.password", "hidden": true}]},
    ]);
    assert_eq!(report["manifests"], expected, "{}", ran.stdout);
    let diff = fixture.k3s_boot(&["diff"]).run();
    let dry = fixture.apps(&["--dry-run"]).run();
    assert_eq!((dry.code, dry.stdout.as_str()), (diff.code, diff.stdout.as_str()));
    assert!(diff.stdout.contains(&format!("~ change {id} ")), "{}", diff.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);

    let kinds = "configmaps,secrets,services,serviceaccounts,deployments.apps";
    let of_release = |objects: Vec<Value>| {
        let ours = move |object: &Value| {
            object["metadata"]["annotations"]["meta.helm.sh/release-name"] == name.as_str()
        };
        objects.into_iter().filter(ours).collect::<Vec<_>>()
    };
    let before = of_release.clone()(objects(fixture, kinds));
    fixture.apps(&[]).run().assert().code(0);
    let after = of_release(objects(fixture, kinds));
    assert_eq!(before.len(), 5);
    let mut changed = Vec::new();
    for (old, new) in before.iter().zip(&after) {
        let same = ["data", "spec"].iter().all(|field| old[*field] == new[*field]);
        if !same {
            changed.push(old["kind"].as_str().unwrap());
        }
    }
    assert_eq!(changed, ["ConfigMap", "Secret"]);
    assert_nothing_to_change(fixture);
}
