//! What can go wrong, with an exit code and a way out for each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::check::Finding;
use crate::diagnose::known::{Diagnosis, Known, find};
use crate::logger::{self, Level};
use crate::process::signals::{Cause, Stopped};
use crate::process::{ProcessError, late};
use crate::run::seconds;
use crate::stages::Stage;

/// How a run ended that did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Problems found before anything was changed.
    #[error("preflight failed: {}", .0.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join(", "))]
    Preflight(Vec<Finding>),
    /// A tool could not be run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A tool said no.
    #[error("`{command}` failed: {reason}")]
    Tool {
        /// The tool and what it was asked for.
        command: String,
        /// Its own words.
        reason: String,
    },
    /// The API server said no, or kubectl could not ask it.
    #[error("`{request}` failed: {reason}")]
    Api {
        /// What was asked: `GET /api/v1/nodes`.
        request: String,
        /// The HTTP status of the answer, if there was one.
        status: Option<u16>,
        /// The API server's own words, or kubectl's.
        reason: String,
    },
    /// The API server did not answer in time.
    #[error("{}", late(request, "was not answered", *.after))]
    Unanswered {
        /// What was asked.
        request: String,
        /// How long it had.
        after: Duration,
    },
    /// A tool's answer has another form than expected.
    #[error("unexpected response from `{command}`: {reason}")]
    Answer {
        /// The tool and what it was asked for.
        command: String,
        /// Where the answer differs.
        reason: String,
    },
    /// A release was not brought to `deployed`.
    #[error("failed to sync Helm releases: {}: {}", .0.release.as_deref().unwrap_or("unknown release"), .0.reason)]
    Release(Box<ReleaseFailure>),
    /// Flux cannot reconcile an object.
    #[error("flux failed to reconcile: {object}: {reason}")]
    Flux {
        /// The object, as `Kind namespace/name`.
        object: String,
        /// Flux's own words, as `Reason: message`.
        reason: String,
        /// What to do.
        fix: String,
        /// The timeout that expired while it might still have recovered.
        after: Option<Duration>,
    },
    /// The helmfiles install Flux, and it is not in the cluster.
    #[error(
        "flux is not installed: release `{release}` is in the helmfiles, but the cluster has no FluxInstance"
    )]
    NoFlux {
        /// The release that makes the FluxInstance, as `namespace/name`.
        release: String,
    },
    /// A stage's deadline passed.
    #[error("stage `{stage}` timed out after {}", seconds(*.after))]
    Deadline {
        /// The stage.
        stage: &'static str,
        /// How long it had.
        after: Duration,
        /// What was waited for.
        waiting_for: String,
    },
    /// Another run is in progress on this cluster.
    #[error("another run holds the lock: {holder}")]
    Locked {
        /// Its host and process.
        holder: String,
        /// Since when, as RFC 3339.
        since: String,
    },
    /// k3s-boot was interrupted.
    #[error("interrupted by {0}")]
    Interrupted(Cause),
    /// A file of our own could not be read or written.
    #[error("failed to {action} `{path}`: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A release that failed, in helm's own words.
#[derive(Debug)]
pub struct ReleaseFailure {
    /// `namespace/name`, if helmfile named one.
    pub release: Option<String>,
    /// helm's last error, without helmfile's frame.
    pub reason: String,
    /// Whether a deadline passed, helm's or ours.
    pub timed_out: bool,
    /// What is behind it, as far as that is known.
    pub diagnosis: Diagnosis,
}

impl From<Stopped> for Error {
    fn from(Stopped(cause): Stopped) -> Self {
        Self::Interrupted(cause)
    }
}

