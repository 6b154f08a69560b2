//! Stops tools when k3s-boot is killed, and keeps the terminal from those that must not ask.
//!
//! The kernel can send a process a signal when its parent dies, but only the process itself can request it. So a tool is
//! started as k3s-boot again, which requests the signal, checks that its parent is alive, and executes the tool. This needs
//! no unsafe code.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The hidden first argument: of a tool that may ask on the terminal, and of one in a session of its own.
const MARK: &str = "__become";
const MARK_OF_SESSION: &str = "__become_session";

/// Whether [`wrap`] puts tools that must not ask into sessions of their own.
pub(super) const HAS_SESSIONS: bool = cfg!(target_os = "linux");

/// The program and arguments that start `program` so that it stops with this process. Unless it `can_ask`, it has no terminal: a
/// question on `/dev/tty` would stop it in the background without a word, and fails at once instead.
#[cfg(target_os = "linux")]
pub(super) fn wrap(program: &Path, args: &[OsString], can_ask: bool) -> (PathBuf, Vec<OsString>) {
    let own = nix::unistd::getpid().to_string();
    let mark = if can_ask { MARK } else { MARK_OF_SESSION };
    let mut wrapped = vec![OsString::from(mark), own.into(), program.into()];
    wrapped.extend_from_slice(args);
    // Not the path of the executable, which may have been replaced since.
    (PathBuf::from("/proc/self/exe"), wrapped)
}

/// Outside Linux, a tool stops only if k3s-boot shuts down in an orderly way.
#[cfg(not(target_os = "linux"))]
pub(super) fn wrap(program: &Path, args: &[OsString], _: bool) -> (PathBuf, Vec<OsString>) {
    (program.to_owned(), args.to_vec())
}

/// If this process was started to become a tool, executes it; returns only if that fails, or if it was not.
pub(crate) fn become_child() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let mark = args.next()?;
    let has_session = mark == OsStr::new(MARK_OF_SESSION);
    (has_session || mark == OsStr::new(MARK)).then(|| become_tool(args, has_session))
}

#[cfg(target_os = "linux")]
fn become_tool(mut args: impl Iterator<Item = OsString>, has_session: bool) -> ExitCode {
    use std::io::Write as _;
    use std::os::unix::process::CommandExt as _;

    // 126 and 127 are the exit codes of shells for programs that cannot be run or found.
    let parent = args.next().and_then(|parent| parent.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return ExitCode::from(126);
    };
    // INT, so that helmfile interrupts helm, which marks its release; KILL would orphan helm.
    if nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGINT).is_err() {
        return ExitCode::from(126);
    }
    if nix::unistd::getppid().as_raw() != parent {
        // The parent died before the signal was requested.
        return ExitCode::from(130);
    }
    if has_session && nix::unistd::setsid().is_err() {
        return ExitCode::from(126);
    }
    let error = std::process::Command::new(&program).args(args).exec();
    _ = writeln!(std::io::stderr(), "failed to execute `{}`: {error}", program.to_string_lossy());
    ExitCode::from(127)
}

#[cfg(not(target_os = "linux"))]
fn become_tool(_: impl Iterator<Item = OsString>, _: bool) -> ExitCode {
    ExitCode::from(126)
}
