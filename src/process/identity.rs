//! The identity of a run: which process it is, so that another run can judge whether it still runs.
//!
//! On Linux, a process of the same boot and PID namespace is looked up in `/proc`, and a process of an earlier boot of the
//! same machine has ended. Elsewhere there is neither `/proc` nor a boot id: on macOS, every other run counts as
//! [`ProcessState::Elsewhere`], also one of the same machine that crashed. Its lock is free once the Lease has not changed
//! for [`crate::run::lock::EXPIRES`], and a release that it left `pending-*` is recovered once the timeout of its operation
//! has passed.

use std::fmt;
use std::path::Path;

use crate::base::fingerprint::sha256;

/// The environment variable that identifies the tools of a run.
pub(crate) const RUN: &str = "K3S_BOOT_RUN";

/// The inode of the PID namespace that the kernel starts with (`PROC_PID_INIT_INO` of Linux' `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "4026531836";

/// The files with the machine ID; systemd writes the first, D-Bus the second on systems without systemd.
///
/// Source: <https://www.freedesktop.org/software/systemd/man/latest/machine-id.html>
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Makes the hash of a machine ID specific to this program.
const APPLICATION: &str = "k3s-boot run identity";

/// A globally unique identity of a process: PIDs are reused, and host names and clocks may be the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host name, for messages.
    pub host: String,
    /// The boot ID; if it is empty, nothing is known about the process on other machines.
    boot: String,
    /// The PID namespace: containers have their own.
    namespace: String,
    /// The process ID.
    pub pid: u32,
    /// The start time, in ticks.
    start: String,
    /// The machine, as 16 hexadecimal digits (see [`hash_machine_id`]); empty if unknown, and in containers, whose machine ID may
    /// be that of the image.
    machine: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    Ended,
    /// It runs, or ran, on another machine or in another namespace.
    Elsewhere,
}

impl Identity {
    /// The identity of this process.
    #[must_use]
    pub fn own() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        let namespace: String = namespace
            .map(|path| path.to_string_lossy().chars().filter(char::is_ascii_digit).collect())
            .unwrap_or_default();
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let pid = std::process::id();
        let in_container = namespace != INITIAL_PID_NAMESPACE;
        let machine = MACHINE_ID_FILES.iter().find_map(|path| hash_machine_id(&read(path)));
        Self {
            host: host.unwrap_or_default().replace('/', "-"),
            boot: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            namespace,
            pid,
            start: start(pid).unwrap_or_default(),
            machine: machine.filter(|_| !in_container).unwrap_or_default(),
        }
    }

    /// Parses what [`fmt::Display`] writes, also without the machine, as older versions wrote it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields: Vec<_> = text.split('/').collect();
        let machine = if fields.len() == 6 { fields.pop()? } else { "" };
        let [host, boot, namespace, pid, start] = fields.try_into().ok()?;
        let [host, boot, namespace, start, machine] =
            [host, boot, namespace, start, machine].map(ToOwned::to_owned);
        Some(Self { host, boot, namespace, pid: pid.parse().ok()?, start, machine })
    }

    /// The state of this process, as seen by the process `own`.
    #[must_use]
    pub fn state(&self, own: &Self) -> ProcessState {
        judge(self, own, start(self.pid).as_ref() == Some(&self.start))
    }

    /// The running tools that it started. When it is killed they get a signal and exit soon after. A tool that is just being
    /// started may be missed.
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
        let Self { host, boot, namespace, pid, start, machine } = self;
        write!(f, "{host}/{boot}/{namespace}/{pid}/{start}")?;
        // Without the machine the text is that of older versions, which identifies their tools.
        if machine.is_empty() { Ok(()) } else { write!(f, "/{machine}") }
    }
}

/// The state of `process` as seen by `own`; `is_running` says whether a process with its PID and start time is running here.
fn judge(process: &Identity, own: &Identity, is_running: bool) -> ProcessState {
    if process.boot.is_empty() || own.boot.is_empty() {
        return ProcessState::Elsewhere;
    }
    if process.boot == own.boot {
        return match (process.namespace == own.namespace, is_running) {
            (true, true) => ProcessState::Running,
            (true, false) => ProcessState::Ended,
            (false, _) => ProcessState::Elsewhere,
        };
    }
    let is_initial = |one: &Identity| one.namespace == INITIAL_PID_NAMESPACE;
    let is_same_machine = !process.machine.is_empty()
        && (&process.machine, &process.host) == (&own.machine, &own.host)
        && is_initial(process)
        && is_initial(own);
    // The machine was restarted.
    if is_same_machine { ProcessState::Ended } else { ProcessState::Elsewhere }
}

/// The hash of a machine ID, as 16 hexadecimal digits: machine-id(5) recommends an application-specific hash instead of the
/// ID. None for a text that is not a machine ID, such as `uninitialized` before the first boot.
fn hash_machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    let is_id = id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0');
    let hash = || sha256(format!("{APPLICATION}/{id}"));
    is_id.then(|| hash().chars().take(16).collect())
}

