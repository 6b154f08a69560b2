//! Stages *crds* and *apps*: a `helmfile sync` each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::duration::seconds;
use crate::base::error::{Error, ProcessError, ReleaseFailure};
use crate::base::progress;
use crate::base::release_id::ReleaseId;
use crate::desired::Helmfile;
use crate::desired::releases::Release;
use crate::plan::releases::{ReleaseAction, ReleasePlan};
use crate::run::failures::{self, is_helm_timeout};
use crate::run::hooks::{self, HookWatcher, Phase};
use crate::run::outcome::ReleaseOutcome;
use crate::run::watch::{AtWork, WatchOptions, Watcher};
use crate::tools::Toolbox;
use crate::tools::helmfile::{Failure, HelmOverrides, Progress, SyncOptions, parse_failures};

/// helm times out this long before the run, so that the error is helm's.
const MARGIN: Duration = Duration::from_secs(5);

/// The state of a running sync.
struct Sync<'a> {
    releases: &'a [Release],
    running: BTreeMap<ReleaseId, (&'a Release, Instant)>,
    done: Vec<ReleaseOutcome>,
}

impl<'a> Sync<'a> {
    fn on_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Started { namespace, name } => {
                let found = self.releases.iter().find(|release| release.is_reported_as(&namespace, &name));
                if let Some(release) = found {
                    tracing::info!(release = %release.id(), version = %release.version, "Syncing release");
                    self.running.insert(release.id(), (release, Instant::now()));
                    progress::show(&release.id().to_string(), None, || release.id().to_string());
                }
            }
            Progress::Synced { name } => {
                // helmfile prints only the name; of two running releases, the first is meant.
                let first = self
                    .running
                    .values()
                    .filter(|(release, _)| release.name == name)
                    .min_by_key(|(_, start)| *start);
                if let Some((release, start)) = first.copied() {
                    self.finish(release, start);
                }
            }
            Progress::HookOutput { event, line } => {
                if !line.is_empty() {
                    tracing::info!(event = %event, line = %line, "Hook output");
                }
            }
        }
    }

    fn phase(&self, id: &ReleaseId) -> Phase {
        if self.running.contains_key(id) {
            Phase::Running
        } else if self.done.iter().any(|report| report.id() == *id) {
            Phase::Synced
        } else {
            Phase::Waiting
        }
    }

    /// The phase in which a hook has failed.
    fn phase_of_failure(&self, release: Option<&ReleaseId>) -> Phase {
        match release {
            // helmfile does not report the progress of an uninstallation.
            Some(id) if self.releases.iter().any(|one| one.id() == *id && !one.installed) => Phase::Running,
            Some(id) => self.phase(id),
            None if self.running.is_empty() && self.done.is_empty() => Phase::Waiting,
            None => Phase::Synced,
        }
    }

    fn finish(&mut self, release: &'a Release, start: Instant) {
        let took = start.elapsed();
        tracing::info!(release = %release.id(), version = %release.version, took = %seconds(took), "Release synced");
        self.running.remove(&release.id());
        progress::done(&release.id().to_string());
        self.done.push(ReleaseOutcome::new(release, true, took));
    }

    /// The running releases, each with its timeout.
    fn at_work(&self, longest: Duration) -> Vec<AtWork<'a>> {
        let one = |(release, since): &(&'a Release, Instant)| AtWork {
            release,
            since: *since,
            deadline: release.timeout.map_or(longest, |seconds| longest.min(Duration::from_secs(seconds))),
        };
        self.running.values().map(one).collect()
    }

    /// The release that failed, by the name that helmfile printed: a running one, else a synced one whose hook failed.
    /// Without a name it is the one that has been running for the longest time.
    fn culprit(&self, name: Option<&str>) -> Option<ReleaseId> {
        let Some(name) = name else {
            return self.running.values().min_by_key(|(_, start)| *start).map(|(release, _)| release.id());
        };
        let running = self.running.values().map(|(release, _)| *release).find(|release| release.name == name);
        let done = || self.done.iter().find(|report| report.name == name).map(ReleaseOutcome::id);
        let any = || self.releases.iter().find(|release| release.name == name).map(Release::id);
        running.map(Release::id).or_else(done).or_else(any).or_else(|| Some(name.into()))
    }

    /// All failures of a helmfile that has printed this: of several releases, it prints the error of one. All have ended, so
    /// those that are neither synced nor named have failed too.
    fn failure(&self, talk: &str) -> ReleaseFailure {
        let mut printed = parse_failures(talk).into_iter().map(|failure| self.parsed(failure));
        let first = printed.next().unwrap_or_default();
        let mut others: Vec<_> = printed.collect();
        for id in self.running.keys() {
            if !std::iter::once(&first).chain(&others).any(|one| one.release.as_ref() == Some(id)) {
                others.push(failures::unprinted(id));
            }
        }
        ReleaseFailure { others, ..first }
    }

    fn parsed(&self, failure: Failure) -> ReleaseFailure {
        let Failure { release: name, reason, hook } = failure;
        // A hook of the helmfile has no release.
        let is_global = name.is_none() && hook.is_some();
        let release = if is_global { None } else { self.culprit(name.as_deref()) };
        let hook = hook.map(|error| {
            let phase = self.phase_of_failure(release.as_ref());
            hooks::failed(error, release.as_ref(), self.releases, phase)
        });
        let timed_out = is_helm_timeout(&reason);
        let mut failure = ReleaseFailure { release, reason, timed_out, hook, ..ReleaseFailure::default() };
        if failure.hook.is_some() && failure.timed_out {
            // A timeout of k3s-boot stops a hook before it can report an error.
            failure.diagnosis.fix = Some(HOOK_TIMEOUT_FIX.to_owned());
        }
        failure
    }

    /// The failure when the timeout of the run has expired. `pending` returns what of a release is not ready.
    fn late(
        &self,
        talk: &str,
        after: Duration,
        pending: impl Fn(&ReleaseId) -> Option<String>,
    ) -> ReleaseFailure {
        let named = parse_failures(talk).into_iter().find_map(|failure| failure.release);
        let release = self.culprit(named.as_deref());
        let pending = release.as_ref().and_then(pending).filter(|pending| !pending.is_empty());
        let pending = pending.map_or_else(String::new, |pending| format!(", still waiting for {pending}"));
        let reason = format!("the run timed out after {}{pending}", seconds(after));
        ReleaseFailure { release, reason, timed_out: true, ..ReleaseFailure::default() }
    }

    /// Reports releases that failed, synced ones too if their hooks did.
    fn fail(&mut self, failure: &ReleaseFailure) {
        let failed = std::iter::once(failure).chain(&failure.others).filter_map(|one| one.release.as_ref());
        for id in failed {
            if let Some((release, start)) = self.running.get(id) {
                self.done.push(ReleaseOutcome::new(release, false, start.elapsed()));
            } else if let Some(report) = self.done.iter_mut().find(|report| report.id() == *id) {
                report.is_synced = false;
            } else if let Some(release) = self.releases.iter().find(|release| release.id() == *id) {
                // Its `presync` hook failed.
                self.done.push(ReleaseOutcome::new(release, false, Duration::ZERO));
            }
        }
    }
}

