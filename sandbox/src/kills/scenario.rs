//! A cluster and a repository in which k3s-boot is killed.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::ending::{KillMethod, Meanwhile};
use super::restart::Restart;
use super::{Kill, UPGRADED, Work};
use crate::cluster::Options;
use crate::fixture::{self, Fixture, text};
use crate::process::{GARBAGE, wait_for};
use crate::registry::Registry;
use crate::tools::Tools;

/// Timeout for the graceful end of the tools of a killed k3s-boot.
const GRACE_PERIOD: Duration = Duration::from_mins(1);
/// Time between two checks whether a run has finished.
const STEP: Duration = Duration::from_millis(2);

/// The Secrets of releases in `pending-*`, by the labels of Helm.
const PENDING: &str =
    "/api/v1/secrets?labelSelector=owner%3Dhelm%2Cstatus%20in%20%28pending-install%2Cpending-upgrade%29";

const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";
/// Lines of the values after which an upgrade inserts annotations, so that every pod is replaced.
const MARKED: [(&str, &str); 5] = [
    ("rollOutCiliumPods: true\n", "podAnnotations"),
    ("priorityClassName: system-cluster-critical\n", "podAnnotations"),
    ("crds:\n  enabled: true\n", "podAnnotations"),
    ("serviceMonitor:\n  create: false\n", "podAnnotations"),
    ("{{- else if eq $release \"flux-instance\" }}\n", "commonAnnotations"),
];

/// A fresh cluster and a repository.
pub(super) struct Scenario {
    fixture: Fixture,
    /// How to run k3s-boot with another boot ID, and the maximum time until it begins its work then.
    restart: Option<(Restart, Duration)>,
    /// Whether the cluster is bootstrapped and without failures.
    up: bool,
    upgrades: usize,
}

/// How k3s-boot recovered from a kill.
pub(super) struct Recovered {
    /// The stage of the killed run.
    pub(super) during: String,
    /// The duration of the next run.
    pub(super) next: Duration,
    /// Time until it began its work, if there was any; with a run in between, the longer of the two.
    pub(super) at_work: Option<Duration>,
}

impl Scenario {
    pub(super) fn start(
        tools: &Tools,
        program: &Path,
        registry: &Arc<Registry>,
        restart: Option<(Restart, Duration)>,
    ) -> Result<Self> {
        let options =
            Options { name: "kills".to_owned(), registry: Some(Arc::clone(registry)), ..Options::default() };
        Ok(Self { fixture: Fixture::start(tools, program, options)?, restart, up: false, upgrades: 0 })
    }

    /// Whether releases can be upgraded.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// The number of upgrades so far.
    pub(super) fn upgrades(&self) -> usize {
        self.upgrades
    }

    /// Marks the cluster as unusable after a failure.
    pub(super) fn give_up(&mut self) {
        self.up = false;
    }

    /// Does a first run and returns its duration.
    pub(super) fn first_run(&mut self) -> Result<Duration> {
        let took = self.fixture.converge(&[])?.took;
        self.up = true;
        Ok(took)
    }

    /// Does an upgrade and returns its duration.
    pub(super) fn upgraded(&mut self) -> Result<Duration> {
        self.upgrade()?;
        Ok(self.fixture.converge(&[])?.took)
    }

