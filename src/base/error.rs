//! Errors, with their exit codes and fixes.

mod process;
mod release;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::process::{Cause, MAX_OUTPUT, ProcessError, Stopped, late};
pub(crate) use self::release::{HookFailure, ReleaseFailure};
use crate::base::duration::seconds;
use crate::base::finding::{Finding, with_fix};
use crate::base::known_failures::{KnownFailure, Origin, find};
use crate::base::logger::{self, Level};
use crate::base::release_id::ReleaseId;
use crate::base::stages::Stage;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Problems found before anything was changed.
    #[error("preflight failed: {}", .0.iter().map(|finding| finding.summary.as_str()).collect::<Vec<_>>().join(", "))]
    Preflight(Vec<Finding>),
    /// A tool could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A tool failed.
    #[error("`{command}` failed: {reason}")]
    Tool {
        command: String,
        /// Its error message.
        reason: String,
    },
    /// The API server rejected a request, or kubectl could not reach it.
    #[error("`{request}` failed: {reason}")]
    Api {
        /// The request: `GET /api/v1/nodes`.
        request: String,
        /// The HTTP status, if there was a response.
        status: Option<u16>,
        /// The error message of the API server or kubectl.
        reason: String,
    },
    /// The API server did not respond in time.
    #[error("{}", late(request, "was not answered", *.after))]
    Unanswered {
        request: String,
        /// The timeout.
        after: Duration,
    },
    /// The output of a tool or a response of the API server could not be parsed.
    #[error("unexpected response from `{command}`: {reason}")]
    Answer {
        command: String,
        /// Where it differs from what is expected.
        reason: String,
    },
    /// A release failed.
    #[error("failed to sync Helm releases: {}: {}", .0.release.as_ref().map_or("unknown release".to_owned(), ToString::to_string), .0.reason)]
    Release(Box<ReleaseFailure>),
    /// Flux cannot reconcile an object.
    #[error("flux failed to reconcile: {object}: {reason}")]
    Flux {
        /// The object, as `Kind namespace/name`.
        object: String,
        /// The condition of Flux, as `Reason: message`.
        reason: String,
        fix: String,
        /// The timeout that expired while it might still have recovered.
        after: Option<Duration>,
    },
    /// The helmfiles install Flux, but it is not in the cluster.
    #[error(
        "flux is not installed: release `{release}` is in the helmfiles, but the cluster has no FluxInstance"
    )]
    NoFlux {
        /// The release that creates the FluxInstance.
        release: ReleaseId,
    },
    /// The timeout of a stage expired.
    #[error("stage `{stage}` timed out after {}", seconds(*.after))]
    Deadline {
        stage: &'static str,
        /// The timeout.
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
    /// A file could not be read or written.
    #[error("failed to {action} `{path}`: {source}")]
    File {
        /// What failed, as an infinitive.
        action: &'static str,
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl From<Stopped> for Error {
    fn from(Stopped(cause): Stopped) -> Self {
        Self::Interrupted(cause)
    }
}

/// The known failure that an object of Flux reports.
fn known_flux(object: &str, reason: &str) -> Option<&'static KnownFailure> {
    find(Origin::Flux, &format!("{object}: {reason}"))
}

impl Error {
    /// Who wrote the message of an error that is neither of a release nor of Flux.
    fn origin(&self) -> Origin {
        match self {
            Self::Tool { command, .. } if command.starts_with("helm") => Origin::Template,
            Self::Tool { command, .. } if command.starts_with("kubectl") => Origin::Api,
            Self::Api { .. } | Self::Unanswered { .. } => Origin::Api,
            _ => Origin::Program,
        }
    }

    /// Whether k3s-boot was interrupted.
    pub(crate) fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted(_) | Self::Process(ProcessError::Interrupted { .. }))
    }

    /// Whether a request or a tool timed out.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Process(ProcessError::Deadline { .. }))
    }

    /// The exit code: 1, 5, 6, 8 or 128+n. `changed` says whether the run had changed anything.
    pub(crate) fn exit_code(&self, changed: bool) -> u8 {
        match self {
            Self::Locked { .. } => 8,
            Self::Interrupted(cause) | Self::Process(ProcessError::Interrupted { cause }) => match cause {
                Cause::Signal(signal) => 128 + u8::try_from(*signal as i32).unwrap_or(0),
                Cause::LostLock => 8,
            },
            Self::Deadline { .. } | Self::Flux { after: Some(_), .. } => 6,
            _ if self.is_late() => 6,
            Self::Release(failure) if failure.timed_out => 6,
            // The cluster has a problem, even if this run had nothing to change.
            Self::Flux { .. } => 5,
            _ if changed => 5,
            _ => 1,
        }
    }

    /// The stage that fixes the error if it is not the one that failed, and the flag that it needs.
    pub(crate) fn fixing_stage(&self) -> Option<(Stage, Option<&'static str>)> {
        let Self::Flux { object, reason, .. } = self else { return None };
        match known_flux(object, reason).map(|known| known.id) {
            Some("age-key-missing") => Some((Stage::Secrets, None)),
            Some("age-key-wrong" | "age-key-invalid") => Some((Stage::Secrets, Some("--rotate-age-key"))),
            // A source may need another Secret or other values, and the others other values.
            _ if ["GitRepository ", "OCIRepository ", "Bucket "]
                .iter()
                .any(|kind| object.starts_with(kind)) =>
            {
                Some((Stage::Secrets, None))
            }
            Some("flux-path" | "flux-undecrypted") => Some((Stage::Apps, None)),
            _ if object.starts_with("FluxInstance ") => Some((Stage::Apps, None)),
            _ => None,
        }
    }

    /// Logs the error, with its fix if that is known.
    pub(crate) fn report(&self, end: &End<'_>) {
        if let Self::Preflight(findings) = self {
            findings.iter().filter(|finding| !finding.logged).for_each(Finding::log);
            return;
        }
        if let Self::Release(failure) = self {
            for other in &failure.others {
                let (details, fix) = other.details(timeout_fix("apps"));
                logger::log(Level::Error, RELEASE_FAILED, &with_fix(details, fix));
            }
        }
        let Explanation { summary, mut details, fix } = self.explain(end.killed);
        details.extend(
            end.log.filter(|_| !self.is_interruption()).map(|path| ("log", path.display().to_string())),
        );
        let mut fields = with_fix(details, fix);
        fields.extend(end.resume.clone().map(|command| ("resume", command)));
        logger::log(Level::Error, summary, &fields);
    }

    /// What the log and the report say about the error; not for [`Self::Preflight`], whose findings say it.
    pub(crate) fn explain(&self, killed: bool) -> Explanation {
        match self {
            Self::Release(failure) => {
                let (details, fix) = failure.details(timeout_fix("apps"));
                Explanation { fix, ..Explanation::new(RELEASE_FAILED, details) }
            }
            Self::Flux { object, reason, fix, after } => {
                let known = known_flux(object, reason).map(|known| ("cause", known.cause.to_owned()));
                let after = after.map(|after| ("after", seconds(after)));
                let details = [("object", object.clone()), ("reason", reason.clone())];
                let details = details.into_iter().chain(known).chain(after);
                Explanation {
                    fix: Some(fix.clone()),
                    ..Explanation::new("Flux failed to reconcile", details)
                }
            }
            Self::NoFlux { release } => {
                let reason = "the helmfiles install Flux, but the cluster has no FluxInstance".to_owned();
                let details = [("release", release.to_string()), ("reason", reason)];
                Explanation::new("Flux is not installed", details).fix("k3s-boot apps")
            }
            Self::Deadline { stage, after, waiting_for } => {
                let known = find(Origin::Api, waiting_for);
                let details = [
                    ("stage", (*stage).to_owned()),
                    ("after", seconds(*after)),
                    ("waiting_for", waiting_for.clone()),
                ];
                let details = details.into_iter().chain(known.map(|known| ("cause", known.cause.to_owned())));
                let fix = known.and_then(KnownFailure::general_fix);
                Explanation::new("Timed out", details).fix(fix.unwrap_or_else(|| timeout_fix(stage)))
            }
            Self::Locked { holder, since } => {
                let details = [("holder", holder.clone()), ("since", since.clone())];
                Explanation::new("Another run is in progress", details)
                    .fix("wait until that run has finished, or set how long to wait with --wait-lock")
            }
            Self::Interrupted(Cause::LostLock)
            | Self::Process(ProcessError::Interrupted { cause: Cause::LostLock }) => {
                Explanation::new("Lock lost", [])
                    .fix("wait until the run that holds the lock has finished, then retry")
            }
            Self::Interrupted(Cause::Signal(signal))
            | Self::Process(ProcessError::Interrupted { cause: Cause::Signal(signal) }) => {
                Explanation::new("Interrupted", [("signal", signal.to_string())]).fix(if killed {
                    "run k3s-boot again: it recovers and syncs the release that was interrupted"
                } else {
                    "run k3s-boot again: it continues where this run stopped"
                })
            }
            Self::Preflight(_)
            | Self::Process(_)
            | Self::Tool { .. }
            | Self::Api { .. }
            | Self::Unanswered { .. }
            | Self::Answer { .. }
            | Self::File { .. } => {
                let reason = self.to_string();
                let known = find(self.origin(), &reason);
                let cause = known.map(|known| ("cause", known.cause.to_owned()));
                let fix = known.and_then(KnownFailure::general_fix).map(ToOwned::to_owned);
                let details = std::iter::once(("reason", reason)).chain(cause);
                // Commands without a bootstrap write files too.
                let summary = match self {
                    Self::File { .. } => "Failed to read or write a file",
                    _ => "Bootstrap failed",
                };
                Explanation { fix, ..Explanation::new(summary, details) }
            }
        }
    }
}

/// The log message about a failed release.
const RELEASE_FAILED: &str = "Failed to sync Helm releases";

/// What the log and the report say about an error.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub summary: &'static str,
    /// By key, in the order of the log.
    pub details: Vec<(&'static str, String)>,
    pub fix: Option<String>,
}

impl Explanation {
    /// Without a fix.
    pub(crate) fn new(
        summary: &'static str,
        details: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        Self { summary, details: details.into_iter().collect(), fix: None }
    }

    fn fix(self, fix: &str) -> Self {
        Self { fix: Some(fix.to_owned()), ..self }
    }

    /// A detail that is not empty.
    pub(crate) fn detail(&self, key: &str) -> Option<&str> {
        let found = self.details.iter().find(|(known, value)| *known == key && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}

/// The fix for a stage that timed out.
fn timeout_fix(stage: &str) -> &'static str {
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

/// How a run ended, besides its error.
#[derive(Default)]
pub(crate) struct End<'a> {
    /// The log file with the output of all tools.
    pub log: Option<&'a Path>,
    /// Whether tools were killed without a grace period.
    pub killed: bool,
    /// The command that resumes the run.
    pub resume: Option<String>,
}
