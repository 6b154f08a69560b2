//! Recovers releases stuck in `pending-*` before they are synced.
//!
//! Helm refuses every operation while the latest revision of a release is `pending-*`. Only that revision is deleted: its
//! objects stay, and the next sync adopts them, because they have the labels of Helm. After a first install no revision
//! remains, so that hooks run again; after an upgrade the previous one does (`pkg/action/upgrade.go` of Helm). The revision
//! is deleted only if it has not changed since it was read.

use serde_json::json;

use crate::base::error::Error;
use crate::observed::helm::Stored;
use crate::plan::Unlock;
use crate::process::identity::Identity;
use crate::run::lock::end_tools;
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};

/// Recovers releases whose operations have ended.
///
/// # Errors
///
/// The API server does not respond or rejects it, or k3s-boot was interrupted.
pub(crate) async fn run(tools: &Toolbox, unlocks: &[Unlock]) -> Result<(), Error> {
    for Unlock { stored, run, by } in unlocks {
        // The run has ended, but its tools may still be running.
        if let Some(run) = Identity::parse(run) {
            end_tools(tools, &run).await?;
        }
        if release(tools, stored).await? {
            tracing::info!(release = %stored.id(), status = %stored.status, started_by = %by, "Release recovered");
        }
    }
    Ok(())
}

/// Deletes the latest revision of a release if it has not changed since it was read. Returns whether it was deleted.
///
/// # Errors
///
/// As [`run`].
pub(crate) async fn release(tools: &Toolbox, stored: &Stored) -> Result<bool, Error> {
    let secret = &stored.secret;
    let path = format!("/api/v1/namespaces/{}/secrets/{}", segment(&secret.namespace), segment(&secret.name));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"uid": secret.uid, "resourceVersion": secret.resource_version}});
    let answer = tools.ask(Call::delete(&path, &options)).await?;
    // An earlier attempt deleted it, and the response was lost.
    if answer.status() == 404 && answer.may_have_been_executed_before() {
        return Ok(true);
    }
    // It was changed or deleted in the meantime: the operation was still running.
    if matches!(answer.status(), 404 | 409) {
        return Ok(false);
    }
    answer.good().map(|_| true)
}
