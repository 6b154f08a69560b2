//! The options of the checks.

use std::path::PathBuf;

use crate::plan::options::PlanOptions;

/// What the user asked for, as far as checks need it; all paths are absolute.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the command line, each independent of the others"
)]
pub(crate) struct CheckOptions {
    /// The root of the repository.
    pub root: PathBuf,
    /// `k3s-boot.yaml`, whether it exists or not.
    pub config_file: PathBuf,
    /// Whether it exists.
    pub config_found: bool,
    /// The kubeconfig files that the user named.
    pub kubeconfig: Vec<PathBuf>,
    /// Whether neither the cluster nor a registry may be contacted.
    pub offline: bool,
    /// Whether warnings count as errors.
    pub strict: bool,
    /// The ids of the rules to skip.
    pub skip_checks: Vec<String>,
    /// Whether helmfile may run commands while rendering.
    pub allow_hooks: bool,
    /// The namespaces that the user named.
    pub namespaces: Option<Vec<String>>,
    /// How many files with variables for templates the configuration lists.
    pub environment_files: usize,
    /// How many nodes are expected.
    pub nodes: usize,
    /// Where that number comes from.
    pub nodes_from: NodesFrom,
    pub plan_options: PlanOptions,
    /// The UID of the only cluster that may be changed (`cluster` in `k3s-boot.yaml`).
    pub cluster_uid: Option<String>,
    /// The UID that `--cluster` names.
    pub cluster_flag: Option<String>,
    /// Former addresses of the repository (`--moved-from`).
    pub moved_from: Vec<String>,
}

/// Where the number of expected nodes comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NodesFrom {
    /// `--nodes`.
    Flag,
    /// `nodes` in the configuration.
    Config,
    #[default]
    Default,
}

impl NodesFrom {
    /// How to expect fewer nodes; none for the default of one.
    pub(crate) fn lower(self) -> Option<&'static str> {
        match self {
            Self::Flag => Some("lower --nodes"),
            Self::Config => Some("lower `nodes` in k3s-boot.yaml"),
            Self::Default => None,
        }
    }
}
