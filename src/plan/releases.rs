//! What happens to a release. The order of decisions: skipped, managed elsewhere, new, newer than desired, different, up to
//! date.

use crate::base::release_id::ReleaseId;
use crate::observed::manager::Manager;
use semver::Version;

use super::options::PlanOptions;
use crate::desired::Desired;
use crate::desired::chart::Chart;
use crate::desired::releases::Release;
use crate::desired::values::{ValueChange, changes};
use crate::observed::Live;
use crate::observed::helm::Record;
use crate::observed::standing::ObjectState;
use crate::tools::helmfile::HelmOverrides;

/// What happens to a release, and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReleasePlan {
    pub id: ReleaseId,
    /// What happens to it.
    pub action: ReleaseAction,
    /// The installed chart and version.
    pub from: Option<ChartVersion>,
    /// The desired chart and version.
    pub to: ChartVersion,
    /// The values that differ.
    pub values: Vec<ValueChange>,
    /// Whether some of its values are or were secret, so that only their paths are shown.
    pub has_secret_values: bool,
    /// Conflicts that helm overrides.
    pub over: HelmOverrides,
}

/// A chart's name and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChartVersion {
    pub chart: String,
    /// Empty for the latest version.
    pub version: String,
}

/// What happens to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseAction {
    /// It is not installed yet.
    Install,
    /// Its chart or version differs.
    Upgrade,
    /// Its values differ.
    Change,
    /// It is synced for this other reason.
    Resync(String),
    /// It is uninstalled: the helmfile sets `installed: false`, and the user allows it.
    Uninstall,
    UpToDate,
    /// The installed version is newer than the desired one.
    Newer,
    /// It is managed by this owner: `HelmRelease namespace/name`.
    ManagedElsewhere(Manager),
    /// It is skipped for this reason.
    Skip(&'static str),
}

impl ReleasePlan {
    /// The reason, in a few words: `version 1.18.6 → 1.18.7`, `values changed: operator.replicas`.
    pub(crate) fn reason(&self) -> String {
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
            (ReleaseAction::Resync(reason), _) => reason.clone(),
            (ReleaseAction::Uninstall, _) => "the helmfile sets `installed: false`".to_owned(),
            (ReleaseAction::UpToDate, _) => "unchanged".to_owned(),
            (ReleaseAction::Newer, from) => {
                let version = from.as_ref().map_or("", |from| &from.version);
                format!("version {version} is installed, which is newer")
            }
            (ReleaseAction::ManagedElsewhere(owner), _) => format!("managed by {owner}"),
            (ReleaseAction::Skip(reason), _) => (*reason).to_owned(),
        }
    }
}

impl ReleaseAction {
    /// Whether helmfile syncs it.
    pub(crate) fn syncs(&self) -> bool {
        !matches!(self, Self::UpToDate | Self::Newer | Self::ManagedElsewhere(_) | Self::Skip(_))
    }
}

/// Decides what happens to a release.
pub(crate) fn plan(
    release: &Release,
    desired: &Desired,
    live: &Live,
    plan_options: &PlanOptions,
) -> ReleasePlan {
    let id = release.id();
    let to = desired_chart(release, desired);
    let record = live.records.as_ref().ok().and_then(|records| records.get(&id));
    let from =
        record.map(|record| ChartVersion { chart: record.chart.clone(), version: record.version.clone() });
    let values = record.map(|record| changes(&record.values, &release.merged())).unwrap_or_default();
    let decided =
        Decision { release, desired, live, plan_options, record, to: &to, values: &values }.action(&id);
    let action = match decided {
        ReleaseAction::UpToDate if plan_options.force => resync("requested with --force"),
        decided => decided,
    };
    let mut owners = live.owners.as_ref().ok().into_iter().flatten();
    let over = HelmOverrides {
        // Helm 3 and its releases have no field conflicts.
        fields: id.is_among(&plan_options.fix_drift) && record.is_some_and(|record| record.server_side),
        owners: plan_options.adopts(&id) && owners.any(|object| object.release == id),
    };
    let was_secret = record.is_some_and(|record| live.notes.had_secret_values(&id, record.stored.revision));
    let has_secret_values = release.has_secret_values || was_secret;
    ReleasePlan { id, action, from, to, values, has_secret_values, over }
}

fn desired_chart(release: &Release, desired: &Desired) -> ChartVersion {
    match desired.charts.get(&release.id()) {
        Some(chart) => ChartVersion { chart: chart.name.clone(), version: chart.version.clone() },
        None => ChartVersion { chart: release.chart_name().to_owned(), version: release.version.clone() },
    }
}

