//! What becomes of a release: decided in this order: somebody else owns it, it is new, it differs, it is as wanted.

use serde_json::Value;

use crate::desired::Desired;
use crate::desired::chart::Chart;
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::helm::Record;

/// What becomes of a release, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasePlan {
    /// The release, as `namespace/name`.
    pub id: String,
    /// What is done with it.
    pub action: ReleaseAction,
    /// The chart and version that are installed.
    pub from: Option<ChartVersion>,
    /// The chart and version that are wanted.
    pub to: ChartVersion,
    /// The values that differ.
    pub values: Vec<ValueChange>,
}

/// A chart's name and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChartVersion {
    /// Its name.
    pub chart: String,
    /// Its version; empty for the newest.
    pub version: String,
}

/// What is done with a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseAction {
    /// It is not installed yet.
    Install,
    /// Its chart or version differs.
    Upgrade,
    /// Its values differ.
    Change,
    /// It is synced for another reason.
    Repair(String),
    /// It is as wanted.
    Keep,
    /// Something else owns it: `HelmRelease namespace/name`.
    LeaveTo(String),
}

impl ReleasePlan {
    /// Why it is synced, in few words: `version 1.18.6 → 1.18.7`, `values changed: operator.replicas`.
    #[must_use]
    pub fn reason(&self) -> String {
        let values = || {
            let paths: Vec<_> = self.values.iter().map(|change| change.path.as_str()).collect();
            format!("values changed: {}", paths.join(", "))
        };
        match (&self.action, &self.from) {
            (ReleaseAction::Install, _) => "not installed".to_owned(),
            (ReleaseAction::Upgrade, Some(from)) if from.chart == self.to.chart => {
                format!("version {} → {}", from.version, self.to.version)
            }
            (ReleaseAction::Upgrade, Some(from)) => {
                let ChartVersion { chart, version } = from;
                format!("chart {chart} {version} → {} {}", self.to.chart, self.to.version)
            }
            (ReleaseAction::Upgrade | ReleaseAction::Change, _) => values(),
            (ReleaseAction::Repair(reason), _) => reason.clone(),
            (ReleaseAction::Keep, _) => "unchanged".to_owned(),
            (ReleaseAction::LeaveTo(owner), _) => format!("left to {owner}"),
        }
    }
}

impl ReleaseAction {
    /// Whether helmfile syncs it.
    #[must_use]
    pub fn syncs(&self) -> bool {
        !matches!(self, Self::Keep | Self::LeaveTo(_))
    }
}

/// A value that differs. Its `Debug` tells the path alone.
#[derive(Clone, PartialEq)]
pub struct ValueChange {
    /// Where, as in `operator.replicas`.
    pub path: String,
    /// What is installed; none when it is not set there.
    pub old: Option<Value>,
    /// What is wanted; none when it is no longer set.
    pub new: Option<Value>,
}

impl std::fmt::Debug for ValueChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueChange").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Decides it.
#[must_use]
pub fn plan(release: &Release, desired: &Desired, live: &Live) -> ReleasePlan {
    let id = release.id();
    let to = wanted(release, desired);
    let record = live.records.as_ref().ok().and_then(|records| records.get(&id));
    let from =
        record.map(|record| ChartVersion { chart: record.chart.clone(), version: record.version.clone() });
    let values = record.map(|record| changes(&record.values, &release.merged())).unwrap_or_default();
    let action = action(release, desired, live, record, &to, &values);
    ReleasePlan { id, action, from, to, values }
}

fn wanted(release: &Release, desired: &Desired) -> ChartVersion {
    match desired.charts.get(&release.id()) {
        Some(chart) => ChartVersion { chart: chart.name.clone(), version: chart.version.clone() },
        None => ChartVersion { chart: release.chart_name().to_owned(), version: release.version.clone() },
    }
}

