//! Nodes as k3s creates them, and a simulated CNI: a node becomes Ready when Cilium runs on it. Also does what kwok leaves to the
//! kubelet: a pod that another controller has marked unready becomes ready again.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

use crate::kube::{Client, Event};
use crate::tools::KUBERNETES_VERSION;

/// The k3s flags for clusters where Cilium replaces the network of k3s and CoreDNS comes from a chart.
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

/// The kubelet's message for a node without a network plugin.
const NO_CNI: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                      message:Network plugin returns error: cni plugin not initialized";

/// Nodes of one cluster.
#[derive(Debug)]
pub(crate) struct Nodes {
    client: Client,
    /// The port of the kubelet.
    kubelet_port: u16,
    /// Nodes whose readiness was set explicitly.
    pinned: Mutex<HashMap<String, bool>>,
}

impl Nodes {
    pub(crate) fn new(client: Client, kubelet_port: u16) -> Arc<Self> {
        Arc::new(Self { client, kubelet_port, pinned: Mutex::default() })
    }

    /// Adds a server node without a network. `number` determines its address and pod network.
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

    /// Sets the readiness of a node; from then on, Cilium no longer changes it.
    pub(crate) fn set_ready(&self, name: &str, ready: bool) -> Result<()> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), ready);
        self.write(name, ready)?;
        if ready {
            let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{name}");
            let pods = self.client.get(&path)?.unwrap_or_default();
            for pod in pods["items"].as_array().into_iter().flatten() {
                self.restore_readiness(pod);
            }
        }
        Ok(())
    }

    fn pinned(&self, node: &str) -> Option<bool> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    /// Simulates the CNI and the kubelets until `stop` is set.
    pub(crate) fn run(&self, stop: &AtomicBool) {
        let mut ready = HashSet::new();
        self.client.watch("/api/v1/pods", stop, |Event { kind, object }| {
            let Some(node) = object["spec"]["nodeName"].as_str().filter(|_| kind != "DELETED") else {
                return ControlFlow::Continue(());
            };
            if is_cilium_running(&object)
                && self.pinned(node).is_none()
                && ready.insert(node.to_owned())
                // After an outage, the API server sends the event again.
                && self.write(node, true).is_err()
            {
                ready.remove(node);
            }
            if self.pinned(node) != Some(false) {
                self.restore_readiness(&object);
            }
            ControlFlow::Continue(())
        });
    }

    /// Restores the readiness of a pod. The controller manager marks the pods of an unready node as unready, also one that has
    /// just become ready, such as Cilium's. A kubelet then updates the status again; kwok does not.
    fn restore_readiness(&self, pod: &Value) {
        let is = |kind: &str, status: &str| {
            pod["status"]["conditions"].as_array().is_some_and(|conditions| {
                conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == status)
            })
        };
        let ends = !pod["metadata"]["deletionTimestamp"].is_null();
        if ends || !is("ContainersReady", "True") || !is("Ready", "False") {
            return;
        }
        let mut conditions = pod["status"]["conditions"].clone();
        for condition in conditions.as_array_mut().into_iter().flatten() {
            if condition["type"] == "Ready" {
                condition["status"] = "True".into();
                condition["lastTransitionTime"] = crate::time::now().into();
            }
        }
        let part = |name: &str| pod["metadata"][name].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{}/pods/{}/status", part("namespace"), part("name"));
        let version = &pod["metadata"]["resourceVersion"];
        let change = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
        // If the pod has changed in the meantime, another event follows.
        drop(self.client.merge(&path, &change));
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
    let owned = pod["metadata"]["namespace"] == "kube-system"
        && pod["metadata"]["ownerReferences"].as_array().is_some_and(|owners| {
            owners.iter().any(|owner| owner["kind"] == "DaemonSet" && owner["name"] == "cilium")
        });
    let ready = pod["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
    owned && ready
}
