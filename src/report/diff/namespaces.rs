//! The namespaces in the report of `k3s-boot diff`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ItemChange, ValueDiff, after_colon};
use crate::base::redact::Redactor;
use crate::plan::namespaces::{NamespaceAction, NamespacePlan};

/// A namespace.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct NamespaceDiff {
    /// The name.
    pub name: String,
    /// Where it comes from: a file or folder of the repository, a command or URL, `release NAMESPACE/NAME`, `k3s-boot.yaml`
    /// or `Flux`.
    pub source: String,
    /// What would happen to it.
    pub action: ItemChange,
    /// The labels and annotations that would be set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<ValueDiff>,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl NamespaceDiff {
    pub(super) fn new(plan: &NamespacePlan, redactor: &Redactor) -> Self {
        let (action, reason) = match &plan.action {
            NamespaceAction::Create => (ItemChange::Create, None),
            NamespaceAction::Change => (ItemChange::Change, None),
            NamespaceAction::Exists => (ItemChange::Unchanged, None),
            NamespaceAction::ManagedByFlux(owner) => {
                (ItemChange::Skip, Some(format!("managed by Kustomization {owner}")))
            }
        };
        Self {
            name: plan.namespace.name.clone(),
            source: plan.namespace.source.to_string(),
            action,
            fields: plan.changes.iter().map(|change| ValueDiff::new(change, redactor)).collect(),
            reason,
        }
    }

    /// The line in the text, its action and the lines below.
    pub(super) fn lines(&self) -> (String, &'static str, Vec<String>) {
        let reason = after_colon(self.reason.as_deref());
        let fields = self.fields.iter().map(ValueDiff::line).collect();
        (format!("{} ({}){reason}", self.name, self.source), self.action.word(), fields)
    }
}
