//! Watches releases while helm syncs them, to report problems at once and not when helm times out.
//!
//! Two watches signal that a pod or a warning event has changed; then the release is read, at most about once per second.
//! While nothing changes, nothing is read.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::base::diagnosis::Diagnosis;
use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::known_failures::{KnownFailure, find};
use crate::base::logger::{self, Level};
use crate::base::object_ref::ObjectRef;
use crate::base::progress;
use crate::base::release_id::ReleaseId;
use crate::base::waiting::SAY_EVERY;
use crate::desired::installs_cni;
use crate::desired::releases::Release;
use crate::diagnose::deleted::DeletedWorkloads;
use crate::diagnose::flux::stalled_instance;
use crate::diagnose::pods::{PodProblem, Stage};
use crate::observed::revisions::Generations;
use crate::observed::workloads::{Workload, pending, unready_workloads};
use crate::run::inspect::{Seen, diagnose};
use crate::tools::Toolbox;

/// Releases are not read before this age.
const MIN_AGE: Duration = Duration::from_millis(1500);

/// The minimum interval between two reads.
const PAUSE: Duration = Duration::from_secs(1);

/// After this time, workloads that helm has not changed stay unchanged: it renders the chart first. Hooks run before that.
const APPLY_TIME: Duration = Duration::from_secs(30);

/// The chart whose release waits for flux-operator.
const FLUX: &str = "flux-instance";

/// A release that helm is syncing.
#[derive(Clone, Copy)]
pub(super) struct AtWork<'a> {
    pub(super) release: &'a Release,
    pub(super) since: Instant,
    /// The timeout of helm.
    pub(super) deadline: Duration,
}

