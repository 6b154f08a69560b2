//! Unlocks releases that an operation has left locked, before they are synced.
//!
//! helm refuses every operation while the newest revision of a release is `pending-*`. That revision is taken away, and
//! nothing else: what it has made stays, and the next sync takes it over, for it carries helm's marks. Of a first install
//! nothing is left then, so that its hooks run again; of an upgrade the revision before is (helm's
//! `pkg/action/upgrade.go`). It is deleted as it was looked at, and not if somebody has written it since.

use serde_json::json;

use crate::error::Error;
use crate::observed::helm::Stored;
use crate::plan::Unlock;
use crate::process::identity::Identity;
use crate::run::lock::end_tools;
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};

/// Unlocks releases whose operations are over.
///
/// # Errors
///
/// The API server does not answer or refuses it, or k3s-boot was told to stop.
pub async fn run(tools: &Toolbox, unlocks: &[Unlock]) -> Result<(), Error> {
    for Unlock { stored, run, by } in unlocks {
        // What became of them is known, but not whether their tools have ended.
        if let Some(run) = Identity::parse(run) {
            end_tools(tools, &run).await?;
        }
        if release(tools, stored).await? {
            tracing::info!(release = %stored.id(), status = %stored.status, started_by = %by, "Release recovered");
        }
    }
    Ok(())
}

/// Takes the newest revision of a release away, as it was looked at. Tells whether it was still so.
///
/// # Errors
///
/// As [`run`].
pub async fn release(tools: &Toolbox, stored: &Stored) -> Result<bool, Error> {
    let secret = &stored.secret;
    let path = format!("/api/v1/namespaces/{}/secrets/{}", segment(&secret.namespace), segment(&secret.name));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"uid": secret.uid, "resourceVersion": secret.resource_version}});
    let answer = tools.ask(Call::delete(&path, &options)).await?;
    // An earlier try has done it, and its answer was lost.
    if answer.status() == 404 && answer.may_have_been_executed_before() {
        return Ok(true);
    }
    // It was written or deleted meanwhile, so its operation was not over, or is.
    if matches!(answer.status(), 404 | 409) {
        return Ok(false);
    }
    answer.good().map(|_| true)
}
