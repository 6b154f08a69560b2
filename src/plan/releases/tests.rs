use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::desired::releases::{Hook, parse};
use crate::observed::Owned;
use crate::observed::claims::{Claim, Claims};
use crate::observed::helm::Stored;
use crate::observed::run_state::{Operation, Synced};
use crate::observed::standing::Drift;

fn release() -> Release {
    parse(
        b"releases:\n- {name: r, namespace: n, chart: 'oci://x/c', version: 1.0.0, values: [{a: {b: 1}}]}\n",
        "default",
    )
    .unwrap()
    .releases
    .remove(0)
}

fn desired() -> Desired {
    let digest = Some("d".to_owned());
    let chart = Chart { name: "c".to_owned(), version: "1.0.0".to_owned(), digest, ..Chart::default() };
    Desired { charts: BTreeMap::from([("n/r".into(), chart)]), ..Desired::default() }
}

/// A cluster in which the release is up to date.
fn live() -> Live {
    let stored = Stored {
        namespace: "n".to_owned(),
        name: "r".to_owned(),
        status: "deployed".to_owned(),
        revision: 1,
        ..Stored::default()
    };
    let record = Record {
        stored: stored.clone(),
        chart: "c".to_owned(),
        version: "v1.0.0".to_owned(),
        values: json!({"a": {"b": 1.0}, "c": {}}),
        ..Record::default()
    };
    Live {
        releases: Ok(vec![stored]),
        records: Ok(BTreeMap::from([("n/r".into(), record)])),
        claims: Ok(Claims::default()),
        standing: BTreeMap::from([("n/r".into(), Ok(ObjectState::default()))]),
        ..Live::default()
    }
}

fn record(live: &mut Live) -> &mut Record {
    live.records.as_mut().unwrap().get_mut(&"n/r".into()).unwrap()
}

fn standing(live: &mut Live) -> &mut ObjectState {
    live.standing.get_mut(&"n/r".into()).unwrap().as_mut().unwrap()
}

fn action(release: &Release, desired: &Desired, live: &Live, plan_options: &PlanOptions) -> ReleaseAction {
    plan(release, desired, live, plan_options).action
}

/// What happens to the release in a changed cluster.
fn with(change: impl FnOnce(&mut Live)) -> ReleaseAction {
    let mut live = live();
    change(&mut live);
    action(&release(), &desired(), &live, &PlanOptions::default())
}

fn plan_options(change: impl FnOnce(&mut PlanOptions)) -> PlanOptions {
    let mut plan_options = PlanOptions::default();
    change(&mut plan_options);
    plan_options
}

#[test]
fn a_release_that_is_up_to_date_is_synced_only_with_force() {
    assert_eq!(with(|_| {}), ReleaseAction::UpToDate);
    let force = plan_options(|plan_options| plan_options.force = true);
    assert_eq!(action(&release(), &desired(), &live(), &force), resync("requested with --force"));
}

#[test]
fn differences_are_synced_with_a_reason() {
    assert_eq!(with(|live| "0.9.0".clone_into(&mut record(live).version)), ReleaseAction::Upgrade);
    assert_eq!(with(|live| "other".clone_into(&mut record(live).chart)), ReleaseAction::Upgrade);
    assert_eq!(with(|live| record(live).values = json!({})), ReleaseAction::Change);
    let failed = with(|live| "failed".clone_into(&mut record(live).stored.status));
    assert_eq!(failed, resync("its last revision is failed"));
    let missing = with(|live| standing(live).missing = vec!["Deployment n/d".to_owned(), "x".to_owned()]);
    assert_eq!(missing, resync("missing: Deployment n/d and 1 more"));
    let fresh = with(|live| (live.releases, live.records) = (Ok(Vec::new()), Ok(BTreeMap::new())));
    assert_eq!(fresh, ReleaseAction::Install);
    assert_eq!(with(|live| live.records = Ok(BTreeMap::new())), resync("its Helm record cannot be read"));
    let unread = with(|live| _ = live.standing.insert("n/r".into(), Err("no YAML".to_owned())));
    assert_eq!(unread, resync("no YAML"));
    let driver = plan_options(|plan_options| plan_options.helm_driver = Some("sql".to_owned()));
    let reason = "helm keeps its records in `sql`, so that they cannot be compared";
    assert_eq!(action(&release(), &desired(), &live(), &driver), resync(reason));
}

