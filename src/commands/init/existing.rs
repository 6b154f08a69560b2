//! What a repository says already, so that another run of `init` writes the same.

use std::ops::Deref;
use std::path::Path;

use serde_json::Value;

use super::deploy_key;
use super::git::normalized;
use crate::base::files::{LARGEST, text};
use crate::base::yaml;
use crate::observed::k3s::NodeArgs;
use crate::settings::cli::{Cni, Dns, Init};
use crate::settings::{NodesFrom, Settings};

const HELMFILE: &str = "bootstrap/helmfile.d/01-apps.yaml";
const APPS: &str = "kubernetes/apps";

/// The flags of the user, and what stands in for those that were not named.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags {
    pub init: Init,
    /// The flags that the files of the repository answer.
    from_files: Vec<&'static str>,
}

impl Deref for Flags {
    type Target = Init;

    fn deref(&self) -> &Init {
        &self.init
    }
}

impl From<Init> for Flags {
    fn from(init: Init) -> Self {
        Self { init, from_files: Vec::new() }
    }
}

impl Flags {
    /// Where the value of a flag comes from.
    pub(super) fn why(&self, flag: &'static str) -> &'static str {
        if self.from_files.contains(&flag) { "the files of the repository" } else { flag }
    }
}

/// The flags, with what the files of the repository say for those that the user did not name. How many nodes there are is only
/// read from them if `has_nodes` is false: a cluster knows better.
pub(super) fn fill(flags: &Init, settings: &Settings, has_nodes: bool) -> Flags {
    let root = &settings.root;
    let mut filled = Flags::from(flags.clone());
    let Flags { init: flags, from_files } = &mut filled;
    flags.deploy_key |= root.join(deploy_key::FILE).exists();
    if !root.join(HELMFILE).exists() || !root.join(APPS).exists() {
        return filled;
    }
    if !has_nodes && flags.nodes.is_none() && settings.nodes_from == NodesFrom::Config {
        flags.nodes = u32::try_from(settings.nodes).ok();
        from_files.push("--nodes");
    }
    if !has_nodes && flags.agents.is_none() && root.join("k3s/agent.yaml").exists() {
        flags.agents = Some(1);
    }
    let has = |app: &str| root.join(APPS).join("kube-system").join(app).exists();
    if flags.cni.is_none() {
        flags.cni = Some(if has("cilium") { Cni::Cilium } else { Cni::Flannel });
        from_files.push("--cni");
    }
    if flags.dns.is_none() {
        flags.dns = Some(if has("coredns") { Dns::Coredns } else { Dns::K3s });
        from_files.push("--dns");
    }
    let values = |app: &str| {
        let path = root.join(APPS).join(app).join("app/helmrelease.yaml");
        let release = yaml::parse::<Value>(&text(&path, LARGEST).ok()?, yaml::WRITTEN).ok()?;
        Some(release["spec"]["values"].clone())
    };
    let cilium = values("kube-system/cilium").unwrap_or_default();
    if flags.api_host.is_none()
        && let Some(host) = cilium["k8sServiceHost"].as_str()
    {
        flags.api_host = Some(host.to_owned());
        from_files.push("--api-host");
    }
    let instance = values("flux-system/flux-instance").unwrap_or_default();
    let sync = &instance["instance"]["sync"];
    if flags.git_url.is_none()
        && let Some(url) = sync["url"].as_str().and_then(|url| normalized(url).ok())
    {
        flags.git_url = Some(url);
        from_files.push("--git-url");
    }
    if flags.git_branch.is_none()
        && let Some(branch) = sync["ref"].as_str().and_then(|reference| reference.strip_prefix("refs/heads/"))
    {
        flags.git_branch = Some(branch.to_owned());
        from_files.push("--git-branch");
    }
    filled
}

/// The command line of the servers that `k3s/config.yaml` makes; none if there is no such file.
pub(super) fn server_args(root: &Path) -> Option<NodeArgs> {
    let config: Value =
        yaml::parse(&text(&root.join("k3s/config.yaml"), LARGEST).ok()?, yaml::WRITTEN).ok()?;
    Some(NodeArgs::from_config(config.as_object().into_iter().flatten()))
}