/// The fix for a hook in which kubectl or helm timed out.
const HOOK_TIMEOUT_FIX: &str = "k3s-boot status  # shows what is not ready and why; to wait longer, raise the timeout in the command of the hook";

/// The `--timeout` flag for helm: the remaining time, unless the helmfile sets a shorter timeout for any release, which the
/// flag would override.
fn timeout<'a>(releases: impl IntoIterator<Item = &'a Release>, longest: Duration) -> Option<Duration> {
    let shorter = releases.into_iter().any(|release| release.is_shorter_than(longest));
    (!shorter).then_some(longest)
}

/// Options for syncing a helmfile.
#[derive(Clone, Copy)]
pub(crate) struct SyncRequest<'a> {
    /// The folder with the charts.
    pub charts: &'a Path,
    /// The timeout for each release.
    pub release_timeout: Duration,
    pub over: HelmOverrides,
    pub watch: WatchOptions<'a>,
}

/// Syncs these releases of a helmfile and returns what became of them.
///
/// # Errors
///
/// The releases that failed.
pub(crate) async fn run(
    tools: &Toolbox,
    helmfile: &Helmfile,
    wanted: &[&ReleaseId],
    request: SyncRequest<'_>,
) -> (Vec<ReleaseOutcome>, Result<(), Error>) {
    // A first run is one plain sync.
    let all = wanted.len() == helmfile.releases.len();
    let ours: Vec<_> = helmfile.releases.iter().filter(|release| wanted.contains(&&release.id())).collect();
    let selectors: Vec<_> = ours.iter().filter(|_| !all).map(|release| helmfile.selector(release)).collect();
    let sync =
        RefCell::new(Sync { releases: &helmfile.releases, running: BTreeMap::new(), done: Vec::new() });
    let left = tools.clock.left();
    let longest = request.release_timeout.min(left.saturating_sub(MARGIN)).max(Duration::from_secs(1));
    let timeout = timeout(ours.iter().copied(), longest);
    let (end, cancel) = watch::channel(false);
    let (pid, helmfile_pid) = watch::channel(None);
    let hook_watcher = HookWatcher {
        tools,
        releases: ours,
        release_timeout: request.release_timeout,
        end: Instant::now() + left.saturating_sub(MARGIN),
    };
    let options = SyncOptions {
        identities: helmfile.needs_identities,
        selectors: &selectors,
        timeout,
        over: request.over,
        cancel,
        pid,
    };
    let syncing = tools.helmfile_sync(&helmfile.path, request.charts, options, |progress| {
        sync.borrow_mut().on_progress(progress);
    });
    let watcher = Watcher::new(tools, request.watch);
    let mut stopped: Option<ReleaseFailure> = None;
    let result = {
        tokio::pin!(syncing);
        let at_work = || sync.borrow().at_work(longest);
        let watching = watcher.keep(at_work);
        tokio::pin!(watching);
        let hooks = hook_watcher.watch(helmfile_pid, |id| sync.borrow().phase(id));
        tokio::pin!(hooks);
        loop {
            tokio::select! {
                result = &mut syncing => break result,
                (release, diagnosis) = &mut watching, if stopped.is_none() => {
                    tracing::info!(release = %release, "Stopping helmfile: the release cannot become ready");
                    let reason = "helmfile was stopped early: the release cannot become ready".to_owned();
                    let release = Some(release);
                    stopped = Some(ReleaseFailure { release, reason, diagnosis, ..ReleaseFailure::default() });
                    end.send_replace(true);
                }
                failure = &mut hooks, if stopped.is_none() => {
                    tracing::info!(reason = %failure.reason, "Stopping helmfile: a hook timed out");
                    stopped = Some(failure);
                    end.send_replace(true);
                }
            }
        }
    };
    let mut sync = sync.into_inner();
    sync.running.keys().for_each(|release| progress::done(&release.to_string()));
    let result = match result {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => {
            let mut failure = sync.failure(&output.talk);
            // It could not print an error, and helm was still running.
            if output.status.signal().is_some() {
                failure.others.clear();
                failure.reason = format!("helmfile was terminated: {}", output.status);
            }
            if failure.timed_out && failure.hook.is_none() && longest < request.release_timeout {
                let left = seconds(longest);
                failure.reason = format!("only {left} of --timeout was left for it: {}", failure.reason);
            }
            Err(Error::Release(Box::new(failure)))
        }
        // Without time left it was not started.
        Err(ProcessError::Deadline { talk, after, .. }) if !after.is_zero() => {
            Err(Error::Release(Box::new(sync.late(&talk, after, |release| watcher.pending(release)))))
        }
        Err(ProcessError::Canceled { .. }) => Err(Error::Release(Box::new(stopped.unwrap_or_default()))),
        Err(error) => Err(error.into()),
    };
    if let Err(Error::Release(failure)) = &result {
        sync.fail(failure);
    }
    (sync.done, result)
}

