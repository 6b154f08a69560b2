//! `cargo sandbox test`: first the tests that need no tools, then those that run them.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::build::cargo;
use crate::output;
use crate::tools::Tools;

/// The number of tests that run in parallel, for `cargo test`.
const THREADS: &str = "RUST_TEST_THREADS";

/// The test programs that need the tools; plain `cargo test` skips them (`test = false`).
const WITH_TOOLS: [&str; 4] = ["real", "smoke", "flux", "charts"];

/// Options of `cargo test` that choose test programs or packages.
const CHOICES: [&str; 14] = [
    "-p",
    "--package",
    "--exclude",
    "--lib",
    "--bin",
    "--bins",
    "--example",
    "--examples",
    "--test",
    "--tests",
    "--bench",
    "--benches",
    "--all-targets",
    "--doc",
];

pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    Tools::install_for_tests(&output::STDERR)?;
    let with_tools = || WITH_TOOLS.into_iter().flat_map(|name| ["--test", name]);
    if chooses(arguments) {
        return replace_with(&mut cargo_test([], arguments));
    }
    let status = wait_for(&mut cargo_test([], arguments))?;
    let goes_on = status.signal().is_none() && before_separator(arguments).any(|one| one == "--no-fail-fast");
    if status.success() {
        return replace_with(&mut cargo_test(with_tools(), arguments));
    }
    if goes_on {
        // Its result does not matter any more: the first one has failed.
        _ = wait_for(&mut cargo_test(with_tools(), arguments))?;
    }
    Ok(exit_code(status))
}

fn cargo_test<'a>(targets: impl IntoIterator<Item = &'a str>, arguments: &[OsString]) -> Command {
    let mut command = cargo();
    if std::env::var_os(THREADS).is_none() {
        // A test waits for its cluster half of the time.
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get) * 2;
        command.env(THREADS, threads.to_string());
    }
    command.args(["test", "--workspace", "--locked"]).args(targets).args(arguments);
    command
}

/// The arguments for cargo, without those after `--` for the test programs.
fn before_separator(arguments: &[OsString]) -> impl Iterator<Item = &str> {
    arguments
        .iter()
        .map(|argument| argument.to_str().unwrap_or_default())
        .take_while(|&argument| argument != "--")
}

fn chooses(arguments: &[OsString]) -> bool {
    before_separator(arguments).any(|argument| {
        let name = argument.split('=').next().unwrap_or_default();
        CHOICES.contains(&name)
    })
}

/// Runs a command in place of this process, so that signals and the exit code are the command's own.
fn replace_with(command: &mut Command) -> Result<ExitCode> {
    Err(command.exec()).context("cannot run `cargo`")
}

/// Runs a command, passes on the signals that would end this process, and waits until the command has ended.
///
/// The signals are handled, not blocked: a command inherits the mask of blocked signals, but no handlers.
fn wait_for(command: &mut Command) -> Result<ExitStatus> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
    let handle = signals.handle();
    let mut child = command.spawn().context("cannot run `cargo`")?;
    let pid = Pid::from_raw(child.id().try_into()?);
    let forwarder = std::thread::spawn(move || {
        for signal in &mut signals {
            _ = Signal::try_from(signal).and_then(|signal| kill(pid, signal));
        }
    });
    // Without reaping it, so that no signal goes to another process with the same id.
    let ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
    handle.close();
    _ = forwarder.join();
    ended.context("cannot wait for `cargo`")?;
    child.wait().context("cannot wait for `cargo`")
}

/// The exit code of a shell for the same status.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn options_choose_tests_before_the_separator_only() {
        for text in ["--test real second_run", "--lib", "--package=sandbox", "--no-fail-fast --doc"] {
            assert!(chooses(&arguments(text)), "{text}");
        }
        for text in ["name", "--no-fail-fast", "-- --test", "--release name -- --nocapture --lib"] {
            assert!(!chooses(&arguments(text)), "{text}");
        }
    }

    #[test]
    fn command_has_no_signal_blocked() {
        let mut command = Command::new("sh");
        let status = wait_for(command.args(["-c", "kill -TERM $$; exit 3"])).unwrap();
        assert_eq!(status.signal(), Some(SIGTERM));
    }

    #[test]
    fn exit_code_is_that_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(101 << 8)), ExitCode::from(101));
        assert_eq!(exit_code(ExitStatus::from_raw(2)), ExitCode::from(130));
    }
}
