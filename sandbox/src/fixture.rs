//! A cluster and a repository for repeated runs of k3s-boot.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::checkout::Checkout;
use crate::cluster::{Options, Sandbox};
use crate::folder::files;
use crate::process::{is_running, wait_for};
use crate::secrets::leaks;
use crate::tools::Tools;

/// Timeout for a run, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(4);

/// Part of the first line that k3s-boot logs while it holds its lock, in the stage `namespaces`, after it has recovered releases
/// stuck in `pending-*`. Every run that changes something logs it.
const AT_WORK: &str = " INFO Namespace ";

/// A successful run of `apps`.
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// Time from its start until it held the lock and began its work (see [`AT_WORK`]); none if there was nothing to change.
    pub(crate) at_work: Option<Duration>,
    pub(crate) log: String,
}

/// A fresh cluster, a repository and a folder for temporary files.
pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) checkout: Checkout,
    program: PathBuf,
    secrets: Vec<String>,
}

impl Fixture {
    pub(crate) fn start(tools: &Tools, program: &Path, options: Options) -> Result<Self> {
        let sandbox = Sandbox::start_with(tools, options)?;
        let checkout = Checkout::new(&sandbox)?;
        let secrets = sandbox.secrets()?;
        Ok(Self { sandbox, checkout, program: program.to_owned(), secrets })
    }

    /// Adds a secret, which must not appear anywhere.
    pub(crate) fn add_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// A command of k3s-boot in the repository.
    pub(crate) fn command(&self, name: &str) -> Command {
        self.started_by(&[], name)
    }

    /// As [`Fixture::command`], started by another program: its arguments come before those of k3s-boot.
    pub(crate) fn started_by(&self, starter: &[OsString], name: &str) -> Command {
        let mut words = starter.iter().cloned().chain([self.program.clone().into(), name.into()]);
        let program = words.next().map_or_else(PathBuf::new, PathBuf::from);
        let mut command = self.checkout.command(&self.sandbox, &program);
        command.args(words);
        command
    }

    /// Runs `apps` with these arguments until it has finished, and checks that the cluster has converged.
    pub(crate) fn converge(&self, args: &[&str]) -> Result<Ran> {
        let mut command = self.command("apps");
        command.args(args);
        self.converge_by(command)
    }

    /// As [`Fixture::converge`], with a command that runs `apps`.
    pub(crate) fn converge_by(&self, command: Command) -> Result<Ran> {
        let ran = self.complete(command)?;
        let text = &ran.log;
        let releases = self.sandbox.helm_list()?;
        let deployed = releases.iter().filter(|release| release["status"] == "deployed").count();
        ensure!((deployed, releases.len()) == (6, 6), "not all releases are deployed: {releases:?}\n{text}");
        let diff = self.command("diff").arg("--exit-code").output()?;
        ensure!(diff.status.success(), "`diff` shows changes: {}", String::from_utf8_lossy(&diff.stdout));
        ensure!(self.running()?.is_empty(), "processes are still running");
        self.clean()?;
        Ok(ran)
    }

    /// Runs a command that runs `apps` until it has finished; it must succeed.
    pub(crate) fn complete(&self, mut command: Command) -> Result<Ran> {
        let log = self.checkout.folder().join("next");
        let started = Instant::now();
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut child = command.spawn().context("cannot run `k3s-boot`")?;
        let mut at_work = None;
        let ended = wait_for("k3s-boot apps", LIMIT, || {
            if at_work.is_none() && text(&log)?.contains(AT_WORK) {
                at_work = Some(started.elapsed());
            }
            Ok(child.try_wait()?)
        });
        let status = ended.with_context(|| self.describe_hang(&log))?;
        let (took, log) = (started.elapsed(), text(&log)?);
        ensure!(
            status.success() && log.contains("Bootstrap complete!"),
            "the run failed with {status}:\n{log}"
        );
        Ok(Ran { took, at_work, log })
    }

    /// The output of a run that does not finish, its processes, and the state of the cluster.
    fn describe_hang(&self, log: &Path) -> String {
        let mut report = text(log).unwrap_or_default();
        for pid in self.running().unwrap_or_default() {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            report = format!("{report}{pid}: {}\n", String::from_utf8_lossy(&command).replace('\0', " "));
        }
        for kinds in ["nodes,pods,jobs", "fluxinstances,gitrepositories,kustomizations"] {
            let output = self.sandbox.kubectl(&["get", kinds, "--all-namespaces", "--output", "wide"]);
            report.push_str(&output.map_or_else(
                |error| format!("{error:#}\n"),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            ));
        }
        report
    }

    /// Fails if there are temporary files, or a secret in any file.
    pub(crate) fn clean(&self) -> Result<()> {
        let temporary = self.checkout.temp();
        let left = files(&temporary)?;
        ensure!(left.is_empty(), "temporary files remain: {left:?}");
        self.check_secrets(&temporary)
    }

    /// Fails if a secret is in a file of the programs under test or of this folder.
    pub(crate) fn check_secrets(&self, folder: &Path) -> Result<()> {
        for folder in [&self.sandbox.home(), folder] {
            let leaks = leaks(&self.secrets, folder)?;
            ensure!(leaks.is_empty(), "secrets found in {leaks:?}");
        }
        Ok(())
    }

    /// The running processes of the programs under test, whatever their parent.
    pub(crate) fn running(&self) -> Result<Vec<u32>> {
        running(&self.sandbox.home())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // After a fault, processes may still use files of the cluster.
        for pid in self.running().unwrap_or_default() {
            drop(send(pid, Signal::SIGKILL));
        }
    }
}

/// The processes with this home folder: all programs under test of one sandbox.
pub(crate) fn running(home: &Path) -> Result<Vec<u32>> {
    let variable = format!("HOME={}", home.display()).into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Skip processes that have exited or belong to other users.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|&byte| byte == 0).any(|one| one == variable) && is_running(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Sends a signal to a process, which may have exited.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(i32::try_from(pid)?), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to {pid}")),
    }
}

/// Reads the output of a program.
pub(crate) fn text(file: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}