#[test]
fn a_release_with_unfinished_hooks_is_synced_again() {
    let mut release = release();
    let with = |release: &Release, after, concluded| {
        let mut live = live();
        let operation = Operation { after, concluded, ..Operation::default() };
        live.notes.operations.insert("n/r".into(), operation);
        action(release, &desired(), &live, &PlanOptions::default())
    };
    assert_eq!(with(&release, 0, false), ReleaseAction::UpToDate);
    release.hooks = vec![Hook::default()];
    let again = resync("its hooks did not finish in an earlier run");
    // Helm had made the revision, or not yet.
    assert_eq!((with(&release, 0, false), with(&release, 1, false)), (again.clone(), again));
    // It ended, or another revision was installed since.
    for (after, concluded) in [(0, true), (1, true), (2, false)] {
        assert_eq!(with(&release, after, concluded), ReleaseAction::UpToDate);
    }
}

#[test]
fn chart_content_is_compared_with_notes_or_records() {
    let other = |change: &dyn Fn(&mut Chart, &mut Live)| {
        let (mut desired, mut live) = (desired(), live());
        change(desired.charts.get_mut(&"n/r".into()).unwrap(), &mut live);
        action(&release(), &desired, &live, &PlanOptions::default())
    };
    let note = |live: &mut Live, chart: &str, revision| {
        let noted = Synced { revision, chart: chart.to_owned(), ..Synced::default() };
        live.notes.releases.insert("n/r".into(), noted);
    };
    let file = |chart: &mut Chart| chart.content.add("templates/a.yaml", b"a");
    assert_eq!(other(&|chart, _| file(chart)), resync("its chart has changed: templates/a.yaml"));
    assert_eq!(
        other(&|chart, live| {
            file(chart);
            note(live, "d", 1);
        }),
        ReleaseAction::UpToDate
    );
    let defaults = |chart: &mut Chart| "k: 1\n".clone_into(&mut chart.values);
    assert_eq!(other(&|chart, _| defaults(chart)), resync("the default values of its chart have changed"));
    let unnoted = "the subcharts of its chart cannot be compared: no earlier run recorded them";
    assert_eq!(other(&|chart, _| chart.has_subcharts = true), resync(unnoted));
    assert_eq!(
        other(&|chart, live| {
            chart.has_subcharts = true;
            note(live, "d", 1);
        }),
        ReleaseAction::UpToDate
    );
    assert_eq!(
        other(&|chart, live| {
            chart.has_subcharts = true;
            note(live, "d", 2);
        }),
        resync(unnoted)
    );
    let subcharts = other(&|chart, live| {
        chart.has_subcharts = true;
        note(live, "x", 1);
    });
    assert_eq!(subcharts, resync("the subcharts of its chart have changed"));
    let mut patched = release();
    patched.unsafe_features = vec!["set".to_owned()];
    let doubt = resync("`set` in the helmfile prevents a comparison with what is installed");
    assert_eq!(action(&patched, &desired(), &live(), &PlanOptions::default()), doubt);
}

#[test]
fn a_newer_release_stays_unless_a_downgrade_is_allowed() {
    let newer = || {
        let mut live = live();
        "1.0.1".clone_into(&mut record(&mut live).version);
        live
    };
    assert_eq!(action(&release(), &desired(), &newer(), &PlanOptions::default()), ReleaseAction::Newer);
    let lower = plan_options(|plan_options| plan_options.downgrade = vec!["r".to_owned()]);
    assert_eq!(action(&release(), &desired(), &newer(), &lower), ReleaseAction::Upgrade);
    let force = plan_options(|plan_options| plan_options.force = true);
    assert_eq!(action(&release(), &desired(), &newer(), &force), ReleaseAction::Newer);
    assert!(is_newer("v1.10.0", "1.9.0") && is_newer("1.0.0", "1.0.0-rc.1"));
    assert!(!is_newer("1.0.0+a", "1.0.0+b") && !is_newer("1.0.0", "~1") && !is_newer("1.0.0", "v1.0.0"));
}

