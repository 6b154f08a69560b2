//! Stage *namespaces*.

use secrecy::SecretSlice;
use serde_json::json;

use crate::base::error::Error;
use crate::plan::NamespaceAction;
use crate::tools::Toolbox;

/// Creates missing namespaces.
///
/// # Errors
///
/// kubectl fails.
pub(crate) async fn run(tools: &Toolbox, namespaces: &[(String, NamespaceAction)]) -> Result<(), Error> {
    tracing::debug!("Applying namespaces");
    let items: Vec<_> = namespaces
        .iter()
        .filter(|(_, action)| *action == NamespaceAction::Create)
        .map(|(name, _)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    if !items.is_empty() {
        // Applied, not created: another client may have created one in the meantime.
        let manifest = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        tools.kubectl_apply(SecretSlice::from(manifest.into_bytes())).await?;
    }
    for (namespace, action) in namespaces {
        match action {
            NamespaceAction::Create => tracing::info!(namespace, "Namespace created"),
            NamespaceAction::Exists => tracing::info!(namespace, "Namespace exists"),
        }
    }
    Ok(())
}
