//! Flux's objects for tests.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::base::mutate;
use crate::observed::flux::{Dependency, Flux, Resource};

pub(crate) const URL: &str = "ssh://git@example.org/home.git";

/// Status, reason and message of `Ready`.
pub(crate) type Ready<'a> = (&'a str, &'a str, &'a str);

pub(crate) const OK: Ready<'_> = ("True", "ReconciliationSucceeded", "fine");
/// One that is being reconciled.
pub(crate) const RUNNING: Ready<'_> = ("Unknown", "Progressing", "Reconciliation in progress");
pub(crate) const UNHEALTHY: Ready<'_> = ("False", "HealthCheckFailed", "timeout waiting for: [Deployment/x]");
/// One that cannot be built.
pub(crate) const UNBUILT: Ready<'_> = ("False", "BuildFailed", "kustomize build failed: no such file");
/// One that cannot be applied yet.
pub(crate) const UNAPPLIED: Ready<'_> = (
    "False",
    "ReconciliationFailed",
    "ServiceMonitor/a dry-run failed: no matches for kind \"ServiceMonitor\"",
);
pub(crate) const UNDECRYPTED: Ready<'_> = (
    "False",
    "BuildFailed",
    "decryption failed for 'a': Error getting data key: 0 successful groups required",
);
pub(crate) const DEPENDENT: Ready<'_> = ("False", "DependencyNotReady", "dependency 'x/y' is not ready");

pub(crate) fn resource(
    kind: &str,
    name: &str,
    spec: impl serde::Serialize,
    (status, reason, message): Ready<'_>,
) -> Resource {
    let namespace = "flux-system";
    let api_version = if kind == "Kustomization" { "kustomize" } else { "source" };
    serde_json::from_value(json!({
        "apiVersion": format!("{api_version}.toolkit.fluxcd.io/v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": spec,
        "status": {"observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]}}))
    .unwrap()
}

pub(crate) fn instance() -> Resource {
    let sync = json!({"sync": {"kind": "GitRepository", "url": URL, "ref": "refs/heads/main"}});
    resource("FluxInstance", "flux", sync, OK)
}

pub(crate) fn source() -> Resource {
    resource("GitRepository", "flux-system", json!({"url": URL, "ref": {"name": "refs/heads/main"}}), OK)
}

pub(crate) fn root() -> Resource {
    let mut root = resource("Kustomization", "flux-system", json!({}), OK);
    root.status.last_applied_revision = Some("main@sha1:1".to_owned());
    root
}

/// A Kustomization that another has applied.
pub(crate) fn child(name: &str, parent: &str, ready: Ready<'_>) -> Resource {
    applied(resource("Kustomization", name, json!({}), ready), parent)
}

/// A Kustomization that the root one has applied.
pub(crate) fn direct(name: &str, ready: Ready<'_>) -> Resource {
    child(name, "flux-system", ready)
}

/// A direct one that waits for these: `name` or `namespace/name`.
pub(crate) fn waits_for(name: &str, others: &[&str]) -> Resource {
    let mut waits = direct(name, DEPENDENT);
    let dependency = |other: &&str| match other.split_once('/') {
        Some((namespace, name)) => {
            Dependency { name: name.to_owned(), namespace: Some(namespace.to_owned()), ready_expr: None }
        }
        None => Dependency { name: (*other).to_owned(), ..Dependency::default() },
    };
    waits.spec.depends_on = others.iter().map(dependency).collect();
    waits
}

/// The same object, applied by a Kustomization.
pub(crate) fn applied(mut resource: Resource, parent: &str) -> Resource {
    let label = |name: &str| format!("kustomize.toolkit.fluxcd.io/{name}");
    resource.metadata.labels =
        [(label("name"), parent.to_owned()), (label("namespace"), "flux-system".to_owned())].into();
    resource
}

/// The same object, in another namespace.
pub(crate) fn in_namespace(mut resource: Resource, namespace: &str) -> Resource {
    namespace.clone_into(&mut resource.metadata.namespace);
    resource
}

pub(crate) fn suspended(mut resource: Resource) -> Resource {
    resource.spec.suspend = true;
    resource
}

/// The same object with another condition: type, status, reason, message.
pub(crate) fn with(mut resource: Resource, condition: [&str; 4]) -> Resource {
    let [kind, status, reason, message] = condition;
    let condition = json!({"type": kind, "status": status, "reason": reason, "message": message});
    resource.status.conditions.push(serde_json::from_value(condition).unwrap());
    resource
}

/// One whose first health check runs.
pub(crate) fn checking(resource: Resource) -> Resource {
    let words = "Running health checks for revision main@sha1:1 with a timeout of 5m0s";
    let resource = with(resource, ["Reconciling", "True", "Progressing", words]);
    with(resource, ["Healthy", "Unknown", "Progressing", words])
}

/// All that is ready, and these.
pub(crate) fn flux(others: impl IntoIterator<Item = Resource>) -> Flux {
    let resources = [source(), root()].into_iter().chain(others).collect();
    Flux { instance: Some(instance()), resources }
}

pub(super) fn odd_resource() -> impl Strategy<Value = Resource> {
    let name = || "[ab]|flux-system".prop_map(|name| json!(name));
    let label = |name: &str| format!("kustomize.toolkit.fluxcd.io/{name}");
    let reasons = &["Succeeded", "BuildFailed", "DependencyNotReady", "HealthCheckFailed", "Progressing"][..];
    let ready = (select(&["True", "False", "Unknown"][..]), select(reasons), ".{0,40}|decrypt", 0..3_i64);
    (select(&["Kustomization", "GitRepository", "OCIRepository"][..]), name(), name(), name(), ready, any::<bool>()).prop_flat_map(
        move |(kind, name, parent, needed, (status, reason, message, seen), suspend)| {
            let resource = json!({"kind": kind, "metadata": {"name": name, "namespace": "flux-system", "generation": 1,
                    "labels": {label("name"): parent, label("namespace"): "flux-system"}},
                "spec": {"suspend": suspend, "url": URL, "dependsOn": [{"name": needed}], "ref": {"name": "refs/heads/main"}},
                "status": {"observedGeneration": seen, "lastAppliedRevision": "main@sha1:1", "artifact": {"revision": "x"},
                    "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]}});
            mutate::json(&resource.to_string()).prop_map(move |odd| {
                serde_json::from_value(odd).unwrap_or_else(|_| serde_json::from_value(resource.clone()).unwrap())
            })
        },
    )
}