/// What manages a release besides k3s-boot. The resources of Flux and k3s show it, or the labels of Flux on the objects.
pub(crate) fn owner(release: &Release, live: &Live) -> Option<Manager> {
    let id = release.id();
    let claims = live.claims.as_ref().ok()?;
    if let Some(claim) = claims.owner_of(&id) {
        return Some(claim.manager.clone());
    }
    let standing = live.standing.get(&id).and_then(|standing| standing.as_ref().ok());
    let of_standing = || standing.and_then(|standing| standing.owner.clone());
    let owners = live.owners.as_ref().ok();
    let of_rendered = || {
        let objects: Vec<_> = owners.into_iter().flatten().filter(|object| object.release == id).collect();
        let mut found = objects.iter().filter_map(|object| Manager::of(&object.meta));
        let of_helm = found.clone().find(Manager::is_helm_release);
        // A Kustomization that manages all objects of the release replaces it. If it manages only some, skipping the release
        // would leave the others missing: the user decides.
        let among = objects.first().map(|object| object.among);
        of_helm.or_else(|| found.next().filter(|_| among == Some(found.count() + 1)))
    };
    // The operator must not take over what `flux bootstrap` or `flux install` created.
    let is_flux = ["flux-operator", "flux-instance"].contains(&release.chart_name());
    let alone = (is_flux && claims.has_flux_alone()).then_some(Manager::FluxWithoutInstance);
    of_standing().or_else(of_rendered).or(alone)
}

/// Whether a release is not synced, whatever differs: it is skipped, managed elsewhere, or newer.
pub(crate) fn is_skipped(
    release: &Release,
    desired: &Desired,
    live: &Live,
    plan_options: &PlanOptions,
) -> bool {
    let id = release.id();
    let record = || live.records.as_ref().ok().and_then(|records| records.get(&id));
    let is_newer = |record: &Record| {
        let to = desired_chart(release, desired);
        record.chart == to.chart
            && is_newer(&record.version, &to.version)
            && !id.is_among(&plan_options.downgrade)
    };
    release.skipped
        || (owner(release, live).is_some() && !plan_options.adopts(&id))
        || record().is_some_and(is_newer)
}

/// Why a chart may render something else than the `record` of the installed release, with the same version and values.
pub(crate) fn other_content(
    release: &Release,
    desired: &Desired,
    live: &Live,
    record: &Record,
) -> Option<String> {
    if let [feature, ..] = release.unsafe_features.as_slice() {
        return Some(unsafe_feature(feature));
    }
    let id = release.id();
    let Some(chart) = desired.charts.get(&id) else {
        return Some("its chart is not available on this machine and cannot be compared".to_owned());
    };
    let noted = live.notes.chart(&id, record.stored.revision);
    if noted.is_some() && noted == chart.digest.as_ref() {
        return None;
    }
    if let Some(file) = chart.content.difference(&record.content) {
        return Some(format!("its chart has changed: {file}"));
    }
    if other_defaults(chart, record) {
        return Some("the default values of its chart have changed".to_owned());
    }
    match (chart.has_subcharts, noted) {
        (false, _) => None,
        (true, Some(_)) => Some("the subcharts of its chart have changed".to_owned()),
        (true, None) => {
            Some("the subcharts of its chart cannot be compared: no earlier run recorded them".to_owned())
        }
    }
}

/// The input of the decision about a release.
struct Decision<'a> {
    release: &'a Release,
    desired: &'a Desired,
    live: &'a Live,
    plan_options: &'a PlanOptions,
    record: Option<&'a Record>,
    to: &'a ChartVersion,
    values: &'a [ValueChange],
}

