//! What `k3s-boot recover` prints as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::ProblemReport;
use super::failure::FailureReport;
use crate::plan::recovery::Locked;

/// What was done about locked releases.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub struct RecoverReport {
    /// `unlocked` when none is left locked that is not something else's, `left`, or `failed`.
    pub result: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is behind a failure; there whenever `result` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// The problems that were found before anything was changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// The releases that were locked.
    pub releases: Vec<LockedReport>,
}

/// A release that was locked.
#[derive(Debug, JsonSchema, Serialize)]
pub struct LockedReport {
    /// `NAMESPACE/NAME`.
    pub release: String,
    /// Helm's word for it: `pending-install`, `pending-upgrade`, `pending-rollback` or `uninstalling`.
    pub status: String,
    /// The number of the revision that locks it.
    pub revision: u64,
    /// When that was written last, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who began the operation, as far as that is known.
    pub by: String,
    /// Whether it was unlocked.
    pub unlocked: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl LockedReport {
    /// A release that is locked as yet.
    #[must_use]
    pub fn new(locked: &Locked) -> Self {
        let Locked { stored, by, left, .. } = locked;
        Self {
            release: stored.id(),
            status: stored.status.clone(),
            revision: stored.revision,
            since: stored.since(),
            by: by.clone(),
            unlocked: false,
            left: left.as_ref().map(crate::plan::recovery::Left::reason),
        }
    }
}
