//! The identity of a run: which process it is, so that another run can judge whether it still runs.

use std::fmt;
use std::path::Path;

/// The variable by which the tools of a run are known.
pub const RUN: &str = "K3S_BOOT_RUN";

/// A process, unlike every other one anywhere: its number is used again, and clocks and hosts' names are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host's name, for people.
    pub host: String,
    /// The system's start; empty where it cannot be told, and then nothing can be told of the process elsewhere.
    boot: String,
    /// In which its number holds: containers have their own.
    namespace: String,
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's ticks.
    start: String,
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It has ended.
    Ended,
    /// It runs, or ran, where it cannot be seen from here.
    Elsewhere,
}

impl Identity {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        let namespace =
            namespace.map(|path| path.to_string_lossy().chars().filter(char::is_ascii_digit).collect());
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let pid = std::process::id();
        Self {
            host: host.unwrap_or_default().replace('/', "-"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.unwrap_or_default(),
            pid,
            start: start(pid).unwrap_or_default(),
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let [host, boot, namespace, pid, start] = text.split('/').collect::<Vec<_>>().try_into().ok()?;
        let owned = ToOwned::to_owned;
        let [host, boot, namespace, start] = [host, boot, namespace, start].map(owned);
        Some(Self { host, boot, namespace, pid: pid.parse().ok()?, start })
    }

    /// The state of this process, as far as the process `own` can see it.
    #[must_use]
    pub fn state(&self, own: &Self) -> ProcessState {
        let here = !self.boot.is_empty() && self.boot == own.boot && self.namespace == own.namespace;
        match (here, start(self.pid)) {
            (false, _) => ProcessState::Elsewhere,
            (true, Some(start)) if start == self.start => ProcessState::Running,
            (true, _) => ProcessState::Ended,
        }
    }

    /// The tools that it has started and that still run. They are told to end when it is killed, which takes a moment. One
    /// that is just being started may be missed.
    #[must_use]
    pub fn tools(&self) -> Vec<u32> {
        let mark = format!("{RUN}={self}");
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            *pid != std::process::id() && variables.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
        };
        numbers.filter(ours).collect()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, boot, namespace, pid, start } = self;
        write!(f, "{host}/{boot}/{namespace}/{pid}/{start}")
    }
}

/// Kills a process that is known to be ours.
pub fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended meanwhile.
        _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// When a process was started; none when there is no such process, or only what is left of one that ended.
fn start(pid: u32) -> Option<String> {
    started(&std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
}

/// The same, by the system's table.
fn started(text: &str) -> Option<String> {
    // proc_pid_stat(5): the name, in parentheses, may hold anything; the state is the third field, the start the 22nd.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| start.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let own = Identity::own();
        assert_eq!(Identity::parse(&own.to_string()), Some(own.clone()));
        for text in ["", "host", "a/b/c/d/e", "a/b/c/1/e/f", "somebody-else"] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_ended_is_gone() {
        let own = Identity::own();
        assert_eq!(own.state(&own), ProcessState::Running);
        let earlier = Identity { start: "1".to_owned(), ..own.clone() };
        assert_eq!(earlier.state(&own), ProcessState::Ended, "its number was used again");
        for elsewhere in [
            Identity { boot: "x".to_owned(), ..own.clone() },
            Identity { namespace: "x".to_owned(), ..own.clone() },
        ] {
            assert_eq!(elsewhere.state(&own), ProcessState::Elsewhere);
        }
        let nowhere = Identity::default();
        assert_eq!(nowhere.state(&nowhere), ProcessState::Elsewhere);
        let mut child =
            std::process::Command::new("sleep").arg("60").env(RUN, earlier.to_string()).spawn().unwrap();
        // While a program takes another's place, the system tells none of its variables.
        let found = std::iter::repeat_with(|| earlier.tools()).find(|found| !found.is_empty()).unwrap();
        let other = own.tools();
        child.kill().unwrap();
        assert_eq!((found, other), (vec![child.id()], Vec::new()));
        // Not waited for yet, it is only what is left of a process.
        let left = Identity { pid: child.id(), ..own.clone() };
        assert_eq!(left.state(&own), ProcessState::Ended);
        child.wait().unwrap();
        assert_eq!(earlier.tools(), [0; 0]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in "[a/0-9]*", stat in crate::observed::odd::near(&[
            "4711 (k3s ) boot) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9035114 2 3 18446744073709551615 0 0\n",
            "4711 (helm) Z 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9035114 0 0\n",
        ])) {
            _ = (Identity::parse(&text), Identity::parse(&near), Identity::parse(&stat));
            _ = (started(&text), started(&stat));
        }
    }
}
