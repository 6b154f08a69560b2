//! What a run records on its lock, before and after it syncs releases.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::error::Error;
use crate::base::release_id::ReleaseId;
use crate::desired::Desired;
use crate::observed::Live;
use crate::observed::helm::Stored;
use crate::observed::run_state::{Operation, RunState, Synced};
use crate::observed::standing::ObjectState;
use crate::plan::Plan;
use crate::plan::releases::ReleaseAction;
use crate::process::identity::Identity;
use crate::tools::Toolbox;

/// The notes before the plan is executed: the releases that will be synced, and the state of those that are up to date.
/// `longest` is the timeout of an operation.
pub(crate) fn before(
    plan: &Plan,
    desired: &Desired,
    live: &Live,
    longest: Duration,
    now: SystemTime,
) -> RunState {
    let stored = live.releases.as_deref().unwrap_or_default();
    let find = |id: &ReleaseId| stored.iter().find(|one| one.id() == *id);
    let mut notes = live.notes.clone();
    // Other operations were never started, or ended long ago.
    let is_of = |id: &ReleaseId, one: &Stored| {
        live.notes.operation(id, one.revision).is_some() || live.notes.is_unfinished(id, one.revision)
    };
    notes.operations.retain(|id, _| find(id).is_some_and(|one| is_of(id, one)));
    notes.releases.retain(|id, _| find(id).is_some());
    for release in plan.releases() {
        let found = find(&release.id);
        if release.action == ReleaseAction::UpToDate
            && let (Some(Ok(standing)), Some(stored)) = (live.standing.get(&release.id), found)
        {
            notes.operations.remove(&release.id);
            notes.releases.extend(synced(desired, stored, standing));
        }
    }
    let longest = |id: &ReleaseId| {
        let own = desired.releases().find(|release| release.id() == *id).and_then(|release| release.timeout);
        own.unwrap_or_default().max(longest.as_secs())
    };
    let stored = stored.iter().map(|one| {
        // Stuck revisions are deleted first.
        (one.id(), if one.is_pending() { one.revision.saturating_sub(1) } else { one.revision })
    });
    let stored: BTreeMap<_, _> = stored.collect();
    let chart = |id: &ReleaseId| desired.charts.get(id).and_then(|chart| chart.digest.clone());
    let (run, began) = (Identity::own().to_string(), seconds(now));
    notes.operations.extend(ids(plan).map(|id| {
        let after = stored.get(id).copied().unwrap_or_default();
        let secret_values = plan.has_secret_values(id);
        let (run, timeout, chart) = (run.clone(), longest(id), chart(id));
        (id.to_owned(), Operation { run, after, began, timeout, chart, secret_values, concluded: false })
    }));
    notes
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Records that helmfile has completed the operations of these releases.
pub(crate) fn conclude(notes: &mut RunState, releases: &[ReleaseId]) {
    for id in releases {
        if let Some(operation) = notes.operations.get_mut(id) {
            operation.concluded = true;
        }
    }
}

/// Records that the same run retries these releases.
pub(crate) fn again(notes: &mut RunState, releases: &[&ReleaseId], stored: &[Stored], now: SystemTime) {
    for id in releases {
        if let Some(operation) = notes.operations.get_mut(*id) {
            operation.after = stored.iter().find(|one| one.id() == **id).map_or(0, |one| one.revision);
            operation.began = seconds(now);
        }
    }
}

/// The releases that are synced.
fn ids(plan: &Plan) -> impl Iterator<Item = &ReleaseId> {
    let synced = plan.releases().filter(|release| release.action.syncs());
    synced.filter(|release| release.action != ReleaseAction::Uninstall).map(|release| &release.id)
}

/// The note of a synced release, without its objects if some are missing.
fn synced(desired: &Desired, stored: &Stored, standing: &ObjectState) -> Option<(ReleaseId, Synced)> {
    let id = stored.id();
    let chart = desired.charts.get(&id)?.digest.clone()?;
    // The next run reads manually changed objects again.
    let whole = standing.missing.is_empty() && standing.drift.is_empty();
    let objects = if whole { standing.stamps.clone() } else { String::new() };
    let release = desired.releases().find(|release| release.id() == id);
    let secret_values = release.is_some_and(|release| release.has_secret_values);
    Some((id, Synced { revision: stored.revision, chart, objects, secret_values }))
}

/// The notes after the plan was executed.
///
/// # Errors
///
/// The API server does not respond, or k3s-boot was interrupted.
pub(crate) async fn after(
    tools: &Toolbox,
    plan: &Plan,
    desired: &Desired,
    mut notes: RunState,
) -> Result<RunState, Error> {
    let (kinds, releases) = tokio::join!(tools.observe_kinds(), tools.observe_releases());
    let releases = releases?;
    let ids: Vec<_> = ids(plan).map(ToOwned::to_owned).collect();
    let done: Vec<_> =
        releases.iter().filter(|one| one.status == "deployed" && ids.contains(&one.id())).collect();
    let records = tools.observe_records(&done).await?;
    let live = Live { kinds: Ok(kinds?), records: Ok(records), ..Live::default() };
    let synced_releases: Vec<_> = desired.releases().filter(|release| ids.contains(&release.id())).collect();
    let standing = tools.observe_object_states(&live, &synced_releases, false).await?;
    for stored in done {
        let id = stored.id();
        notes.operations.remove(&id);
        if let Some(Ok(standing)) = standing.get(&id) {
            notes.releases.extend(synced(desired, stored, standing));
        }
    }
    Ok(notes)
}
