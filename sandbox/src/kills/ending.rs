//! Methods to kill k3s-boot.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::fixture::{running, send};

/// How k3s-boot is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum KillMethod {
    /// SIGKILL for k3s-boot and all its descendants at the same instant.
    PowerCut,
    /// A power cut and a restart of the machine: the next run sees another boot ID.
    Restart(Meanwhile),
    /// A signal to k3s-boot alone.
    Alone(Signal),
}

/// What happens between a restart and the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// Nothing: the killed run still holds the lock.
    Nothing,
    /// The lock is released while a release is in `pending-*`.
    FreeLock,
    /// Another run skips the release in `pending-*`, and releases the lock.
    SkippedRelease,
}

impl KillMethod {
    /// The name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power cut",
            Self::Restart(Meanwhile::Nothing) => "power cut, new boot ID",
            Self::Restart(Meanwhile::FreeLock) => "power cut, new boot ID, free lock",
            Self::Restart(Meanwhile::SkippedRelease) => "power cut, new boot ID, release skipped",
            Self::Alone(signal) => signal.as_str(),
        }
    }

    /// Kills k3s-boot, and with power cuts its descendants, which all have the same `home`.
    pub(super) fn apply(self, k3s_boot: u32, home: &Path) -> Result<()> {
        match self {
            Self::PowerCut | Self::Restart(_) => {
                for pid in freeze(k3s_boot, home)? {
                    send(pid, Signal::SIGKILL)?;
                }
                Ok(())
            }
            Self::Alone(signal) => send(k3s_boot, signal),
        }
    }
}

/// Suspends k3s-boot and its descendants, so that all of them can be killed at the same instant, and returns their IDs.
fn freeze(k3s_boot: u32, home: &Path) -> Result<BTreeSet<u32>> {
    let mut frozen = BTreeSet::new();
    send(k3s_boot, Signal::SIGSTOP)?;
    frozen.insert(k3s_boot);
    // A process that was not suspended yet may have started another one.
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
