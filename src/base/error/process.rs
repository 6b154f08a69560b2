//! Why a tool or the run was stopped early.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::base::duration::seconds;

/// The maximum size of the output of a tool, so that an endless one does not fill the memory.
pub(crate) const MAX_OUTPUT: usize = 256 * 1024 * 1024;

/// Why a tool did not exit by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It could not be started.
    #[error("failed to start `{tool}`: {source}")]
    Spawn {
        tool: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Its pipes or its status could not be read.
    #[error("failed to read from `{tool}`: {source}")]
    Io {
        tool: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Its output was too large.
    #[error("`{tool}` printed more than {MAX_OUTPUT} bytes")]
    TooMuch { tool: &'static str },
    /// It timed out.
    #[error("{}", late(tool, "did not finish", *.after))]
    Deadline {
        tool: &'static str,
        /// The timeout.
        after: Duration,
        /// Its messages until then.
        talk: String,
    },
    /// It was stopped, because what it waited for cannot become ready.
    #[error("`{tool}` was stopped: what it waited for cannot become ready")]
    Canceled {
        tool: &'static str,
        /// Its messages until then.
        talk: String,
    },
    /// k3s-boot was interrupted.
    #[error("interrupted by {cause}")]
    Interrupted {
        /// The first cause.
        cause: Cause,
    },
}

/// The message about a tool or request that timed out; `missed` says what it failed to do. If it got no time at all, something
/// before it was slow.
pub(crate) fn late(what: &str, missed: &str, after: Duration) -> String {
    if after < Duration::from_millis(50) {
        return format!("no time was left for `{what}`");
    }
    format!("`{what}` {missed} within {}", seconds(after))
}

/// Why a run stops early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Signal(Signal),
    /// Another run has taken the lock.
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

/// k3s-boot was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by {0}")]
pub(crate) struct Stopped(pub Cause);
