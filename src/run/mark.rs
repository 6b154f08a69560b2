//! The mark of the repository on the cluster, written with the first change.

use secrecy::SecretSlice;
use serde_json::json;

use crate::error::Error;
use crate::guard::MARK;
use crate::observed::cluster::LEASE;
use crate::tools::Toolbox;

/// Notes on the Lease of the lock which repository this cluster is bootstrapped from.
///
/// # Errors
///
/// When kubectl fails.
pub async fn run(tools: &Toolbox, repository: &str) -> Result<(), Error> {
    let (namespace, name) = LEASE;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace, "annotations": {MARK: repository}}});
    tools.kubectl_apply(SecretSlice::from(lease.to_string().into_bytes())).await
}