#[test]
fn a_release_managed_elsewhere_stays_unless_it_is_adopted() {
    let claim = Claim { manager: "HelmRelease n/r".into(), release: "n/r".into(), suspended: true };
    let mut owned = live();
    owned.claims = Ok(Claims { helm_releases: vec![claim], ..Claims::default() });
    "0.9.0".clone_into(&mut record(&mut owned).version);
    let left = ReleaseAction::ManagedElsewhere("HelmRelease n/r".into());
    let decided = |plan_options: &PlanOptions| action(&release(), &desired(), &owned, plan_options);
    assert_eq!(decided(&PlanOptions::default()), left);
    assert_eq!(decided(&plan_options(|plan_options| plan_options.force = true)), left);
    let adopt = |plan_options: &mut PlanOptions| plan_options.take = vec!["r".to_owned()];
    assert_eq!(decided(&plan_options(adopt)), ReleaseAction::Upgrade);
    let labelled = with(|live| standing(live).owner = Some("Kustomization a/b".into()));
    assert_eq!(labelled, ReleaseAction::ManagedElsewhere("Kustomization a/b".into()));
    let mut object = Owned { release: "n/r".into(), ..Owned::default() };
    for name in ["name", "namespace"] {
        object.meta.labels.insert(format!("helm.toolkit.fluxcd.io/{name}"), "x".to_owned());
    }
    let rendered = with(|live| live.owners = Ok(vec![object.clone()]));
    assert_eq!(rendered, ReleaseAction::ManagedElsewhere("HelmRelease x/x".into()));
    object.meta.labels = ["name", "namespace"]
        .map(|name| (format!("kustomize.toolkit.fluxcd.io/{name}"), "x".to_owned()))
        .into();
    let among = |among| {
        let object = Owned { among, ..object.clone() };
        with(|live| live.owners = Ok(vec![object.clone(), object]))
    };
    assert_eq!(among(2), ReleaseAction::ManagedElsewhere("Kustomization x/x".into()));
    assert_eq!(among(3), ReleaseAction::UpToDate, "a rule reports the others");
    let text = "releases:\n- {name: f, namespace: n, chart: 'oci://x/flux-operator'}\n";
    let flux = parse(text.as_bytes(), "default").unwrap().releases.remove(0);
    let mut alone = live();
    alone.claims = Ok(Claims { controllers: true, ..Claims::default() });
    let decided = action(&flux, &Desired::default(), &alone, &PlanOptions::default());
    assert_eq!(decided, ReleaseAction::ManagedElsewhere(Manager::FluxWithoutInstance));
}

#[test]
fn manual_changes_are_reverted_only_on_request() {
    let drift = Drift { object: "Deployment n/d".to_owned(), path: "spec.x".to_owned(), by: None };
    let mut drifted = live();
    standing(&mut drifted).drift = vec![drift];
    assert_eq!(action(&release(), &desired(), &drifted, &PlanOptions::default()), ReleaseAction::UpToDate);
    let fix = plan_options(|plan_options| plan_options.fix_drift = vec!["n/r".to_owned()]);
    let planned = plan(&release(), &desired(), &drifted, &fix);
    assert_eq!(planned.action, resync("changed manually: Deployment n/d spec.x"));
    assert!(!planned.over.fields, "helm 3 knows no conflicts");
    record(&mut drifted).server_side = true;
    assert!(plan(&release(), &desired(), &drifted, &fix).over.fields);
}

#[test]
fn a_skipped_release_is_always_skipped() {
    let mut release = release();
    release.skipped = true;
    let fresh = Live { releases: Ok(Vec::new()), records: Ok(BTreeMap::new()), ..live() };
    for live in [fresh, live()] {
        let decided = action(&release, &desired(), &live, &PlanOptions::default());
        assert_eq!(decided, ReleaseAction::Skip("--skip-release"));
    }
}

#[test]
fn defaults_of_a_chart_count() {
    let action = |values: &str, subchart: bool| {
        let mut desired = desired();
        let chart = desired.charts.get_mut(&"n/r".into()).unwrap();
        values.clone_into(&mut chart.values);
        chart.has_subcharts = subchart;
        let mut live = live();
        record(&mut live).defaults = json!({"enabled": true, "count": 1});
        let differs = other_defaults(&desired.charts[&"n/r".into()], record(&mut live));
        (plan(&release(), &desired, &live, &PlanOptions::default()).action, differs)
    };
    assert_eq!(action("enabled: true\ncount: 1.0\n", false), (ReleaseAction::UpToDate, false));
    assert_eq!(action("enabled: yes\ncount: 0o1\n", false), (ReleaseAction::UpToDate, false));
    assert_eq!(
        action("enabled: true\ncount: 2\n", false),
        (resync("the default values of its chart have changed"), true)
    );
    assert!(!action("enabled: true\ncount: 2\n", true).1, "helm changes those of a chart with subcharts");
}