/// Watches the releases that helm is syncing.
pub(super) struct Watcher<'a> {
    tools: &'a Toolbox,
    fail_fast: bool,
    /// Events until then are older than this sync, as RFC 3339 by the clock of the cluster.
    before: &'a str,
    /// The generations of workloads before the sync, if they could be read.
    generations: Option<&'a Generations>,
    woken: Notify,
    /// Since when a problem exists, by release, problem, and whether it concerns the current revision.
    problems: RefCell<BTreeMap<(ReleaseId, String, bool), Instant>>,
    warned: RefCell<BTreeSet<(ReleaseId, String)>>,
    /// What of each release is not ready.
    pending: RefCell<BTreeMap<ReleaseId, String>>,
    deleted: RefCell<DeletedWorkloads>,
    /// When the progress was last logged.
    logged: Cell<Instant>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(
        tools: &'a Toolbox,
        fail_fast: bool,
        before: &'a str,
        generations: Option<&'a Generations>,
    ) -> Self {
        Self {
            tools,
            fail_fast,
            before,
            generations,
            woken: Notify::new(),
            problems: RefCell::default(),
            warned: RefCell::default(),
            pending: RefCell::default(),
            deleted: RefCell::default(),
            logged: Cell::new(Instant::now()),
        }
    }

    /// What of a release was not ready when it was last read.
    pub(super) fn pending(&self, release: &ReleaseId) -> Option<String> {
        self.pending.borrow().get(release).cloned()
    }

    /// Watches until one of the releases cannot become ready; forever if all can.
    pub(super) async fn keep(&self, at_work: impl Fn() -> Vec<AtWork<'a>>) -> (ReleaseId, Diagnosis) {
        // Most releases are synced before there is anything to see.
        while at_work().iter().all(|one| one.since.elapsed() < MIN_AGE) {
            sleep(MIN_AGE / 3).await;
        }
        let wake = || self.woken.notify_one();
        tokio::select! {
            never = self.tools.watch("/api/v1/pods", wake) => match never {},
            never = self.tools.watch("/api/v1/events?fieldSelector=type%3DWarning", wake) => match never {},
            found = self.watch_releases(at_work) => found,
        }
    }

    async fn watch_releases(&self, at_work: impl Fn() -> Vec<AtWork<'a>>) -> (ReleaseId, Diagnosis) {
        // When a problem deserves a warning if it still exists then.
        let mut unsettled: Option<Instant> = None;
        loop {
            let until_logged = SAY_EVERY.saturating_sub(self.logged.get().elapsed());
            let next = unsettled.map_or(until_logged, |then| then.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = self.woken.notified() => {}
                () = sleep(next.min(until_logged)) => {}
            }
            let due = self.logged.get().elapsed() >= SAY_EVERY;
            unsettled = None;
            let at_work = at_work();
            let network_comes = at_work.iter().any(|one| installs_cni(one.release.chart_name()));
            for one in at_work {
                let young = one.since + MIN_AGE;
                if Instant::now() < young {
                    unsettled = Some(earlier(unsettled, young));
                    continue;
                }
                // The cluster may be unreachable for a while; the next read shows.
                match self.look(one, due, network_comes).await {
                    Ok(Look::Blocked(diagnosis)) => return (one.release.id(), diagnosis),
                    Ok(Look::Unsettled(then)) => unsettled = Some(earlier(unsettled, then)),
                    Ok(Look::Settled) | Err(_) => {}
                }
            }
            if due {
                self.logged.set(Instant::now());
            }
            sleep(PAUSE).await;
        }
    }

    async fn look(&self, one: AtWork<'a>, due: bool, network_comes: bool) -> Result<Look, Error> {
        let id = one.release.id();
        let mut seen = Seen::of(self.tools, &id).await?;
        if one.since.elapsed() < APPLY_TIME || runs_hook(&seen.workloads, &id) {
            for workload in &mut seen.workloads {
                workload.is_unchanged = self.is_unchanged(workload);
            }
        }
        let pending = pending(&seen.workloads, &id).join(", ");
        show_progress(&id, one, &pending, due);
        let mut problems = seen.problems(self.tools, &id, self.before).await?;
        problems.extend(self.deleted.borrow_mut().find(&id, &seen.workloads));
        self.pending.borrow_mut().insert(id.clone(), pending);
        if one.release.chart_name() == FLUX {
            if let Some((object, state)) = stalled_instance(&self.tools.observe_flux().await?) {
                let stalled =
                    PodProblem { object, stage: Stage::Refused, state, crashed: None, is_current: true };
                return Ok(Look::Blocked(diagnose(self.tools, &id, stalled, &seen.events).await));
            }
            problems.extend(seen.flux_problems(self.before));
        }
        let mut unsettled = None;
        let mut there = BTreeSet::new();
        for problem in problems {
            let known = find(&problem.state);
            let ends = problem.is_current
                && (known.is_some_and(KnownFailure::is_permanent)
                    || (self.fail_fast && rarely_recovers(&problem, known)));
            let warned = (id.clone(), key(&problem));
            let key = (id.clone(), warned.1.clone(), problem.is_current);
            there.insert(key.clone());
            if self.warned.borrow().contains(&warned) && !ends {
                continue;
            }
            let since = *self.problems.borrow_mut().entry(key).or_insert_with(Instant::now);
            let worth_a_warning = since + grace(problem.stage, known, network_comes);
            if Instant::now() < worth_a_warning {
                unsettled = Some(earlier(unsettled, worth_a_warning));
                continue;
            }
            let diagnosis = diagnose(self.tools, &id, problem, &seen.events).await;
            if ends {
                return Ok(Look::Blocked(diagnosis));
            }
            warn(&id, diagnosis);
            self.warned.borrow_mut().insert(warned);
        }
        // A problem that recurs gets a grace period again.
        self.problems.borrow_mut().retain(|key, _| key.0 != id || there.contains(key));
        Ok(unsettled.map_or(Look::Settled, Look::Unsettled))
    }

    /// Whether a workload has not changed since before the sync, or that is unknown.
    fn is_unchanged(&self, workload: &Workload) -> bool {
        let before = |generations: &Generations| generations.get(&workload.uid) == Some(&workload.generation);
        self.generations.is_none_or(before)
    }
}

/// Whether helm waits for a hook of this release.
fn runs_hook(workloads: &[Workload], release: &ReleaseId) -> bool {
    unready_workloads(workloads, release).any(|workload| workload.annotations.contains_key("helm.sh/hook"))
}

fn earlier(one: Option<Instant>, other: Instant) -> Instant {
    one.map_or(other, |one| one.min(other))
}

/// The result of reading a release.
enum Look {
    /// Nothing new.
    Settled,
    /// A problem that deserves a warning if it still exists then.
    Unsettled(Instant),
    /// The release cannot become ready.
    Blocked(Diagnosis),
}

/// Identifies a problem across reads, although its message counts up and its pod is replaced.
fn key(problem: &PodProblem) -> String {
    let known = find(&problem.state).map(|known| known.id);
    // Without the suffix that a controller adds.
    let ObjectRef { kind, namespace, name } = &problem.object;
    let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name);
    format!(
        "{kind} {namespace}/{name} {}",
        known.map_or_else(|| format!("{:?}", problem.stage), ToOwned::to_owned)
    )
}

