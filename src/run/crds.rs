//! Stage *crds*: the custom resource definitions of a helmfile that is only rendered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::stages::Stage;
use crate::base::waiting::Waiting;
use crate::desired::crds::{APPLIED, Crd};
use crate::observed::crds::path;
use crate::plan::crds::{CrdAction, CrdPlan};
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};
use crate::tools::kubectl::FIELD_MANAGER;

/// An API server establishes a definition within a second.
const ESTABLISHED_TIMEOUT: Duration = Duration::from_mins(1);

/// After this time, definitions are read one by one, to see why they are not established.
const EXPLAIN_AFTER: Duration = Duration::from_secs(1);

/// How often the API server is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(200);

/// Applies the definitions that are not up to date, and waits until their objects can be created.
///
/// # Errors
///
/// The API server rejects a definition, or does not establish it in time.
pub(crate) async fn run(tools: &Toolbox, crds: &[Crd], plan: &[CrdPlan]) -> Result<(), Error> {
    let start = Instant::now();
    plan.iter().for_each(log_kept);
    let wanted = plan.iter().filter(|one| one.action.applies());
    let wanted: Vec<_> =
        wanted.filter_map(|one| Some((one, crds.iter().find(|crd| crd.name == one.name)?))).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for (plan, _) in &wanted {
        *counts.entry(&plan.release).or_default() += 1;
    }
    for (release, crds) in &counts {
        tracing::info!(release = %release, crds = %crds, "Applying CRDs");
    }
    let applied = join_all(wanted.iter().map(|(plan, crd)| apply(tools, plan, crd))).await;
    applied.into_iter().collect::<Result<Vec<()>, Error>>()?;
    let names: Vec<_> = wanted.iter().map(|(plan, _)| plan.name.as_str()).collect();
    wait_established(tools, Stage::Crds, &names).await?;
    tracing::info!(crds = %names.len(), took = %seconds(start.elapsed()), "CRDs applied");
    Ok(())
}

async fn apply(tools: &Toolbox, plan: &CrdPlan, crd: &Crd) -> Result<(), Error> {
    let (CrdAction::Create(mark) | CrdAction::Change(_, mark)) = &plan.action else { return Ok(()) };
    let mut object = crd.object();
    let annotations = &mut object["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = Value::Object(serde_json::Map::new());
    }
    annotations[APPLIED] = mark.as_str().into();
    let path = format!("{}?force=true&fieldManager={}", path(&crd.name), segment(FIELD_MANAGER));
    tools.ask(Call::apply(&path, &object)).await?.good().map(drop)
}

/// Waits until objects of these kinds can be created.
///
/// # Errors
///
/// The API server does not establish one in time, or does not answer.
pub(super) async fn wait_established(tools: &Toolbox, stage: Stage, names: &[&str]) -> Result<(), Error> {
    let deadline = tools.clock.cap(ESTABLISHED_TIMEOUT);
    let start = Instant::now();
    let mut waiting = Waiting::new("Waiting for CRDs").within(deadline);
    let mut left: Vec<_> = names.iter().map(|name| (*name, String::new())).collect();
    loop {
        // One request for all: only an established definition is listed.
        let kinds = tools.observe_kinds().await?;
        left.retain(|(name, _)| kinds.named(name).is_none());
        if start.elapsed() > EXPLAIN_AFTER {
            left = unestablished(tools, left).await?;
        }
        let Some((name, reason)) = left.first() else { return Ok(()) };
        if start.elapsed() > deadline {
            let colon = if reason.is_empty() { "" } else { ": " };
            let waiting_for = format!("CustomResourceDefinition {name}{colon}{reason}");
            return Err(Error::Deadline { stage: stage.name(), after: deadline, waiting_for });
        }
        let names: Vec<_> = left.iter().map(|(name, _)| *name).collect();
        waiting.say(&[("waiting_for", names.join(", "))]);
        tools.runner.stop().sleep(INTERVAL).await?;
    }
}

/// Those that are not established, each with the reason: one without served versions is never listed.
async fn unestablished<'a>(
    tools: &Toolbox,
    names: Vec<(&'a str, String)>,
) -> Result<Vec<(&'a str, String)>, Error> {
    let states = join_all(names.iter().map(|(name, _)| tools.unestablished(name))).await;
    let mut left = Vec::new();
    for ((name, _), reason) in names.into_iter().zip(states) {
        left.extend(reason?.map(|reason| (name, reason)));
    }
    Ok(left)
}

/// Logs why a definition is not applied, unless it is up to date.
pub(crate) fn log_kept(plan: &CrdPlan) {
    let CrdPlan { release, name, action } = plan;
    match action {
        CrdAction::Create(_) | CrdAction::Change(..) | CrdAction::UpToDate => {}
        CrdAction::ManagedElsewhere(owner) => {
            tracing::debug!(crd = %name, release = %release, owner = %owner, "CRD is managed elsewhere");
        }
        CrdAction::Newer => {
            tracing::info!(crd = %name, release = %release, "CRD is newer in the cluster and stays");
        }
        CrdAction::KeepsVersions(versions) => {
            let versions = versions.join(" ");
            tracing::warn!(crd = %name, release = %release, versions = %versions, "CRD has stored versions that the chart has not, and stays");
        }
        CrdAction::Rejected(reason) => {
            tracing::warn!(crd = %name, release = %release, reason = %reason, "CRD is rejected by the API server and stays");
        }
    }
}
