//! Stages *secrets* and *manifests*: objects that k3s-boot applies itself.

use secrecy::{ExposeSecret as _, SecretSlice};

use super::crds::wait_established;
use crate::base::error::Error;
use crate::base::stages::Stage;
use crate::desired::objects::{Object, ObjectId};
use crate::plan::objects::{ObjectAction, ObjectPlan};
use crate::tools::Toolbox;

/// Applies the objects of a stage that are not up to date, through the stdin of kubectl. Namespaces and CRDs come first, and CRDs
/// are waited for: other objects need them.
///
/// # Errors
///
/// kubectl fails, or the API server does not establish a CRD.
pub(crate) async fn run(
    tools: &Toolbox,
    stage: Stage,
    objects: &[Object],
    plans: &[ObjectPlan],
) -> Result<(), Error> {
    tracing::debug!(
        "{}",
        if stage == Stage::Secrets { "Applying SOPS secrets" } else { "Applying manifests" }
    );
    let plans: Vec<_> = plans.iter().filter(|plan| plan.stage == stage).collect();
    let applies = |object: &&Object| plans.iter().any(|plan| plan.id == object.id && plan.action.applies());
    let changed = objects.iter().filter(applies);
    let (first, rest): (Vec<_>, Vec<_>) =
        changed.partition(|object| object.id.kind == "Namespace" || object.id.is_crd());
    apply(tools, &first).await?;
    let crds: Vec<_> =
        first.iter().filter(|object| object.id.is_crd()).map(|object| object.id.name.as_str()).collect();
    if !crds.is_empty() {
        wait_established(tools, stage, &crds).await?;
    }
    apply(tools, &rest).await?;
    for ObjectPlan { id, action, .. } in plans {
        log_object(id, action);
    }
    Ok(())
}

async fn apply(tools: &Toolbox, objects: &[&Object]) -> Result<(), Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let items: Vec<_> = objects.iter().map(|object| object.manifest.expose_secret()).collect();
    let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","));
    tools.kubectl_apply(SecretSlice::from(list.into_bytes())).await
}

fn log_object(id: &ObjectId, action: &ObjectAction) {
    let path = id.path();
    let kind = id.kind.as_str();
    match action {
        ObjectAction::Create | ObjectAction::Change(_) if *id == ObjectId::sops_age() => {
            tracing::info!(secret = %path, "SOPS age secret applied");
        }
        ObjectAction::Create | ObjectAction::Change(_) if kind == "Secret" => {
            tracing::info!(secret = %path, "Secret applied");
        }
        ObjectAction::Create | ObjectAction::Change(_) => {
            tracing::info!(kind, object = %path, "Object applied");
        }
        ObjectAction::ManagedElsewhere(owner) => {
            tracing::info!(kind, object = %path, by = %owner, "Object is managed elsewhere");
        }
        ObjectAction::Keep(reason) => {
            tracing::info!(kind, object = %path, reason = %reason, "Object stays as it is");
        }
        ObjectAction::UpToDate if kind == "Secret" => tracing::info!(secret = %path, "Secret unchanged"),
        ObjectAction::UpToDate => tracing::info!(kind, object = %path, "Object unchanged"),
    }
}
