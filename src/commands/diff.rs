//! `k3s-boot diff` and `apps --dry-run`: what `apps` would change; changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;

use super::judge::{RightCluster, judge_all};
use super::{Failed, Session};
use crate::base::error::Error;
use crate::base::fact::known;
use crate::base::release_id::ReleaseId;
use crate::base::scratch::Scratch;
use crate::desired::manifests::Manifests;
use crate::desired::manifests::diff::{ObjectChange, ObjectDiff, as_helm_applies, fields};
use crate::desired::objects::ObjectId;
use crate::desired::releases::Release;
use crate::gather::{self, CommandOutputs, Context, Gathered, Purpose};
use crate::observed::Live;
use crate::observed::kinds::Kinds;
use crate::observed::standing::{HELM_MANAGER, ReleaseRef};
use crate::plan::{Plan, needs_rendering, plan};
use crate::report::diff::DiffReport;
use crate::report::{self, ClusterReport};
use crate::settings::Settings;
use crate::tools::Toolbox;

/// The options of `diff`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Whether to compare every object.
    pub manifests: bool,
    /// Whether to exit with code 7 if there are differences.
    pub exit_code: bool,
}

/// Prints what `apps` would change; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn diff(session: &Session<'_>, asked: Asked) -> std::io::Result<u8> {
    let settings = session.settings;
    let report = match Box::pin(make(session, asked.manifests)).await {
        Ok(report) => {
            session.transcript.discard();
            let exit_code = if asked.exit_code && report.changes() { 7 } else { 0 };
            DiffReport { exit_code, ..report }
        }
        Err(error) => {
            let Failed { failure, .. } = session.log_failure(&error, None);
            DiffReport::failed(&error, failure, session.redactor)
        }
    };
    if !settings.json && report.failure.is_none() {
        report::print_text(report.text(), settings.guard)?;
    }
    session.deliver(&report, report.exit_code, false)
}

async fn make(session: &Session<'_>, manifests: bool) -> Result<DiffReport, Error> {
    let Session { settings, redactor, .. } = session;
    let files = gather::files(settings, redactor);
    if gather::stops(&files.problems) {
        return Err(Error::Preflight(files.problems));
    }
    let scratch = Scratch::new(&settings.temp)?;
    let tools = session.toolbox(&files, &scratch)?;
    let context =
        Context { settings, tools: &tools, scratch: &scratch, redactor, outputs: &CommandOutputs::default() };
    let purpose = if manifests { Purpose::Everything } else { Purpose::Plan };
    let mut picture = Box::pin(gather::gather(context, files, purpose, &mut RightCluster)).await?;
    let unchanged = take_unchanged(settings, &mut picture);
    judge_all(settings, &picture.facts())?;
    picture.manifests.objects.extend(unchanged.objects);
    let live = picture.observed.live.as_ref();
    let plan = plan(&picture.desired, live, &settings.plan_options, picture.observed.now)
        .map_err(Error::Preflight)?;
    let objects = match live.filter(|_| manifests) {
        Some(live) => Some(compare(&tools, &picture, &plan, live).await?),
        None => None,
    };
    let cluster = live.map(|live| ClusterReport::new(&tools.target, live));
    Ok(DiffReport::new(&plan, objects.as_deref(), cluster, redactor))
}

/// Removes and returns the manifests that `apps` does not render: those of releases that are up to date.
fn take_unchanged(settings: &Settings, picture: &mut Gathered) -> Manifests {
    let Gathered { desired, observed, manifests, .. } = picture;
    let Some(live) = &observed.live else { return Manifests::default() };
    let is_synced = |release: &&Release| needs_rendering(release, desired, live, &settings.plan_options);
    let synced: BTreeSet<_> = desired.releases().filter(is_synced).map(Release::id).collect();
    let objects = std::mem::take(&mut manifests.objects);
    let (rendered, unchanged) = objects.into_iter().partition(|(release, _)| synced.contains(release));
    manifests.objects = rendered;
    Manifests { objects: unchanged, ..Manifests::default() }
}

/// Compares every object of the rendered manifests with what exists, on the server's side. What cannot be compared is
/// unknown, with the reason.
async fn compare(
    tools: &Toolbox,
    picture: &Gathered,
    plan: &Plan,
    live: &Live,
) -> Result<Vec<ObjectDiff>, Error> {
    let mut found = Vec::new();
    let mut wanted: BTreeMap<ObjectId, (ReleaseId, Value)> = BTreeMap::new();
    for (release, objects) in &picture.manifests.objects {
        match objects {
            Ok(objects) => {
                for object in objects {
                    let Some(mut id) = ObjectId::of(object) else { continue };
                    id.namespace = id.namespace.or_else(|| Some(release.namespace.clone()));
                    wanted.insert(id, (release.clone(), object.clone()));
                }
            }
            Err(reason) => found.push(ObjectDiff {
                release: release.clone(),
                object: "its objects".to_owned(),
                secret: false,
                change: ObjectChange::Unknown(reason.clone()),
            }),
        }
    }
    let compared = wanted.iter().map(async |(id, (release, object))| {
        let (path, change) = match &live.kinds {
            Ok(kinds) => {
                let has_secret_values = plan.has_secret_values(release);
                compare_one(tools, kinds, ReleaseRef { id: release, has_secret_values }, id, object).await?
            }
            Err(reason) => (id.path(), Some(ObjectChange::Unknown(reason.clone()))),
        };
        Ok(change.map(|change| ObjectDiff {
            release: release.clone(),
            object: format!("{} {path}", id.kind),
            secret: id.kind == "Secret",
            change,
        }))
    });
    let compared: Result<Vec<_>, Error> = join_all(compared).await.into_iter().collect();
    found.extend(compared?.into_iter().flatten());
    Ok(found)
}

/// The change of one object, if any, and its `namespace/name`. Cluster-scoped objects come with the namespace of their
/// release.
async fn compare_one(
    tools: &Toolbox,
    kinds: &Kinds,
    release: ReleaseRef<'_>,
    id: &ObjectId,
    object: &Value,
) -> Result<(String, Option<ObjectChange>), Error> {
    let Some(resource) = kinds.of(&id.kind, id.group()) else {
        return Ok((id.path(), Some(ObjectChange::Create)));
    };
    let id = if resource.namespaced { id.clone() } else { ObjectId { namespace: None, ..id.clone() } };
    // In the version of the manifest: another one may have other fields.
    let path = resource.object_in(id.version(), id.namespace.as_deref(), &id.name);
    let change = match known(tools.api_get::<Value>(&path).await)? {
        Ok(None) => Some(ObjectChange::Create),
        Ok(Some(live)) => {
            let object = as_helm_applies(&id, release.id, object, &live);
            match tools.dry_run(&path, &object, HELM_MANAGER, release.withholds(&id)).await? {
                Ok(applied) => Some(fields(&live, &applied))
                    .filter(|fields| !fields.is_empty())
                    .map(ObjectChange::Change),
                Err(reason) => Some(ObjectChange::Unknown(reason)),
            }
        }
        Err(reason) => Some(ObjectChange::Unknown(reason)),
    };
    Ok((id.path(), change))
}