impl Decision<'_> {
    fn action(&self, id: &ReleaseId) -> ReleaseAction {
        let Self { release, live, plan_options, to, .. } = *self;
        if release.skipped {
            return ReleaseAction::Skip("--skip-release");
        }
        if let Some(owner) = owner(release, live).filter(|_| !plan_options.adopts(id)) {
            return ReleaseAction::ManagedElsewhere(owner);
        }
        if let Some(driver) = &plan_options.helm_driver {
            return ReleaseAction::Resync(format!(
                "helm keeps its records in `{driver}`, so that they cannot be compared"
            ));
        }
        let stored = live.releases.as_ref().is_ok_and(|stored| stored.iter().any(|one| one.id() == *id));
        let Some(record) = self.record else {
            return if stored { resync("its Helm record cannot be read") } else { ReleaseAction::Install };
        };
        if record.stored.is_pending() {
            return ReleaseAction::Resync(format!("its last operation left it in {}", record.stored.status));
        }
        if record.chart == to.chart
            && is_newer(&record.version, &to.version)
            && !id.is_among(&plan_options.downgrade)
        {
            return ReleaseAction::Newer;
        }
        if record.chart != to.chart || !same_version(&record.version, &to.version) {
            return ReleaseAction::Upgrade;
        }
        if record.stored.status != "deployed" {
            return ReleaseAction::Resync(format!("its last revision is {}", record.stored.status));
        }
        if !self.values.is_empty() {
            return if let [feature, ..] = release.unsafe_features.as_slice() {
                ReleaseAction::Resync(unsafe_feature(feature))
            } else {
                ReleaseAction::Change
            };
        }
        if let Some(reason) = other_content(release, self.desired, live, record) {
            return ReleaseAction::Resync(reason);
        }
        if release.has_hooks && live.notes.is_unfinished(id, record.stored.revision) {
            return resync("its hooks did not finish in an earlier run");
        }
        match live.standing.get(id) {
            Some(Ok(standing)) => self.objects(id, standing),
            Some(Err(reason)) => ReleaseAction::Resync(reason.clone()),
            None => resync("its objects were not checked"),
        }
    }

    fn objects(&self, id: &ReleaseId, standing: &ObjectState) -> ReleaseAction {
        let more = |count: usize| if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        if let Some(first) = standing.missing.first() {
            return ReleaseAction::Resync(format!("missing: {first}{}", more(standing.missing.len())));
        }
        match standing.drift.first() {
            Some(first) if id.is_among(&self.plan_options.fix_drift) => ReleaseAction::Resync(format!(
                "changed manually: {} {}{}",
                first.object,
                first.path,
                more(standing.drift.len())
            )),
            _ => ReleaseAction::UpToDate,
        }
    }
}

fn unsafe_feature(feature: &str) -> String {
    format!("`{feature}` in the helmfile prevents a comparison with what is installed")
}

/// Whether the default values of a chart differ under the same version. For charts with subcharts, Helm changes them before it
/// stores them.
fn other_defaults(chart: &Chart, record: &Record) -> bool {
    let Ok(defaults) = chart.defaults() else { return false };
    !chart.has_subcharts && !changes(&record.defaults, &defaults).is_empty()
}

fn resync(reason: &str) -> ReleaseAction {
    ReleaseAction::Resync(reason.to_owned())
}

/// Helm treats `v1.2.3` of a chart and `1.2.3` of a helmfile as the same version.
pub(crate) fn same_version(one: &str, other: &str) -> bool {
    one.trim_start_matches('v') == other.trim_start_matches('v')
}

/// Whether one version is newer than another; only exact versions can be compared.
pub(crate) fn is_newer(one: &str, other: &str) -> bool {
    let parse = |text: &str| Version::parse(text.trim_start_matches('v'));
    matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if one.cmp_precedence(&other).is_gt())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::desired::releases::parse;
    use crate::observed::Owned;
    use crate::observed::claims::{Claim, Claims};
    use crate::observed::helm::Stored;
    use crate::observed::run_state::{Operation, Synced};
    use crate::observed::standing::Drift;

    fn release() -> Release {
        parse(b"releases:\n- {name: r, namespace: n, chart: 'oci://x/c', version: 1.0.0, values: [{a: {b: 1}}]}\n", "default")
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

    fn action(
        release: &Release,
        desired: &Desired,
        live: &Live,
        plan_options: &PlanOptions,
    ) -> ReleaseAction {
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
        release.has_hooks = true;
        let again = resync("its hooks did not finish in an earlier run");
        // Helm had made the revision, or not yet.
        assert_eq!((with(&release, 0, false), with(&release, 1, false)), (again.clone(), again));
        // It ended, or somebody has installed another revision since.
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
        assert_eq!(
            other(&|chart, _| defaults(chart)),
            resync("the default values of its chart have changed")
        );
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
        let adopt = |plan_options: &mut PlanOptions| {
            (plan_options.force, plan_options.take) = (true, vec!["r".to_owned()]);
        };
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
        assert_eq!(
            action(&release(), &desired(), &drifted, &PlanOptions::default()),
            ReleaseAction::UpToDate
        );
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
}
