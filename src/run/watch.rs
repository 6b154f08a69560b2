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
use crate::base::known_failures::KnownFailure;
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
use crate::observed::events::Event;
use crate::observed::flux::Resource;
use crate::observed::revisions::Generations;
use crate::observed::workloads::{Workload, pending, unready_workloads};
use crate::run::inspect::{Seen, diagnose, others};
use crate::tools::Toolbox;

/// Releases are not read before this age.
const MIN_AGE: Duration = Duration::from_millis(1500);

/// The minimum interval between two reads.
const PAUSE: Duration = Duration::from_secs(1);

/// After this time, workloads that helm has not changed stay unchanged: it renders the chart first. Hooks run before that.
const APPLY_TIME: Duration = Duration::from_secs(30);

/// How long pods wait for a CNI that no known release installs: another chart may bring one, or k3s a little later.
const CNI_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Options for watching releases.
#[derive(Clone, Copy)]
pub(crate) struct WatchOptions<'a> {
    /// Whether to stop at problems that rarely resolve themselves.
    pub fail_fast: bool,
    /// Events until then are older than this sync, as RFC 3339 by the clock of the cluster.
    pub before: &'a str,
    /// The generations of workloads before the sync, if they could be read.
    pub generations: Option<&'a Generations>,
    /// The fix if no node has a CNI, and no release installs one.
    pub missing_cni: Option<&'static str>,
}

