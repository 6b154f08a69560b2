//! Rules and objects of a successful first run. Tests add their own rules before these.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fixture::Canaries;
use super::listener::Listener;

pub(crate) const URL: &str = "https://example.org/home.git";

/// The output of the tools in a successful first run on a fresh cluster.
pub(crate) fn first_run(canaries: &Canaries) -> Vec<Value> {
    vec![
        json!({"tool": "helmfile", "args": ["--version"], "stdout": "helmfile version v1.7.4\n"}),
        json!({"tool": "helm", "args": ["version", "--short"], "stdout": "v4.2.4\n"}),
        // No chart is downloaded, but helmfile behaves as if it was.
        json!({"tool": "helm", "args": ["pull"]}),
        json!({"tool": "sops", "args": ["--version"], "stdout": "sops 3.13.2\n"}),
        json!({"tool": "sops", "args": ["decrypt", "*/bootstrap/github.sops.yaml"], "stdout": format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: github\n  namespace: flux-system\nstringData:\n  token: {}\n",
            canaries.decrypted)}),
        json!({"tool": "kubectl", "args": ["version", "--client"], "stdout": "Client Version: v1.36.3\nKustomize Version: v5.7.1\n"}),
        json!({"tool": "api", "args": ["GET", "/version"], "stdout": r#"{"gitVersion":"v1.36.3+k3s1"}"#}),
        json!({"tool": "api", "args": ["POST", "*/selfsubjectaccessreviews"], "stdout": r#"{"status":{"allowed":true}}"#}),
        json!({"tool": "api", "args": ["GET", "/readyz"], "stdout": "ok"}),
        json!({"tool": "api", "args": ["GET", "*/configz"], "stdout":
            r#"{"kubeletconfig":{"clusterDNS":["10.43.0.10"],"clusterDomain":"cluster.local"}}"#}),
        json!({"tool": "kubectl", "args": ["apply", "--server-side", "-f", "-"], "stdout": "namespace/flux-system serverside-applied\n"}),
        json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "build"], "stdout": crds_build()}),
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": apps_build(canaries)}),
        json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "sync"],
            "stderr": synced("monitoring", "prometheus-operator-crds")}),
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"],
            "stderr": format!("{}{}", synced("kube-system", "cilium"), synced("flux-system", "flux-instance"))}),
    ]
}

/// Namespaces, and nodes that wait for a CNI.
pub(crate) fn cluster(namespaces: &[(&str, &str)], nodes: usize) -> Vec<Value> {
    let namespaces = namespaces.iter().map(|(name, phase)| {
        json!({"kind": "Namespace", "metadata": {"name": name, "uid": format!("uid-of-{name}")}, "status": {"phase": phase}})
    });
    let nodes = (1..=nodes).map(|number| {
        json!({"kind": "Node", "metadata": {"name": format!("node-{number}")}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "message": "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"}]}})
    });
    namespaces.chain(nodes).collect()
}

/// A node with a CNI.
pub(crate) fn ready_node() -> Value {
    json!({"kind": "Node", "metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

/// The Secret in which helm stores a release.
pub(crate) fn record(name: &str, namespace: &str, status: &str, version: &str, values: &Value) -> Value {
    let release = json!({"name": name, "namespace": namespace, "version": 3, "info": {"status": status},
        "chart": {"metadata": {"name": name, "version": version}}, "config": values, "manifest": ""});
    // helm also reads releases that are not compressed, like those of helm 3.0.
    let data = STANDARD.encode(STANDARD.encode(release.to_string()));
    let labels = json!({"owner": "helm", "name": name, "status": status, "version": "3"});
    let metadata =
        json!({"name": format!("sh.helm.release.v1.{name}.v3"), "namespace": namespace, "labels": labels});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"release": data}})
}

fn crds_build() -> String {
    "---\n#  Source: 00-crds.yaml\n\nfilepath: 00-crds.yaml\nreleases:\n  \
     - chart: oci://registry.invalid/charts/prometheus-operator-crds\n    version: 19.1.0\n    \
     name: prometheus-operator-crds\n    namespace: monitoring\ntemplates: {}\nrenderedvalues: {}\n"
        .to_owned()
}

