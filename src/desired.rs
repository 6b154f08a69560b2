//! The desired state: what the helmfiles and the repository define.

pub(crate) mod age;
pub(crate) mod chart;
pub(crate) mod commands;
pub(crate) mod crds;
pub(crate) mod distribution;
pub(crate) mod encrypted;
pub(crate) mod flux_releases;
pub(crate) mod manifests;
pub(crate) mod namespaces;
pub(crate) mod object_source;
pub(crate) mod objects;
pub(crate) mod releases;
pub(crate) mod repository;
pub(crate) mod secret_keys;
pub(crate) mod sops_config;
pub(crate) mod source;
pub(crate) mod state_file;
pub(crate) mod substitutions;
pub(crate) mod sync;
pub(crate) mod synced;
pub(crate) mod values;
pub(crate) mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use semver::Version;

use self::chart::Chart;
use self::crds::Crds;
use self::distribution::Sign;
use self::encrypted::EncryptedFile;
use self::flux_releases::FluxRelease;
use self::namespaces::Namespace;
use self::objects::Object;
use self::releases::Release;
use self::secret_keys::SecretKeys;
use self::substitutions::Substitutions;
use self::sync::SyncObjects;
use self::synced::Synced;
use crate::base::fact::Fact;
use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::base::stages::Stage;
use crate::tools::charts::exact_version;

/// The placeholder for a required variable that is not set, so that everything else can still be checked. Rules about such
/// a value have no answer.
pub(crate) const STAND_IN: &str = "stand-in.invalid";

/// The placeholder for this variable. It contains [`STAND_IN`], and that of no other variable.
pub(crate) fn stand_in_for(variable: &str) -> String {
    format!("for-{variable}.{STAND_IN}")
}

/// The charts of CNIs.
const NETWORKS: [&str; 3] = ["cilium", "tigera-operator", "calico"];

/// Whether a chart, by its name, installs a CNI.
pub(crate) fn installs_cni(chart: &str) -> bool {
    NETWORKS.contains(&chart)
}

/// Everything that a bootstrap creates, and what of the repository shows whether it will work.
pub(crate) struct Desired {
    /// Namespaces, in the order in which they are created.
    pub namespaces: Vec<Namespace>,
    /// The age key and the objects of the encrypted files.
    pub objects: Vec<Object>,
    /// The Secrets of the repository that the bootstrap applies.
    pub secrets: Vec<SecretKeys>,
    /// The helmfiles, in the order in which they are synced.
    pub helmfiles: Vec<Helmfile>,
    /// The custom resource definitions of a helmfile that is only rendered.
    pub crds: Crds,
    /// The downloaded and local charts.
    pub charts: BTreeMap<ReleaseId, Chart>,
    /// The age key that goes into the cluster.
    pub age_key: Option<AgeKey>,
    /// The files named as encrypted: those in `bootstrap/`, and those that Git tracks and Flux applies.
    pub encrypted: Vec<EncryptedFile>,
    /// The text of the repository's `.sops.yaml`, if it has one.
    pub sops_config: Option<String>,
    /// The files that Git tracks, relative to the root.
    pub tracked: Fact<BTreeSet<PathBuf>>,
    /// The URL of the Git remote `origin`; it may contain credentials.
    pub origin: Option<String>,
    /// Whether `git add` would add the age key; `None` if that is unknown.
    pub adds_age_key: Option<bool>,
    /// The part of the repository that Flux applies.
    pub synced: Fact<Synced>,
    /// Flux's variable substitution, if values may depend on it.
    pub substitutions: Substitutions,
    /// The Helm releases that the repository defines for Flux.
    pub flux_releases: Vec<FluxRelease>,
    /// What shows which distribution the repository is for.
    pub signs: Vec<Sign>,
    /// How much there was to read.
    pub coverage: Coverage,
    /// The findings that were reported for rules while reading (see [`crate::check::Facts::reported`]).
    pub problems: Vec<Finding>,
}

/// How much there was to read: a rule that found nothing wrong may have had nothing to inspect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Why the releases of a helmfile are unknown, if they are.
    pub unread: Option<String>,
    /// Required variables of templates that are not set, by the path of the helmfile.
    pub missing_variables: BTreeMap<PathBuf, Vec<String>>,
    /// Whether templates require variables, set or not.
    pub requires_variables: bool,
    /// Whether variables for templates have placeholders, because their file was not decrypted.
    pub undecrypted_variables: bool,
    /// The number of folders in `kubernetes/apps`.
    pub app_folders: usize,
    /// The number of configured commands for secrets.
    pub commands: usize,
    /// The number of configured sources of manifests.
    pub manifests: usize,
    /// The number of scripts named `bootstrap-apps.sh`.
    pub scripts: usize,
}

