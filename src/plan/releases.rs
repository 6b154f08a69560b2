//! What happens to a release. The order of decisions: skipped, managed elsewhere, new, newer than desired, different, up to
//! date.

use super::helm_charts::{is_of_other_chart, obstacle_of};
use super::options::PlanOptions;
use crate::base::release_id::ReleaseId;
use crate::desired::Desired;
use crate::desired::chart::Chart;
use crate::desired::releases::Release;
use crate::desired::values::{ValueChange, changes};
use crate::observed::Live;
use crate::observed::helm::Record;
use crate::observed::manager::Manager;
use crate::observed::standing::ObjectState;
use crate::tools::charts::exact_version;
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
    /// Flux or k3s manages it.
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
    let owned = live.owners.as_ref().ok().into_iter().flatten().filter(|object| object.release == id);
    let owned: Vec<_> = owned.collect();
    let adopts = plan_options.adopts(&id) && !owned.iter().any(|object| is_of_other_chart(object, live));
    let over = HelmOverrides {
        // Helm 3 and its releases have no field conflicts.
        fields: id.is_among(&plan_options.fix_drift) && record.is_some_and(|record| record.server_side),
        owners: adopts && !owned.is_empty(),
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
        return Some(claim.manager);
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

/// What a release is left to: it is not adopted, or k3s would not let go of it.
pub(crate) fn left_to(release: &Release, live: &Live, plan_options: &PlanOptions) -> Option<Manager> {
    let id = release.id();
    let stays = || !plan_options.adopts(&id) || obstacle_of(&id, live).is_some();
    owner(release, live).filter(|_| stays())
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
    release.skipped || left_to(release, live, plan_options).is_some() || record().is_some_and(is_newer)
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
        if let Some(owner) = left_to(release, live, plan_options) {
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
        if !release.hooks.is_empty() && live.notes.is_unfinished(id, record.stored.revision) {
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
    matches!((exact_version(one), exact_version(other)), (Some(one), Some(other)) if one.cmp_precedence(&other).is_gt())
}

#[cfg(test)]
mod tests;
