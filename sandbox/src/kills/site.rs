//! A cluster and a repository in which k3s-boot is ended.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::ending::{Meanwhile, Way};
use super::restart::Restart;
use super::{Kill, UPGRADED, Work};
use crate::cluster::Options;
use crate::process::{GARBAGE, wait_for};
use crate::registry::Registry;
use crate::site::{self, text};
use crate::tools::Tools;

/// How long the tools of a killed k3s-boot may take to end in good order.
const GRACE: Duration = Duration::from_mins(1);
/// Time between two looks whether a run is over before its moment.
const STEP: Duration = Duration::from_millis(2);

/// The newest revisions of releases that an operation is at, or was: Secrets, by Helm's labels.
const PENDING: &str =
    "/api/v1/secrets?labelSelector=owner%3Dhelm%2Cstatus%20in%20%28pending-install%2Cpending-upgrade%29";

const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";
/// Lines of the values behind which an upgrade puts one of its own, so that every pod is replaced.
const MARKED: [(&str, &str); 5] = [
    ("rollOutCiliumPods: true\n", "podAnnotations"),
    ("priorityClassName: system-cluster-critical\n", "podAnnotations"),
    ("crds:\n  enabled: true\n", "podAnnotations"),
    ("serviceMonitor:\n  create: false\n", "podAnnotations"),
    ("{{- else if eq $release \"flux-instance\" }}\n", "commonAnnotations"),
];

/// A fresh cluster and a repository.
pub(super) struct Site {
    place: site::Site,
    /// How a run gets another boot ID, if any is to, and how soon it has to work then.
    restart: Option<(Restart, Duration)>,
    /// Whether it was bootstrapped, with no fault.
    up: bool,
    upgrades: usize,
}

/// How a kill was mended.
pub(super) struct Mended {
    /// What the ended run had said last.
    pub(super) during: String,
    /// How long the next run took.
    pub(super) next: Duration,
    /// How long it took until it worked, if there was something to do; with a run in between, the longer of the two.
    pub(super) at_work: Option<Duration>,
}

impl Site {
    pub(super) fn start(
        tools: &Tools,
        program: &Path,
        registry: &Arc<Registry>,
        restart: Option<(Restart, Duration)>,
    ) -> Result<Self> {
        let options =
            Options { name: "kills".to_owned(), registry: Some(Arc::clone(registry)), ..Options::default() };
        Ok(Self { place: site::Site::start(tools, program, options)?, restart, up: false, upgrades: 0 })
    }

    /// Whether releases can be upgraded.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// How many upgrades there were.
    pub(super) fn upgrades(&self) -> usize {
        self.upgrades
    }

    /// After a fault, the cluster is not used any more.
    pub(super) fn give_up(&mut self) {
        self.up = false;
    }

    /// A first run that nothing ends, and how long it takes.
    pub(super) fn first_run(&mut self) -> Result<Duration> {
        let took = self.place.converge(&[])?.took;
        self.up = true;
        Ok(took)
    }

    /// An upgrade that nothing ends, and how long it takes.
    pub(super) fn upgraded(&mut self) -> Result<Duration> {
        self.upgrade()?;
        Ok(self.place.converge(&[])?.took)
    }

