//! Nodes, namespaces and the identity of the cluster.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Error;
use crate::tools::Toolbox;

/// What stands in every cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    /// The UID of kube-system: the identity of the cluster.
    pub uid: String,
    /// Each namespace with its phase, `Active` or `Terminating`.
    pub namespaces: BTreeMap<String, String>,
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// What it waits for when it is not.
    pub message: String,
}

impl Cluster {
    /// How many nodes are Ready.
    #[must_use]
    pub fn ready_nodes(&self) -> usize {
        self.nodes.iter().filter(|node| node.ready).count()
    }

    /// What the nodes that are not Ready wait for: `CNI`, or their own words; empty when all are.
    #[must_use]
    pub fn waiting_for(&self) -> String {
        let mut reasons: Vec<_> =
            self.nodes.iter().filter(|node| !node.ready).map(Node::waiting_for).collect();
        reasons.sort();
        reasons.dedup();
        reasons.join(", ")
    }
}

impl Node {
    fn waiting_for(&self) -> String {
        // What a kubelet says before the CNI is installed (k3s-io/k3s#12583); the expected state of a fresh cluster.
        if self.message.contains("cni plugin not initialized")
            || self.message.contains("NetworkPluginNotReady")
        {
            return "CNI".to_owned();
        }
        if self.message.is_empty() { "its kubelet".to_owned() } else { self.message.clone() }
    }
}

#[derive(Deserialize)]
pub(super) struct List<T> {
    #[serde(default = "Vec::new")]
    pub(super) items: Vec<T>,
}

#[derive(Deserialize)]
struct Item {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

impl From<List<Item>> for Cluster {
    fn from(list: List<Item>) -> Self {
        let mut cluster = Self::default();
        for Item { kind, metadata, status } in list.items {
            if kind == "Namespace" {
                if metadata.name == "kube-system" {
                    cluster.uid = metadata.uid;
                }
                cluster.namespaces.insert(metadata.name, status.phase);
            } else if kind == "Node" {
                let condition = status.conditions.into_iter().find(|condition| condition.r#type == "Ready");
                let (ready, message) =
                    condition.map_or((false, String::new()), |found| (found.status == "True", found.message));
                cluster.nodes.push(Node { name: metadata.name, ready, message });
            }
        }
        cluster
    }
}

impl Toolbox {
    /// Reads nodes and namespaces.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub async fn observe_cluster(&self) -> Result<Cluster, Error> {
        let list: Option<List<Item>> = self.kubectl_get(&["namespaces,nodes"]).await?;
        Ok(list.map(Cluster::from).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_without_a_cni_are_told_from_broken_ones() {
        let list = r#"{"items":[
            {"kind":"Namespace","metadata":{"name":"kube-system","uid":"7f0c"},"status":{"phase":"Active"}},
            {"kind":"Namespace","metadata":{"name":"old","uid":"1"},"status":{"phase":"Terminating"}},
            {"kind":"Node","metadata":{"name":"a"},"status":{"conditions":[
                {"type":"Ready","status":"False","message":"container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"}]}},
            {"kind":"Node","metadata":{"name":"b"},"status":{"conditions":[{"type":"Ready","status":"True","message":"ok"}]}},
            {"kind":"Node","metadata":{"name":"c"}}]}"#;
        let cluster = Cluster::from(serde_json::from_str::<List<Item>>(list).unwrap());
        assert_eq!(cluster.uid, "7f0c");
        assert_eq!(cluster.namespaces["old"], "Terminating");
        assert_eq!((cluster.nodes.len(), cluster.ready_nodes()), (3, 1));
        assert_eq!(cluster.waiting_for(), "CNI, its kubelet");
    }
}
