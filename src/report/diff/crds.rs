//! The custom resource definitions in the report of `k3s-boot diff`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ItemChange, after_colon};
use crate::base::redact::Redactor;
use crate::plan::crds::{CrdAction, CrdPlan};

/// A custom resource definition.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct CrdDiff {
    pub name: String,
    /// The release whose chart contains it.
    pub release: String,
    /// What would happen to it.
    pub action: ItemChange,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CrdDiff {
    pub(super) fn new(plan: &CrdPlan, redactor: &Redactor) -> Self {
        let (action, fields, reason) = match &plan.action {
            CrdAction::Create(_) => (ItemChange::Create, Vec::new(), None),
            CrdAction::Change(fields, _) => (ItemChange::Change, fields.clone(), None),
            CrdAction::UpToDate => (ItemChange::Unchanged, Vec::new(), None),
            CrdAction::ManagedElsewhere(owner) => {
                (ItemChange::Skip, Vec::new(), Some(format!("managed by {owner}")))
            }
            CrdAction::Newer => (ItemChange::Skip, Vec::new(), Some("newer in the cluster".to_owned())),
            CrdAction::KeepsVersions(versions) => {
                let versions = versions.join(", ");
                (
                    ItemChange::Skip,
                    Vec::new(),
                    Some(format!("has stored versions that the chart does not have: {versions}")),
                )
            }
            CrdAction::Rejected(reason) => {
                (ItemChange::Skip, Vec::new(), Some(redactor.apply(reason).into_owned()))
            }
        };
        Self { name: plan.name.clone(), release: plan.release.to_string(), action, fields, reason }
    }

    /// The line in the text, its action and the lines below.
    pub(super) fn lines(&self) -> (String, &'static str, Vec<String>) {
        let reason = after_colon(self.reason.as_deref());
        (format!("{} ({}){reason}", self.name, self.release), self.action.word(), self.fields.clone())
    }
}
