//! The plan: a pure function of desired and observed state.

pub(crate) mod crds;
pub(crate) mod helm_charts;
pub(crate) mod namespaces;
pub(crate) mod objects;
pub(crate) mod options;
pub(crate) mod recovery;
pub(crate) mod releases;

use std::collections::BTreeSet;
use std::time::SystemTime;

use self::crds::CrdPlan;
use self::namespaces::NamespacePlan;
use self::objects::ObjectPlan;
use self::options::PlanOptions;
use self::recovery::Origin;
use self::releases::{ReleaseAction, ReleasePlan};
use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::base::stages::Stage;
use crate::desired::releases::Release;
use crate::desired::{Desired, Kind};
use crate::observed::Live;
use crate::observed::helm::Stored;
use crate::observed::helm_charts::HelmChart;

/// What a bootstrap will do.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// The desired namespaces, and what happens to them.
    pub namespaces: Vec<NamespacePlan>,
    /// The desired objects, and what happens to them.
    pub objects: Vec<ObjectPlan>,
    /// The custom resource definitions of a helmfile that is only rendered, and what happens to them.
    pub crds: Vec<CrdPlan>,
    /// The helmfiles, and what happens to their releases.
    pub helmfiles: Vec<(Kind, Vec<ReleasePlan>)>,
    /// The stuck releases to recover before they are synced.
    pub unlocks: Vec<Unlock>,
    /// The HelmCharts of k3s to remove, so that their releases are only managed by the helmfiles.
    pub helm_charts: Vec<HelmChart>,
}

/// A release that an operation which has ended left in `pending-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unlock {
    /// The pending revision.
    pub stored: Stored,
    /// The run that started the operation (see [`crate::process::identity::Identity`]).
    pub run: String,
    /// The host of that run.
    pub by: String,
}

impl Plan {
    pub(crate) fn releases(&self) -> impl Iterator<Item = &ReleasePlan> {
        self.helmfiles.iter().flat_map(|(_, releases)| releases)
    }

    /// Whether values of a release are or were decrypted, so that none are shown.
    pub(crate) fn has_secret_values(&self, release: &ReleaseId) -> bool {
        self.releases().any(|one| one.id == *release && one.has_secret_values)
    }

    /// Whether there is nothing to change.
    pub(crate) fn is_empty(&self) -> bool {
        !self.namespaces.iter().any(|namespace| namespace.action.applies())
            && !self.objects.iter().any(|object| object.action.applies())
            && !self.crds.iter().any(|crd| crd.action.applies())
            && !self.releases().any(|release| release.action.syncs())
            && self.helm_charts.is_empty()
    }
}