/// How long a problem must exist before it deserves a warning: many resolve themselves while a cluster comes up.
/// `network_comes` says whether the network plugin is being installed: until then no node is ready, and its images are large.
fn grace(stage: Stage, known: Option<&KnownFailure>, network_comes: bool) -> Duration {
    let known = known.map_or("", |known| known.id);
    Duration::from_secs(match stage {
        _ if waits_for_network(known) && network_comes => 60,
        _ if waits_for_network(known) => 3,
        // It is created some seconds after its namespace.
        _ if known == "service-account" => 20,
        // Programs and volume provisioners take a while to get ready and emit warnings meanwhile.
        _ if known == "readiness" || known == "volume" => 20,
        Stage::Unstarted => 0,
        Stage::Unplaced | Stage::Refused | Stage::Ended => 2,
        Stage::Node | Stage::Warned => 8,
        Stage::Unready | Stage::Follows => 20,
    })
}

/// Whether a known failure may be over once the network works and nodes are ready.
fn waits_for_network(known: &str) -> bool {
    ["node-not-ready", "node-down", "cni"].contains(&known)
}

/// Whether a problem rarely resolves itself, so that `--fail-fast` stops. A container that exited once is restarted, and the
/// `ServiceAccount` of a new namespace is created later.
fn rarely_recovers(problem: &PodProblem, known: Option<&KnownFailure>) -> bool {
    matches!(problem.stage, Stage::Unplaced | Stage::Unstarted | Stage::Refused)
        && !known.is_some_and(|known| waits_for_network(known.id) || known.id == "service-account")
}

fn warn(release: &ReleaseId, diagnosis: Diagnosis) {
    let mut pairs = vec![("release", release.to_string())];
    pairs.extend(diagnosis.fields(None));
    logger::log(Level::Warn, "Release is blocked", &pairs);
}

/// Shows what a release waits for: in the progress display, or in the log if that is `due`. Without pending workloads, helm is
/// still applying, or waits for a hook or custom resources.
fn show_progress(release: &ReleaseId, one: AtWork<'_>, pending: &str, due: bool) {
    let elapsed = one.since.elapsed();
    let left = crate::base::waiting::left(one.deadline, elapsed);
    let pending = Some(pending).filter(|pending| !pending.is_empty());
    if progress::show(&release.to_string(), Some((one.since, one.deadline)), || words(release, pending))
        || !due
    {
        return;
    }
    let mut pairs = vec![("release", release.to_string()), ("elapsed", seconds(elapsed))];
    pairs.extend(pending.map(|pending| ("pending", pending.to_owned())));
    pairs.extend(left.map(|left| ("remaining", left)));
    logger::log(Level::Info, "Waiting for release", &pairs);
}

/// A line of the progress display.
fn words(release: &ReleaseId, pending: Option<&str>) -> String {
    let pending = pending.map(|pending| format!(": {pending}")).unwrap_or_default();
    format!("{release}{pending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(object: &str, stage: Stage, words: &str) -> PodProblem {
        PodProblem { object: object.into(), stage, state: words.to_owned(), crashed: None, is_current: true }
    }

    #[test]
    fn a_problem_is_recognized_again() {
        let crash = |pod: &str, count: u32| {
            let state =
                format!("container main: CrashLoopBackOff, exited with code 1 (Error), {count} restarts");
            key(&problem(pod, Stage::Unstarted, &state))
        };
        assert_eq!(crash("Pod n/cilium-abcde", 1), crash("Pod n/cilium-fghij", 2));
        let other = key(&problem("Pod n/cilium-abcde", Stage::Unplaced, "1 Insufficient cpu."));
        assert_ne!(crash("Pod n/cilium-abcde", 1), other);
    }

    #[test]
    fn short_problems_are_not_warned_of() {
        let wait = |stage, state: &str| grace(stage, find(state), true).as_secs();
        assert_eq!(wait(Stage::Unstarted, "container main: ImagePullBackOff"), 0);
        assert_eq!(wait(Stage::Unplaced, "1 Insufficient cpu."), 2);
        let no_node = "untolerated taint {node.kubernetes.io/not-ready: }";
        assert_eq!(wait(Stage::Unplaced, no_node), 60);
        assert_eq!(grace(Stage::Unplaced, find(no_node), false).as_secs(), 3);
        assert!(wait(Stage::Unready, "container main: running but not ready") > 10);
        assert!(wait(Stage::Warned, "Unhealthy: Startup probe failed: connection refused") > 10);
        let rarely_recovers =
            |state| super::rarely_recovers(&problem("Pod n/a-b", Stage::Unplaced, state), find(state));
        assert!(!rarely_recovers(no_node));
        assert!(rarely_recovers("1 Insufficient cpu."));
        let no_account = "FailedCreate: Error creating: pods \"a\" is forbidden: error looking up service account n/default: \
                          serviceaccount \"default\" not found";
        assert!(!rarely_recovers(no_account));
        assert!(wait(Stage::Refused, no_account) > 10);
    }
}