fn action(
    release: &Release,
    desired: &Desired,
    live: &Live,
    record: Option<&Record>,
    to: &ChartVersion,
    values: &[ValueChange],
) -> ReleaseAction {
    let id = release.id();
    if let Some(claim) = live.claims.as_ref().ok().and_then(|claims| claims.owner_of(&id)) {
        return ReleaseAction::LeaveTo(format!("{} {}", claim.kind, claim.owner));
    }
    let stored = live.releases.as_ref().is_ok_and(|stored| stored.iter().any(|one| one.id() == id));
    let Some(record) = record else {
        return if stored { repair("its record cannot be read") } else { ReleaseAction::Install };
    };
    if record.chart != to.chart || !same_version(&record.version, &to.version) {
        return ReleaseAction::Upgrade;
    }
    if record.stored.status != "deployed" {
        return ReleaseAction::Repair(format!("its last revision is {}", record.stored.status));
    }
    if !values.is_empty() {
        return ReleaseAction::Change;
    }
    match desired.charts.get(&id) {
        None => return repair("its chart is not on this machine, so that it cannot be compared"),
        Some(chart) if chart.fingerprint != record.templates => {
            return repair("its chart's templates differ");
        }
        Some(chart) if !release.chart.starts_with("oci://") && other_defaults(chart, record) => {
            return repair("its chart's own values differ");
        }
        Some(_) => {}
    }
    match live.missing.get(&id) {
        Some(Ok(missing)) => match missing.as_slice() {
            [] => ReleaseAction::Keep,
            [first, rest @ ..] => {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                ReleaseAction::Repair(format!("missing: {first}{more}"))
            }
        },
        Some(Err(reason)) => ReleaseAction::Repair(reason.clone()),
        None => repair("its objects were not looked at"),
    }
}

/// Whether a chart of the repository has other values of its own, under the same version. Helm changes those of a chart
/// with subcharts before it stores them.
fn other_defaults(chart: &Chart, record: &Record) -> bool {
    let Ok(defaults) = chart.defaults() else { return false };
    // Helm reads `on` and `0o17` as YAML 1.1 has them, and we as texts: no reason to sync for ever.
    let is_dialect = |change: &ValueChange| {
        matches!(
            (&change.old, &change.new),
            (Some(Value::Bool(_) | Value::Number(_)), Some(Value::String(_)))
        )
    };
    chart.subcharts.is_empty() && !changes(&record.defaults, &defaults).iter().all(is_dialect)
}

fn repair(reason: &str) -> ReleaseAction {
    ReleaseAction::Repair(reason.to_owned())
}

/// A chart's `v1.2.3` and a helmfile's `1.2.3` are the same to Helm.
#[must_use]
pub fn same_version(one: &str, other: &str) -> bool {
    one.trim_start_matches('v') == other.trim_start_matches('v')
}

/// The values that differ, by their paths.
#[must_use]
pub fn changes(old: &Value, new: &Value) -> Vec<ValueChange> {
    // A release without values has null for all of them.
    let [old, new] = [old, new].map(|values| Some(values).filter(|values| !values.is_null()));
    let mut found = Vec::new();
    compare(&mut found, String::new(), old, new);
    found
}

fn compare<'a>(found: &mut Vec<ValueChange>, path: String, old: Option<&'a Value>, new: Option<&'a Value>) {
    // To set nothing is not to set null: that takes a default of the chart away.
    let is_empty = |value: Option<&Value>| match value {
        None => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    let none = serde_json::Map::new();
    let map = |value: Option<&'a Value>| match value {
        Some(Value::Object(map)) => Some(map),
        _ => None,
    };
    match (old, new) {
        (old, new) if is_empty(old) && is_empty(new) => {}
        // A map that is not set is one without keys; so each key is told by its own path.
        (old, new) if (map(old).is_some() || is_empty(old)) && (map(new).is_some() || is_empty(new)) => {
            let (old, new) = (map(old).unwrap_or(&none), map(new).unwrap_or(&none));
            let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                // A key that holds dots is one key: as Helm's `--set` has it.
                let key_text = key.replace('.', "\\.");
                let below = if path.is_empty() { key_text } else { format!("{path}.{key_text}") };
                compare(found, below, old.get(key), new.get(key));
            }
        }
        (Some(old), Some(new)) if same(old, new) => {}
        (old, new) => found.push(ValueChange { path, old: old.cloned(), new: new.cloned() }),
    }
}

