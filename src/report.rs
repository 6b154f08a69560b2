//! Reports of the commands, as text or JSON.

/// Defines an enum whose variants are words in JSON and in text.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, serde::Serialize)]
        pub(crate) enum $name { $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The word in JSON.
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

pub(crate) mod checks;
pub(crate) mod diff;
pub(crate) mod failure;
pub(crate) mod file;
pub(crate) mod github;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod recover;
pub(crate) mod status;
pub(crate) mod version;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use self::failure::FailureReport;
use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::finding::{Finding, Severity};
use crate::base::github::CommandEscape;
use crate::base::logger::{self, Level};
use crate::base::redact::Redactor;
use crate::base::release_id::ReleaseId;
use crate::base::stages::Stage;
use crate::observed::Live;
use crate::plan::crds::{CrdAction, CrdPlan};
use crate::plan::releases::{ReleaseAction, ReleasePlan};
use crate::run::outcome::ReleaseOutcome;
use crate::tools::kubeconfig::Target;

/// Prints a report on stdout as JSON.
///
/// # Errors
///
/// Writing to stdout fails, other than with a broken pipe.
pub(crate) fn print(report: &impl Serialize, guard: CommandEscape) -> std::io::Result<()> {
    ignore_broken_pipe(print_json(serde_json::to_string_pretty(report)? + "\n", guard))
}

/// Prints a report on stdout as text.
///
/// # Errors
///
/// As [`print()`].
pub(crate) fn print_text(text: String, guard: CommandEscape) -> std::io::Result<()> {
    ignore_broken_pipe(print_words(text, guard))
}

/// Prints JSON on stdout.
///
/// # Errors
///
/// Writing to stdout fails, also with a broken pipe.
pub(crate) fn print_json(json: String, guard: CommandEscape) -> std::io::Result<()> {
    write(&guard.json(json))
}

/// Prints text on stdout.
///
/// # Errors
///
/// As [`print_json`].
pub(crate) fn print_words(text: String, guard: CommandEscape) -> std::io::Result<()> {
    write(&guard.text(text))
}

/// Turns a broken pipe into success: a reader that has gone away does not make a command fail.
///
/// # Errors
///
/// All other errors.
pub(crate) fn ignore_broken_pipe(printed: std::io::Result<()>) -> std::io::Result<()> {
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

/// The version of the JSON reports. It changes when a key is removed or gets another meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SchemaVersion;

impl SchemaVersion {
    const CURRENT: u32 = 1;
}

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::CURRENT)
    }
}

impl JsonSchema for SchemaVersion {
    fn schema_name() -> Cow<'static, str> {
        "SchemaVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "const": Self::CURRENT})
    }
}

words! {
    /// The result of a run.
    #[derive(Default)]
    RunResult {
        /// Flux syncs the repository.
        #[default]
        Complete = "complete",
        /// Flux has no repository to sync, or is not installed.
        NoSyncSource = "no-sync-source",
        /// The stage `verify` was skipped.
        Partial = "partial",
        /// The run failed.
        Failed = "failed",
    }
}

words! {
    /// A stage of a run.
    StageName {
        /// Check everything before the first change.
        Preflight = "preflight",
        /// Wait until the nodes have registered.
        Nodes = "nodes",
        /// Create the namespaces.
        Namespaces = "namespaces",
        /// Apply the age key and the other secrets.
        Secrets = "secrets",
        /// Apply the manifests that `k3s-boot.yaml` names.
        Manifests = "manifests",
        /// Sync the helmfile for custom resource definitions.
        Crds = "crds",
        /// Sync the helmfile for everything else.
        Apps = "apps",
        /// Wait until Flux has taken over.
        Verify = "verify",
    }
}

impl From<Stage> for StageName {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Nodes => Self::Nodes,
            Stage::Namespaces => Self::Namespaces,
            Stage::Secrets => Self::Secrets,
            Stage::Manifests => Self::Manifests,
            Stage::Crds => Self::Crds,
            Stage::Apps => Self::Apps,
            Stage::Verify => Self::Verify,
        }
    }
}

words! {
    /// What became of a release.
    ReleaseResult {
        /// It was synced.
        Synced = "synced",
        /// It failed.
        Failed = "failed",
        /// It was up to date.
        Unchanged = "unchanged",
        /// A newer version is installed, which stays.
        Newer = "newer",
        /// It was skipped, or is managed elsewhere.
        Skipped = "skipped",
    }
}

