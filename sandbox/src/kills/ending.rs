//! Ways to end k3s-boot.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::site::{running, send};

/// How k3s-boot is ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// SIGKILL of k3s-boot and all its descendants at one instant.
    PowerCut,
    /// The same, and the machine has restarted before the next run: it sees another boot ID.
    Restart(Meanwhile),
    /// A signal to k3s-boot alone.
    Alone(Signal),
}

/// What happens between a restart and the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// Nothing: the lock is still that of the run that was ended.
    Nothing,
    /// Somebody lets go of the lock while a release is pending.
    FreeLock,
    /// Another run skips the release that is pending, and lets go of the lock.
    SkippedRelease,
}

impl Way {
    /// Its name in a table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power cut",
            Self::Restart(Meanwhile::Nothing) => "power cut, new boot ID",
            Self::Restart(Meanwhile::FreeLock) => "power cut, new boot ID, free lock",
            Self::Restart(Meanwhile::SkippedRelease) => "power cut, new boot ID, release skipped",
            Self::Alone(signal) => signal.as_str(),
        }
    }

    /// Ends k3s-boot, and its descendants if that is the way. They all have the same `home`.
    pub(super) fn end(self, k3s_boot: u32, home: &Path) -> Result<()> {
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
