//! Watches the hooks that helmfile runs: shows which of them is running, and stops one that exceeds its timeout.
//!
//! helmfile prints nothing when it starts a hook, unless it logs at debug level: then it also logs whole rendered files, which
//! may contain secrets, and still not the release of a hook. So a hook is recognized by the processes that helmfile has
//! started. Their arguments are those of the hook in the helmfile, and what has been synced shows which releases are possible.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::base::diagnosis::Diagnosis;
use crate::base::duration::seconds;
use crate::base::error::{HookFailure, ReleaseFailure};
use crate::base::logger::{self, Level};
use crate::base::progress;
use crate::base::release_id::ReleaseId;
use crate::base::waiting::{SAY_EVERY, left};
use crate::desired::releases::{Hook, HookEvent, HookMatch, Release};
use crate::process::{ChildProcess, children};
use crate::tools::Toolbox;
use crate::tools::helmfile::HookError;

/// How often the processes of helmfile are read.
const PAUSE: Duration = Duration::from_secs(1);

/// Programs that helmfile starts itself, besides helm. Scripts of hooks may name them too.
const OWN_PROGRAMS: [&str; 2] = ["kustomize", "git"];

/// How far a release has come in a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Running,
    Synced,
}

/// Watches the hooks of a sync.
pub(super) struct HookWatcher<'a> {
    pub(super) tools: &'a Toolbox,
    /// The releases that are synced.
    pub(super) releases: Vec<&'a Release>,
    /// `--release-timeout`.
    pub(super) release_timeout: Duration,
    /// When the time for the sync ends, because that of the run does.
    pub(super) end: Instant,
}

/// A hook that may be running.
struct Candidate<'a> {
    /// None for a hook of the helmfile.
    release: Option<&'a Release>,
    hook: &'a Hook,
    event: HookEvent,
    /// Whether it runs now unless something else has failed.
    is_expected: bool,
}

/// A hook that is running, as far as it can be identified.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RunningHook {
    /// The possible releases; none for a hook of the helmfile.
    releases: Vec<ReleaseId>,
    name: String,
    event: Option<HookEvent>,
    command: String,
}

/// Which timeout stops a hook.
#[derive(Clone, Copy)]
enum Limit {
    Run,
    Release,
    Helmfile,
}

/// A running process of a hook.
struct Seen {
    hook: RunningHook,
    since: Instant,
    deadline: Duration,
    limit: Limit,
}

impl HookWatcher<'_> {
    /// Watches until a hook exceeds its timeout; forever if none does. `helmfile` is its process ID, once it has one.
    pub(super) async fn watch(
        &self,
        helmfile: watch::Receiver<Option<u32>>,
        phase: impl Fn(&ReleaseId) -> Phase,
    ) -> ReleaseFailure {
        if self.releases.iter().all(|release| release.hooks.is_empty()) {
            return std::future::pending().await;
        }
        let mut shown = Shown::default();
        let mut logged = Instant::now();
        loop {
            sleep(PAUSE).await;
            let pid = *helmfile.borrow();
            let processes = pid.map(children).unwrap_or_default();
            shown.retain(|pid| processes.iter().any(|process| process.pid == pid));
            for process in &processes {
                if !shown.0.contains_key(&process.pid)
                    && let Some(hook) = self.identify(process, &phase)
                {
                    shown.0.insert(process.pid, self.seen(hook));
                }
            }
            let due = logged.elapsed() >= SAY_EVERY;
            for (pid, seen) in &shown.0 {
                if seen.since.elapsed() >= seen.deadline {
                    return seen.failure();
                }
                self.show(*pid, seen, due);
            }
            if due {
                logged = Instant::now();
            }
        }
    }

    fn identify(&self, process: &ChildProcess, phase: &impl Fn(&ReleaseId) -> Phase) -> Option<RunningHook> {
        let helm = self.tools.programs.helm.file_name().and_then(|name| name.to_str()).unwrap_or("helm");
        identify(process, &candidates(&self.releases, phase), helm)
    }

    fn seen(&self, hook: RunningHook) -> Seen {
        let since = Instant::now();
        let timeouts = hook.releases.iter().map(|id| {
            let release = self.releases.iter().find(|release| release.id() == *id);
            let own = release.and_then(|release| release.timeout).map(Duration::from_secs);
            own.map_or(self.release_timeout, |timeout| timeout.min(self.release_timeout))
        });
        let own = timeouts.max().unwrap_or(self.release_timeout);
        let left = self.end.saturating_duration_since(since);
        let limit = match own {
            _ if left < own => Limit::Run,
            _ if own < self.release_timeout => Limit::Helmfile,
            _ => Limit::Release,
        };
        Seen { hook, since, deadline: own.min(left), limit }
    }

    fn show(&self, pid: u32, seen: &Seen, due: bool) {
        let Seen { hook, since, deadline, .. } = seen;
        let words = || self.tools.runner.transcript().redacted(&hook.words());
        if progress::show(&line(pid), Some((*since, *deadline)), words) || !due {
            return;
        }
        let elapsed = since.elapsed();
        let mut pairs: Vec<_> = hook.owner().map(|owner| ("release", owner)).into_iter().collect();
        pairs.extend(hook.event.map(|event| ("event", event.name().to_owned())));
        pairs.extend([("command", hook.command.clone()), ("elapsed", seconds(elapsed))]);
        pairs.extend(left(*deadline, elapsed).map(|left| ("remaining", left)));
        logger::log(Level::Info, "Waiting for hook", &pairs);
    }
}

