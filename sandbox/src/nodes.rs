//! Nodes as k3s makes them, and the CNI's part: a node becomes Ready when Cilium runs on it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

use crate::kube::{Client, Event};
use crate::tools::KUBERNETES_VERSION;

/// What k3s was started with when Cilium is to take the place of its network and CoreDNS comes from a chart.
pub const CILIUM_NODE_ARGS: [&str; 13] = [
    "server",
    "--flannel-backend",
    "none",
    "--disable-network-policy",
    "true",
    "--disable-kube-proxy",
    "true",
    "--disable",
    "coredns",
    "--disable",
    "servicelb",
    "--disable",
    "traefik",
];

/// The kubelet's words on a node without a network plugin.
const NO_CNI: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                      message:Network plugin returns error: cni plugin not initialized";

/// Nodes of one cluster.
#[derive(Debug)]
pub(crate) struct Nodes {
    client: Client,
    /// Where the API server finds the kubelet.
    kubelet_port: u16,
    /// Nodes whose readiness a test decides.
    pinned: Mutex<HashSet<String>>,
}

impl Nodes {
    pub(crate) fn new(client: Client, kubelet_port: u16) -> Arc<Self> {
        Arc::new(Self { client, kubelet_port, pinned: Mutex::default() })
    }

    /// Adds a server node that has no network yet. `number` gives its address and pod network.
    pub(crate) fn add(&self, name: &str, number: usize, node_args: &[String]) -> Result<()> {
        let address = format!("10.0.0.{}", 10 + number);
        let hostname = name;
        self.client.create(
            "/api/v1/nodes",
            &json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {
                        "beta.kubernetes.io/arch": "amd64",
                        "beta.kubernetes.io/instance-type": "k3s",
                        "beta.kubernetes.io/os": "linux",
                        "kubernetes.io/arch": "amd64",
                        "kubernetes.io/hostname": hostname,
                        "kubernetes.io/os": "linux",
                        "node-role.kubernetes.io/control-plane": "true",
                        "node.kubernetes.io/instance-type": "k3s",
                    },
                    "annotations": {
                        "k3s.io/hostname": hostname,
                        "k3s.io/internal-ip": address,
                        "k3s.io/node-args": serde_json::to_string(node_args)?,
                        "k3s.io/node-env": "{}",
                    },
                },
                "spec": {
                    "podCIDR": format!("10.42.{number}.0/24"),
                    "podCIDRs": [format!("10.42.{number}.0/24")],
                    "providerID": format!("k3s://{name}"),
                },
            }),
        )?;
        self.client.merge(
            &format!("/api/v1/nodes/{name}/status"),
            &json!({"status": {
                "addresses": [
                    {"type": "InternalIP", "address": address},
                    {"type": "Hostname", "address": hostname},
                    {"type": "ExternalDNS", "address": "localhost"},
                ],
                "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
                "capacity": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
                "conditions": conditions(false),
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet_port}},
                "nodeInfo": {
                    "architecture": "amd64",
                    "bootID": "",
                    "containerRuntimeVersion": "containerd://2.1.5-k3s1",
                    "kernelVersion": "6.12.0",
                    "kubeProxyVersion": "",
                    "kubeletVersion": KUBERNETES_VERSION,
                    "machineID": "",
                    "operatingSystem": "linux",
                    "osImage": "sandbox",
                    "systemUUID": "",
                },
            }}),
        )?;
        Ok(())
    }

    /// Sets a node's readiness for good: Cilium's coming and going no longer changes it.
    pub(crate) fn set_ready(&self, name: &str, ready: bool) -> Result<()> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        self.write(name, ready)
    }

    /// Plays the CNI until `stop` is set.
    pub(crate) fn play(&self, stop: &AtomicBool) {
        let path = "/api/v1/namespaces/kube-system/pods";
        let mut ready = HashSet::new();
        self.client.watch(path, stop, |Event { kind, object }| {
            let Some(node) = object["spec"]["nodeName"].as_str() else {
                return ControlFlow::Continue(());
            };
            if kind != "DELETED"
                && is_cilium_running(&object)
                && !self.pinned.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
                && ready.insert(node.to_owned())
                // An API server that goes away in between brings the event again.
                && self.write(node, true).is_err()
            {
                ready.remove(node);
            }
            ControlFlow::Continue(())
        });
    }

    fn write(&self, name: &str, ready: bool) -> Result<()> {
        let path = format!("/api/v1/nodes/{name}/status");
        self.client.merge(&path, &json!({"status": {"conditions": conditions(ready)}})).map(drop)
    }
}

fn conditions(ready: bool) -> Value {
    let now = crate::time::now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    json!([
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        if ready {
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        } else {
            condition("Ready", "False", "KubeletNotReady", NO_CNI)
        },
    ])
}

fn is_cilium_running(pod: &Value) -> bool {
    let owned = pod["metadata"]["ownerReferences"].as_array().is_some_and(|owners| {
        owners.iter().any(|owner| owner["kind"] == "DaemonSet" && owner["name"] == "cilium")
    });
    let ready = pod["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
    owned && ready
}