/// The public properties of the age key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgeKey {
    /// The file.
    pub path: PathBuf,
    /// The lower nine bits of the file mode; none for a file that Kubernetes mounts.
    pub mode: Option<u32>,
    /// The public keys of the identities that go into the cluster, if they are known.
    pub public: Vec<String>,
    /// Whether one identity is post-quantum.
    pub post_quantum: bool,
    /// Whether one identity belongs to a plugin.
    pub plugin: bool,
    /// Whether there is no key file, only an encrypted Secret.
    pub is_encrypted: bool,
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            objects: Vec::new(),
            secrets: Vec::new(),
            helmfiles: Vec::new(),
            crds: Crds::default(),
            charts: BTreeMap::new(),
            age_key: None,
            encrypted: Vec::new(),
            sops_config: None,
            tracked: Err("not read".to_owned()),
            origin: None,
            adds_age_key: None,
            synced: Err("not read".to_owned()),
            substitutions: Substitutions::default(),
            flux_releases: Vec::new(),
            signs: Vec::new(),
            coverage: Coverage::default(),
            problems: Vec::new(),
        }
    }
}

impl Desired {
    /// Why not all releases are known; `None` if every helmfile was read.
    pub(crate) fn unread(&self) -> Option<String> {
        let none = || self.helmfiles.is_empty().then(|| "no helmfile was read".to_owned());
        self.coverage.unread.clone().or_else(none)
    }

    /// The desired release with this name, in any namespace.
    #[cfg(test)]
    pub(crate) fn release(&self, name: &str) -> Option<&Release> {
        self.releases().find(|release| release.is_wanted() && release.name == name)
    }

    /// The desired release whose chart has this name, the last part of its reference.
    pub(crate) fn release_of_chart(&self, chart: &str) -> Option<&Release> {
        self.releases().find(|release| release.is_wanted() && release.chart_name() == chart)
    }

    /// All desired releases whose chart has this name.
    pub(crate) fn releases_of_chart<'a>(&'a self, chart: &'a str) -> impl Iterator<Item = &'a Release> {
        self.releases().filter(move |release| release.is_wanted() && release.chart_name() == chart)
    }

    /// The chart version of a release, from the helmfile or from the chart itself.
    pub(crate) fn chart_version(&self, release: &Release) -> Option<Version> {
        exact_version(&release.version).or_else(|| exact_version(&self.charts.get(&release.id())?.version))
    }

    /// The values of a release: the defaults of its chart, if that was downloaded, overridden by its own.
    pub(crate) fn values(&self, release: &Release) -> serde_json::Value {
        let defaults = self.charts.get(&release.id()).and_then(|chart| chart.defaults().ok());
        let mut values = defaults.unwrap_or_default();
        releases::merge(&mut values, release.merged());
        values
    }

    /// The objects that flux-operator creates for the release that creates the FluxInstance.
    pub(crate) fn sync_objects(&self, release: &Release) -> SyncObjects {
        sync::objects(&self.values(release)["instance"], &release.namespace)
    }

    /// The encrypted files that are meant for the cluster: those of the bootstrap, and those that Flux applies.
    pub(crate) fn for_cluster(&self) -> impl Iterator<Item = &EncryptedFile> {
        let synced = |file: &EncryptedFile| self.synced.as_ref().is_ok_and(|synced| synced.has(&file.path));
        self.encrypted.iter().filter(move |file| file.in_bootstrap || synced(file))
    }

    /// The DNS release that the user skips to keep the bundled one of k3s.
    pub(crate) fn skipped_dns(&self) -> Option<&Release> {
        self.releases().find(|release| release.skipped && release.chart_name() == "coredns")
    }

    /// The release that installs the CNI, recognized by its chart.
    pub(crate) fn cni(&self) -> Option<&Release> {
        NETWORKS.iter().find_map(|chart| self.release_of_chart(chart))
    }

    /// All releases of all helmfiles.
    pub(crate) fn releases(&self) -> impl Iterator<Item = &Release> {
        self.helmfiles.iter().flat_map(|helmfile| &helmfile.releases)
    }
}

/// Which of the two helmfiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Custom resource definitions.
    Crds,
    /// Everything else.
    Apps,
}

impl Kind {
    /// The stage in which it is synced.
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Crds => Stage::Crds,
            Self::Apps => Stage::Apps,
        }
    }
}

/// A helmfile with its releases.
pub(crate) struct Helmfile {
    /// Which of the two it is.
    pub kind: Kind,
    pub path: PathBuf,
    pub releases: Vec<Release>,
    /// Whether its values may refer to encrypted files.
    pub needs_identities: bool,
}

impl Helmfile {
    /// The label selector that matches only this release. helmfile rejects `namespace=` without a value, so a release
    /// without a namespace is selected by its name, excluding releases of the same name with a namespace.
    pub(crate) fn selector(&self, release: &Release) -> String {
        let Release { namespace, name, .. } = release;
        if release.names_namespace {
            return format!("namespace={namespace},name={name}");
        }
        let namesakes = self.releases.iter().filter(|other| other.name == *name && other.names_namespace);
        let others = namesakes.map(|other| format!(",namespace!={}", other.namespace));
        std::iter::once(format!("name={name}")).chain(others).collect()
    }
}
