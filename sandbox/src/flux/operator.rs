//! Simulates flux-operator: turns a FluxInstance into CRDs, a GitRepository and a Kustomization.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{FluxBehavior, patch};
use crate::control_plane::crd_path;
use crate::kube::Client;
use crate::time::now;

const CRD: &str = "fluxinstances.fluxcd.controlplane.io";

/// The version of Flux that the operator installs.
const VERSION: &str = "v2.7.5";
/// The revision of the Flux distribution that the status reports.
const REVISION: &str = "v2.7.5@sha256:5c2a5b9f6cd0c4b5d0f6c4ae9b1f3d2c7e8a90b1c2d3e4f5061728394a5b6c7d";

#[derive(Debug)]
pub(super) struct Operator {
    client: Client,
    crds: Vec<String>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the operator's Deployment is available. Until then, `FluxInstances` are ignored.
    available: bool,
    instances: Vec<Value>,
    behavior: FluxBehavior,
    installed: bool,
    stopped: bool,
}

impl Operator {
    pub(super) fn new(client: Client, crds: Vec<String>) -> Self {
        Self { client, crds, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn set_behavior(&self, behavior: FluxBehavior) {
        let mut state = self.state();
        state.behavior = behavior;
        self.reconcile(&mut state);
    }

    /// Waits until the Flux CRDs are installed; false if the sandbox stops first.
    pub(super) fn wait_installed(&self, stop: &AtomicBool) -> bool {
        let state = self
            .changed
            .wait_while(self.state(), |state| !state.installed && !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.installed && !stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn watch_deployment(&self, stop: &AtomicBool) {
        let path = "/apis/apps/v1/deployments?fieldSelector=metadata.name%3Dflux-operator";
        self.client.watch(path, stop, |event| {
            let available = event.kind != "DELETED"
                && event.object["status"]["availableReplicas"].as_u64().unwrap_or(0) > 0;
            let mut state = self.state();
            if state.available != available {
                state.available = available;
                self.reconcile(&mut state);
            }
            ControlFlow::Continue(())
        });
    }

    pub(super) fn watch_instances(&self, stop: &AtomicBool) {
        watch_until_established(&self.client, CRD, stop);
        self.client.watch("/apis/fluxcd.controlplane.io/v1/fluxinstances", stop, |event| {
            let mut state = self.state();
            let uid = &event.object["metadata"]["uid"];
            state.instances.retain(|instance| instance["metadata"]["uid"] != *uid);
            if event.kind != "DELETED" {
                state.instances.push(event.object);
                self.reconcile(&mut state);
            }
            ControlFlow::Continue(())
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reconcile(&self, state: &mut State) {
        if !state.available {
            return;
        }
        for instance in state.instances.clone() {
            if instance["metadata"]["annotations"]["fluxcd.controlplane.io/reconcile"] == "disabled" {
                continue;
            }
            let conditions = match &state.behavior {
                FluxBehavior::NeverReady => {
                    vec![("Ready", "Unknown", "Progressing", "Reconciliation in progress".to_owned())]
                }
                FluxBehavior::Stalls(message) => stalled(message),
                FluxBehavior::Works => match build(&instance) {
                    Err(error) => stalled(&format!("build failed: {error:#}")),
                    Ok(objects) => match self.install(state, &instance, &objects) {
                        Ok(()) => vec![(
                            "Ready",
                            "True",
                            "ReconciliationSucceeded",
                            "Reconciliation finished".to_owned(),
                        )],
                        Err(error) => vec![("Ready", "False", "ReconciliationFailed", format!("{error:#}"))],
                    },
                },
            };
            // After an outage, the API server sends the FluxInstance again.
            drop(self.set_status(&instance, &conditions));
        }
    }

    fn install(&self, state: &mut State, instance: &Value, objects: &[Value]) -> Result<()> {
        if is_current(instance) && is_true(instance, "Ready") {
            return Ok(());
        }
        if !state.installed {
            self.install_crds()?;
            state.installed = true;
            self.changed.notify_all();
        }
        objects.iter().try_for_each(|object| self.client.apply(&path_of(object)?, object).map(drop))
    }

    fn install_crds(&self) -> Result<()> {
        let mut paths = Vec::new();
        for text in &self.crds {
            let crd: Value = serde_yaml::from_str(text)?;
            let path = crd_path(crd["metadata"]["name"].as_str().context("a CRD has no name")?);
            self.client.apply(&path, &crd)?;
            paths.push(path);
        }
        let end = Instant::now() + Duration::from_secs(30);
        for path in paths {
            while !self.client.get(&path)?.is_some_and(|crd| is_true(&crd, "Established")) {
                if Instant::now() > end {
                    bail!("`{path}` is not established");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn set_status(&self, instance: &Value, conditions: &[(&str, &str, &str, String)]) -> Result<()> {
        let generation = &instance["metadata"]["generation"];
        let same = is_current(instance)
            && conditions.len() == instance["status"]["conditions"].as_array().map_or(0, Vec::len)
            && conditions.iter().all(|(kind, status, reason, message)| {
                condition(instance, kind).is_some_and(|there| {
                    there["status"] == *status && there["reason"] == *reason && there["message"] == *message
                })
            });
        if same {
            return Ok(());
        }
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, reason, message)| {
                json!({
                    "type": kind, "status": status, "reason": reason, "message": message,
                    "observedGeneration": generation, "lastTransitionTime": now(),
                })
            })
            .collect();
        let mut status = json!({"conditions": conditions, "lastAttemptedRevision": REVISION});
        if conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
            status["lastAppliedRevision"] = json!(REVISION);
        }
        let path = format!("{}/status", path_of(instance)?);
        self.client.merge(&path, &json!({"status": status})).map(drop)
    }
}

/// Waits until a kind exists, because a watch on one that does not would have to poll.
pub(super) fn watch_until_established(client: &Client, crd: &str, stop: &AtomicBool) {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    client.watch(&format!("{path}?fieldSelector=metadata.name%3D{crd}"), stop, |event| {
        if is_true(&event.object, "Established") { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

type Conditions = Vec<(&'static str, &'static str, &'static str, String)>;

fn stalled(message: &str) -> Conditions {
    vec![
        ("Stalled", "True", "BuildFailed", message.to_owned()),
        ("Ready", "False", "BuildFailed", message.to_owned()),
    ]
}

/// The objects for the sync of a FluxInstance, patched; none without a sync.
fn build(instance: &Value) -> Result<Vec<Value>> {
    let sync = &instance["spec"]["sync"];
    if sync.is_null() {
        return Ok(Vec::new());
    }
    if sync["kind"] != "GitRepository" {
        bail!("the sandbox cannot simulate a sync of kind `{}`", sync["kind"].as_str().unwrap_or_default());
    }
    let patches = instance["spec"]["kustomize"]["patches"].as_array().cloned().unwrap_or_default();
    let mut objects = sync_objects(instance)?;
    for object in &mut objects {
        patch::apply(object, &patches)?;
    }
    Ok(objects.into())
}

/// The GitRepository and the Kustomization that flux-operator creates, named after `sync.name` or the namespace.
fn sync_objects(instance: &Value) -> Result<[Value; 2]> {
    let sync = &instance["spec"]["sync"];
    let namespace = &instance["metadata"]["namespace"];
    let name = sync["name"].as_str().filter(|name| !name.is_empty()).or(namespace.as_str());
    let name = name.context("the FluxInstance has no namespace")?;
    let metadata = json!({
        "name": name,
        "namespace": namespace,
        "annotations": {
            "kustomize.toolkit.fluxcd.io/prune": "Disabled",
            "kustomize.toolkit.fluxcd.io/ssa": "Ignore",
        },
        "labels": {
            "app.kubernetes.io/instance": namespace,
            "app.kubernetes.io/managed-by": "flux-operator",
            "app.kubernetes.io/part-of": "flux",
            "app.kubernetes.io/version": VERSION,
            "fluxcd.controlplane.io/name": instance["metadata"]["name"],
            "fluxcd.controlplane.io/namespace": namespace,
        },
    });
    let interval = sync["interval"].as_str().unwrap_or("1m");
    let mut repository = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": metadata,
        "spec": {"interval": interval, "ref": {"name": sync["ref"]}, "url": sync["url"]},
    });
    if let Some(secret) = sync["pullSecret"].as_str().filter(|secret| !secret.is_empty()) {
        repository["spec"]["secretRef"] = json!({"name": secret});
    }
    let kustomization = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": metadata,
        "spec": {
            "interval": "10m",
            "path": sync["path"],
            "prune": true,
            "sourceRef": {"kind": "GitRepository", "name": name},
        },
    });
    Ok([repository, kustomization])
}

pub(super) fn path_of(object: &Value) -> Result<String> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).context("an object has no kind, name or namespace");
    let plural = match object["kind"].as_str() {
        Some("GitRepository") => "gitrepositories",
        Some("Kustomization") => "kustomizations",
        Some("FluxInstance") => "fluxinstances",
        Some("HelmRelease") => "helmreleases",
        _ => bail!("an object has an unknown kind"),
    };
    let metadata = &object["metadata"];
    let (group, namespace, name) =
        (text(&object["apiVersion"])?, text(&metadata["namespace"])?, text(&metadata["name"])?);
    Ok(format!("/apis/{group}/namespaces/{namespace}/{plural}/{name}"))
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

fn is_current(instance: &Value) -> bool {
    condition(instance, "Ready")
        .is_some_and(|condition| condition["observedGeneration"] == instance["metadata"]["generation"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects are those of flux-operator 0.59.0 for this FluxInstance, without the API server's defaults.
    #[test]
    fn objects_are_those_of_the_real_operator() {
        let instance = json!({
            "metadata": {"name": "flux", "namespace": "flux-system"},
            "spec": {
                "sync": {
                    "kind": "GitRepository", "url": "https://git.sandbox.test/home.git", "interval": "1m",
                    "ref": "refs/heads/main", "path": "kubernetes/flux/cluster", "pullSecret": "deploy-key",
                },
                "kustomize": {"patches": [
                    {
                        "target": {"kind": "Kustomization"},
                        "patch": "- op: add\n  path: /spec/decryption\n  value: {provider: sops, secretRef: {name: sops-age}}\n",
                    },
                    {
                        "target": {"kind": "GitRepository", "name": "flux-system"},
                        "patch": "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system}\nspec:\n  timeout: 2m\n",
                    },
                ]},
            },
        });
        let [repository, kustomization] = &build(&instance).unwrap()[..] else { panic!("two objects") };
        let metadata = json!({
            "name": "flux-system",
            "namespace": "flux-system",
            "annotations": {
                "kustomize.toolkit.fluxcd.io/prune": "Disabled",
                "kustomize.toolkit.fluxcd.io/ssa": "Ignore",
            },
            "labels": {
                "app.kubernetes.io/instance": "flux-system",
                "app.kubernetes.io/managed-by": "flux-operator",
                "app.kubernetes.io/part-of": "flux",
                "app.kubernetes.io/version": "v2.7.5",
                "fluxcd.controlplane.io/name": "flux",
                "fluxcd.controlplane.io/namespace": "flux-system",
            },
        });
        let expected = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": metadata,
            "spec": {
                "interval": "1m", "ref": {"name": "refs/heads/main"}, "secretRef": {"name": "deploy-key"},
                "timeout": "2m", "url": "https://git.sandbox.test/home.git",
            },
        });
        assert_eq!(*repository, expected);
        let expected = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": metadata,
            "spec": {
                "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
                "interval": "10m", "path": "kubernetes/flux/cluster", "prune": true,
                "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
            },
        });
        assert_eq!(*kustomization, expected);
    }
}
