//! The report of `k3s-boot recover`.

use schemars::JsonSchema;
use serde::Serialize;

use super::failure::FailureReport;
use super::{ProblemReport, SchemaVersion};
use crate::plan::recovery::StuckRelease;

/// The result of `k3s-boot recover`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecoverResult {
    /// No release is stuck any more, except those that Flux or k3s manage.
    #[default]
    Recovered,
    /// Some releases were skipped.
    Skipped,
    /// The command failed.
    Failed,
}

/// The report of `k3s-boot recover`, as `-o json` prints it.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub(crate) struct RecoverReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// How the command ended.
    pub result: RecoverResult,
    /// The exit code.
    pub exit_code: u8,
    /// Why the command failed, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Details of the failure; present if `result` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// Problems that were found before anything was changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// The releases that were stuck.
    pub releases: Vec<StuckReport>,
}

/// A release that was stuck in `pending-*`.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct StuckReport {
    /// `NAMESPACE/NAME`.
    pub release: String,
    /// The status in Helm: `pending-install`, `pending-upgrade`, `pending-rollback` or `uninstalling`.
    pub status: String,
    /// The pending revision.
    pub revision: u64,
    /// When the revision was last written, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who started the operation, if known.
    pub started_by: String,
    /// Whether it was recovered.
    pub recovered: bool,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<String>,
}

impl StuckReport {
    /// A release that is not recovered yet.
    pub(crate) fn new(locked: &StuckRelease) -> Self {
        let StuckRelease { stored, by, left, .. } = locked;
        Self {
            release: stored.id().to_string(),
            status: stored.status.clone(),
            revision: stored.revision,
            since: stored.since(),
            started_by: by.clone(),
            recovered: false,
            skip_reason: left.as_ref().map(crate::plan::recovery::Left::reason),
        }
    }
}
