//! A cluster and a repository with an injected fault.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::Fault;
use super::Output;
use super::injection::{Injection, When};
use crate::charts::Chart;
use crate::cluster::Options;
use crate::fixture::{Fixture, LIMIT, send};
use crate::process::wait_for;
use crate::registry::Registry;
use crate::tools::Tools;
use crate::webhook::Webhook;

/// A secret in the environment, which must not appear in any output.
const TOKEN: &str = "ghp_canaryOfTheFaultCampaign0123456789";

/// Mounts a small file system for temporary files, in a mount namespace that ends with the program.
const WITH_SMALL_DISK: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$TMPDIR" && shift && exec "$@""#;

/// A cluster with its webhooks, which run until the fault is removed.
pub(super) struct FaultFixture {
    fixture: Fixture,
    webhooks: Vec<Webhook>,
}

impl FaultFixture {
    /// Starts a fresh cluster with its own registry.
    pub(super) fn start(tools: &Tools, program: &Path, name: &str, large_crds: bool) -> Result<Self> {
        let charts = if large_crds { Vec::new() } else { Chart::large_without_schemas()? };
        let registry = Some(Registry::start_with(tools, &charts)?);
        let options = Options { name: name.to_owned(), registry, ..Options::default() };
        let mut fixture = Fixture::start(tools, program, options)?;
        fixture.add_secret(TOKEN);
        Ok(Self { fixture, webhooks: Vec::new() })
    }

    /// Injects a fault and runs commands one after the other, until one fails.
    pub(super) fn run(
        &mut self,
        fault: &Fault,
        commands: impl FnOnce(&Fixture) -> Vec<Command>,
    ) -> Result<Output> {
        let fixture = &self.fixture;
        if fault.upgrade {
            self.converge(&[]).context("the run before the upgrade")?;
        }
        if let When::Before = fault.when {
            self.webhooks = inject(fixture, fault)?;
        }
        let disk_size = fault.injections.iter().find_map(Injection::disk_size);
        let finished = AtomicBool::new(false);
        let started = Instant::now();
        let (output, injected) = std::thread::scope(|scope| {
            let injection = matches!(fault.when, When::Release(..)).then(|| {
                scope.spawn(|| {
                    let reached = fault.when.wait(fixture, &|| finished.load(Ordering::Relaxed));
                    let injected_at = started.elapsed();
                    anyhow::Ok((injected_at, if reached { inject(fixture, fault)? } else { Vec::new() }))
                })
            });
            let output = run(fixture, commands(fixture), disk_size, started);
            finished.store(true, Ordering::Relaxed);
            (output, injection.map(std::thread::ScopedJoinHandle::join))
        });
        let mut output = output?;
        if let Some(injected) = injected {
            (output.injected_at, self.webhooks) =
                injected.map_err(|_| anyhow::anyhow!("the thread that injects the fault panicked"))??;
        }
        Ok(output)
    }

    pub(super) fn remove(&mut self, fault: &Fault) -> Result<()> {
        let removed = fault.injections.iter().try_for_each(|injection| injection.remove(&self.fixture));
        self.webhooks.clear();
        removed.context("cannot remove the fault")
    }

    /// Checks that the next run succeeds and converges.
    pub(super) fn converge(&self, args: &[&str]) -> Result<()> {
        self.fixture.converge(args).map(drop)
    }

    /// Checks that neither the logs nor any remaining file has a secret.
    pub(super) fn check_secrets(&self, logs: &Path) -> Result<()> {
        self.fixture.check_secrets(logs)?;
        self.fixture.clean()
    }
}

fn inject(fixture: &Fixture, fault: &Fault) -> Result<Vec<Webhook>> {
    let mut webhooks = Vec::new();
    for injection in fault.injections {
        webhooks.extend(injection.inject(fixture).context("cannot inject the fault")?);
    }
    Ok(webhooks)
}

/// Runs the commands and records the time of each line.
fn run(
    fixture: &Fixture,
    commands: Vec<Command>,
    disk_size: Option<&str>,
    started: Instant,
) -> Result<Output> {
    let lines = Mutex::new(Vec::new());
    let mut output = Output::default();
    for command in commands {
        let mut command = match disk_size {
            Some(size) => with_small_disk(&command, size),
            None => command,
        };
        command.env("GITHUB_TOKEN", TOKEN).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let status = std::thread::scope(|scope| {
            scope.spawn(|| read_lines(stdout, started, &lines));
            scope.spawn(|| read_lines(stderr, started, &lines));
            let status = wait_for("the command to finish", LIMIT, || Ok(child.try_wait()?));
            if status.is_err() {
                // The pipes stay open until all child processes have exited.
                for pid in fixture.running()? {
                    send(pid, Signal::SIGKILL)?;
                }
                child.wait()?;
            }
            anyhow::Ok(status.ok())
        })?;
        output.code = status.and_then(|status| status.code());
        if output.code != Some(0) {
            break;
        }
    }
    output.took = started.elapsed();
    output.lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(output)
}

fn read_lines(pipe: Option<impl Read>, started: Instant, lines: &Mutex<Vec<(Duration, String)>>) {
    let Some(pipe) = pipe else { return };
    for line in BufReader::new(pipe).split(b'\n') {
        let Ok(line) = line else { return };
        let line = (started.elapsed(), String::from_utf8_lossy(&line).into_owned());
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The same command with a disk of this size for temporary files. It needs no rights except a user namespace.
fn with_small_disk(command: &Command, size: &str) -> Command {
    let mut small = Command::new("unshare");
    small.args(["--map-root-user", "--mount", "/bin/sh", "-c", WITH_SMALL_DISK, "sh", size]);
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