/// Logs what happens to a release, unless a later line or a check does.
pub(crate) fn log_action(release: &ReleasePlan) {
    let id = &release.id;
    let version = &release.to.version;
    match &release.action {
        ReleaseAction::UpToDate => tracing::info!(release = %id, version = %version, "Release unchanged"),
        ReleaseAction::ManagedElsewhere(owner) => {
            tracing::info!(release = %id, owner = %owner, "Release is managed elsewhere");
        }
        ReleaseAction::Skip(reason) => tracing::info!(release = %id, reason, "Release skipped"),
        // Logged by a check, or while syncing.
        ReleaseAction::Newer | ReleaseAction::Install => {}
        ReleaseAction::Upgrade
        | ReleaseAction::Change
        | ReleaseAction::Resync(_)
        | ReleaseAction::Uninstall => {
            tracing::info!(release = %id, reason = %release.reason(), "Release is out of date");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::releases::parse;

    fn releases(timeouts: &[Option<u64>]) -> Vec<Release> {
        let release = |(index, timeout): (usize, &Option<u64>)| {
            let timeout = timeout.map_or_else(String::new, |timeout| format!(", timeout: {timeout}"));
            format!("- {{name: r{index}, namespace: n, chart: c{timeout}}}\n")
        };
        let text: String = timeouts.iter().enumerate().map(release).collect();
        parse(format!("releases:\n{text}").as_bytes(), "default").unwrap().releases
    }

    #[test]
    fn a_shorter_timeout_of_the_helmfile_wins() {
        let longest = Duration::from_mins(15);
        assert_eq!(timeout(&releases(&[None, None]), longest), Some(longest));
        assert_eq!(timeout(&releases(&[None, Some(1800)]), longest), Some(longest));
        assert_eq!(timeout(&releases(&[None, Some(60)]), longest), None);
    }

    #[test]
    fn progress_becomes_a_report_and_a_culprit() {
        let releases = releases(&[None, None, None]);
        let mut sync = Sync { releases: &releases, running: BTreeMap::new(), done: Vec::new() };
        let started = |name: &str| Progress::Started { namespace: "n".to_owned(), name: name.to_owned() };
        sync.on_progress(started("r0"));
        sync.on_progress(started("r1"));
        sync.on_progress(started("stranger"));
        sync.on_progress(Progress::Synced { name: "r0".to_owned() });
        assert_eq!(sync.done.len(), 1);
        let talk = "in x.yaml: failed processing release r1: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  Error: resource Deployment/n/d not ready. status: InProgress\n  context deadline exceeded\n\nCOMBINED OUTPUT:\n  x\n";
        sync.on_progress(started("r2"));
        let failure = sync.failure(talk);
        assert_eq!(failure.release, Some("n/r1".into()));
        let others: Vec<_> = failure.others.iter().filter_map(|other| other.release.clone()).collect();
        assert_eq!(others, ["n/r2"], "neither synced nor named");
        assert_eq!(
            failure.reason,
            "resource Deployment/n/d not ready. status: InProgress; context deadline exceeded"
        );
        assert!(failure.timed_out);
        let pending = |release: &ReleaseId| (*release == "n/r1").then(|| "Deployment/d 0/1".to_owned());
        let failure = sync.late("", Duration::from_mins(1), pending);
        assert_eq!(failure.release, Some("n/r1".into()));
        assert_eq!(failure.reason, "the run timed out after 1m, still waiting for Deployment/d 0/1");
    }
}
