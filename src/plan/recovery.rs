//! Releases stuck in `pending-*`: who started the operation, and whether it has ended.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::fact::{Fact, MAX_TIMESTAMP};
use crate::base::release_id::ReleaseId;
use crate::observed::Live;
use crate::observed::helm::Stored;
use crate::observed::manager::Manager;
use crate::observed::run_state::Operation;
use crate::process::identity::ProcessState;

/// Who started the operation of a pending release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A run of k3s-boot that has ended, on this host.
    Ended(String),
    /// A run of k3s-boot that is in progress, on this host.
    AtWork(String),
    /// A run of k3s-boot on another machine, whose operation has ended at this time at the latest.
    Until(String, SystemTime),
    Unknown,
}

/// A release stuck in `pending-*`, and whether `recover` skips it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StuckRelease {
    /// The pending revision.
    pub stored: Stored,
    /// Who started the operation, if known.
    pub by: String,
    /// The run of k3s-boot that started it, if one did.
    pub run: Option<String>,
    /// Why it is skipped, if it is.
    pub left: Option<Left>,
}

/// Why a release is not recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Flux or k3s manages it.
    ToOwner(Manager),
    /// The run is in progress.
    AtWork,
    /// Its operation may still be running, until this time or indefinitely.
    TooYoung(Option<SystemTime>),
}

impl Left {
    /// The reason, in a few words.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::ToOwner(owner) => format!("managed by {owner}"),
            Self::AtWork => "the run is still in progress".to_owned(),
            Self::TooYoung(None) => "it is unknown since when the release is pending".to_owned(),
            Self::TooYoung(Some(until)) => {
                format!(
                    "the operation may still be running until {}",
                    humantime::format_rfc3339_seconds(*until)
                )
            }
        }
    }

    pub(crate) fn fix(&self) -> String {
        match self {
            Self::ToOwner(Manager::HelmRelease { namespace, name }) => {
                format!("flux reconcile helmrelease {name} --namespace {namespace} --force")
            }
            Self::ToOwner(owner) => format!("see {owner}"),
            Self::AtWork => "wait until the run has finished".to_owned(),
            Self::TooYoung(_) => "wait, or use --force if nothing is working on the release".to_owned(),
        }
    }
}

/// All stuck releases, and whether to recover them. Operations without a recorded timeout may take `longest`; with `force`,
/// those that may still be running are recovered too.
///
/// # Errors
///
/// The releases or their owners are unknown; the error says why.
pub(crate) fn judge(live: &Live, longest: Duration, force: bool, now: SystemTime) -> Fact<Vec<StuckRelease>> {
    let claims = live.claims.as_ref().map_err(Clone::clone)?;
    let pending = live.releases.as_ref().map_err(Clone::clone)?.iter().filter(|one| one.is_pending());
    let judged = pending.map(|stored| {
        let id = stored.id();
        let (by, young) = match origin(stored, live, now) {
            Origin::Ended(host) => (format!("a run on {host} that has ended"), None),
            Origin::AtWork(host) => (format!("a run on {host}"), Some(Left::AtWork)),
            Origin::Until(host, until) => {
                (format!("a run on {host}"), Some(Left::TooYoung(Some(until))).filter(|_| !force))
            }
            Origin::Unknown if runs_still(live, stored) => {
                ("a run on this machine".to_owned(), Some(Left::AtWork))
            }
            Origin::Unknown => {
                let until = stored.modified.and_then(|at| at.checked_add(longest.as_secs())).and_then(at);
                let young = until.is_none_or(|until| now < until) && !force;
                ("unknown".to_owned(), young.then_some(Left::TooYoung(until)))
            }
        };
        let owner = claims.owner_of(&id).map(|claim| Left::ToOwner(claim.manager));
        let run = live.notes.operation(&id, stored.revision).map(|operation| operation.run.clone());
        StuckRelease { stored: stored.clone(), by, run, left: owner.or(young) }
    });
    Ok(judged.collect())
}

/// Whether the run that started the operation is a running process of this machine.
fn runs_still(live: &Live, stored: &Stored) -> bool {
    let operation = live.notes.operation(&stored.id(), stored.revision);
    operation.is_some_and(|operation| live.runs.get(&operation.run) == Some(&ProcessState::Running))
}

