//! The summary of a run: a line each for people, or one JSON document.

pub mod checks;
pub mod diff;
pub mod failure;
pub mod github;
pub mod list;
pub mod recover;
pub mod status;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use self::failure::FailureReport;
use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::finding::Finding;
use crate::base::github::Guard;
use crate::base::logger::{self, Level};
use crate::base::redact::Redactor;
use crate::observed::Live;
use crate::plan::releases::{ReleaseAction, ReleasePlan};
use crate::run::outcome::ReleaseOutcome;
use crate::tools::kubeconfig::Target;

/// Prints a report on stdout as JSON.
///
/// # Errors
///
/// When stdout cannot be written, other than because nobody reads it any more.
pub fn print(report: &impl Serialize, guard: Guard) -> std::io::Result<()> {
    read_or_not(print_json(serde_json::to_string_pretty(report)? + "\n", guard))
}

/// Prints a report's words for people on stdout.
///
/// # Errors
///
/// As [`print()`].
pub fn print_text(text: String, guard: Guard) -> std::io::Result<()> {
    read_or_not(print_words(text, guard))
}

/// Prints lines of JSON on stdout.
///
/// # Errors
///
/// When stdout cannot be written, also because nobody reads it any more.
pub fn print_json(json: String, guard: Guard) -> std::io::Result<()> {
    write(&guard.json(json))
}

/// Prints words for people on stdout.
///
/// # Errors
///
/// As [`print_json`].
pub fn print_words(text: String, guard: Guard) -> std::io::Result<()> {
    write(&guard.text(text))
}

/// A command has ended as it has, whether or not anybody still reads how.
///
/// # Errors
///
/// Whatever else went wrong with printing.
pub fn read_or_not(printed: std::io::Result<()>) -> std::io::Result<()> {
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// What a run did.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub struct Report {
    /// `complete`; `no-sync-source` when Flux has nothing to sync or is not installed; `partial` when the stage verify was left out; `failed`.
    pub result: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is behind a failure; there whenever `result` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// The problems that the preflight found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
    /// The stages that began, in their order.
    pub stages: Vec<StageReport>,
    /// The releases: first those that were left alone, then those that were at work, in the order in which they ended.
    pub releases: Vec<ReleaseReport>,
    /// What Flux syncs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flux: Option<FluxReport>,
    /// The whole run, in seconds.
    pub seconds: f64,
    /// The file with all that the tools said, kept when the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A cluster.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ClusterReport {
    /// The kubeconfig's context.
    pub context: String,
    /// The API server's address.
    pub server: String,
    /// The UID of kube-system.
    pub uid: String,
    /// How many nodes it has.
    pub nodes: usize,
}

impl ClusterReport {
    /// A cluster that answers.
    #[must_use]
    pub fn new(target: &Target, live: &Live) -> Self {
        Self {
            context: target.context.clone(),
            server: target.server.clone(),
            uid: live.cluster.uid.clone(),
            nodes: live.cluster.nodes.len(),
        }
    }
}

/// A stage.
#[derive(Debug, JsonSchema, Serialize)]
pub struct StageReport {
    /// `preflight`, `nodes`, `namespaces`, `secrets`, `crds`, `apps` or `verify`.
    pub name: &'static str,
    /// Whether it did what it should.
    pub ok: bool,
    /// How long it took.
    pub seconds: f64,
}

impl StageReport {
    /// A stage that did what it should.
    #[must_use]
    pub fn done(name: &'static str, took: Duration) -> Self {
        Self { name, ok: true, seconds: rounded(took) }
    }
}

/// A problem that the preflight found.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ProblemReport {
    /// The rule that found it.
    pub rule: &'static str,
    /// `warning` or `error`.
    pub severity: &'static str,
    /// What is wrong.
    pub message: String,
    /// What was found and where, and what mends it.
    pub details: BTreeMap<&'static str, String>,
}

impl ProblemReport {
    /// What the preflight found, if that is why a command failed; without secrets.
    #[must_use]
    pub fn all(error: &Error, redactor: &Redactor) -> Vec<Self> {
        match error {
            Error::Preflight(findings) => {
                findings.iter().map(|finding| Self::new(finding, redactor)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn new(finding: &Finding, redactor: &Redactor) -> Self {
        let clean = |text: &str| redactor.apply(text).into_owned();
        Self {
            rule: finding.rule,
            severity: finding.severity.name(),
            message: clean(&finding.message),
            details: finding.pairs.iter().map(|(key, value)| (*key, clean(value))).collect(),
        }
    }
}

/// A release.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ReleaseReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its chart's version.
    pub version: String,
    /// `synced`, `failed`, `unchanged`, `newer` or `skipped`.
    pub status: &'static str,
    /// How long it took.
    pub seconds: f64,
}

impl ReleaseReport {
    /// A release that was synced, or failed.
    #[must_use]
    pub fn new(outcome: ReleaseOutcome) -> Self {
        let ReleaseOutcome { namespace, name, version, is_synced, took } = outcome;
        let status = if is_synced { "synced" } else { "failed" };
        Self { namespace, name, version, status, seconds: rounded(took) }
    }

    /// A release that is not synced: it is as wanted, or something else owns it.
    #[must_use]
    pub fn kept(plan: &ReleasePlan) -> Option<Self> {
        let status = match plan.action {
            ReleaseAction::Keep => "unchanged",
            ReleaseAction::Newer => "newer",
            ReleaseAction::LeaveTo(_) | ReleaseAction::Skip(_) => "skipped",
            _ => return None,
        };
        let (namespace, name) = plan.id.split_once('/')?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: plan.to.version.clone(),
            status,
            seconds: 0.0,
        })
    }
}

/// What Flux syncs.
#[derive(Debug, JsonSchema, Serialize)]
pub struct FluxReport {
    /// The repository's address.
    pub repository: String,
    /// The revision that was applied.
    pub revision: String,
}

/// Milliseconds are enough.
#[must_use]
pub fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Report {
    /// Writes the table of stages and releases on the log, a line each.
    pub fn log_summary(&self) {
        let stages = self.stages.iter().map(|stage| {
            let result = if stage.ok { "done" } else { "failed" };
            ("stage", stage.name.to_owned(), None, result, stage.seconds)
        });
        let releases = self.releases.iter().map(|release| {
            let name = format!("{}/{}", release.namespace, release.name);
            ("release", name, Some(release.version.clone()), release.status, release.seconds)
        });
        for (kind, name, version, result, took) in stages.chain(releases) {
            let mut pairs = vec![(kind, name)];
            pairs.extend(version.map(|version| ("version", version)));
            pairs.push(("result", result.to_owned()));
            pairs.push(("took", seconds(Duration::from_secs_f64(took))));
            logger::log(Level::Info, "Summary", &pairs);
        }
    }
}
