//! Runs a program as after a restart of the machine: with another boot ID.
//!
//! The program itself is unchanged. It runs in a mount namespace of its own, in which a file with a new UUID is mounted over
//! the kernel's boot ID. Without root, a user namespace gives the right to mount there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A new UUID with every reading (random(4)).
const UUID: &str = "/proc/sys/kernel/random/uuid";
/// The PID namespace that the kernel starts with (`PROC_PID_INIT_INO`): elsewhere, k3s-boot does not take a machine ID for
/// the machine's.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Where k3s-boot reads the machine ID.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Mounts its first argument and becomes the others.
const MOUNT: &str = r#"mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@""#;

/// The ways to get a mount namespace, with options of `unshare`: as root, and as anybody else.
const UNSHARE: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];

/// How programs get another boot ID on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    options: &'static [&'static str],
}

impl Restart {
    /// Finds out how. Fails with what is missing when programs cannot get another boot ID here, or k3s-boot does not know a
    /// restart of this machine.
    pub(super) fn new() -> Result<Self> {
        let namespace = fs::read_link("/proc/self/ns/pid")?;
        ensure!(
            namespace.as_os_str() == INITIAL_PID_NAMESPACE,
            "k3s-boot knows no restart in a container: run this on the machine itself (PID namespace {})",
            namespace.display()
        );
        let is_id = |text: String| {
            text.trim().len() == 32 && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        ensure!(
            MACHINE_ID_FILES.iter().any(|path| fs::read_to_string(path).is_ok_and(is_id)),
            "this machine has no ID in `{}`: run `systemd-machine-id-setup`",
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
            "no program can get another boot ID here: this needs util-linux, and root or user namespaces (sysctl \
             `user.max_user_namespaces`, and on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`)\n{}",
            reasons.join("\n")
        )
    }

    /// The words before a program and its arguments that start it after a restart. The new boot ID is in a file of `folder`.
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
            .context("util-linux' `unshare` is missing")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", words.trim());
        let expected = fs::read(folder.path().join("boot_id"))?;
        ensure!(output.stdout == expected, "the boot ID is still the kernel's");
        Ok(())
    }
}

/// A file with a new boot ID.
fn new_boot_id(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("boot_id");
    fs::write(&path, fs::read(UUID)?)?;
    Ok(path)
}
