//! Ways to end k3s-boot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::is_running;

/// How k3s-boot is ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// SIGKILL of k3s-boot and all its descendants at one instant.
    PowerCut,
    /// A signal to k3s-boot alone.
    Alone(Signal),
}

impl Way {
    /// Its name in a table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power cut",
            Self::Alone(signal) => signal.as_str(),
        }
    }

    /// Ends k3s-boot, and its descendants if that is the way. They all have the same `home`.
    pub(super) fn end(self, k3s_boot: u32, home: &Path) -> Result<()> {
        match self {
            Self::PowerCut => {
                for pid in freeze(k3s_boot, home)? {
                    send(pid, Signal::SIGKILL)?;
                }
                Ok(())
            }
            Self::Alone(signal) => send(k3s_boot, signal),
        }
    }
}

/// Stops k3s-boot and its descendants, so that none of them lives for longer than the others, and gives their ids.
fn freeze(k3s_boot: u32, home: &Path) -> Result<BTreeSet<u32>> {
    let mut frozen = BTreeSet::new();
    send(k3s_boot, Signal::SIGSTOP)?;
    frozen.insert(k3s_boot);
    // Whoever is not stopped yet may have started another one meanwhile.
    loop {
        let new: Vec<_> = running(home)?.into_iter().filter(|pid| !frozen.contains(pid)).collect();
        if new.is_empty() {
            return Ok(frozen);
        }
        for pid in new {
            send(pid, Signal::SIGSTOP)?;
            frozen.insert(pid);
        }
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(i32::try_from(pid)?), signal) {
        // Gone by itself.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to {pid}")),
    }
}

/// The processes that run with this home folder: all programs under test of one sandbox, whoever is their parent by now.
pub(super) fn running(home: &Path) -> Result<Vec<u32>> {
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
