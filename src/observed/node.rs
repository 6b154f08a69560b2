//! Nodes: their state, addresses and versions.

use std::collections::BTreeMap;

use super::inventory::Meta;
pub(crate) use super::item::{Address, Info, Taint};
use super::item::{Spec, Status};

/// A registered node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub name: String,
    pub ready: bool,
    /// The reason of the condition: `KubeletReady`, `KubeletNotReady`, `NodeStatusUnknown`.
    pub reason: String,
    /// The message of the condition.
    pub message: String,
    /// When it was registered, as RFC 3339.
    pub created: String,
    /// When the condition `Ready` last changed, as RFC 3339.
    pub changed: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    pub pod_cidrs: Vec<String>,
    /// Its addresses and host name.
    pub addresses: Vec<Address>,
    /// The versions of its components.
    pub info: Info,
}

impl Node {
    pub(super) fn new(metadata: Meta, spec: Spec, status: Status) -> Self {
        let ready =
            status.conditions.into_iter().find(|condition| condition.r#type == "Ready").unwrap_or_default();
        let pod_cidrs = if spec.pod_cidrs.is_empty() {
            Some(spec.pod_cidr).into_iter().filter(|network| !network.is_empty()).collect()
        } else {
            spec.pod_cidrs
        };
        Self {
            name: metadata.name,
            ready: ready.status == "True",
            reason: ready.reason,
            message: ready.message,
            created: metadata.creation_timestamp,
            changed: ready.last_transition_time,
            labels: metadata.labels,
            annotations: metadata.annotations,
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            pod_cidrs,
            addresses: status.addresses,
            info: status.node_info,
        }
    }

    /// Whether it runs the control plane (k3s sets the label on its servers).
    pub(crate) fn is_server(&self) -> bool {
        ["control-plane", "master"].iter().any(|role| {
            self.labels.get(&format!("node-role.kubernetes.io/{role}")).is_some_and(|value| value != "false")
        })
    }

    /// Whether it only waits for a CNI plugin, the expected state of a fresh cluster (k3s-io/k3s#12583).
    pub(crate) fn waits_for_cni(&self) -> bool {
        self.message.contains("cni plugin not initialized") || self.message.contains("NetworkPluginNotReady")
    }

    /// What it waits for: `CNI`, `kubelet`, or the message of its condition.
    pub(crate) fn waiting_for(&self) -> String {
        if self.waits_for_cni() {
            return "CNI".to_owned();
        }
        if self.message.is_empty() { "kubelet".to_owned() } else { self.message.clone() }
    }
}