/// Who started the operation of a pending release, judged at this time.
pub(crate) fn origin(stored: &Stored, live: &Live, now: SystemTime) -> Origin {
    let Some(operation) = live.notes.operation(&stored.id(), stored.revision) else { return Origin::Unknown };
    let by = host(&operation.run);
    let holds_lock = live.cluster.lock().is_some_and(|lock| lock.holder == operation.run);
    match live.runs.get(&operation.run) {
        Some(ProcessState::Ended) => Origin::Ended(by),
        _ if holds_lock => Origin::AtWork(by),
        // It has released or lost the lock, but has not ended.
        Some(ProcessState::Running) | None => Origin::Unknown,
        Some(ProcessState::Elsewhere) => {
            let began = stored.modified.unwrap_or(operation.began).max(operation.began);
            match began.checked_add(operation.timeout).and_then(at) {
                Some(until) if now < until => Origin::Until(by, until),
                Some(_) => Origin::Ended(by),
                None => Origin::Unknown,
            }
        }
    }
}

/// A time in seconds since 1970; none if it is out of range.
fn at(seconds: u64) -> Option<SystemTime> {
    (seconds <= MAX_TIMESTAMP).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The host in the identity of a run.
pub(crate) fn host(run: &str) -> String {
    run.split('/').next().unwrap_or(run).to_owned()
}

/// The runs that started the operation of a pending release: whether they are alive must be known.
pub(crate) fn runs<'a>(stored: &'a [Stored], operations: &'a BTreeMap<ReleaseId, Operation>) -> Vec<&'a str> {
    let pending = stored.iter().filter(|one| one.is_pending());
    pending.filter_map(|one| operations.get(&one.id()).map(|operation| operation.run.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::claims::{Claim, Claims};
    use crate::observed::cluster::{LEASE, Lease};
    use crate::observed::run_state::RunState;

    fn live(holder: &str, state: Option<ProcessState>) -> Live {
        let operation = Operation {
            run: "host/x".to_owned(),
            after: 1,
            began: 1000,
            timeout: 900,
            ..Operation::default()
        };
        let mut live = Live {
            notes: RunState { operations: [("n/r".into(), operation)].into(), ..RunState::default() },
            runs: state.map(|state| ("host/x".to_owned(), state)).into_iter().collect(),
            ..Live::default()
        };
        live.cluster.leases = vec![Lease {
            namespace: LEASE.0.to_owned(),
            name: LEASE.1.to_owned(),
            holder: holder.to_owned(),
            ..Lease::default()
        }];
        live
    }

    #[test]
    fn what_may_still_be_running_is_skipped_without_force() {
        let pending = |name: &str, modified| Stored {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            status: "pending-upgrade".to_owned(),
            revision: 2,
            modified,
            ..Stored::default()
        };
        let claim =
            Claim { manager: "HelmRelease apps/flux".into(), release: "n/flux".into(), suspended: true };
        let left = |state, holder: &str, now, force| {
            let mut live = live(holder, Some(state));
            live.releases = Ok(vec![
                pending("r", Some(1010)),
                pending("stranger", Some(1000)),
                pending("timeless", None),
                pending("flux", Some(1)),
            ]);
            live.claims = Ok(Claims { helm_releases: vec![claim.clone()], ..Claims::default() });
            let at = UNIX_EPOCH + Duration::from_secs(now);
            let judged = judge(&live, Duration::from_mins(5), force, at).unwrap();
            judged.into_iter().map(|one| one.left).collect::<Vec<_>>()
        };
        let until = |seconds| Some(Left::TooYoung(Some(UNIX_EPOCH + Duration::from_secs(seconds))));
        let (timeless, owned) =
            (|| Some(Left::TooYoung(None)), || Some(Left::ToOwner("HelmRelease apps/flux".into())));
        let elsewhere = left(ProcessState::Elsewhere, "", 1299, false);
        assert_eq!(elsewhere, [until(1910), until(1300), timeless(), owned()]);
        assert_eq!(left(ProcessState::Elsewhere, "", 1910, false), [None, None, timeless(), owned()]);
        assert_eq!(left(ProcessState::Ended, "", 1020, true), [None, None, None, owned()]);
        assert_eq!(left(ProcessState::Running, "host/x", 1020, true)[0], Some(Left::AtWork));
        assert_eq!(left(ProcessState::Running, "", 9999, true)[0], Some(Left::AtWork));
        assert_eq!(owned().unwrap().fix(), "flux reconcile helmrelease flux --namespace apps --force");
        assert!(judge(&Live::default(), Duration::ZERO, true, UNIX_EPOCH).is_err());
    }

    #[test]
    fn only_operations_that_have_ended_count_as_ended() {
        let stored = Stored {
            namespace: "n".to_owned(),
            name: "r".to_owned(),
            status: "pending-upgrade".to_owned(),
            revision: 2,
            modified: Some(1010),
            ..Stored::default()
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let origin = |live: &Live, now| super::origin(&stored, live, at(now));
        let by = || "host".to_owned();
        assert_eq!(origin(&live("host/x", Some(ProcessState::Ended)), 1020), Origin::Ended(by()));
        assert_eq!(origin(&live("host/x", Some(ProcessState::Running)), 1020), Origin::AtWork(by()));
        assert_eq!(origin(&live("", Some(ProcessState::Running)), 1020), Origin::Unknown);
        assert_eq!(origin(&live("host/x", Some(ProcessState::Elsewhere)), 9999), Origin::AtWork(by()));
        let elsewhere = live("other", Some(ProcessState::Elsewhere));
        assert_eq!(origin(&elsewhere, 1020), Origin::Until(by(), at(1910)));
        assert_eq!(origin(&elsewhere, 1910), Origin::Ended(by()));
        let odd = Stored { modified: Some(u64::MAX - 1), ..stored.clone() };
        assert_eq!(super::origin(&odd, &elsewhere, at(9999)), Origin::Unknown);
        // A number that is not a time is not shown as one.
        for modified in [MAX_TIMESTAMP - 899, MAX_TIMESTAMP, MAX_TIMESTAMP + 1] {
            let late = Stored { modified: Some(modified), ..stored.clone() };
            assert_eq!(super::origin(&late, &elsewhere, at(9999)), Origin::Unknown);
            let nobody_s =
                Live { releases: Ok(vec![late]), claims: Ok(Claims::default()), ..Live::default() };
            let judged = judge(&nobody_s, Duration::from_mins(15), false, at(9999)).unwrap();
            assert_eq!(judged[0].left, Some(Left::TooYoung(None)));
        }
        let other = Stored { revision: 3, ..stored.clone() };
        assert_eq!(super::origin(&other, &elsewhere, at(9999)), Origin::Unknown, "another operation");
        assert_eq!(runs(&[stored], &elsewhere.notes.operations), ["host/x"]);
    }

    proptest::proptest! {
        #[test]
        fn no_times_make_it_panic(modified: Option<u64>, near_modified in MAX_TIMESTAMP - 1000..MAX_TIMESTAMP + 1000, began: u64, timeout: u64, run in "host/x|.{0,9}",
            force: bool, now in 0..MAX_TIMESTAMP) {
            for (modified, began, timeout) in [(modified, began, timeout), (Some(near_modified), near_modified, timeout % 1000)] {
                let stored =
                    Stored { namespace: "n".to_owned(), name: "r".to_owned(), status: "pending-upgrade".to_owned(), revision: 2, modified, ..Stored::default() };
                let mut live = live("other", Some(ProcessState::Elsewhere));
                live.notes.operations.values_mut().for_each(|one| *one = Operation { run: run.clone(), after: 1, began, timeout, ..Operation::default() });
                live.claims = Ok(Claims::default());
                live.releases = Ok(vec![stored]);
                for one in judge(&live, Duration::from_mins(15), force, UNIX_EPOCH + Duration::from_secs(now)).unwrap() {
                    _ = (one.stored.since(), one.left.map(|left| (left.reason(), left.fix())));
                }
            }
        }
    }
}
