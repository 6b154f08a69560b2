//! The only module that starts, watches and stops processes.
//!
//! A tool runs in its own session and process group, with stdin null or a pipe; a program that may ask on the terminal keeps
//! those of k3s-boot, and its stdin. To stop it, the group gets one INT and, after a grace period, KILL; if k3s-boot itself is killed,
//! the kernel sends the tool INT (see [`parent_death`]).

mod children;
mod group;
pub(crate) mod identity;
mod invocation;
mod lines;
pub(crate) mod parent_death;
mod service;
pub(crate) mod signals;
pub(crate) mod transcript;
mod watch;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

pub(crate) use self::children::{ChildProcess, children};
use self::group::Group;
pub(crate) use self::invocation::{Invocation, PublicPart};
pub(crate) use self::service::Service;
use self::signals::Stop;
use self::watch::Watch;
use crate::base::error::ProcessError;
use crate::base::prompt;
use crate::process::transcript::Transcript;

/// The stream that a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The usual name of the stream.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The result of a tool that has exited.
pub(crate) struct Output {
    /// The exit status, also if it is not zero.
    pub status: ExitStatus,
    /// Its stdout, if that is data.
    pub stdout: Vec<u8>,
    /// Its messages: stderr, and stdout if that is not data; without colours, with control characters.
    pub talk: String,
}

impl Output {
    /// Whether the exit code is 0.
    pub(crate) fn success(&self) -> bool {
        self.status.success()
    }
}

/// Starts tools, with their environment and the signals that stop them.
pub(crate) struct Runner {
    env: Vec<(OsString, OsString)>,
    stop: Stop,
    transcript: Transcript,
}

impl Runner {
    /// A runner for tools with exactly this environment.
    pub(crate) fn new(env: Vec<(OsString, OsString)>, stop: Stop, transcript: Transcript) -> Self {
        Self { env, stop, transcript }
    }

    /// The signals that stop this run.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The PATH of the tools.
    pub(crate) fn search_path(&self) -> Option<&OsStr> {
        self.variable("PATH")
    }

    /// A variable of the tools.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// The transcript of the tools.
    pub(crate) fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Shows the prompt of a program that waits for an answer.
    fn prompt(&self, text: &str) {
        let text = self.transcript.redacted(text);
        prompt::write(&text);
    }

    /// Runs a tool until it exits.
    ///
    /// # Errors
    ///
    /// It cannot be started or read, it times out, or k3s-boot is interrupted. A non-zero exit code is not an error.
    pub(crate) async fn run(&self, invocation: Invocation) -> Result<Output, ProcessError> {
        self.run_watched(invocation, |_, _| {}).await
    }

    /// Runs a tool until it exits and passes every line to `on_line` at once.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub(crate) async fn run_watched(
        &self,
        mut invocation: Invocation,
        on_line: impl FnMut(Stream, &str),
    ) -> Result<Output, ProcessError> {
        let tool = invocation.tool;
        if let Some(cause) = self.stop.cause() {
            return Err(ProcessError::Interrupted { cause });
        }
        let (mut child, group) = self.begin(&invocation)?;
        if let Some(pid) = &invocation.pid {
            pid.send_replace(child.id());
        }
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), invocation.stdin.take()) {
            // A tool that exits without reading breaks the pipe; its exit code says why.
            tokio::spawn(async move {
                _ = pipe.write_all(bytes.expose_secret()).await;
            });
        }
        let public_part = invocation.public_part.take();
        let watch = Watch { runner: self, invocation: &invocation, group: &group };
        let result = watch.finish(&mut child, public_part, on_line).await;
        match &result {
            Ok(output) => self.transcript.ended(tool, output.status),
            Err(error) => self.transcript.line(tool, Stream::Stderr, &error.to_string()),
        }
        group.disarm();
        result
    }

    /// Starts a tool, unless there is no time left.
    fn begin(&self, invocation: &Invocation) -> Result<(Child, Group), ProcessError> {
        let Invocation { tool, deadline, .. } = *invocation;
        if deadline.is_zero() {
            return Err(ProcessError::Deadline { tool, after: deadline, talk: String::new() });
        }
        self.transcript.started(invocation);
        let child = self.spawn(invocation).map_err(|source| ProcessError::Spawn { tool, source })?;
        let group = Group::of(&child, invocation.can_ask);
        Ok((child, group))
    }

    fn spawn(&self, invocation: &Invocation) -> std::io::Result<Child> {
        let (program, args) = parent_death::wrap(&invocation.program, &invocation.args, invocation.can_ask);
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(match (&invocation.stdin, invocation.can_ask) {
                (Some(_), _) => Stdio::piped(),
                (None, true) => Stdio::inherit(),
                (None, false) => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // The leader of a group cannot start a session.
        if !invocation.can_ask && !parent_death::HAS_SESSIONS {
            command.process_group(0);
        }
        if let Some(folder) = &invocation.folder {
            command.current_dir(folder);
        }
        for (name, value) in &invocation.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.spawn()
    }
}

/// An exit status for messages: `exit code 1`, or `signal SIGKILL`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(Ok(signal))) => format!("signal {signal}"),
        _ => "unknown status".to_owned(),
    }
}

/// The absolute paths of programs, found on a PATH.
pub(crate) fn find_program(name: &str, path: Option<&OsStr>, cwd: &std::path::Path) -> Option<PathBuf> {
    which::which_in(name, path, cwd).ok()
}
