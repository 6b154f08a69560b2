//! Simulates a restart of the machine for a program: runs it with another boot ID.
//!
//! The unchanged program runs in its own mount namespace, in which a file with a new UUID is mounted over the boot ID of the
//! kernel. Without root, a user namespace allows the mount.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Contains a new UUID at each read (random(4)).
const UUID: &str = "/proc/sys/kernel/random/uuid";
/// The initial PID namespace (`PROC_PID_INIT_INO`): in others, k3s-boot does not trust the machine ID.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Where k3s-boot reads the machine ID.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Mounts its first argument and executes the others.
const MOUNT: &str = r#"mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@""#;

/// The options of `unshare` for a mount namespace: as root, and as another user.
const UNSHARE: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];

/// How programs can get another boot ID on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    options: &'static [&'static str],
}

impl Restart {
    /// Finds out how. Fails if programs cannot get another boot ID, or if k3s-boot cannot recognize a restart of this machine.
    pub(super) fn new() -> Result<Self> {
        let namespace = fs::read_link("/proc/self/ns/pid")?;
        ensure!(
            namespace.as_os_str() == INITIAL_PID_NAMESPACE,
            "k3s-boot does not recognize restarts in a container: run this outside of containers (PID namespace {})",
            namespace.display()
        );
        let is_id = |text: String| {
            text.trim().len() == 32 && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        ensure!(
            MACHINE_ID_FILES.iter().any(|path| fs::read_to_string(path).is_ok_and(is_id)),
            "`{}` has no machine ID: run `systemd-machine-id-setup`",
            MACHINE_ID_FILES[0]
        );
        let mut reasons = Vec::new();
        for options in UNSHARE {
            let restart = Self { options };
            match restart.try_it() {
                Ok(()) => return Ok(restart),
                Err(error) => reasons.push(format!("`unshare {}`: {error:#}", options.join(" "))),
            }
        }
        bail!(
            "cannot simulate another boot ID: this needs util-linux, and root or user namespaces (sysctl \
             `user.max_user_namespaces`, and on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`)\n{}",
            reasons.join("\n")
        )
    }

    /// The arguments that start a program as after a restart, to be put before the program. The new boot ID is in a file of
    /// `folder`.
    pub(super) fn starter(self, folder: &Path) -> Result<Vec<OsString>> {
        let file = new_boot_id(folder)?;
        let mut words: Vec<OsString> = vec!["unshare".into()];
        words.extend(self.options.iter().map(Into::into));
        words.extend(["/bin/sh", "-c", MOUNT, "restart"].map(Into::into));
        words.push(file.into());
        Ok(words)
    }

    fn try_it(self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let starter = self.starter(folder.path())?;
        let output = Command::new(&starter[0])
            .args(&starter[1..])
            .args(["cat", BOOT_ID])
            .stdin(Stdio::null())
            .output()
            .context("`unshare` of util-linux is missing")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", words.trim());
        let expected = fs::read(folder.path().join("boot_id"))?;
        ensure!(output.stdout == expected, "the boot ID did not change");
        Ok(())
    }
}

/// A file with a new boot ID.
fn new_boot_id(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("boot_id");
    fs::write(&path, fs::read(UUID)?)?;
    Ok(path)
}
