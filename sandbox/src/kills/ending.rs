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