/// The running hooks by process ID, each with its line of the progress display.
#[derive(Default)]
struct Shown(BTreeMap<u32, Seen>);

impl Shown {
    fn retain(&mut self, is_running: impl Fn(u32) -> bool) {
        self.0.retain(|pid, _| {
            let is_running = is_running(*pid);
            if !is_running {
                progress::done(&line(*pid));
            }
            is_running
        });
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

/// The name of a hook's line in the progress display.
fn line(pid: u32) -> String {
    format!("hook {pid}")
}

impl RunningHook {
    /// Its releases in words; none for a hook of the helmfile.
    fn owner(&self) -> Option<String> {
        let releases: Vec<_> = self.releases.iter().map(ToString::to_string).collect();
        (!releases.is_empty()).then(|| releases.join(" or "))
    }

    /// The event and the name, such as ``postsync hook `networking` ``.
    fn title(&self) -> String {
        let event = self.event.map(|event| format!("{} ", event.name())).unwrap_or_default();
        format!("{event}hook `{}`", self.name)
    }

    /// A line of the progress display.
    fn words(&self) -> String {
        let owner = self.owner().map(|owner| format!("{owner}: ")).unwrap_or_default();
        format!("{owner}{}: {}", self.title(), self.command)
    }
}

impl Seen {
    fn failure(&self) -> ReleaseFailure {
        let hook = &self.hook;
        let (limit, fix) = match self.limit {
            Limit::Run => ("what was left of --timeout", "set --timeout"),
            Limit::Release => ("--release-timeout", "set --release-timeout and --timeout"),
            Limit::Helmfile => {
                ("`timeout` in the helmfile", "raise `timeout` of the release in the helmfile")
            }
        };
        let release = match hook.releases.as_slice() {
            [release] => Some(release.clone()),
            _ => None,
        };
        let of = hook.owner().filter(|_| release.is_none()).map(|owner| format!(" of {owner}"));
        let reason = format!(
            "{}{} did not finish within {} ({limit})",
            hook.title(),
            of.unwrap_or_default(),
            seconds(self.deadline)
        );
        let fix = format!("correct the command of the hook, or what it waits for; to wait longer, {fix}");
        ReleaseFailure {
            release,
            reason,
            timed_out: true,
            diagnosis: Diagnosis { fix: Some(fix), ..Diagnosis::default() },
            hook: Some(HookFailure {
                name: hook.name.clone(),
                event: hook.event.map(HookEvent::name),
                command: hook.command.clone(),
                ..HookFailure::default()
            }),
            others: Vec::new(),
        }
    }
}

/// The hooks that may be running. helmfile starts a release when those that it needs are done, hooks included.
fn candidates<'a>(releases: &[&'a Release], phase: impl Fn(&ReleaseId) -> Phase) -> Vec<Candidate<'a>> {
    let is_begun = |release: &&Release| phase(&release.id()) != Phase::Waiting;
    let is_new = !releases.iter().any(is_begun);
    let is_idle = !releases.iter().any(|release| phase(&release.id()) == Phase::Running);
    let mut found: Vec<Candidate<'a>> = Vec::new();
    for release in releases {
        let own_phase = phase(&release.id());
        let is_done = |need: &&ReleaseId| !releases.iter().any(|one| one.id() == **need);
        let is_ready = release.needs.iter().all(|need| is_done(&need) || phase(need) == Phase::Synced);
        for hook in &release.hooks {
            // Each release has those of its helmfile.
            if hook.is_global && found.iter().any(|one| one.release.is_none() && one.hook == hook) {
                continue;
            }
            for event in hook.events.iter().copied() {
                let is_expected = match event {
                    HookEvent::Prepare if !is_new => continue,
                    HookEvent::Prepare => true,
                    _ if hook.is_global => is_idle && !is_new,
                    _ if !is_ready => continue,
                    // helmfile does not report its progress.
                    _ if !release.installed => true,
                    // While helm is running, hooks run only if it has failed just now.
                    _ => {
                        own_phase != Phase::Running && event.is_before_helm() == (own_phase == Phase::Waiting)
                    }
                };
                let release = Some(*release).filter(|_| !hook.is_global);
                found.push(Candidate { release, hook, event, is_expected });
            }
        }
    }
    found
}