/// Numbers come back from Helm's JSON as they can: `1` and `1.0` are the same.
fn same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(old), Value::Number(new)) => old == new || old.as_f64() == new.as_f64(),
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old, new))
        }
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len()
                && old.iter().all(|(key, old)| new.get(key).is_some_and(|new| same(old, new)))
        }
        _ => old == new,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::desired::releases::parse;
    use crate::observed::claims::{Claim, Claims};
    use crate::observed::helm::Stored;

    fn release() -> Release {
        parse(b"releases:\n- {name: r, namespace: n, chart: 'oci://x/c', version: 1.0.0, values: [{a: {b: 1}}]}\n")
            .unwrap()
            .remove(0)
    }

    fn desired() -> Desired {
        let chart = Chart { name: "c".to_owned(), version: "1.0.0".to_owned(), ..Chart::default() };
        Desired { charts: BTreeMap::from([("n/r".to_owned(), chart)]), ..Desired::default() }
    }

    /// A cluster in which it is as wanted.
    fn live() -> Live {
        let stored = Stored {
            namespace: "n".to_owned(),
            name: "r".to_owned(),
            status: "deployed".to_owned(),
            revision: 1,
            modified: None,
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
            records: Ok(BTreeMap::from([("n/r".to_owned(), record)])),
            claims: Ok(Claims::default()),
            missing: BTreeMap::from([("n/r".to_owned(), Ok(Vec::new()))]),
            ..Live::default()
        }
    }

    #[test]
    fn what_is_as_wanted_is_kept() {
        assert_eq!(plan(&release(), &desired(), &live()).action, ReleaseAction::Keep);
    }

    #[test]
    fn what_differs_is_synced_for_its_reason() {
        fn with(change: impl FnOnce(&mut Live, &mut Record)) -> ReleaseAction {
            let mut live = live();
            let mut records = live.records.unwrap();
            let mut record = records.remove("n/r").unwrap();
            live.records = Err(String::new());
            change(&mut live, &mut record);
            records.insert("n/r".to_owned(), record);
            live.records = Ok(records);
            plan(&release(), &desired(), &live).action
        }
        assert_eq!(with(|_, record| "0.9.0".clone_into(&mut record.version)), ReleaseAction::Upgrade);
        assert_eq!(with(|_, record| "other".clone_into(&mut record.chart)), ReleaseAction::Upgrade);
        assert_eq!(with(|_, record| record.values = json!({})), ReleaseAction::Change);
        let failed = with(|_, record| "failed".clone_into(&mut record.stored.status));
        assert_eq!(failed, repair("its last revision is failed"));
        assert_eq!(with(|_, record| record.templates = 7), repair("its chart's templates differ"));
        let missing = with(|live, _| {
            live.missing.insert("n/r".to_owned(), Ok(vec!["Deployment n/d".to_owned(), "x".to_owned()]));
        });
        assert_eq!(missing, repair("missing: Deployment n/d and 1 more"));
        let claim = Claim {
            kind: "HelmRelease".to_owned(),
            owner: "n/r".to_owned(),
            release: "n/r".to_owned(),
            suspended: true,
        };
        let owned =
            with(|live, _| live.claims = Ok(Claims { helm_releases: vec![claim], ..Claims::default() }));
        assert_eq!(owned, ReleaseAction::LeaveTo("HelmRelease n/r".to_owned()));
        let fresh = Live { releases: Ok(Vec::new()), records: Ok(BTreeMap::new()), ..live() };
        assert_eq!(plan(&release(), &desired(), &fresh).action, ReleaseAction::Install);
        let unread = Live { records: Ok(BTreeMap::new()), ..live() };
        assert_eq!(plan(&release(), &desired(), &unread).action, repair("its record cannot be read"));
    }

    #[test]
    fn defaults_of_a_chart_in_the_repository_count() {
        let text = "releases:\n- {name: r, namespace: n, chart: ../charts/c, values: [{a: {b: 1}}]}\n";
        let release = parse(text.as_bytes()).unwrap().remove(0);
        let action = |values: &str, subchart: Option<&str>| {
            let mut desired = desired();
            let chart = desired.charts.get_mut("n/r").unwrap();
            values.clone_into(&mut chart.values);
            chart.subcharts.extend(subchart.map(ToOwned::to_owned));
            let mut live = live();
            live.records.as_mut().unwrap().get_mut("n/r").unwrap().defaults = json!({"on": true, "n": 1});
            plan(&release, &desired, &live).action
        };
        assert_eq!(action("on: true\nn: 1.0\n", None), ReleaseAction::Keep);
        assert_eq!(action("on: yes\nn: 1\n", None), ReleaseAction::Keep);
        assert_eq!(action("on: true\nn: 2\n", None), repair("its chart's own values differ"));
        assert_eq!(action("on: true\nn: 2\n", Some("sub")), ReleaseAction::Keep);
    }

    #[test]
    fn values_are_told_by_their_paths() {
        let old = json!({"a": {"b": 1, "gone": true}, "list": [1, {"x": 2}], "same": "s", "dotted.key": 1, "n": null});
        let new =
            json!({"a": {"b": 2}, "list": [1, {"x": 3}], "same": "s", "dotted.key": 2, "new": {"k": "v"}});
        let found = changes(&old, &new);
        let paths: Vec<_> = found.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["a.b", "a.gone", "dotted\\.key", "list", "n", "new.k"]);
        assert_eq!((found[1].old.clone(), found[1].new.clone()), (Some(json!(true)), None));
        assert!(changes(&Value::Null, &json!({"empty": {}})).is_empty());
        assert!(changes(&json!({"n": null}), &json!({"n": null})).is_empty());
    }
}
