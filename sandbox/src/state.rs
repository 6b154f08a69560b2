//! The background sandbox of `cargo sandbox up`: one for each checkout.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cluster::{Options, Sandbox};
use crate::process::{is_running, started, wait_for};
use crate::tools::{Tools, cache_dir, hex};

/// Timeout for the start and for the end of the sandbox.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The state of a running sandbox, for other processes.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct State {
    server: Process,
    processes: Vec<Process>,
    /// As [`Sandbox::env`].
    pub(crate) env: Vec<(String, String)>,
    /// As [`Sandbox::age_key`].
    pub(crate) age_key: PathBuf,
    /// As [`Sandbox::folder`].
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Deserialize, Serialize)]
struct Process {
    pid: u32,
    started: Option<u64>,
}

impl Process {
    fn of(pid: u32) -> Self {
        Self { pid, started: started(pid) }
    }

    fn is_running(&self) -> bool {
        is_running(self.pid) && started(self.pid) == self.started
    }
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

fn state_dir() -> Result<PathBuf> {
    let checkout = hex(&Sha256::digest(workspace().as_os_str().as_encoded_bytes())[..8]);
    Ok(cache_dir()?.join("state").join(checkout))
}

/// Finds the running sandbox.
pub(crate) fn find() -> Result<Option<State>> {
    let path = state_dir()?.join("state.json");
    let Ok(text) = fs::read(&path) else {
        return Ok(None);
    };
    let state: State =
        serde_json::from_slice(&text).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(state.server.is_running().then_some(state))
}

/// Starts a sandbox unless one is running. True if it was started.
pub(crate) fn up(tools: &Tools) -> Result<(State, bool)> {
    let folder = state_dir()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let _lock = lock(&folder)?;
    if let Some(state) = find()? {
        return Ok((state, false));
    }
    clean(&folder)?;
    // The server looks up the tools itself; here they only have to be installed.
    let _: &Path = tools.path_dir();
    let log_path = folder.join("server.log");
    let log = File::create(&log_path)?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir(&folder)
        .process_group(0)
        .spawn()
        .context("cannot start the server of the sandbox")?;
    let state = wait_for("the sandbox", TIMEOUT, || {
        if let Some(status) = server.try_wait()? {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            bail!("the server of the sandbox exited with {status}: {}", log.trim());
        }
        find()
    })?;
    Ok((state, true))
}

/// Stops the running sandbox, waits for all its processes and removes its state. True if one was running.
pub(crate) fn down() -> Result<bool> {
    let folder = state_dir()?;
    if !folder.is_dir() {
        return Ok(false);
    }
    let _lock = lock(&folder)?;
    let Some(state) = find()? else {
        clean(&folder)?;
        return Ok(false);
    };
    // The server needs no signal handler: its watchdogs clean up.
    kill(Pid::from_raw(state.server.pid.try_into()?), Signal::SIGTERM)
        .context("cannot stop the server of the sandbox")?;
    wait_for("the sandbox to stop", TIMEOUT, || {
        let all_gone = !state.server.is_running() && !state.processes.iter().any(Process::is_running);
        Ok((all_gone && !state.folder.exists()).then_some(()))
    })?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    Ok(true)
}

/// Runs the sandbox in this process until it is killed.
pub(crate) fn serve() -> Result<()> {
    let folder = state_dir()?;
    let options =
        Options { name: "up".to_owned(), folder: Some(folder.join("sandbox")), ..Options::default() };
    let sandbox = Sandbox::start(options)?;
    let state = State {
        server: Process::of(std::process::id()),
        processes: sandbox.processes().into_iter().map(|(_, pid)| Process::of(pid)).collect(),
        env: sandbox.env(),
        age_key: sandbox.age_key(),
        folder: sandbox.folder().to_owned(),
    };
    let staging = folder.join("state.json.new");
    fs::write(&staging, serde_json::to_vec(&state)?)?;
    fs::rename(&staging, folder.join("state.json"))?;
    loop {
        std::thread::park();
    }
}

fn clean(folder: &Path) -> Result<()> {
    for name in ["state.json", "state.json.new"] {
        if folder.join(name).exists() {
            fs::remove_file(folder.join(name))?;
        }
    }
    if folder.join("sandbox").exists() {
        fs::remove_dir_all(folder.join("sandbox"))?;
    }
    Ok(())
}

/// Allows one `up` or `down` at a time for each checkout.
fn lock(folder: &Path) -> Result<Flock<File>> {
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock `{}`", path.display()))
}