    /// Kills a run at its moment and checks that the next run recovers; `None` if the run finished before.
    pub(super) fn kill_and_recover(&mut self, kill: &Kill, moment: Duration) -> Result<Option<Recovered>> {
        if kill.work == Work::Upgrade {
            self.upgrade()?;
        }
        let log = self.fixture.checkout.folder().join("log");
        let started = Instant::now();
        let mut child = self.apps(&log)?;
        // Some methods need a pending release.
        let needs_pending =
            matches!(kill.method, KillMethod::Restart(Meanwhile::FreeLock | Meanwhile::SkippedRelease));
        let mut pending = None;
        while started.elapsed() < moment || (needs_pending && pending.is_none()) {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the run failed before it was killed: {}", text(&log)?);
                self.up = true;
                return Ok(None);
            }
            std::thread::sleep(STEP);
            if needs_pending && started.elapsed() >= moment {
                pending = self.pending()?;
            }
        }
        kill.method.apply(child.id(), &self.fixture.sandbox.home())?;
        let status = child.wait()?;
        let text = text(&log)?;
        if status.success() {
            // The signal came too late, or is ignored, like HUP under `nohup`.
            ensure!(text.contains("Bootstrap complete!"), "k3s-boot exited with 0:\n{text}");
            self.up = true;
            return Ok(None);
        }
        if let KillMethod::Alone(signal) = kill.method {
            self.check_exit(signal, status).with_context(|| text.clone())?;
        }
        let (next, at_work) = self
            .next(kill.method, pending.as_deref())
            .with_context(|| format!("log of the killed run:\n{text}"))?;
        self.up = true;
        Ok(Some(Recovered { during: stage(&text), next, at_work }))
    }

    /// Runs k3s-boot until the cluster has converged. Returns the duration of the last run and the time until it began its work.
    fn next(&self, method: KillMethod, pending: Option<&str>) -> Result<(Duration, Option<Duration>)> {
        let (KillMethod::Restart(meanwhile), Some((restart, soon))) = (method, self.restart) else {
            let ran = self.fixture.converge(&[])?;
            return Ok((ran.took, ran.at_work));
        };
        let mut between = None;
        match (meanwhile, pending) {
            (Meanwhile::FreeLock, _) => {
                let no_holder = r#"{"spec":{"holderIdentity":null}}"#;
                let lease = ["--namespace", "kube-system", "lease", "k3s-boot"];
                let patch = ["--type", "merge", "--patch", no_holder];
                self.fixture.sandbox.kubectl(&[&["patch"][..], &lease, &patch].concat())?;
            }
            (Meanwhile::SkippedRelease, Some(release)) => {
                let mut command = self.after(restart)?;
                command.args(["--skip-release", release]);
                between = time_to_work(&self.fixture.complete(command).context("the run in between")?, soon)?;
            }
            _ => {}
        }
        let ran = self.fixture.converge_by(self.after(restart)?)?;
        Ok((ran.took, between.max(time_to_work(&ran, soon)?)))
    }

    /// `k3s-boot apps`, as after a restart of the machine.
    fn after(&self, restart: Restart) -> Result<Command> {
        Ok(self.fixture.started_by(&restart.starter(self.fixture.checkout.folder())?, "apps"))
    }

    /// A release in `pending-*`, as `NAMESPACE/NAME`.
    fn pending(&self) -> Result<Option<String>> {
        let found = self.fixture.sandbox.get(PENDING)?;
        let metadata = found.as_ref().and_then(|list| list.pointer("/items/0/metadata"));
        let id = metadata.and_then(|one| {
            Some(format!("{}/{}", one["namespace"].as_str()?, one["labels"]["name"].as_str()?))
        });
        Ok(id)
    }

    /// After a signal to k3s-boot alone, checks the exit code and that no process is running.
    fn check_exit(&self, signal: Signal, status: ExitStatus) -> Result<()> {
        if signal == Signal::SIGKILL {
            let gone = || Ok(self.fixture.running()?.is_empty().then_some(()));
            return wait_for("the tools of a killed k3s-boot to end", GRACE_PERIOD, gone);
        }
        ensure!(self.fixture.running()?.is_empty(), "processes are still running after {signal}");
        ensure!(status.code() == Some(128 + signal as i32), "k3s-boot exited with {status} after {signal}");
        self.fixture.clean()
    }

    /// Upgrades the repository: four charts, and the values of all releases except the CRDs.
    fn upgrade(&mut self) -> Result<()> {
        self.upgrades += 1;
        let round = self.upgrades;
        let newer = |(_, start, last): (&str, &'static str, usize)| {
            (format!("version: {start}{last}\n"), format!("version: {start}{}\n", last + round))
        };
        let versions = UPGRADED.map(newer);
        let versions: Vec<_> = versions.iter().map(|(from, to)| (from.as_str(), to.clone())).collect();
        self.fixture.checkout.change("bootstrap/helmfile.d/00-crds.yaml", &versions[..1])?;
        self.fixture.checkout.change("bootstrap/helmfile.d/01-apps.yaml", &versions[1..])?;
        let marked = MARKED.map(|(line, key)| (line, format!("{line}{key}: {{round: \"{round}\"}}\n")));
        self.fixture.checkout.change(VALUES, &marked)
    }

    fn apps(&self, log: &Path) -> Result<Child> {
        let file = File::create(log)?;
        let mut command = self.fixture.command("apps");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).env(GARBAGE.0, GARBAGE.1);
        command.spawn().context("cannot run `k3s-boot`")
    }
}

/// The time until a run began its work; fails if that is more than `soon`.
fn time_to_work(ran: &fixture::Ran, soon: Duration) -> Result<Option<Duration>> {
    let Some(at_work) = ran.at_work else {
        ensure!(
            ran.log.contains("Nothing to change"),
            "the run did not log the beginning of its work:\n{}",
            ran.log
        );
        return Ok(None);
    };
    ensure!(at_work <= soon, "the run began its work after {:.1} s:\n{}", at_work.as_secs_f64(), ran.log);
    Ok(Some(at_work))
}

/// The stage of a run, by the last line of its log.
fn stage(log: &str) -> String {
    let last = log.lines().rev().find(|line| line.contains(" INFO "));
    let message = last.and_then(|line| line.split_once(" INFO ")).map_or("", |(_, rest)| rest);
    let release = message.split_once("release=\"").and_then(|(_, rest)| rest.split('"').next());
    match (release, message.split_once("=\"")) {
        (Some(release), _) => release.to_owned(),
        (None, Some((words, _))) => words.rsplit_once(' ').map_or(words, |(words, _)| words).to_owned(),
        (None, None) if message.is_empty() => "start".to_owned(),
        (None, None) => message.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::stage;

    #[test]
    fn stage_is_that_of_the_last_line() {
        assert_eq!(stage(""), "start");
        assert_eq!(stage("T INFO Preflight passed checks=\"58\" took=\"1s\" \n"), "Preflight passed");
        assert_eq!(
            stage("T INFO Syncing release release=\"a/b\" version=\"1\" \nT WARN x y=\"z\" \n"),
            "a/b"
        );
    }
}
