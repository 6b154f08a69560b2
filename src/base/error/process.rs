//! Why a tool or the run was ended early.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::base::duration::seconds;

/// A tool's answer larger than this is refused, so that one that never ends cannot fill the memory.
pub const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// Why a tool did not come to its own end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("failed to start `{tool}`: {source}")]
    Spawn {
        /// The tool's name.
        tool: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its pipes or its status could not be read.
    #[error("failed to read from `{tool}`: {source}")]
    Io {
        /// The tool's name.
        tool: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It printed more than any answer can be.
    #[error("`{tool}` printed more than {LARGEST_ANSWER} bytes")]
    TooMuch {
        /// The tool's name.
        tool: &'static str,
    },
    /// Its deadline passed.
    #[error("{}", late(tool, "did not end", *.after))]
    Deadline {
        /// The tool's name.
        tool: &'static str,
        /// How long it had.
        after: Duration,
        /// What it had said until then.
        talk: String,
    },
    /// It was ended, for what it waited for will not come.
    #[error("`{tool}` waited in vain")]
    InVain {
        /// The tool's name.
        tool: &'static str,
        /// What it had said until then.
        talk: String,
    },
    /// k3s-boot was told to stop.
    #[error("interrupted by {cause}")]
    Interrupted {
        /// What came first.
        cause: Cause,
    },
}

/// What is said of a tool or a request that was too late, which `missed` what was waited for. One that gets no time at all is
/// not what was slow: what came before it was.
#[must_use]
pub fn late(what: &str, missed: &str, after: Duration) -> String {
    if after < Duration::from_millis(50) {
        return format!("no time was left for `{what}`");
    }
    format!("`{what}` {missed} within {}", seconds(after))
}

/// Why a run is to end before its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The user said so.
    Signal(Signal),
    /// Another run has the lock now.
    LostLock,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(f),
            Self::LostLock => f.write_str("the loss of the lock"),
        }
    }
}

/// k3s-boot was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by {0}")]
pub struct Stopped(pub Cause);
