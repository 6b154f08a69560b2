//! What the helmfiles and the repository ask for.

pub mod age;
pub mod chart;
pub mod encrypted;
pub mod manifests;
pub mod objects;
pub mod releases;
pub mod repository;
pub mod sops_config;
pub mod source;
pub mod state_file;
pub mod synced;
pub mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use semver::Version;

use self::chart::Chart;
use self::encrypted::EncryptedFile;
use self::objects::Object;
use self::releases::Release;
use self::synced::Synced;
use crate::base::fact::Known;
use crate::base::finding::Finding;
use crate::base::stages::Stage;

/// The value that stands for a variable which is demanded and not set, while everything else is looked at. Rules about
/// such a value have nothing to say.
pub const STAND_IN: &str = "stand-in.invalid";

/// The charts that bring a cluster its network.
const NETWORKS: [&str; 3] = ["cilium", "tigera-operator", "calico"];

/// Whether a chart, by its name, brings a cluster its network.
#[must_use]
pub fn brings_network(chart: &str) -> bool {
    NETWORKS.contains(&chart)
}

/// Everything that a bootstrap brings about, and what of the repository tells whether it will work.
pub struct Desired {
    /// Namespaces, in the order in which they are made.
    pub namespaces: Vec<String>,
    /// Secrets and what else the encrypted files hold.
    pub objects: Vec<Object>,
    /// The helmfiles, in the order in which they are synced.
    pub helmfiles: Vec<Helmfile>,
    /// The charts that are on this machine, by the `namespace/name` of their releases.
    pub charts: BTreeMap<String, Chart>,
    /// The age key that goes into the cluster.
    pub age_key: Option<AgeKey>,
    /// The files named as encrypted: those of `bootstrap/`, and those that Git tracks where Flux looks.
    pub encrypted: Vec<EncryptedFile>,
    /// The text of the repository's `.sops.yaml`, if it has one.
    pub sops_config: Option<String>,
    /// What Git tracks, relative to the root.
    pub tracked: Known<BTreeSet<PathBuf>>,
    /// The address of the Git remote `origin`; it may hold credentials.
    pub origin: Option<String>,
    /// What Flux is to apply of the repository.
    pub synced: Known<Synced>,
    /// How much there was to read.
    pub coverage: Coverage,
    /// What reading found for rules (see [`crate::check::Facts::told`]).
    pub problems: Vec<Finding>,
}

/// How much of the repository there was to read: a rule that found nothing wrong may have had nothing to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Why the releases of a helmfile are not known, if they are not.
    pub unread: Option<String>,
    /// Variables that the templates of a helmfile demand and that are not set, by the helmfile's path.
    pub missing_variables: BTreeMap<PathBuf, Vec<String>>,
    /// Whether templates demand variables, set or not.
    pub demands_variables: bool,
    /// How many folders `kubernetes/apps` has.
    pub app_folders: usize,
    /// How many scripts have the name of the original `bootstrap-apps.sh`.
    pub scripts: usize,
}

/// What is known of the age key without telling it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgeKey {
    /// Its file.
    pub path: PathBuf,
    /// The file's mode, the lower nine bits.
    pub mode: u32,
    /// The public keys of those of its identities that go into the cluster, where they can be told.
    pub public: Vec<String>,
    /// Whether one of them is a post-quantum identity.
    pub post_quantum: bool,
    /// Whether one of them is a plugin's.
    pub plugin: bool,
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            objects: Vec::new(),
            helmfiles: Vec::new(),
            charts: BTreeMap::new(),
            age_key: None,
            encrypted: Vec::new(),
            sops_config: None,
            tracked: Err("not asked".to_owned()),
            origin: None,
            synced: Err("not asked".to_owned()),
            coverage: Coverage::default(),
            problems: Vec::new(),
        }
    }
}

impl Desired {
    /// Why not all releases are known; `None` when every helmfile was read.
    #[must_use]
    pub fn unread(&self) -> Option<String> {
        let none = || self.helmfiles.is_empty().then(|| "no helmfile was read".to_owned());
        self.coverage.unread.clone().or_else(none)
    }

