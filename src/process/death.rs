//! Children end when k3s-boot is killed.
//!
//! The kernel can send a process a signal when its parent dies, but only the process itself can ask for it. So a tool
//! starts as k3s-boot once more, which asks, makes sure that its parent still lives, and then becomes the tool. This
//! needs no unsafe code.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The hidden first argument.
const MARK: &str = "__become";

/// The program and arguments that start `program` so that it ends with us.
#[cfg(target_os = "linux")]
pub(super) fn wrap(program: &Path, args: &[OsString]) -> (PathBuf, Vec<OsString>) {
    let own = nix::unistd::getpid().to_string();
    let mut wrapped = vec![OsString::from(MARK), own.into(), program.into()];
    wrapped.extend_from_slice(args);
    // Not the path of our file: that may have been replaced since we started.
    (PathBuf::from("/proc/self/exe"), wrapped)
}

/// Elsewhere than on Linux a child is only ended by an orderly end of k3s-boot.
#[cfg(not(target_os = "linux"))]
pub(super) fn wrap(program: &Path, args: &[OsString]) -> (PathBuf, Vec<OsString>) {
    (program.to_owned(), args.to_vec())
}

/// If this process was started to become a tool, becomes it; returns only if that failed, or if it was not.
#[must_use]
pub fn become_child() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(MARK)) {
        return None;
    }
    Some(become_tool(args))
}

#[cfg(target_os = "linux")]
fn become_tool(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    use std::io::Write as _;
    use std::os::unix::process::CommandExt as _;

    // The shell's codes for a program that cannot be run, and for one that was not found.
    let parent = args.next().and_then(|parent| parent.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return ExitCode::from(126);
    };
    // INT, so that helmfile interrupts helm, which marks its release; KILL would orphan helm.
    if nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGINT).is_err() {
        return ExitCode::from(126);
    }
    if nix::unistd::getppid().as_raw() != parent {
        // The parent died before the kernel knew whom to tell.
        return ExitCode::from(130);
    }
    let error = std::process::Command::new(&program).args(args).exec();
    _ = writeln!(std::io::stderr(), "failed to execute `{}`: {error}", program.to_string_lossy());
    ExitCode::from(127)
}

#[cfg(not(target_os = "linux"))]
fn become_tool(_: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::from(126)
}