/// The report of `k3s-boot apps`, as `-o json` prints it.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub(crate) struct Report {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// How the run ended.
    pub result: RunResult,
    /// The exit code.
    pub exit_code: u8,
    /// Whether anything in the cluster may have changed.
    pub changed: bool,
    /// Why the run failed, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Details of the failure; present if `result` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// Problems that the preflight found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
    /// The stages that were started, in order.
    pub stages: Vec<StageReport>,
    /// The custom resource definitions of a helmfile that is only rendered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crds: Vec<CrdReport>,
    /// The releases: first those that were not synced, then the others in the order in which they finished.
    pub releases: Vec<ReleaseReport>,
    /// What Flux syncs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flux: Option<FluxReport>,
    /// Duration of the run in seconds.
    pub seconds: f64,
    /// The log file with the output of all tools, kept if the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The target cluster.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ClusterReport {
    /// The context of the kubeconfig.
    pub context: String,
    /// The URL of the API server.
    pub server: String,
    /// The UID of the kube-system namespace.
    pub uid: String,
    /// The number of nodes.
    pub nodes: usize,
}

impl ClusterReport {
    /// The cluster that was reached.
    pub(crate) fn new(target: &Target, live: &Live) -> Self {
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
pub(crate) struct StageReport {
    pub name: StageName,
    /// Whether the stage succeeded.
    pub ok: bool,
    /// Duration in seconds.
    pub seconds: f64,
}

impl StageReport {
    /// A stage that succeeded.
    pub(crate) fn done(name: StageName, took: Duration) -> Self {
        Self { name, ok: true, seconds: rounded(took) }
    }
}

/// A problem that the preflight found.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ProblemReport {
    /// The rule that found it.
    pub rule: &'static str,
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where the problem is, and why it is one.
    pub details: BTreeMap<&'static str, String>,
    /// A command, or the lines to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl ProblemReport {
    /// The findings of a failed preflight, without secrets.
    pub(crate) fn all(error: &Error, redactor: &Redactor) -> Vec<Self> {
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
            severity: finding.severity,
            message: clean(&finding.summary),
            details: finding.details.iter().map(|(key, value)| (*key, clean(value))).collect(),
            fix: finding.fix.as_deref().map(clean),
        }
    }
}

/// What became of a custom resource definition.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CrdResult {
    /// It was created or changed.
    Applied,
    /// It was up to date.
    Unchanged,
    /// It is newer or managed elsewhere, or cannot be applied.
    Skipped,
}

/// A custom resource definition.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct CrdReport {
    pub name: String,
    /// The release whose chart contains it.
    pub release: String,
    /// What became of it.
    pub status: CrdResult,
}

impl CrdReport {
    /// A definition of a stage that was completed.
    pub(crate) fn new(plan: &CrdPlan) -> Self {
        let status = match plan.action {
            CrdAction::Create(_) | CrdAction::Change(..) => CrdResult::Applied,
            CrdAction::UpToDate => CrdResult::Unchanged,
            CrdAction::ManagedElsewhere(_)
            | CrdAction::Newer
            | CrdAction::KeepsVersions(_)
            | CrdAction::Rejected(_) => CrdResult::Skipped,
        };
        Self { name: plan.name.clone(), release: plan.release.to_string(), status }
    }
}

/// A release.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ReleaseReport {
    pub namespace: String,
    pub name: String,
    /// The version of the chart.
    pub version: String,
    /// What became of the release.
    pub status: ReleaseResult,
    /// Duration in seconds.
    pub seconds: f64,
}

impl ReleaseReport {
    /// A release that was synced, or failed.
    pub(crate) fn new(outcome: ReleaseOutcome) -> Self {
        let ReleaseOutcome { namespace, name, version, is_synced, took } = outcome;
        let status = if is_synced { ReleaseResult::Synced } else { ReleaseResult::Failed };
        Self { namespace, name, version, status, seconds: rounded(took) }
    }

    /// A release that is not synced because it is up to date, newer, skipped or managed elsewhere.
    pub(crate) fn kept(plan: &ReleasePlan) -> Option<Self> {
        let status = match plan.action {
            ReleaseAction::UpToDate => ReleaseResult::Unchanged,
            ReleaseAction::Newer => ReleaseResult::Newer,
            ReleaseAction::ManagedElsewhere(_) | ReleaseAction::Skip(_) => ReleaseResult::Skipped,
            _ => return None,
        };
        let ReleaseId { namespace, name } = plan.id.clone();
        Some(Self { namespace, name, version: plan.to.version.clone(), status, seconds: 0.0 })
    }
}

/// What Flux syncs.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct FluxReport {
    /// The URL of the repository.
    pub repository: String,
    /// The revision that was applied.
    pub revision: String,
}

/// Seconds, rounded to milliseconds.
pub(crate) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Report {
    /// Logs how long each stage took. What became of the releases was logged when they ended.
    pub(crate) fn log_summary(&self) {
        let took = |stage: &StageReport| seconds(Duration::from_secs_f64(stage.seconds));
        let stages: Vec<_> = self.stages.iter().map(|stage| (stage.name.word(), took(stage))).collect();
        logger::log(Level::Info, "Summary", &stages);
    }
}
