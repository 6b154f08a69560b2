//! Stage *namespaces*.

use secrecy::SecretSlice;
use serde_json::{Value, json};

use crate::base::error::Error;
use crate::desired::namespaces::Namespace;
use crate::plan::namespaces::{NamespaceAction, NamespacePlan};
use crate::tools::Toolbox;

/// Creates missing namespaces, and sets labels and annotations that the repository declares.
///
/// # Errors
///
/// kubectl fails.
pub(crate) async fn run(tools: &Toolbox, namespaces: &[NamespacePlan]) -> Result<(), Error> {
    tracing::debug!("Applying namespaces");
    let applied = namespaces.iter().filter(|plan| plan.action.applies());
    let items: Vec<_> = applied.map(|plan| manifest(&plan.namespace)).collect();
    if !items.is_empty() {
        // Applied, not created: another client may have created one in the meantime.
        let manifest = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        tools.kubectl_apply(SecretSlice::from(manifest.into_bytes())).await?;
    }
    for plan in namespaces {
        let Namespace { name: namespace, source, .. } = &plan.namespace;
        match &plan.action {
            NamespaceAction::Create => tracing::info!(namespace, %source, "Namespace created"),
            NamespaceAction::Change => {
                tracing::info!(namespace, fields = %plan.paths().join(", "), "Namespace changed");
            }
            NamespaceAction::Exists | NamespaceAction::ManagedByFlux(_) => {
                tracing::info!(namespace, "Namespace exists");
            }
        }
    }
    Ok(())
}

fn manifest(namespace: &Namespace) -> Value {
    let mut metadata = json!({"name": namespace.name});
    for (key, texts) in [("labels", &namespace.labels), ("annotations", &namespace.annotations)] {
        if !texts.is_empty() {
            metadata[key] = json!(texts);
        }
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}
