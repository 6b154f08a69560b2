//! One cheap, read-only picture of the cluster.

pub mod cluster;
pub mod flux;
pub mod objects;
pub mod workloads;

use std::collections::BTreeMap;

use self::cluster::Cluster;
use self::objects::LiveObject;
use crate::desired::objects::ObjectId;

/// What stands in the cluster.
#[derive(Debug)]
pub struct Observed {
    /// Nodes, namespaces, identity.
    pub cluster: Cluster,
    /// Those of the wanted objects that exist.
    pub objects: BTreeMap<ObjectId, LiveObject>,
    /// Releases that exist although the helmfiles say `installed: false`, as `namespace/name`.
    pub unwanted_releases: Vec<String>,
}