pub(crate) fn apps_build(canaries: &Canaries) -> String {
    format!(
        "---\n#  Source: 01-apps.yaml\n\nfilepath: 01-apps.yaml\nhelmDefaults:\n  wait: true\nreleases:\n  \
         - chart: oci://registry.invalid/charts/cilium\n    version: 1.18.6\n    name: cilium\n    \
         namespace: kube-system\n    values:\n      - password: {}\n        ipam:\n          mode: kubernetes\n  \
         - chart: oci://registry.invalid/charts/flux-instance\n    version: 0.54.0\n    name: flux-instance\n    \
         namespace: flux-system\n    needs:\n      - kube-system/cilium\n    values:\n      \
         - instance:\n          sync:\n            kind: GitRepository\n            url: {URL}\n            \
         ref: refs/heads/main\n            path: kubernetes/flux/cluster\ntemplates: {{}}\nrenderedvalues: {{}}\n",
        canaries.value
    )
}

/// The output of helmfile for a release that it syncs.
pub(crate) fn synced(namespace: &str, name: &str) -> String {
    format!(
        "{}Release \"{name}\" does not exist. Installing it now.\n\nListing releases matching ^{name}$\n",
        started(namespace, name)
    )
}

/// A sync of the apps that stays at a release until it is interrupted.
pub(crate) fn syncing(listener: &Listener, namespace: &str, name: &str) -> Value {
    json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "connect": listener.address(), "on_int": "end",
        "stderr": started(namespace, name)})
}

/// The output of helmfile when it starts on a release.
pub(crate) fn started(namespace: &str, name: &str) -> String {
    format!("Upgrading release={name}, chart=/charts/{name}, namespace={namespace}\n")
}

/// An object of Flux.
pub(crate) fn resource(kind: &str, name: &str, spec: &Value, condition: &Value) -> Value {
    let api_version = match kind {
        "FluxInstance" => "fluxcd.controlplane.io/v1",
        "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
        _ => "source.toolkit.fluxcd.io/v1",
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "flux-system", "generation": 1}, "spec": spec,
        "status": {"observedGeneration": 1, "conditions": [condition], "lastAppliedRevision": "main@sha1:4b1c"}})
}

pub(crate) fn ready() -> Value {
    json!({"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "fine"})
}

pub(crate) fn instance() -> Value {
    let spec = json!({"sync": {"kind": "GitRepository", "url": URL, "ref": "refs/heads/main"}});
    resource("FluxInstance", "flux", &spec, &ready())
}

pub(crate) fn source() -> Value {
    let spec = json!({"url": URL, "ref": {"name": "refs/heads/main"}});
    resource("GitRepository", "flux-system", &spec, &ready())
}

pub(crate) fn root() -> Value {
    resource("Kustomization", "flux-system", &json!({}), &ready())
}

/// A Deployment of cilium, its pod with this status, and its `ReplicaSet`.
pub(crate) fn waiting_pod(status: &Value) -> [Value; 3] {
    let [replica_set, pod] = revision(1, "6f5d4c", status);
    [deployment(1), pod, replica_set]
}

/// The Deployment of cilium at this revision.
pub(crate) fn deployment(revision: u64) -> Value {
    let notes = json!({"meta.helm.sh/release-name": "cilium", "meta.helm.sh/release-namespace": "kube-system",
        "deployment.kubernetes.io/revision": revision.to_string()});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}, "status": {"observedGeneration": revision},
        "metadata": {"name": "cilium-operator", "namespace": "kube-system", "uid": "operator", "generation": revision,
            "annotations": notes}})
}

/// The `ReplicaSet` of a revision of that Deployment, and its pod with this status.
pub(crate) fn revision(revision: u64, hash: &str, status: &Value) -> [Value; 2] {
    let namespace = "kube-system";
    let set = format!("cilium-operator-{hash}");
    let labels = json!({"pod-template-hash": hash});
    let owner =
        |kind: &str, name: &str| json!([{"kind": kind, "name": name, "uid": "operator", "controller": true}]);
    [
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": set, "namespace": namespace,
            "labels": labels, "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": owner("Deployment", "cilium-operator")}}),
        json!({"apiVersion": "v1", "kind": "Pod", "status": status, "metadata": {"name": format!("{set}-x2x4z"),
            "namespace": namespace, "labels": labels, "ownerReferences": owner("ReplicaSet", &set)}}),
    ]
}
