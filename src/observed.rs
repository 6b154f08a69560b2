//! The current state of this machine and the cluster, read-only.

pub(crate) mod claims;
pub(crate) mod cluster;
pub(crate) mod crds;
pub(crate) mod events;
pub(crate) mod flux;
pub(crate) mod helm;
pub(crate) mod helm_charts;
pub(crate) mod inventory;
mod item;
pub(crate) mod k3s;
pub(crate) mod kinds;
pub(crate) mod manager;
pub(crate) mod node;
pub(crate) mod objects;
pub(crate) mod pods;
pub(crate) mod revisions;
pub(crate) mod run_state;
pub(crate) mod standing;
pub(crate) mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use semver::Version;

use self::claims::Claims;
use self::cluster::Cluster;
use self::crds::LiveCrd;
use self::helm::{Record, Stored};
use self::inventory::{Inventory, Meta};
use self::kinds::Kinds;
use self::objects::LiveObject;
use self::standing::ObjectState;
use crate::base::fact::Fact;
use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::desired::objects::ObjectId;
use crate::desired::secret_keys::SecretKeys;
use crate::observed::run_state::RunState;
use crate::process::identity::ProcessState;
use crate::tools::kubeconfig::Target;

/// The current state of this machine and the cluster.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The local time when the cluster answered; 1970 if nothing was read.
    pub now: SystemTime,
    /// The required programs.
    pub programs: Vec<Program>,
    /// The commands of releases that cannot be started on this machine, each with its helmfile.
    pub missing_commands: BTreeSet<(PathBuf, String)>,
    /// helm's post-renderer plugins; unknown if helm was not asked.
    pub post_renderers: Fact<BTreeSet<String>>,
    /// The target cluster, if one is selected.
    pub target: Option<Target>,
    /// The state of the cluster, if it answers.
    pub live: Option<Live>,
    /// What reading found for rules (see [`crate::check::Facts::reported`]).
    pub problems: Vec<Finding>,
}

impl Default for Observed {
    /// The state when nothing was read.
    fn default() -> Self {
        Self {
            now: SystemTime::UNIX_EPOCH,
            programs: Vec::new(),
            missing_commands: BTreeSet::new(),
            post_renderers: Err("not asked".to_owned()),
            target: None,
            live: None,
            problems: Vec::new(),
        }
    }
}

impl Observed {
    /// The major version of helm, if it is known.
    pub(crate) fn helm_major(&self) -> Option<u64> {
        self.version_of("helm").map(|version| version.major)
    }

    /// The version of a required program, if it is known.
    pub(crate) fn version_of(&self, program: &str) -> Option<&Version> {
        let program = self.programs.iter().find(|known| known.name == program)?;
        program.version.as_ref().ok()?.as_ref()
    }
}

/// A required program.
#[derive(Debug)]
pub(crate) struct Program {
    /// The name of the program.
    pub name: &'static str,
    /// The path, if it is installed.
    pub path: Option<PathBuf>,
    /// The version; none if it could not be parsed, unknown if the program was not asked.
    pub version: Fact<Option<Version>>,
}

/// The state of a cluster that answers.
#[derive(Debug)]
pub(crate) struct Live {
    /// The server's version, such as `v1.36.3+k3s1`.
    pub version: String,
    /// Nodes, namespaces, workloads, identity.
    pub cluster: Cluster,
    /// The kinds that the API server knows.
    pub kinds: Fact<Kinds>,
    /// What Flux and k3s' Helm controller manage.
    pub claims: Fact<Claims>,
    /// All Helm releases, with the newest revision of each.
    pub releases: Fact<Vec<Stored>>,
    /// The full records of the desired releases' newest revisions.
    pub records: Fact<BTreeMap<ReleaseId, Record>>,
    /// The state of the objects of releases that are otherwise up to date.
    pub standing: BTreeMap<ReleaseId, Fact<ObjectState>>,
    /// The notes of earlier runs.
    pub notes: RunState,
    /// The process state of the runs that left releases stuck in `pending-*`, by their identities.
    pub runs: BTreeMap<String, ProcessState>,
    /// The desired objects that exist.
    pub objects: Fact<BTreeMap<ObjectId, LiveObject>>,
    /// The pull secret of Flux, if it exists; not read if the bootstrap applies it.
    pub pull_secret: Fact<Option<SecretKeys>>,
    /// The networks of Services; unknown for API servers that do not list them.
    pub service_networks: Fact<Vec<String>>,
    /// The desired custom resource definitions that exist, by name.
    pub crds: Fact<BTreeMap<String, LiveCrd>>,
    /// The existing objects of releases that are not up to date, with their owners.
    pub owners: Fact<Vec<Owned>>,
    /// Whether the user is a cluster administrator.
    pub may_everything: Fact<bool>,
    /// Why the API server is not ready; `None` if it is.
    pub not_ready: Fact<Option<String>>,
    /// Why the API server's certificate is not valid for the address that the agents will use; `None` if it is.
    pub api_host_refused: Fact<Option<String>>,
    /// The DNS configuration of a kubelet.
    pub kubelet: Fact<Kubelet>,
}

impl Live {
    /// The metadata of all objects of the kinds that were read already.
    pub(crate) fn inventory(&self) -> Inventory {
        let mut inventory = self.cluster.inventory.clone();
        if let Ok(claims) = &self.claims {
            inventory.extend(claims.inventory.clone());
        }
        inventory
    }

    /// Whether a release is `deployed`; false if that is unknown.
    pub(crate) fn is_deployed(&self, release: &ReleaseId) -> bool {
        let deployed = |one: &Stored| one.id() == *release && one.status == "deployed";
        self.releases.as_ref().is_ok_and(|releases| releases.iter().any(deployed))
    }
}

impl Default for Live {
    /// A cluster about which nothing is known.
    fn default() -> Self {
        fn unknown<T>() -> Fact<T> {
            Err("not asked".to_owned())
        }
        Self {
            version: String::new(),
            cluster: Cluster::default(),
            kinds: unknown(),
            claims: unknown(),
            releases: unknown(),
            records: unknown(),
            standing: BTreeMap::new(),
            notes: RunState::default(),
            runs: BTreeMap::new(),
            objects: unknown(),
            pull_secret: unknown(),
            service_networks: unknown(),
            crds: unknown(),
            owners: unknown(),
            may_everything: unknown(),
            not_ready: unknown(),
            api_host_refused: unknown(),
            kubelet: unknown(),
        }
    }
}

/// An existing object that a release would create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned {
    /// The release that would create the object.
    pub release: ReleaseId,
    /// How many objects that release would create.
    pub among: usize,
    /// The identity of the object.
    pub id: ObjectId,
    /// The metadata in the cluster.
    pub meta: Meta,
}

/// The DNS configuration of a kubelet (`configz`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kubelet {
    /// The node of the kubelet.
    pub node: String,
    /// The addresses of the cluster DNS.
    pub cluster_dns: Vec<String>,
}
