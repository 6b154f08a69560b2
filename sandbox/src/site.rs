//! A cluster and a repository in which k3s-boot is run again and again.

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

/// Longer than any run takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(4);

/// A fresh cluster, a repository and a folder for temporary files.
pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    pub(crate) checkout: Checkout,
    program: PathBuf,
    secrets: Vec<String>,
}

impl Site {
    pub(crate) fn start(tools: &Tools, program: &Path, options: Options) -> Result<Self> {
        let sandbox = Sandbox::start_with(tools, options)?;
        let checkout = Checkout::new(&sandbox)?;
        let secrets = sandbox.secrets()?;
        Ok(Self { sandbox, checkout, program: program.to_owned(), secrets })
    }

    /// Another secret, which nothing may show.
    pub(crate) fn plant(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// A command of k3s-boot in the repository.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = self.checkout.command(&self.sandbox, &self.program);
        command.arg(name);
        command
    }

    /// Runs `apps` to its end, with no help but these arguments, and checks that everything is as it should be.
    pub(crate) fn converge(&self, args: &[&str]) -> Result<Duration> {
        let said = self.checkout.folder().join("next");
        let started = Instant::now();
        let file = File::create(&said)?;
        let mut command = self.command("apps");
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut child = command.spawn().context("cannot run `k3s-boot`")?;
        let ended = wait_for("k3s-boot apps", LIMIT, || Ok(child.try_wait()?));
        let status = ended.with_context(|| self.standing_still(&said))?;
        let took = started.elapsed();
        let text = text(&said)?;
        ensure!(
            status.success() && text.contains("Bootstrap complete!"),
            "the next run ended with {status}:\n{text}"
        );
        let releases = self.sandbox.helm_list()?;
        let deployed = releases.iter().filter(|release| release["status"] == "deployed").count();
        ensure!((deployed, releases.len()) == (6, 6), "releases are not deployed: {releases:?}\n{text}");
        let diff = self.command("diff").arg("--exit-code").output()?;
        ensure!(
            diff.status.success(),
            "something is left to change: {}",
            String::from_utf8_lossy(&diff.stdout)
        );
        ensure!(self.running()?.is_empty(), "processes are left");
        self.clean()?;
        Ok(took)
    }

    /// What a run that does not end has said, what it waits for, and what is not ready.
    fn standing_still(&self, said: &Path) -> String {
        let mut words = text(said).unwrap_or_default();
        for pid in self.running().unwrap_or_default() {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words = format!("{words}{pid}: {}\n", String::from_utf8_lossy(&command).replace('\0', " "));
        }
        for kinds in ["nodes,pods,jobs", "fluxinstances,gitrepositories,kustomizations"] {
            let output = self.sandbox.kubectl(&["get", kinds, "--all-namespaces", "--output", "wide"]);
            words.push_str(&output.map_or_else(
                |error| format!("{error:#}\n"),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            ));
        }
        words
    }

    /// No temporary file is left, and no secret in any file.
    pub(crate) fn clean(&self) -> Result<()> {
        let temporary = self.checkout.temp();
        let left = files(&temporary)?;
        ensure!(left.is_empty(), "files are left: {left:?}");
        self.discreet(&temporary)
    }

    /// No secret is in any file of the programs under test, or of this folder.
    pub(crate) fn discreet(&self, folder: &Path) -> Result<()> {
        for folder in [&self.sandbox.home(), folder] {
            let leaks = leaks(&self.secrets, folder)?;
            ensure!(leaks.is_empty(), "secrets are left in {leaks:?}");
        }
        Ok(())
    }

    /// The processes of the programs under test that run now, whoever is their parent by now.
    pub(crate) fn running(&self) -> Result<Vec<u32>> {
        running(&self.sandbox.home())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What is left after a fault holds the cluster's files.
        for pid in self.running().unwrap_or_default() {
            drop(send(pid, Signal::SIGKILL));
        }
    }
}

/// The processes that run with this home folder: all programs under test of one sandbox.
pub(crate) fn running(home: &Path) -> Result<Vec<u32>> {
    let variable = format!("HOME={}", home.display()).into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that is gone by now, or is somebody else's, is none.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|&byte| byte == 0).any(|one| one == variable) && is_running(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Sends a signal to a process, which may be gone by now.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(i32::try_from(pid)?), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to {pid}")),
    }
}

/// What a program has said.
pub(crate) fn text(file: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}