/// Watches the releases that helm is syncing.
pub(super) struct Watcher<'a> {
    tools: &'a Toolbox,
    options: WatchOptions<'a>,
    woken: Notify,
    /// Since when a problem exists, by release, problem, and whether it concerns the current revision.
    problems: RefCell<BTreeMap<(ReleaseId, String, bool), Instant>>,
    warned: RefCell<BTreeSet<(ReleaseId, String)>>,
    /// What of each release is not ready.
    pending: RefCell<BTreeMap<ReleaseId, String>>,
    deleted: RefCell<DeletedWorkloads>,
    /// When the progress was last logged.
    logged: Cell<Instant>,
    /// The releases whose pods have waited for a CNI for [`CNI_TIMEOUT`].
    without_cni: RefCell<BTreeSet<ReleaseId>>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(tools: &'a Toolbox, options: WatchOptions<'a>) -> Self {
        Self {
            tools,
            options,
            without_cni: RefCell::default(),
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
            let ids: BTreeSet<_> = at_work.iter().map(|one| one.release.id()).collect();
            for one in at_work {
                let young = one.since + MIN_AGE;
                if Instant::now() < young {
                    unsettled = Some(earlier(unsettled, young));
                    continue;
                }
                // The cluster may be unreachable for a while; the next read shows.
                match self.look(one, due, network_comes).await {
                    Ok(Look::Blocked(diagnosis)) => return (one.release.id(), diagnosis),
                    // One of the others may install an unknown CNI.
                    Ok(Look::WithoutCni(diagnosis)) if ids.is_subset(&self.without_cni.borrow()) => {
                        return (one.release.id(), diagnosis);
                    }
                    Ok(Look::WithoutCni(_)) => unsettled = Some(earlier(unsettled, Instant::now() + PAUSE)),
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
        let is_flux = one.release.chart_name() == FLUX;
        let flux = if is_flux { Some(self.tools.observe_flux().await?) } else { None };
        let mut pending = pending(&seen.workloads, &id);
        if let Some(flux) = &flux {
            pending.extend(seen.unready_controllers().map(Workload::words));
            let unready = flux.instance.iter().filter(|instance| !instance.has("Ready", "True"));
            pending.extend(unready.map(Resource::words));
        }
        let pending = pending.join(", ");
        show_progress(&id, one, &pending, due);
        let mut problems = seen.problems(self.tools, &id, self.options.before).await?;
        problems.extend(self.deleted.borrow_mut().find(&id, &seen.workloads));
        self.pending.borrow_mut().insert(id.clone(), pending);
        if let Some(flux) = flux {
            if let Some(problem) = stalled_instance(&flux) {
                let fix = problem.advice(false);
                let stalled = PodProblem::new(problem.object, Stage::Refused, problem.reason);
                let diagnosis = diagnose(self.tools, &id, stalled, &seen.events).await;
                return Ok(Look::Blocked(Diagnosis {
                    fix: diagnosis.fix.clone().or(Some(fix)),
                    ..diagnosis
                }));
            }
            problems.extend(seen.flux_problems(self.options.before));
        }
        let mut unsettled = None;
        let mut there = BTreeSet::new();
        let mut without_cni = None;
        // A pod that runs without a CNI may be that of an unknown one.
        let missing_cni = self.options.missing_cni.filter(|_| seen.nodes_of_waiting(&id).is_empty());
        for problem in &problems {
            let known = problem.known();
            let ends = problem.is_current
                && (known.is_some_and(KnownFailure::is_permanent)
                    || (self.options.fail_fast && rarely_recovers(problem, known)));
            let warned = (id.clone(), key(problem));
            let key = (id.clone(), warned.1.clone(), problem.is_current);
            there.insert(key.clone());
            let since = *self.problems.borrow_mut().entry(key).or_insert_with(Instant::now);
            let cni_fix = missing_cni.filter(|_| known.is_some_and(|known| waits_for_network(known.id)));
            if cni_fix.is_some() {
                let late = since + CNI_TIMEOUT;
                if Instant::now() >= late {
                    without_cni = without_cni.or(Some(problem));
                } else {
                    unsettled = Some(earlier(unsettled, late));
                }
            }
            if self.warned.borrow().contains(&warned) && !ends {
                continue;
            }
            let worth_a_warning = since + grace(problem, known, network_comes);
            if Instant::now() < worth_a_warning {
                unsettled = Some(earlier(unsettled, worth_a_warning));
                continue;
            }
            let diagnosis = self.diagnose(&id, problem, &seen.events).await;
            if ends {
                return Ok(Look::Blocked(Diagnosis {
                    also_blocked: others(&problems, problem),
                    ..diagnosis
                }));
            }
            warn(&id, diagnosis);
            self.warned.borrow_mut().insert(warned);
        }
        // A problem that recurs gets a grace period again.
        self.problems.borrow_mut().retain(|key, _| key.0 != id || there.contains(key));
        if let Some(problem) = without_cni {
            self.without_cni.borrow_mut().insert(id.clone());
            let diagnosis = self.diagnose(&id, problem, &seen.events).await;
            return Ok(Look::WithoutCni(Diagnosis { also_blocked: others(&problems, problem), ..diagnosis }));
        }
        self.without_cni.borrow_mut().remove(&id);
        Ok(unsettled.map_or(Look::Settled, Look::Unsettled))
    }

    /// The diagnosis of a problem; of pods that wait for a CNI, with the fix of the preflight.
    async fn diagnose(&self, release: &ReleaseId, problem: &PodProblem, events: &[Event]) -> Diagnosis {
        let diagnosis = diagnose(self.tools, release, problem.clone(), events).await;
        let waits = problem.known().is_some_and(|known| waits_for_network(known.id));
        match self.options.missing_cni.filter(|_| waits) {
            Some(fix) => Diagnosis { cause: Some(NO_CNI), fix: Some(fix.to_owned()), ..diagnosis },
            None => diagnosis,
        }
    }

    /// Whether a workload has not changed since before the sync, or that is unknown.
    fn is_unchanged(&self, workload: &Workload) -> bool {
        let before = |generations: &Generations| generations.get(&workload.uid) == Some(&workload.generation);
        self.options.generations.is_none_or(before)
    }
}

/// Whether helm waits for a hook of this release.
fn runs_hook(workloads: &[Workload], release: &ReleaseId) -> bool {
    unready_workloads(workloads, release).any(|workload| workload.annotations.contains_key("helm.sh/hook"))
}

fn earlier(one: Option<Instant>, other: Instant) -> Instant {
    one.map_or(other, |one| one.min(other))
}

/// The cause if no node can run pods.
const NO_CNI: &str = "the nodes wait for a CNI, and no release installs a known one";

/// The result of reading a release.
enum Look {
    /// Nothing new.
    Settled,
    /// A problem that deserves a warning if it still exists then.
    Unsettled(Instant),
    /// The release cannot become ready.
    Blocked(Diagnosis),
    /// Its pods wait for a CNI for too long.
    WithoutCni(Diagnosis),
}

/// Identifies a problem across reads, although its message counts up and its pod is replaced.
fn key(problem: &PodProblem) -> String {
    // A container that crashes alternates between two states.
    let known = if problem.is_crash() { Some("crash") } else { problem.known().map(|known| known.id) };
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
fn grace(problem: &PodProblem, known: Option<&KnownFailure>, network_comes: bool) -> Duration {
    let known = known.map_or("", |known| known.id);
    let usual = Duration::from_secs(match problem.stage {
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
    });
    usual.max(problem.patience)
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
    use crate::base::known_failures::{Origin, find};
    use crate::diagnose::pods::LogSource;

    fn problem(object: &str, stage: Stage, words: &str) -> PodProblem {
        PodProblem::new(object.into(), stage, words.to_owned())
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
    fn the_two_states_of_a_crash_are_one_problem() {
        let crash = |stage, state: &str| {
            let logs = Some(LogSource { container: "main".to_owned(), is_previous: true });
            key(&PodProblem { logs, ..problem("Pod n/a-b", stage, state) })
        };
        let exited = crash(Stage::Ended, "container main, exited with code 3 (Error), 0 restarts");
        let waits = "container main: CrashLoopBackOff, exited with code 3 (Error), 1 restarts";
        assert_eq!(exited, crash(Stage::Unstarted, waits));
        assert_ne!(exited, key(&problem("Pod n/a-b", Stage::Unstarted, "container main: ImagePullBackOff")));
    }

    #[test]
    fn probes_decide_the_patience() {
        let state = "container main: running but not ready";
        let patience = Duration::from_secs(65);
        let slow = PodProblem { patience, ..problem("Pod n/a-b", Stage::Unready, state) };
        assert_eq!(grace(&slow, find(Origin::State, state), false), patience);
        let fast = PodProblem { patience: Duration::from_secs(5), ..slow };
        assert_eq!(grace(&fast, find(Origin::State, state), false).as_secs(), 20);
    }

    #[test]
    fn short_problems_are_not_warned_of() {
        let wait = |stage, state: &str| {
            grace(&problem("Pod n/a", stage, state), find(Origin::State, state), true).as_secs()
        };
        assert_eq!(wait(Stage::Unstarted, "container main: ImagePullBackOff"), 0);
        assert_eq!(wait(Stage::Unplaced, "1 Insufficient cpu."), 2);
        let no_node = "untolerated taint {node.kubernetes.io/not-ready: }";
        assert_eq!(wait(Stage::Unplaced, no_node), 60);
        assert_eq!(
            grace(&problem("Pod n/a", Stage::Unplaced, no_node), find(Origin::State, no_node), false)
                .as_secs(),
            3
        );
        assert!(wait(Stage::Unready, "container main: running but not ready") > 10);
        assert!(wait(Stage::Warned, "Unhealthy: Startup probe failed: connection refused") > 10);
        let rarely_recovers = |state| {
            super::rarely_recovers(&problem("Pod n/a-b", Stage::Unplaced, state), find(Origin::State, state))
        };
        assert!(!rarely_recovers(no_node));
        assert!(rarely_recovers("1 Insufficient cpu."));
        let no_account = "FailedCreate: Error creating: pods \"a\" is forbidden: error looking up service account n/default: \
                          serviceaccount \"default\" not found";
        assert!(!rarely_recovers(no_account));
        assert!(wait(Stage::Refused, no_account) > 10);
    }
}