    /// Ends a run at its moment and checks that the next one mends everything; `None` if it was over before.
    pub(super) fn end_and_mend(&mut self, kill: &Kill, moment: Duration) -> Result<Option<Mended>> {
        if kill.work == Work::Upgrade {
            self.upgrade()?;
        }
        let said = self.place.checkout.folder().join("said");
        let started = Instant::now();
        let mut child = self.apps(&said)?;
        // Some ways need a release that is pending; any other moment is right for the others.
        let needs_pending = matches!(kill.way, Way::Restart(Meanwhile::FreeLock | Meanwhile::SkippedRelease));
        let mut pending = None;
        while started.elapsed() < moment || (needs_pending && pending.is_none()) {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the run that was to be ended failed: {}", text(&said)?);
                self.up = true;
                return Ok(None);
            }
            std::thread::sleep(STEP);
            if needs_pending && started.elapsed() >= moment {
                pending = self.pending()?;
            }
        }
        kill.way.end(child.id(), &self.place.sandbox.home())?;
        let status = child.wait()?;
        let text = text(&said)?;
        if status.success() {
            // The signal came too late, or is ignored, as HUP is below `nohup`.
            ensure!(text.contains("Bootstrap complete!"), "it ended with 0:\n{text}");
            self.up = true;
            return Ok(None);
        }
        if let Way::Alone(signal) = kill.way {
            self.ended_well(signal, status).with_context(|| text.clone())?;
        }
        let (next, at_work) = self
            .next(kill.way, pending.as_deref())
            .with_context(|| format!("the run that was ended said\n{text}"))?;
        self.up = true;
        Ok(Some(Mended { during: stage(&text), next, at_work }))
    }

    /// Runs until everything is as it should be: how long the last run took, and how long it took until it worked.
    fn next(&self, way: Way, pending: Option<&str>) -> Result<(Duration, Option<Duration>)> {
        let (Way::Restart(meanwhile), Some((restart, soon))) = (way, self.restart) else {
            let ran = self.place.converge(&[])?;
            return Ok((ran.took, ran.at_work));
        };
        let mut between = None;
        match (meanwhile, pending) {
            (Meanwhile::FreeLock, _) => {
                let nobody = r#"{"spec":{"holderIdentity":null}}"#;
                let lease = ["--namespace", "kube-system", "lease", "k3s-boot"];
                let patch = ["--type", "merge", "--patch", nobody];
                self.place.sandbox.kubectl(&[&["patch"][..], &lease, &patch].concat())?;
            }
            (Meanwhile::SkippedRelease, Some(release)) => {
                let mut command = self.after(restart)?;
                command.args(["--skip-release", release]);
                between = works(&self.place.complete(command).context("the run in between")?, soon)?;
            }
            _ => {}
        }
        let ran = self.place.converge_by(self.after(restart)?)?;
        Ok((ran.took, between.max(works(&ran, soon)?)))
    }

    /// `k3s-boot apps` as after a restart of the machine.
    fn after(&self, restart: Restart) -> Result<Command> {
        Ok(self.place.started_by(&restart.starter(self.place.checkout.folder())?, "apps"))
    }

    /// A release that is pending now, as `namespace/name`.
    fn pending(&self) -> Result<Option<String>> {
        let found = self.place.sandbox.get(PENDING)?;
        let metadata = found.as_ref().and_then(|list| list.pointer("/items/0/metadata"));
        let id = metadata.and_then(|one| {
            Some(format!("{}/{}", one["namespace"].as_str()?, one["labels"]["name"].as_str()?))
        });
        Ok(id)
    }

    /// After a signal to k3s-boot alone: the exit code tells of it, and no process is left.
    fn ended_well(&self, signal: Signal, status: ExitStatus) -> Result<()> {
        if signal == Signal::SIGKILL {
            let gone = || Ok(self.place.running()?.is_empty().then_some(()));
            return wait_for("the tools of a killed k3s-boot to end", GRACE, gone);
        }
        ensure!(self.place.running()?.is_empty(), "after {signal}, processes are left");
        ensure!(status.code() == Some(128 + signal as i32), "after {signal}, it ended with {status}");
        self.place.clean()
    }

    /// What the repository asks for becomes newer: four charts, and values of all releases but the CRDs'.
    fn upgrade(&mut self) -> Result<()> {
        self.upgrades += 1;
        let round = self.upgrades;
        let newer = |(_, start, last): (&str, &'static str, usize)| {
            (format!("version: {start}{last}\n"), format!("version: {start}{}\n", last + round))
        };
        let versions = UPGRADED.map(newer);
        let versions: Vec<_> = versions.iter().map(|(from, to)| (from.as_str(), to.clone())).collect();
        self.place.checkout.change("bootstrap/helmfile.d/00-crds.yaml", &versions[..1])?;
        self.place.checkout.change("bootstrap/helmfile.d/01-apps.yaml", &versions[1..])?;
        let marked = MARKED.map(|(line, key)| (line, format!("{line}{key}: {{round: \"{round}\"}}\n")));
        self.place.checkout.change(VALUES, &marked)
    }

    fn apps(&self, said: &Path) -> Result<Child> {
        let file = File::create(said)?;
        let mut command = self.place.command("apps");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).env(GARBAGE.0, GARBAGE.1);
        command.spawn().context("cannot run `k3s-boot`")
    }
}

/// How long a run took until it worked, which may not be longer than this.
fn works(ran: &site::Ran, soon: Duration) -> Result<Option<Duration>> {
    let Some(at_work) = ran.at_work else {
        ensure!(
            ran.said.contains("Nothing to change"),
            "it is not known when it began to work:\n{}",
            ran.said
        );
        return Ok(None);
    };
    ensure!(at_work <= soon, "it began to work after {:.1} s:\n{}", at_work.as_secs_f64(), ran.said);
    Ok(Some(at_work))
}

/// Where a run was when it said its last line.
fn stage(said: &str) -> String {
    let last = said.lines().rev().find(|line| line.contains(" INFO "));
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
    fn a_run_says_where_it_is() {
        assert_eq!(stage(""), "start");
        assert_eq!(stage("T INFO Preflight passed checks=\"58\" took=\"1s\" \n"), "Preflight passed");
        assert_eq!(
            stage("T INFO Syncing release release=\"a/b\" version=\"1\" \nT WARN x y=\"z\" \n"),
            "a/b"
        );
    }
}
