//! The processes of a running tool.

use std::cell::Cell;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::process::Child;

use super::children::descendants;

/// The process group of a running tool; killed when it is dropped while armed.
pub(super) struct Group {
    leader: Option<Pid>,
    /// Whether the tool is in the process group of k3s-boot: then it and its descendants get signals one by one.
    is_shared: bool,
    /// Whether the tool has exited: in a shared group its ID may be that of another process by now.
    has_exited: Cell<bool>,
    armed: Cell<bool>,
}

impl Group {
    pub(super) fn of(child: &Child, is_shared: bool) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { leader, is_shared, has_exited: Cell::new(false), armed: Cell::new(true) }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let Some(leader) = self.leader.filter(|_| !self.is_out_of_reach()) else { return };
        let results = if self.is_shared {
            let below = u32::try_from(leader.as_raw()).map(descendants).unwrap_or_default();
            let below = below.into_iter().filter_map(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
            std::iter::once(leader).chain(below).map(|process| kill(process, signal)).collect()
        } else {
            // Until it has started its session, it is alone in the group of k3s-boot.
            let alone = || if self.has_exited.get() { Ok(()) } else { kill(leader, signal) };
            vec![
                killpg(leader, signal)
                    .or_else(|error| if error == Errno::ESRCH { alone() } else { Err(error) }),
            ]
        };
        for result in results {
            match result {
                // All its processes have exited.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => tracing::debug!(signal = %signal, error = %error, "Signal not delivered"),
            }
        }
    }

    /// Whether any of its processes is still running. Called when the tool has exited.
    pub(super) fn is_there(&self) -> bool {
        self.reap();
        !self.is_shared && self.leader.is_some_and(|leader| killpg(leader, None).is_ok())
    }

    /// As the first process of a container, k3s-boot is the parent of what the tool leaves behind, which belongs to the group
    /// until its exit status is read.
    fn reap(&self) {
        if let Some(leader) = self.leader.filter(|_| !self.is_shared && self.has_exited.get()) {
            let group = Pid::from_raw(-leader.as_raw());
            while waitpid(group, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some()) {}
        }
    }

    /// Called when the tool has exited.
    pub(super) fn leader_exited(&self) {
        self.has_exited.set(true);
    }

    fn is_out_of_reach(&self) -> bool {
        self.is_shared && self.has_exited.get()
    }

    /// Kills it and waits until its leader has exited.
    pub(super) fn end(&self) {
        self.signal(Signal::SIGKILL);
        #[cfg(target_os = "linux")]
        if let Some(leader) = self.leader {
            use nix::sys::wait::{Id, waitid};
            // The exit status is left for the task that waits for the child.
            _ = waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        }
    }

    pub(super) fn disarm(&self) {
        self.armed.set(false);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed.get() {
            self.signal(Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// The second process is a child of this one, as an orphan is a child of the first process of a container.
    #[test]
    fn what_a_tool_leaves_behind_is_reaped() {
        let start = |group: i32| {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(group).spawn().unwrap()
        };
        let mut leader = start(0);
        let pid = i32::try_from(leader.id()).unwrap();
        let mut orphan = start(pid);
        let group = Group {
            leader: Some(Pid::from_raw(pid)),
            is_shared: false,
            has_exited: Cell::new(false),
            armed: Cell::new(false),
        };
        leader.kill().unwrap();
        leader.wait().unwrap();
        group.leader_exited();
        assert!(group.is_there(), "the orphan runs");
        drop(orphan.stdin.take());
        let timeout = Instant::now() + Duration::from_secs(10);
        while group.is_there() {
            assert!(Instant::now() < timeout, "the orphan is a zombie");
            std::thread::yield_now();
        }
        assert!(orphan.wait().is_err(), "it was reaped");
    }
}