/// Makes the plan.
///
/// # Errors
///
/// All reasons why the plan must not be executed.
pub(crate) fn plan(
    desired: &Desired,
    live: Option<&Live>,
    plan_options: &PlanOptions,
    now: SystemTime,
) -> Result<Plan, Vec<Finding>> {
    let unread = |reason: &str| vec![Finding::error("plan", "Cluster cannot be read").with("reason", reason)];
    let live = live.ok_or_else(|| unread("it does not answer"))?;
    let objects_there = live.objects.as_ref().map_err(|reason| unread(reason))?;
    // Without the owners nothing may be changed.
    live.claims.as_ref().map_err(|reason| unread(reason))?;
    let stored = live.releases.as_ref().map_err(|reason| unread(reason))?;
    let mut findings = Vec::new();
    let mut planned = Vec::new();
    let wanted_namespaces = desired.namespaces.iter().filter(|_| !plan_options.stages.has(Stage::Namespaces));
    for namespace in wanted_namespaces {
        match namespaces::plan(namespace, live) {
            Ok(plan) => planned.push(plan),
            Err(finding) => findings.push(finding),
        }
    }
    let objects = objects::plan(desired, live, objects_there, plan_options, &mut findings);
    let wanted_crds = desired.crds.all.iter().filter(|_| !plan_options.stages.has(Stage::Crds));
    let crds: Vec<_> = match &live.crds {
        Ok(known) => wanted_crds.map(|crd| crds::plan(crd, known.get(&crd.name))).collect(),
        Err(reason) if !desired.crds.all.is_empty() => return Err(unread(reason)),
        Err(_) => Vec::new(),
    };
    let is_stored = |id: &ReleaseId| stored.iter().any(|stored| stored.id() == *id);
    let uninstalled = desired.releases().filter(|release| !release.installed && is_stored(&release.id()));
    let (removed, kept): (Vec<_>, Vec<_>) =
        uninstalled.map(Release::id).partition(|id| id.is_among(&plan_options.uninstall));
    findings.extend(kept.into_iter().map(|release| {
        Finding::error("plan", "Release would be uninstalled")
            .with("release", &release)
            .with("reason", "the helmfile sets `installed: false`, but the release is installed")
            .fix(format!("remove the release from the helmfile, or uninstall it with --uninstall {release}"))
    }));
    findings.extend(unknown_names(desired, plan_options));
    if !findings.is_empty() {
        return Err(findings);
    }
    let asked = asked_for(desired, stored, plan_options);
    let releases = |kind: Kind, releases: &[Release]| {
        let wanted = releases.iter().filter(|release| release.installed || removed.contains(&release.id()));
        let plan = |release: &Release| {
            let mut plan = releases::plan(release, desired, live, plan_options);
            if !release.installed {
                plan.action = ReleaseAction::Uninstall;
            } else if asked.as_ref().is_some_and(|asked| !asked.contains(&plan.id)) {
                plan.action = ReleaseAction::Skip("not selected by --release");
            }
            if plan_options.stages.has(kind.stage()) {
                plan.action = ReleaseAction::Skip("its stage is skipped");
            }
            plan
        };
        wanted.map(plan).collect::<Vec<_>>()
    };
    let helmfiles: Vec<_> =
        desired.helmfiles.iter().map(|file| (file.kind, releases(file.kind, &file.releases))).collect();
    let synced = helmfiles.iter().flat_map(|(_, releases)| releases).filter(|release| release.action.syncs());
    let locked =
        synced.filter_map(|release| stored.iter().find(|one| one.is_pending() && one.id() == release.id));
    let unlocks = locked.filter_map(|stored| match recovery::origin(stored, live, now) {
        Origin::Ended(by) => {
            let operation = live.notes.operation(&stored.id(), stored.revision)?;
            Some(Unlock { stored: stored.clone(), run: operation.run.clone(), by })
        }
        // A check or the lock stops the run.
        Origin::AtWork(_) | Origin::Until(..) | Origin::Unknown => None,
    });
    let unlocks = unlocks.collect();
    let adopted = helmfiles.iter().flat_map(|(_, releases)| releases).filter(|release| {
        let stays = matches!(release.action, ReleaseAction::Skip(_) | ReleaseAction::ManagedElsewhere(_));
        !stays && plan_options.adopts(&release.id)
    });
    let claims = live.claims.iter();
    let charts = adopted.flat_map(|release| claims.clone().flat_map(|claims| claims.charts_of(&release.id)));
    let helm_charts = charts.cloned().collect();
    Ok(Plan { namespaces: planned, objects, crds, helmfiles, unlocks, helm_charts })
}

