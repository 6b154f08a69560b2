//! Objects as the API server lists them, for all kinds that are read completely.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::inventory::Meta;
use crate::base::release_id::ReleaseId;

pub(super) fn release(annotations: &BTreeMap<String, String>) -> Option<ReleaseId> {
    let annotation = |name: &str| annotations.get(&format!("meta.helm.sh/{name}"));
    Some(ReleaseId::new(annotation("release-namespace")?, annotation("release-name")?))
}

/// An object of any of these kinds. In a list of one kind, the objects have no `kind` field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    #[serde(default)]
    pub(super) kind: String,
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) taints: Vec<Taint>,
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<String>,
    pub(super) unschedulable: bool,
    pub(super) replicas: Option<i64>,
    pub(super) completions: Option<i64>,
    pub(super) update_strategy: UpdateStrategy,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    pub(super) renew_time: Option<String>,
    pub(super) acquire_time: Option<String>,
    pub(super) holder_identity: Option<String>,
    pub(super) lease_transitions: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) addresses: Vec<Address>,
    pub(super) node_info: Info,
    pub(super) available_replicas: i64,
    pub(super) ready_replicas: i64,
    pub(super) number_available: i64,
    pub(super) desired_number_scheduled: i64,
    pub(super) current_number_scheduled: i64,
    pub(super) updated_number_scheduled: i64,
    pub(super) replicas: i64,
    pub(super) updated_replicas: i64,
    pub(super) observed_generation: i64,
    pub(super) update_revision: String,
    pub(super) succeeded: i64,
}

/// How pods are replaced when the template changes.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct UpdateStrategy {
    r#type: String,
    rolling_update: RollingUpdate,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: Option<i64>,
}

impl UpdateStrategy {
    /// Whether all pods are replaced.
    pub(super) fn rolls(&self) -> bool {
        self.r#type != "OnDelete" && self.rolling_update.partition.unwrap_or(0) == 0
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) last_transition_time: String,
}

/// A taint of a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default)]
pub(crate) struct Taint {
    pub key: String,
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// An address of a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Address {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    pub r#type: String,
    pub address: String,
}

/// The versions on a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Info {
    /// The version of the kubelet, such as `v1.36.3+k3s1`.
    pub kubelet_version: String,
    /// The name of its operating system, such as `Talos (v1.11.2)`.
    pub os_image: String,
}