impl Error {
    /// Whether it is no answer at all: k3s-boot was interrupted.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted(_) | Self::Process(ProcessError::Interrupted { .. }))
    }

    /// Whether something did not answer in the time that it had.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Process(ProcessError::Deadline { .. }))
    }

    /// The exit code of a run that ended so (the contract's list: 1, 5, 6, 8, 128+n).
    #[must_use]
    pub fn exit_code(&self, changed: bool) -> u8 {
        match self {
            Self::Locked { .. } => 8,
            Self::Interrupted(cause) | Self::Process(ProcessError::Interrupted { cause }) => match cause {
                Cause::Signal(signal) => 128 + u8::try_from(*signal as i32).unwrap_or(0),
                Cause::LostLock => 8,
            },
            Self::Deadline { .. } | Self::Flux { after: Some(_), .. } => 6,
            _ if self.is_late() => 6,
            Self::Release(failure) if failure.timed_out => 6,
            // The cluster is not as it should be, also when this run had nothing to change.
            Self::Flux { .. } => 5,
            _ if changed => 5,
            _ => 1,
        }
    }

    /// The stage that has to be done again to mend it, where that is not the one that failed, and the flag that this needs.
    #[must_use]
    pub fn fixing_stage(&self) -> Option<(Stage, Option<&'static str>)> {
        let Self::Flux { object, reason, .. } = self else { return None };
        match find(&format!("{object}: {reason}"))?.id {
            "age-key-missing" => Some((Stage::Secrets, None)),
            "age-key-wrong" => Some((Stage::Secrets, Some("--rotate-age-key"))),
            _ => None,
        }
    }

    /// Says it on the log, with what to type where that is known.
    pub fn report(&self, end: &End<'_>) {
        if let Self::Preflight(findings) = self {
            findings.iter().filter(|finding| !finding.told).for_each(Finding::log);
            return;
        }
        let (message, mut pairs) = self.words(end.killed);
        // What to type is the last word.
        let fix = pairs.iter().position(|(key, _)| *key == "fix").map(|at| pairs.remove(at));
        pairs.extend(
            end.log.filter(|_| !self.is_interruption()).map(|path| ("log", path.display().to_string())),
        );
        pairs.extend(fix);
        pairs.extend(end.resume.clone().map(|command| ("resume", command)));
        logger::log(Level::Error, message, &pairs);
    }

    /// Its message, and what is known.
    pub(crate) fn words(&self, killed: bool) -> (&'static str, Vec<(&'static str, String)>) {
        match self {
            Self::Release(failure) => {
                let release = failure.release.clone().map(|release| ("release", release));
                let diagnosis = failure.diagnosis.clone().pairs(Some(failure.reason.clone()));
                let mut pairs: Vec<_> = release.into_iter().chain(diagnosis).collect();
                if failure.timed_out && pairs.iter().all(|(key, _)| *key != "fix") {
                    pairs.push(("fix", more_time("apps").to_owned()));
                }
                ("Failed to sync Helm releases", pairs)
            }
            Self::Flux { object, reason, fix, after } => {
                let mut pairs = vec![("object", object.clone()), ("reason", reason.clone())];
                let known = find(&format!("{object}: {reason}"));
                pairs.extend(known.map(|known| ("cause", known.cause.to_owned())));
                pairs.extend(after.map(|after| ("after", seconds(after))));
                pairs.push(("fix", fix.clone()));
                ("Flux failed to reconcile", pairs)
            }
            Self::NoFlux { release } => {
                let reason = "the helmfiles install Flux, but the cluster has no FluxInstance".to_owned();
                let fix = "k3s-boot apps".to_owned();
                (
                    "Flux is not installed",
                    vec![("release", release.clone()), ("reason", reason), ("fix", fix)],
                )
            }
            Self::Deadline { stage, after, waiting_for } => {
                let mut pairs = vec![
                    ("stage", (*stage).to_owned()),
                    ("after", seconds(*after)),
                    ("waiting_for", waiting_for.clone()),
                ];
                pairs.extend(known(waiting_for));
                if pairs.iter().all(|(key, _)| *key != "fix") {
                    pairs.push(("fix", more_time(stage).to_owned()));
                }
                ("Timed out", pairs)
            }
            Self::Locked { holder, since } => {
                let fix =
                    "wait until that run has finished, or set how long to wait with --wait-lock".to_owned();
                (
                    "Another run is in progress",
                    vec![("holder", holder.clone()), ("since", since.clone()), ("fix", fix)],
                )
            }
            Self::Interrupted(Cause::LostLock)
            | Self::Process(ProcessError::Interrupted { cause: Cause::LostLock }) => {
                let fix = "wait until the run that holds the lock has finished, then retry".to_owned();
                ("Lock lost", vec![("fix", fix)])
            }
            Self::Interrupted(Cause::Signal(signal))
            | Self::Process(ProcessError::Interrupted { cause: Cause::Signal(signal) }) => {
                let fix = if killed {
                    "run k3s-boot again: it recovers and syncs the release that was interrupted"
                } else {
                    "run k3s-boot again: it continues where this run stopped"
                };
                ("Interrupted", vec![("signal", signal.to_string()), ("fix", fix.to_owned())])
            }
            Self::Preflight(_)
            | Self::Process(_)
            | Self::Tool { .. }
            | Self::Api { .. }
            | Self::Unanswered { .. }
            | Self::Answer { .. }
            | Self::File { .. } => {
                let reason = self.to_string();
                let known = known(&reason);
                ("Bootstrap failed", std::iter::once(("reason", reason)).chain(known).collect())
            }
        }
    }
}

/// What helps a stage whose deadline passed.
fn more_time(stage: &str) -> &'static str {
    match stage {
        "nodes" => {
            "start k3s on the missing nodes, or expect fewer nodes (--nodes, or `nodes` in k3s-boot.yaml); to wait longer, set --nodes-timeout and --timeout"
        }
        "verify" => {
            "k3s-boot status  # shows what is not ready and why; to wait longer, set --verify-timeout and --timeout"
        }
        _ => {
            "k3s-boot status  # shows what is not ready and why; to wait longer, set --release-timeout and --timeout"
        }
    }
}

/// Cause and fix of what these words tell of, where it is no release's.
fn known(words: &str) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let known = find(words);
    let cause = known.map(|known| ("cause", known.cause.to_owned()));
    let fix = known.and_then(Known::general_fix).map(|fix| ("fix", fix.to_owned()));
    cause.into_iter().chain(fix)
}

/// What is known of how a run ended, beside its error.
#[derive(Default)]
pub struct End<'a> {
    /// The file with all that the tools said.
    pub log: Option<&'a Path>,
    /// Whether the tools were not given time to end in good order.
    pub killed: bool,
    /// The command that goes on from there.
    pub resume: Option<String>,
}