/// Names of releases that are not in the helmfiles.
fn unknown_names(desired: &Desired, plan_options: &PlanOptions) -> Vec<Finding> {
    let known: Vec<_> = desired.releases().map(Release::id).collect();
    let unknown = plan_options.names().filter(|(_, name)| !known.iter().any(|id| id.is_named(name)));
    unknown
        .map(|(flag, name)| {
            Finding::error("plan", "Release is not in the helmfiles")
                .with("release", name)
                .with("flag", flag)
                .with("accepted", known.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// The selected releases, with those that they need and that are not installed; `None` for all.
fn asked_for(
    desired: &Desired,
    stored: &[Stored],
    plan_options: &PlanOptions,
) -> Option<BTreeSet<ReleaseId>> {
    if plan_options.releases.is_empty() {
        return None;
    }
    let named = desired.releases().map(Release::id).filter(|id| id.is_among(&plan_options.releases));
    let mut asked: BTreeSet<_> = named.collect();
    let mut left: Vec<_> = asked.iter().cloned().collect();
    while let Some(id) = left.pop() {
        let needs =
            desired.releases().filter(|release| release.id() == id).flat_map(|release| &release.needs);
        for need in needs {
            let is_there = stored.iter().any(|one| one.id() == *need && one.status == "deployed");
            if !is_there && asked.insert(need.clone()) {
                left.push(need.clone());
            }
        }
    }
    Some(asked)
}

/// Whether a release must be rendered: it will be synced, and chart or values differ from what is installed.
pub(crate) fn needs_rendering(
    release: &Release,
    desired: &Desired,
    live: &Live,
    plan_options: &PlanOptions,
) -> bool {
    let Some(record) = live.records.as_ref().ok().and_then(|records| records.get(&release.id())) else {
        return !releases::is_skipped(release, desired, live, plan_options);
    };
    let version = desired.charts.get(&release.id()).map_or(release.version.as_str(), |chart| &chart.version);
    let same = record.stored.status == "deployed"
        && releases::same_version(&record.version, version)
        && crate::desired::values::changes(&record.values, &release.merged()).is_empty()
        && releases::other_content(release, desired, live, record).is_none();
    !same && !releases::is_skipped(release, desired, live, plan_options)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::namespaces::NamespaceAction as Namespace;
    use super::*;
    use crate::desired::Helmfile;
    use crate::desired::namespaces;
    use crate::desired::releases::parse;
    use crate::observed::claims::Claims;
    use crate::observed::helm_charts::ChartState;
    use crate::observed::run_state::Operation;
    use crate::process::identity::ProcessState;

    fn observed(namespaces: &[(&str, &str)]) -> Live {
        let namespaces =
            namespaces.iter().map(|(name, phase)| ((*name).to_owned(), (*phase).to_owned())).collect();
        let mut live = Live::default();
        live.cluster.namespaces = namespaces;
        live.objects = Ok(BTreeMap::new());
        live.releases = Ok(Vec::new());
        live.claims = Ok(Claims::default());
        live
    }

    fn planned(desired: &Desired, live: &Live, plan_options: &PlanOptions) -> Result<Plan, Vec<Finding>> {
        plan(desired, Some(live), plan_options, SystemTime::UNIX_EPOCH)
    }

    fn desired() -> Desired {
        let none = namespaces::Declared::default();
        let names = ["a", "b", "flux-system"].map(ToOwned::to_owned);
        let namespaces = namespaces::namespaces(&none, Some(&names), std::iter::empty(), std::iter::empty());
        Desired { namespaces, ..Desired::default() }
    }

    #[test]
    fn only_missing_namespaces_are_created() {
        let plan = planned(&desired(), &observed(&[("b", "Active")]), &PlanOptions::default()).unwrap();
        let namespaces: Vec<_> =
            plan.namespaces.iter().map(|plan| (plan.namespace.name.as_str(), plan.action.clone())).collect();
        let created = ["a", "flux-system"].map(|name| (name, Namespace::Create));
        assert_eq!(namespaces, [created[0].clone(), ("b", Namespace::Exists), created[1].clone()]);
    }

    #[test]
    fn without_the_observed_state_nothing_is_changed() {
        let read = || observed(&[]);
        let no = || "no".to_owned();
        let cases = [
            Live { claims: Err(no()), ..read() },
            Live { releases: Err(no()), ..read() },
            Live { objects: Err(no()), ..read() },
        ];
        for live in &cases {
            assert_eq!(
                planned(&desired(), live, &PlanOptions::default()).unwrap_err()[0].summary,
                "Cluster cannot be read"
            );
        }
        assert!(plan(&desired(), None, &PlanOptions::default(), SystemTime::now()).is_err());
        assert!(planned(&desired(), &read(), &PlanOptions::default()).is_ok());
    }

    #[test]
    fn all_refusals_are_reported_at_once() {
        let mut existing = observed(&[("a", "Terminating")]);
        existing.releases =
            Ok(vec![Stored { namespace: "x".to_owned(), name: "old".to_owned(), ..Stored::default() }]);
        let releases =
            parse(b"releases:\n- {name: old, namespace: x, chart: c, installed: false}\n", "default")
                .unwrap()
                .releases;
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        let desired = Desired { helmfiles: vec![helmfile], ..desired() };
        let messages: Vec<_> = planned(&desired, &existing, &PlanOptions::default())
            .unwrap_err()
            .into_iter()
            .map(|finding| finding.summary)
            .collect();
        assert_eq!(messages, ["Namespace is being deleted", "Release would be uninstalled"]);
    }

    /// Three releases of which the last two need the one before.
    fn chain() -> Desired {
        let text = b"releases:\n- {name: a, namespace: n, chart: c}\n- {name: b, namespace: n, chart: c, needs: [n/a]}\n\
            - {name: c, namespace: n, chart: c, needs: [context/n/b]}\n";
        let releases = parse(text, "default").unwrap().releases;
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        Desired { helmfiles: vec![helmfile], ..Desired::default() }
    }

    fn stored(name: &str, status: &str) -> Stored {
        let own = ToOwned::to_owned;
        Stored { namespace: own("n"), name: own(name), status: own(status), revision: 1, ..Stored::default() }
    }

    #[test]
    fn a_selected_release_includes_missing_needs() {
        let synced = |installed: &[&str], name: &str| {
            let mut live = observed(&[]);
            live.releases = Ok(installed.iter().map(|name| stored(name, "deployed")).collect());
            live.records = Ok(BTreeMap::new());
            let plan_options = PlanOptions { releases: vec![name.to_owned()], ..PlanOptions::default() };
            let plan = planned(&chain(), &live, &plan_options).unwrap();
            let synced = plan.releases().filter(|release| release.action.syncs());
            synced.map(|release| release.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(synced(&[], "c"), ["n/a", "n/b", "n/c"]);
        assert_eq!(synced(&["a"], "n/c"), ["n/b", "n/c"]);
        assert_eq!(synced(&["b"], "c"), ["n/c"], "what that needs was there when it was installed");
        assert_eq!(synced(&[], "a"), ["n/a"]);
        let plan_options = PlanOptions { downgrade: vec!["z".to_owned()], ..PlanOptions::default() };
        let unknown = planned(&chain(), &observed(&[]), &plan_options).unwrap_err();
        assert_eq!(unknown[0].summary, "Release is not in the helmfiles");
        assert_eq!(unknown[0].details[2].1, "n/a n/b n/c");
    }

    #[test]
    fn a_release_left_pending_is_recovered() {
        let mut live = observed(&[]);
        live.releases = Ok(vec![stored("a", "pending-install"), stored("b", "pending-install")]);
        live.records = Ok(BTreeMap::new());
        let operation = Operation { run: "host/x".to_owned(), ..Operation::default() };
        live.notes.operations.insert("n/a".into(), operation);
        live.runs.insert("host/x".to_owned(), ProcessState::Ended);
        let plan = planned(&chain(), &live, &PlanOptions::default()).unwrap();
        let unlocked: Vec<_> = plan.unlocks.iter().map(|unlock| unlock.stored.id()).collect();
        assert_eq!(unlocked, ["n/a"], "the owner of the other is unknown");
    }

    #[test]
    fn a_helm_chart_is_removed_only_if_its_release_is_adopted_and_stays() {
        let chart = |addon| HelmChart {
            release: "n/a".into(),
            state: Ok(ChartState { addon, ..ChartState::default() }),
            ..helm_charts::tests::chart()
        };
        let live = |chart: HelmChart| {
            let mut live = observed(&[]);
            live.claims = Ok(Claims { helm_charts: vec![chart], ..Claims::default() });
            live.releases = Ok(vec![stored("a", "deployed")]);
            live.records = Ok(BTreeMap::new());
            live
        };
        let planned = |live: &Live, change: &dyn Fn(&mut PlanOptions)| {
            let mut plan_options = PlanOptions::default();
            change(&mut plan_options);
            planned(&chain(), live, &plan_options).unwrap()
        };
        let adopt = |plan_options: &mut PlanOptions| plan_options.take = vec!["n/a".to_owned()];
        let left = ReleaseAction::ManagedElsewhere("HelmChart kube-system/cilium".into());

        let free = live(chart(None));
        let plan = planned(&free, &|_| ());
        assert_eq!((&plan.releases().next().unwrap().action, plan.helm_charts.len()), (&left, 0));
        let plan = planned(&free, &adopt);
        assert_eq!(plan.helm_charts, [chart(None)]);
        assert!(plan.releases().next().unwrap().action.syncs() && !plan.is_empty());
        let plan = planned(&free, &|options| {
            adopt(options);
            options.releases = vec!["c".to_owned()];
        });
        assert_eq!(plan.helm_charts, [], "the release is not selected");
        // Also if the check that refuses is skipped.
        let plan = planned(&live(chart(Some(helm_charts::tests::addon()))), &adopt);
        assert_eq!((&plan.releases().next().unwrap().action, plan.helm_charts.len()), (&left, 0));
    }

    #[test]
    fn a_release_is_uninstalled_only_on_request() {
        let mut desired = chain();
        desired.helmfiles[0].releases[0].installed = false;
        let mut live = observed(&[]);
        live.releases = Ok(vec![stored("a", "deployed")]);
        live.records = Ok(BTreeMap::new());
        let plan_options = PlanOptions { uninstall: vec!["a".to_owned()], ..PlanOptions::default() };
        let plan = planned(&desired, &live, &plan_options).unwrap();
        assert_eq!(plan.releases().next().unwrap().action, ReleaseAction::Uninstall);
        live.releases = Ok(Vec::new());
        let plan = planned(&desired, &live, &PlanOptions::default()).unwrap();
        assert_eq!(plan.releases().count(), 2, "what is not there need not go");
    }
}