    /// The release of this name that is wanted, in whatever namespace.
    #[must_use]
    pub fn release(&self, name: &str) -> Option<&Release> {
        self.releases().find(|release| release.is_wanted() && release.name == name)
    }

    /// The release whose chart has this name, the last part of its address.
    #[must_use]
    pub fn release_of_chart(&self, chart: &str) -> Option<&Release> {
        self.releases().find(|release| release.is_wanted() && release.chart_name() == chart)
    }

    /// All releases that are wanted and whose chart has this name.
    pub fn releases_of_chart<'a>(&'a self, chart: &'a str) -> impl Iterator<Item = &'a Release> {
        self.releases().filter(move |release| release.is_wanted() && release.chart_name() == chart)
    }

    /// The version of a release's chart, where it is told: by the helmfile, or by the chart on this machine.
    #[must_use]
    pub fn chart_version(&self, release: &Release) -> Option<Version> {
        let parse = |text: &str| Version::parse(text.trim_start_matches('v')).ok();
        parse(&release.version).or_else(|| parse(&self.charts.get(&release.id())?.version))
    }

    /// The values with which a release is made: those of its chart, where that is on this machine, with its own on top.
    #[must_use]
    pub fn values(&self, release: &Release) -> serde_json::Value {
        let defaults = self.charts.get(&release.id()).and_then(|chart| chart.defaults().ok());
        let mut values = defaults.unwrap_or_default();
        releases::merge(&mut values, release.merged());
        values
    }

    /// The encrypted files that are meant for the cluster: those of the bootstrap, and those that Flux is to apply.
    pub fn for_cluster(&self) -> impl Iterator<Item = &EncryptedFile> {
        let synced = |file: &EncryptedFile| self.synced.as_ref().is_ok_and(|synced| synced.has(&file.path));
        self.encrypted.iter().filter(move |file| file.in_bootstrap || synced(file))
    }

    /// The release of a DNS that the user leaves out, for k3s brings its own.
    #[must_use]
    pub fn dns_left_out(&self) -> Option<&Release> {
        self.releases().find(|release| release.left_out && release.chart_name() == "coredns")
    }

    /// Whether a release brings the cluster's network. It is known by its chart.
    #[must_use]
    pub fn cni(&self) -> Option<&Release> {
        NETWORKS.iter().find_map(|chart| self.release_of_chart(chart))
    }

    /// All releases of all helmfiles.
    pub fn releases(&self) -> impl Iterator<Item = &Release> {
        self.helmfiles.iter().flat_map(|helmfile| &helmfile.releases)
    }
}

/// Which of the two helmfiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one for custom resource definitions.
    Crds,
    /// The one for everything else.
    Apps,
}

impl Kind {
    /// The stage in which it is synced.
    #[must_use]
    pub fn stage(self) -> Stage {
        match self {
            Self::Crds => Stage::Crds,
            Self::Apps => Stage::Apps,
        }
    }
}

/// A helmfile with its releases.
pub struct Helmfile {
    /// Which one it is.
    pub kind: Kind,
    /// Its path.
    pub path: PathBuf,
    /// Its releases.
    pub releases: Vec<Release>,
    /// Whether its values may refer to encrypted files.
    pub needs_identities: bool,
}

impl Helmfile {
    /// The label selector that picks this release and no other. helmfile refuses `namespace=` without a value, so a release
    /// without a namespace is picked by its name, less its namesakes that have one.
    #[must_use]
    pub fn selector(&self, release: &Release) -> String {
        let Release { namespace, name, .. } = release;
        if release.names_namespace {
            return format!("namespace={namespace},name={name}");
        }
        let namesakes = self.releases.iter().filter(|other| other.name == *name && other.names_namespace);
        let others = namesakes.map(|other| format!(",namespace!={}", other.namespace));
        std::iter::once(format!("name={name}")).chain(others).collect()
    }
}