/// Kills a process, which must be one of a run of k3s-boot.
pub(crate) fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have exited in the meantime.
        _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// The start time of a process; none if there is no such process, or it is a zombie.
fn start(pid: u32) -> Option<String> {
    started(&std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
}

/// The start time, from `/proc/PID/stat`.
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
        for text in ["", "host", "a/b/c/d/e", "a/b/c/d/e/f", "a/b/c/1/e/f/g", "somebody-else"] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
        // Of an older version, whose tools have this text in their environment.
        let older = Identity::parse("host/boot/4026531836/4711/99").unwrap();
        assert_eq!((older.pid, older.machine.as_str()), (4711, ""));
        assert_eq!(older.to_string(), "host/boot/4026531836/4711/99");
    }

    #[test]
    fn a_machine_is_known_by_a_hash_of_its_id() {
        let id = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let hash = hash_machine_id(&format!("{id}\n")).unwrap();
        assert_eq!(hash, "827e1d95f05af3cf");
        assert_ne!(hash_machine_id("1f1e2d3c4b5a69788796a5b4c3d2e1f0"), Some(hash));
        for text in ["", "uninitialized\n", &id[1..], "00000000000000000000000000000000", &"g".repeat(32)] {
            assert_eq!(hash_machine_id(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_is_judged_by_boot_namespace_and_machine() {
        use ProcessState::{Elsewhere, Ended, Running};
        let own = Identity {
            host: "server".to_owned(),
            boot: "now".to_owned(),
            namespace: INITIAL_PID_NAMESPACE.to_owned(),
            pid: 4711,
            start: "99".to_owned(),
            machine: "m".to_owned(),
        };
        let with = |change: &dyn Fn(&mut Identity)| {
            let mut process = own.clone();
            change(&mut process);
            process
        };
        let earlier = with(&|one| one.boot = "before".to_owned());
        let container = with(&|one| (one.namespace, one.machine) = ("7".to_owned(), String::new()));
        let state = |process: &Identity| [true, false].map(|is_running| judge(process, &own, is_running));
        // The same boot and namespace: by `/proc`, whatever is known of the machine.
        assert_eq!(state(&own), [Running, Ended]);
        assert_eq!(state(&with(&|one| one.machine.clear())), [Running, Ended], "of an older version");
        assert_eq!(state(&container), [Elsewhere; 2]);
        assert_eq!(judge(&container, &container, true), Running);
        // Another boot of the same machine: it has ended, for its number is used again.
        assert_eq!(state(&earlier), [Ended; 2]);
        for (what, change) in [
            ("no machine", (&|one: &mut Identity| one.machine.clear()) as &dyn Fn(&mut Identity)),
            ("another machine", &|one| one.machine.push('x')),
            ("another host name", &|one| one.host.push('x')),
            ("a container", &|one| one.namespace = "7".to_owned()),
            ("no boot ID", &|one| one.boot.clear()),
        ] {
            let mut other = earlier.clone();
            change(&mut other);
            assert_eq!(state(&other), [Elsewhere; 2], "{what}");
            // And from there.
            let from = with(&change);
            assert_eq!(judge(&earlier, &from, true), Elsewhere, "{what}");
        }
        // Of two containers, and of two machines without an ID, nothing is known.
        for (what, change) in [
            ("containers", (&|one: &mut Identity| one.namespace = "7".to_owned()) as &dyn Fn(&mut Identity)),
            ("no machine IDs", &|one| one.machine.clear()),
            ("no boot IDs", &|one| one.boot.clear()),
        ] {
            let mut other = earlier.clone();
            change(&mut other);
            assert_eq!(judge(&other, &with(&change), true), Elsewhere, "{what}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_ended_is_known_as_such() {
        let own = Identity::own();
        assert_eq!(own.state(&own), ProcessState::Running);
        let earlier = Identity { start: "1".to_owned(), ..own.clone() };
        assert_eq!(earlier.state(&own), ProcessState::Ended, "its number was used again");
        for id in MACHINE_ID_FILES.iter().filter_map(|path| std::fs::read_to_string(path).ok()) {
            assert!(id.trim().is_empty() || !own.to_string().contains(id.trim()), "the ID itself stays here");
        }
        let mut child =
            std::process::Command::new("sleep").arg("60").env(RUN, earlier.to_string()).spawn().unwrap();
        // While a program takes another's place, the system shows none of its variables.
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
        fn no_text_makes_it_panic(text: String, near in "[a/0-9]*", stat in crate::base::mutate::text(&[
            "4711 (k3s ) boot) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9035114 2 3 18446744073709551615 0 0\n",
            "4711 (helm) Z 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9035114 0 0\n",
        ])) {
            for identity in [&text, &near, &stat].into_iter().filter_map(|text| Identity::parse(text)) {
                _ = judge(&identity, &identity, true);
            }
            _ = hash_machine_id(&text);
            _ = (started(&text), started(&stat));
        }
    }
}
