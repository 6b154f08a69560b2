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

/// The flags of the user, completed from the files of the repository.
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
    filled.init.deploy_key |= root.join(deploy_key::FILE).exists();
    if !root.join(HELMFILE).exists() || !root.join(APPS).exists() {
        return filled;
    }
    let Flags { init: flags, from_files } = &mut filled;
    if !has_nodes {
        let nodes = (settings.nodes_from == NodesFrom::Config).then_some(settings.nodes);
        fill_one(&mut flags.nodes, nodes.and_then(|nodes| u32::try_from(nodes).ok()), "--nodes", from_files);
        let agents = root.join("k3s/agent.yaml").exists().then_some(1);
        fill_one(&mut flags.agents, agents, "--agents", from_files);
    }
    let has = |app: &str| root.join(APPS).join("kube-system").join(app).exists();
    let cni = if has("cilium") { Cni::Cilium } else { Cni::Flannel };
    fill_one(&mut flags.cni, Some(cni), "--cni", from_files);
    let dns = if has("coredns") { Dns::Coredns } else { Dns::K3s };
    fill_one(&mut flags.dns, Some(dns), "--dns", from_files);
    let values = |app: &str| {
        let path = root.join(APPS).join(app).join("app/helmrelease.yaml");
        let release = yaml::parse::<Value>(&text(&path, LARGEST).ok()?, yaml::WRITTEN).ok()?;
        Some(release["spec"]["values"].clone())
    };
    let cilium = values("kube-system/cilium").unwrap_or_default();
    let host = cilium["k8sServiceHost"].as_str().map(ToOwned::to_owned);
    fill_one(&mut flags.api_host, host, "--api-host", from_files);
    let instance = values("flux-system/flux-instance").unwrap_or_default();
    let sync = &instance["instance"]["sync"];
    let url = sync["url"].as_str().and_then(|url| normalized(url).ok());
    fill_one(&mut flags.git_url, url, "--git-url", from_files);
    let branch = sync["ref"].as_str().and_then(|reference| reference.strip_prefix("refs/heads/"));
    fill_one(&mut flags.git_branch, branch.map(ToOwned::to_owned), "--git-branch", from_files);
    filled
}

/// Sets a flag that the user did not name, if the files have a value for it.
fn fill_one<T>(
    flag: &mut Option<T>,
    value: Option<T>,
    name: &'static str,
    from_files: &mut Vec<&'static str>,
) {
    if flag.is_none() && value.is_some() {
        *flag = value;
        from_files.push(name);
    }
}

/// The command line of the servers that `k3s/config.yaml` makes; none if there is no such file.
pub(super) fn server_args(root: &Path) -> Option<NodeArgs> {
    let config: Value =
        yaml::parse(&text(&root.join("k3s/config.yaml"), LARGEST).ok()?, yaml::WRITTEN).ok()?;
    Some(NodeArgs::from_config(config.as_object().into_iter().flatten()))
}
