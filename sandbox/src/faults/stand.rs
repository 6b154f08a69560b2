//! A cluster and a repository in which something goes wrong.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::Fault;
use super::injection::{Injection, When};
use super::judge::Told;
use crate::cluster::Options;
use crate::process::wait_for;
use crate::site::{LIMIT, Site, send};
use crate::tools::Tools;
use crate::webhook::Webhook;

/// A secret of the user's environment, which nothing may show.
const TOKEN: &str = "ghp_canaryOfTheFaultCampaign0123456789";

/// Mounts a small file system for temporary files, which only the program sees and which goes with it.
const SMALL: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$TMPDIR" && shift && exec "$@""#;

/// A site, and what stands there as long as something is wrong.
pub(super) struct Stand {
    site: Site,
    webhooks: Vec<Webhook>,
}

impl Stand {
    /// A fresh cluster with a registry of its own.
    pub(super) fn start(tools: &Tools, program: &Path, name: &str) -> Result<Self> {
        let mut site = Site::start(tools, program, Options { name: name.to_owned(), ..Options::default() })?;
        site.plant(TOKEN);
        Ok(Self { site, webhooks: Vec::new() })
    }

    /// Runs programs, one after the other as long as they succeed, while the fault comes about.
    pub(super) fn meet(
        &mut self,
        fault: &Fault,
        commands: impl FnOnce(&Site) -> Vec<Command>,
    ) -> Result<Told> {
        let site = &self.site;
        if fault.upgrade {
            self.converge(&[]).context("what is to be upgraded")?;
        }
        if let When::Before = fault.when {
            self.webhooks = inject(site, fault)?;
        }
        let room = fault.injections.iter().find_map(Injection::room);
        let over = AtomicBool::new(false);
        let started = Instant::now();
        let (told, late) = std::thread::scope(|scope| {
            let late = matches!(fault.when, When::Release(..)).then(|| {
                scope.spawn(|| {
                    let comes = fault.when.wait(site, &|| over.load(Ordering::Relaxed));
                    let came = started.elapsed();
                    anyhow::Ok((came, if comes { inject(site, fault)? } else { Vec::new() }))
                })
            });
            let told = run(site, commands(site), room, started);
            over.store(true, Ordering::Relaxed);
            (told, late.map(std::thread::ScopedJoinHandle::join))
        });
        let mut told = told?;
        if let Some(late) = late {
            (told.came, self.webhooks) =
                late.map_err(|_| anyhow::anyhow!("the thread of the fault panicked"))??;
        }
        Ok(told)
    }

    /// Makes everything right again.
    pub(super) fn lift(&mut self, fault: &Fault) -> Result<()> {
        let lifted = fault.injections.iter().try_for_each(|injection| injection.lift(&self.site));
        self.webhooks.clear();
        lifted.context("it cannot be lifted")
    }

    /// The next run mends everything that is left.
    pub(super) fn converge(&self, args: &[&str]) -> Result<()> {
        self.site.converge(args).map(drop)
    }

    /// No secret is in any file that is left, nor in what was said.
    pub(super) fn discreet(&self, said: &Path) -> Result<()> {
        self.site.discreet(said)?;
        self.site.clean()
    }
}

fn inject(site: &Site, fault: &Fault) -> Result<Vec<Webhook>> {
    let mut webhooks = Vec::new();
    for injection in fault.injections {
        webhooks.extend(injection.inject(site).context("it cannot be injected")?);
    }
    Ok(webhooks)
}

/// Runs the commands, noting when each line was said.
fn run(site: &Site, commands: Vec<Command>, room: Option<&str>, started: Instant) -> Result<Told> {
    let lines = Mutex::new(Vec::new());
    let mut told = Told::default();
    for command in commands {
        let mut command = match room {
            Some(room) => in_small_folder(&command, room),
            None => command,
        };
        command.env("GITHUB_TOKEN", TOKEN).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let status = std::thread::scope(|scope| {
            scope.spawn(|| listen(stdout, started, &lines));
            scope.spawn(|| listen(stderr, started, &lines));
            let status = wait_for("it to end", LIMIT, || Ok(child.try_wait()?));
            if status.is_err() {
                // Its pipes stay open as long as one of them lives.
                for pid in site.running()? {
                    send(pid, Signal::SIGKILL)?;
                }
                child.wait()?;
            }
            anyhow::Ok(status.ok())
        })?;
        told.code = status.and_then(|status| status.code());
        if told.code != Some(0) {
            break;
        }
    }
    told.took = started.elapsed();
    told.lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(told)
}

fn listen(pipe: Option<impl Read>, started: Instant, lines: &Mutex<Vec<(Duration, String)>>) {
    let Some(pipe) = pipe else { return };
    for line in BufReader::new(pipe).split(b'\n') {
        // A pipe that breaks has nothing more to say.
        let Ok(line) = line else { return };
        let line = (started.elapsed(), String::from_utf8_lossy(&line).into_owned());
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The same command, with so much room for temporary files. It takes no rights but those of a user namespace.
fn in_small_folder(command: &Command, size: &str) -> Command {
    let mut small = Command::new("unshare");
    small.args(["--map-root-user", "--mount", "/bin/sh", "-c", SMALL, "sh", size]);
    small.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => small.env(name, value),
            None => small.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        small.current_dir(folder);
    }
    small
}