/// The hook that a process of helmfile is running, if it may be one.
fn identify(process: &ChildProcess, candidates: &[Candidate<'_>], helm: &str) -> Option<RunningHook> {
    let program = process.args.first().map(|program| Path::new(program).file_name());
    let is_own = |name: &str| program.is_some_and(|program| program.is_some_and(|program| program == name));
    let is_own = is_own(helm) || OWN_PROGRAMS.into_iter().any(is_own);
    let fits = candidates.iter().filter_map(|one| {
        let fit = one.hook.matches(&process.args)?;
        (fit > HookMatch::Program || !is_own).then_some(((fit, one.is_expected), one))
    });
    let fits: Vec<_> = fits.collect();
    let best = fits.iter().map(|(score, _)| *score).max()?;
    let best: Vec<_> = fits.iter().filter(|(score, _)| *score == best).map(|(_, one)| *one).collect();
    let first = best.first()?;
    let is_one_hook = best.iter().all(|one| one.hook == first.hook);
    let mut releases: Vec<_> = best.iter().filter_map(|one| one.release).map(Release::id).collect();
    releases.dedup();
    let command = if is_one_hook { first.hook.command_line() } else { process.args.join(" ") };
    Some(RunningHook {
        releases,
        name: if is_one_hook { first.hook.name.clone() } else { command.clone() },
        event: Some(first.event).filter(|event| best.iter().all(|one| one.event == *event)),
        command,
    })
}

/// The hook that failed according to helmfile, with its event and its whole command if only one hook of the helmfile fits.
pub(super) fn failed(
    error: HookError,
    release: Option<&ReleaseId>,
    releases: &[Release],
    phase: Phase,
) -> HookFailure {
    let own = releases.iter().filter(|one| release.is_none_or(|release| one.id() == *release));
    let mut hooks: Vec<&Hook> = Vec::new();
    for hook in own.flat_map(|release| &release.hooks) {
        let is_of_release = hook.is_global == release.is_none();
        if (is_of_release || hook.events.contains(&HookEvent::Prepare))
            && hook.name == error.name
            && !hooks.contains(&hook)
        {
            hooks.push(hook);
        }
    }
    let events = hooks.iter().flat_map(|hook| hook.events.iter().copied());
    let mut events: Vec<_> = events
        .filter(|event| match phase {
            Phase::Waiting => event.is_before_helm(),
            Phase::Running => true,
            Phase::Synced => !event.is_before_helm(),
        })
        .collect();
    events.dedup();
    let event = match events.as_slice() {
        [event] => Some(event.name()),
        _ => None,
    };
    let command = match hooks.as_slice() {
        [hook] => hook.command_line(),
        _ => error.command,
    };
    HookFailure { name: error.name, event, command, exit_code: error.exit_code, output: error.output }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::releases::parse;

    const HELMFILE: &str = "hooks:\n- {events: [prepare, cleanup], command: ./all.sh}\nreleases:\n\
        - {name: a, namespace: n, chart: c, hooks: [{events: [presync, postsync], name: both, command: sh, args: [-c, 'kubectl get x; :']}]}\n\
        - {name: b, namespace: n, chart: c, hooks: [{events: [presync, postsync], name: both, command: sh, args: [-c, 'kubectl get x; :']}]}\n\
        - {name: d, namespace: n, chart: c, needs: [a], hooks: [{events: [presync], command: deploy, args: [-f, x.yaml]}]}\n";

    fn releases() -> Vec<Release> {
        parse(HELMFILE.as_bytes(), "default").unwrap().releases
    }

    /// The hook of a process in words, when these releases have come so far and all others wait.
    fn found(args: &[&str], phases: &[(&str, Phase)]) -> Option<String> {
        let all = releases();
        let phase = |id: &ReleaseId| {
            let known = phases.iter().find(|(name, _)| *id == ReleaseId::new("n", *name));
            known.map_or(Phase::Waiting, |(_, phase)| *phase)
        };
        let process = ChildProcess { pid: 1, args: args.iter().map(|arg| (*arg).to_owned()).collect() };
        let candidates = candidates(&all.iter().collect::<Vec<_>>(), phase);
        identify(&process, &candidates, "helm").map(|hook| hook.words())
    }

    #[test]
    fn progress_tells_hooks_with_the_same_command_apart() {
        let both = ["/bin/sh", "-c", "kubectl get x; :"];
        let words = |phases: &[(&str, Phase)]| found(&both, phases);
        let expected = |owner: &str, event: &str| {
            Some(format!("{owner}: {event} hook `both`: sh -c 'kubectl get x; :'"))
        };
        assert_eq!(words(&[]), expected("n/a or n/b", "presync"));
        assert_eq!(words(&[("b", Phase::Running)]), expected("n/a", "presync"));
        assert_eq!(words(&[("a", Phase::Synced), ("b", Phase::Running)]), expected("n/a", "postsync"));
        // A `presync` hook of the one, or a `postsync` hook of the other.
        let open = words(&[("a", Phase::Synced)]);
        assert_eq!(open.as_deref(), Some("n/a or n/b: hook `both`: sh -c 'kubectl get x; :'"));
    }

    #[test]
    fn other_processes_of_helmfile_are_no_hooks() {
        let apply = ["/usr/bin/deploy", "-f", "x.yaml"];
        assert_eq!(found(&apply, &[("a", Phase::Running)]), None, "`d` needs `a`");
        let expected = "n/d: presync hook `deploy`: deploy -f x.yaml";
        assert_eq!(found(&apply, &[("a", Phase::Synced)]).as_deref(), Some(expected));
        assert_eq!(found(&["helm", "upgrade", "--install", "a", "c"], &[("a", Phase::Running)]), None);
        let all = |phases: &[(&str, Phase)]| found(&["/bin/bash", "./all.sh"], phases);
        assert_eq!(all(&[]).as_deref(), Some("prepare hook `./all.sh`: ./all.sh"));
        let synced = ["a", "b", "d"].map(|name| (name, Phase::Synced));
        assert_eq!(all(&synced).as_deref(), Some("cleanup hook `./all.sh`: ./all.sh"));
    }

    #[test]
    fn a_failed_hook_has_its_event_and_its_whole_command() {
        let all = releases();
        let of = |name: &str, release: Option<&str>, phase: Phase| {
            let talk = format!("in x.yaml: hook[{name}]: command `sh` failed: unexpected error: no");
            let error = crate::tools::helmfile::parse_failures(&talk).remove(0).hook.unwrap();
            let found = failed(error, release.map(ReleaseId::from).as_ref(), &all, phase);
            (found.event, found.command)
        };
        let both = "sh -c 'kubectl get x; :'".to_owned();
        assert_eq!(of("both", Some("n/a"), Phase::Waiting), (Some("presync"), both.clone()));
        assert_eq!(of("both", Some("n/a"), Phase::Synced), (Some("postsync"), both.clone()));
        assert_eq!(of("both", Some("n/a"), Phase::Running), (None, both));
        assert_eq!(of("./all.sh", None, Phase::Synced), (Some("cleanup"), "./all.sh".to_owned()));
        assert_eq!(of("other", Some("n/a"), Phase::Waiting), (None, "sh".to_owned()));
    }
}
