//! One cheap, read-only picture of the cluster.

pub mod claims;
pub mod cluster;
pub mod events;
pub mod flux;
pub mod helm;
pub mod inventory;
mod item;
pub mod k3s;
pub mod kinds;
pub mod node;
pub mod objects;
pub mod pods;
pub mod revisions;
pub mod run_state;
pub mod standing;
pub mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use semver::Version;

use self::claims::Claims;
use self::cluster::Cluster;
use self::helm::{Record, Stored};
use self::inventory::{Inventory, Meta};
use self::kinds::Kinds;
use self::objects::LiveObject;
use self::standing::Standing;
use crate::base::fact::Known;
use crate::base::finding::Finding;
use crate::desired::objects::ObjectId;
use crate::observed::run_state::Notes;
use crate::process::identity::ProcessState;
use crate::tools::kubeconfig::Target;

/// What stands: on this machine and in the cluster.
#[derive(Debug)]
pub struct Observed {
    /// This machine's time when the cluster had answered; 1970 when nothing was looked at.
    pub now: SystemTime,
    /// The programs.
    pub programs: Vec<Program>,
    /// The commands of releases that cannot be started on this machine, each with the helmfile that names it.
    pub missing_commands: BTreeSet<(PathBuf, String)>,
    /// helm's plugins for post-renderers; unknown when it was not asked.
    pub post_renderers: Known<BTreeSet<String>>,
    /// The cluster that is meant, if any is.
    pub target: Option<Target>,
    /// The cluster, if it answers.
    pub live: Option<Live>,
    /// What reading found for rules (see [`crate::check::Facts::reported`]).
    pub problems: Vec<Finding>,
}

impl Default for Observed {
    /// Nothing was looked at.
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
    #[must_use]
    pub fn helm_major(&self) -> Option<u64> {
        let helm = self.programs.iter().find(|program| program.name == "helm")?;
        Some(helm.version.as_ref().ok()?.as_ref()?.major)
    }
}

/// A program.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// Its version; none when it could not be read, unknown when it was not asked.
    pub version: Known<Option<Version>>,
}

/// What stands in a cluster that answers.
#[derive(Debug)]
pub struct Live {
    /// The server's version, as it says it: `v1.36.3+k3s1`.
    pub version: String,
    /// Nodes, namespaces, workloads, identity.
    pub cluster: Cluster,
    /// The kinds that the API server knows.
    pub kinds: Known<Kinds>,
    /// What Flux and k3s' Helm controller have claimed.
    pub claims: Known<Claims>,
    /// All Helm releases, by what their newest revision is.
    pub releases: Known<Vec<Stored>>,
    /// The newest revisions of the wanted releases in full, by `namespace/name`.
    pub records: Known<BTreeMap<String, Record>>,
    /// How the objects of releases that are otherwise as wanted stand, by `namespace/name`.
    pub standing: BTreeMap<String, Known<Standing>>,
    /// What earlier runs noted.
    pub notes: Notes,
    /// The state of the runs that have left releases locked, by their identities.
    pub runs: BTreeMap<String, ProcessState>,
    /// Those of the wanted objects that exist.
    pub objects: Known<BTreeMap<ObjectId, LiveObject>>,
    /// Who owns the objects of releases that are not as wanted and exist already.
    pub owners: Known<Vec<Owned>>,
    /// Whether we may do everything.
    pub may_everything: Known<bool>,
    /// What the API server says of its own state: `None` when it is ready, else its words.
    pub not_ready: Known<Option<String>>,
    /// Why the API server's certificate does not hold for the address that the agents are to use; `None` when it does.
    pub api_host_refused: Known<Option<String>>,
    /// What a kubelet tells its pods about DNS.
    pub kubelet: Known<Kubelet>,
}

impl Live {
    /// What objects there are, of the kinds that were read already.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let mut inventory = self.cluster.inventory.clone();
        if let Ok(claims) = &self.claims {
            inventory.extend(claims.inventory.clone());
        }
        inventory
    }

    /// Whether Helm has installed a release, by its `namespace/name`, and that went well; false when it is not known.
    #[must_use]
    pub fn is_deployed(&self, release: &str) -> bool {
        let deployed = |one: &Stored| one.id() == release && one.status == "deployed";
        self.releases.as_ref().is_ok_and(|releases| releases.iter().any(deployed))
    }
}

impl Default for Live {
    /// A cluster of which nothing is known.
    fn default() -> Self {
        fn unknown<T>() -> Known<T> {
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
            notes: Notes::default(),
            runs: BTreeMap::new(),
            objects: unknown(),
            owners: unknown(),
            may_everything: unknown(),
            not_ready: unknown(),
            api_host_refused: unknown(),
            kubelet: unknown(),
        }
    }
}

/// An object that exists and that a release would make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The release that would make it.
    pub release: String,
    /// How many objects that one would make.
    pub among: usize,
    /// Which object.
    pub id: ObjectId,
    /// What the cluster notes about it.
    pub meta: Meta,
}

/// What a kubelet tells its pods about DNS (`configz`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubelet {
    /// The node that was asked.
    pub node: String,
    /// The addresses of the cluster's DNS.
    pub cluster_dns: Vec<String>,
}
