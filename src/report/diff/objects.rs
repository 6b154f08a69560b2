//! The objects that k3s-boot applies itself, in the report of `k3s-boot diff`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ItemChange, after_colon};
use crate::base::stages::Stage;
use crate::plan::objects::{ObjectAction, ObjectPlan};

/// An object that k3s-boot applies itself; never its contents.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct AppliedDiff {
    /// The stage in which it is applied: `secrets` or `manifests`.
    pub stage: Stage,
    pub kind: String,
    /// `namespace/name`.
    pub name: String,
    /// What would happen to it.
    pub action: ItemChange,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AppliedDiff {
    pub(super) fn new(plan: &ObjectPlan) -> Self {
        let ObjectPlan { id, stage, action } = plan;
        let (action, fields, reason) = match action {
            ObjectAction::Create => (ItemChange::Create, Vec::new(), None),
            ObjectAction::Change(fields) => (ItemChange::Change, fields.clone(), None),
            ObjectAction::UpToDate => (ItemChange::Unchanged, Vec::new(), None),
            ObjectAction::ManagedElsewhere(owner) => {
                (ItemChange::Skip, Vec::new(), Some(format!("managed by {owner}")))
            }
            ObjectAction::Keep(reason) => (ItemChange::Skip, Vec::new(), Some(reason.clone())),
        };
        Self { stage: *stage, kind: id.kind.clone(), name: id.path(), action, fields, reason }
    }

    pub(super) fn lines(&self) -> (String, &'static str, Vec<String>) {
        let fields =
            if self.fields.is_empty() { String::new() } else { format!(": {}", self.fields.join(", ")) };
        let reason = after_colon(self.reason.as_deref());
        (format!("{} {}{fields}{reason}", self.kind, self.name), self.action.word(), Vec::new())
    }
}
