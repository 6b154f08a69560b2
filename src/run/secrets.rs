//! Stage *secrets*: the age key and the objects of encrypted files.

use secrecy::{ExposeSecret as _, SecretSlice};

use crate::base::error::Error;
use crate::desired::objects::{Object, ObjectId};
use crate::plan::ObjectAction;
use crate::tools::Toolbox;

/// Applies the objects that are not up to date, through the stdin of kubectl.
///
/// # Errors
///
/// kubectl fails.
pub(crate) async fn run(
    tools: &Toolbox,
    objects: &[Object],
    actions: &[(ObjectId, ObjectAction)],
) -> Result<(), Error> {
    tracing::debug!("Applying SOPS secrets");
    let action = |object: &Object| actions.iter().find(|(id, _)| *id == object.id).map(|(_, action)| action);
    let changed: Vec<_> = objects
        .iter()
        .filter(|object| matches!(action(object), Some(ObjectAction::Create | ObjectAction::Change(_))))
        .map(|object| object.manifest.expose_secret())
        .collect();
    if !changed.is_empty() {
        let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, changed.join(","));
        tools.kubectl_apply(SecretSlice::from(list.into_bytes())).await?;
    }
    for object in objects {
        log_object(&object.id, action(object));
    }
    Ok(())
}

fn log_object(id: &ObjectId, action: Option<&ObjectAction>) {
    let path = id.path();
    let kind = id.kind.as_str();
    match action {
        Some(ObjectAction::Create | ObjectAction::Change(_)) if *id == ObjectId::sops_age() => {
            tracing::info!(secret = %path, "SOPS age secret applied");
        }
        Some(ObjectAction::Create | ObjectAction::Change(_)) if kind == "Secret" => {
            tracing::info!(secret = %path, "Secret applied");
        }
        Some(ObjectAction::Create | ObjectAction::Change(_)) => {
            tracing::info!(kind, object = %path, "Object applied");
        }
        Some(ObjectAction::ManagedByFlux(owner)) => {
            tracing::info!(kind, object = %path, kustomization = %owner, "Object is managed by Flux");
        }
        Some(ObjectAction::UpToDate) | None if kind == "Secret" => {
            tracing::info!(secret = %path, "Secret unchanged");
        }
        Some(ObjectAction::UpToDate) | None => tracing::info!(kind, object = %path, "Object unchanged"),
    }
}
