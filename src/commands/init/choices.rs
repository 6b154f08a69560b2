//! What `init` writes for a cluster, and why. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;

use super::existing::Flags;
use super::git::{GitSource, PULL_SECRET};
use super::server_config;
use crate::base::distribution::Distribution;
use crate::base::release_id::ReleaseId;
use crate::observed::Live;
use crate::observed::k3s::{CLUSTER_CIDR, CLUSTER_DOMAIN, NodeArgs, SERVICE_CIDR};
use crate::observed::node::Node;
use crate::observed::workloads::cluster_dns;
use crate::plan::releases::is_newer;
use crate::settings::cli::{Cni, Dns};

/// Where k3s answers on every node.
pub(super) const LOCAL_API: (&str, &str) = Distribution::K3s.local_api();

/// The port of k3s' API server at other addresses.
const API_PORT: &str = "6443";

/// The versions of charts, by release.
pub(super) type Pins = BTreeMap<ReleaseId, String>;

/// The releases that have the same version.
const FLUX: [&str; 2] = ["flux-operator", "flux-instance"];

/// CNI plugins other than Cilium and the flannel of k3s, by the names of their DaemonSets.
const OTHER_CNIS: [(&str, &str); 7] = [
    ("calico-node", "Calico"),
    ("canal", "Canal"),
    ("kube-flannel-ds", "flannel"),
    ("kube-router", "kube-router"),
    ("weave-net", "Weave Net"),
    ("antrea-agent", "Antrea"),
    ("kube-ovn-cni", "Kube-OVN"),
];

/// A choice, for the log and the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub name: &'static str,
    pub value: String,
    pub reason: String,
}

/// What the templates are rendered with.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Choices {
    pub nodes: usize,
    pub agents: usize,
    pub cilium: bool,
    pub coredns: bool,
    pub api_host: String,
    pub api_port: &'static str,
    pub dual_stack: bool,
    pub dns_addresses: Vec<IpAddr>,
    pub cluster_domain: String,
    /// Of what has a replica on two nodes, if there are two.
    pub replicas: usize,
    pub git_url: String,
    pub git_ref: String,
    pub pull_secret: Option<&'static str>,
    pub recipient: String,
    /// The address of a server for agents, if one is known.
    pub server_address: Option<String>,
    /// The UID of a cluster on which something runs already.
    pub uid: Option<String>,
    /// The lines of the servers' configuration.
    pub server_config: Vec<String>,
    /// The versions of installed charts that are newer than those of the templates, with those of the templates first.
    #[serde(skip)]
    newer: BTreeMap<ReleaseId, (String, String)>,
    #[serde(skip)]
    pub made: Vec<Choice>,
}

/// A choice that cannot be made: a message for the user.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Impossible(pub String);

/// Makes all choices. What only the user can know is in `flags` already.
pub(super) fn choose(
    flags: &Flags,
    live: Option<&Live>,
    configured: Option<NodeArgs>,
    git: &GitSource,
    recipient: &str,
    pins: &Pins,
) -> Result<Choices, Impossible> {
    let seen = Seen::new(live, configured);
    let mut choices = Choices {
        git_url: git.url.clone(),
        git_ref: git.reference.clone(),
        pull_secret: git.has_deploy_key.then_some(PULL_SECRET),
        recipient: recipient.to_owned(),
        ..Choices::default()
    };
    choices.choose_nodes(flags, &seen);
    choices.choose_cni(flags, &seen);
    choices.choose_dns(flags, &seen);
    choices.choose_networks(flags, &seen)?;
    choices.choose_api(flags, &seen)?;
    choices.note("git", &format!("{} {}", git.url, git.reference), git.reason);
    choices.choose_versions(live, pins);
    choices.server_config = server_config::server_config(&choices, flags, &seen);
    Ok(choices)
}

/// What the cluster shows, or the configuration of its servers in the repository.
pub(super) struct Seen<'a> {
    live: Option<&'a Live>,
    nodes: usize,
    agents: usize,
    /// The known command lines of servers.
    pub servers: Vec<NodeArgs>,
    /// The known command lines of all nodes.
    all: Vec<NodeArgs>,
    /// The address of a server.
    address: Option<&'a str>,
}

impl<'a> Seen<'a> {
    fn new(live: Option<&'a Live>, configured: Option<NodeArgs>) -> Self {
        let nodes = live.map(|live| live.cluster.nodes.as_slice()).unwrap_or_default();
        let (servers, agents): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.is_server());
        let args = |nodes: &[&Node]| nodes.iter().filter_map(|node| node.k3s()).collect::<Vec<_>>();
        let mut server_args = args(&servers);
        if live.is_none() {
            server_args.extend(configured);
        }
        let addresses = servers.iter().flat_map(|node| &node.addresses);
        let mut internal = addresses.filter(|one| one.r#type == "InternalIP");
        Self {
            live,
            nodes: nodes.len(),
            agents: agents.len(),
            all: [server_args.clone(), args(&agents)].concat(),
            servers: server_args,
            address: internal.next().map(|one| one.address.as_str()),
        }
    }

    /// A flag of the servers, which all have to agree on.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.servers.iter().find_map(|args| args.flag(name))
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.servers.iter().any(|args| args.is_on(name))
    }

    pub(super) fn disabled(&self) -> BTreeSet<String> {
        self.servers.iter().flat_map(NodeArgs::disabled).collect()
    }

    fn has_release(&self, namespace: &str, name: &str) -> bool {
        let id = ReleaseId::new(namespace, name);
        let releases = self.live.and_then(|live| live.releases.as_ref().ok());
        releases.is_some_and(|releases| releases.iter().any(|stored| stored.id() == id))
    }

    /// The CNI plugin that runs, and how that is known.
    fn cni(&self) -> Option<(Cni, String)> {
        let live = self.live?;
        let runs =
            |name: &str| live.cluster.workloads.iter().any(|one| one.kind == "DaemonSet" && one.name == name);
        if runs("cilium") {
            return Some((Cni::Cilium, "it runs in the cluster".to_owned()));
        }
        if let Some((_, name)) = OTHER_CNIS.iter().find(|(workload, _)| runs(workload)) {
            return Some((Cni::Flannel, format!("{name} runs in the cluster, and stays")));
        }
        let backend = self.servers.first()?.flannel_backend();
        Some(if backend == "none" {
            (Cni::Cilium, "the servers run with `flannel-backend: none`".to_owned())
        } else {
            (Cni::Flannel, "flannel of k3s runs in the cluster".to_owned())
        })
    }

    fn dns(&self) -> Option<(Dns, &'static str)> {
        let live = self.live?;
        if self.has_release("kube-system", "coredns") {
            return Some((Dns::Coredns, "the release is installed"));
        }
        if cluster_dns(&live.cluster.workloads).next().is_some() {
            return Some((Dns::K3s, "the CoreDNS of k3s runs in the cluster"));
        }
        self.servers.first()?;
        Some(if self.disabled().contains("coredns") {
            (Dns::Coredns, "the servers run with `disable: coredns`")
        } else {
            (Dns::K3s, "the servers do not disable the CoreDNS of k3s")
        })
    }
}

impl Choices {
    fn note(&mut self, name: &'static str, value: &str, reason: impl Into<String>) {
        self.made.push(Choice { name, value: value.to_owned(), reason: reason.into() });
    }

    fn choose_nodes(&mut self, flags: &Flags, seen: &Seen<'_>) {
        let named = |count: Option<u32>| count.map(|count| count as usize);
        let (nodes, reason) = match named(flags.nodes) {
            Some(nodes) => (nodes, flags.why("--nodes")),
            None if seen.nodes > 0 => (seen.nodes, "the nodes of the cluster"),
            None => (1, "default"),
        };
        let agents = named(flags.agents).unwrap_or(seen.agents);
        self.nodes = nodes;
        self.agents = agents.min(nodes.saturating_sub(1));
        self.note("nodes", &format!("{nodes}, {} of them agents", self.agents), reason);
        self.replicas = nodes.min(2);
        self.note("replicas", &self.replicas.to_string(), "two replicas never share a node");
    }

    fn choose_cni(&mut self, flags: &Flags, seen: &Seen<'_>) {
        let (cni, reason) = match (flags.cni, seen.cni()) {
            (Some(cni), _) => (cni, flags.why("--cni").to_owned()),
            (None, Some(found)) => found,
            (None, None) => (Cni::Cilium, "default".to_owned()),
        };
        self.cilium = cni == Cni::Cilium;
        self.note("cni", if self.cilium { "cilium" } else { "none of this repository" }, reason);
    }

    fn choose_dns(&mut self, flags: &Flags, seen: &Seen<'_>) {
        let (dns, reason) = match (flags.dns, seen.dns()) {
            (Some(dns), _) => (dns, flags.why("--dns")),
            (None, Some(found)) => found,
            (None, None) => (Dns::Coredns, "default"),
        };
        self.coredns = dns == Dns::Coredns;
        self.note("dns", if self.coredns { "coredns" } else { "CoreDNS of k3s" }, reason);
    }

    fn choose_networks(&mut self, flags: &Flags, seen: &Seen<'_>) -> Result<(), Impossible> {
        let clusters = networks(CLUSTER_CIDR, &flags.cluster_cidr, seen)?;
        let services = networks(SERVICE_CIDR, &flags.service_cidr, seen)?;
        if !clusters.0.iter().any(|network| matches!(network, IpNet::V4(_))) {
            return Err(Impossible("clusters without IPv4 are not supported by `init`".to_owned()));
        }
        self.dual_stack = clusters.0.len() > 1;
        self.note("networks", &format!("{} {}", join(&clusters.0), join(&services.0)), clusters.1);
        let (flag, default) = CLUSTER_DOMAIN;
        seen.flag(flag).unwrap_or(default).clone_into(&mut self.cluster_domain);
        // k3s takes the tenth address of each network (k3s-io/k3s, `pkg/cli/server`).
        self.dns_addresses = match seen.flag("cluster-dns") {
            Some(addresses) => addresses.split(',').filter_map(|one| one.trim().parse().ok()).collect(),
            None => services.0.iter().map(tenth).collect(),
        };
        if self.dns_addresses.is_empty() {
            return Err(Impossible("`cluster-dns` of the servers is no address".to_owned()));
        }
        self.note("cluster DNS", &join(&self.dns_addresses), "where the kubelet of k3s sends pods");
        Ok(())
    }

    fn choose_api(&mut self, flags: &Flags, seen: &Seen<'_>) -> Result<(), Impossible> {
        self.server_address = seen.address.map(ToOwned::to_owned);
        let (local_host, local_port) = LOCAL_API;
        let port_of_agents = seen.all.iter().find_map(|args| args.flag("lb-server-port"));
        let is_moved = port_of_agents.is_some_and(|port| port != local_port);
        let (host, reason) = match (&flags.api_host, seen.address) {
            (Some(host), _) => (host.as_str(), flags.why("--api-host")),
            (None, Some(address)) if is_moved => (address, "a node sets `lb-server-port`"),
            (None, None) if is_moved => {
                return Err(Impossible(
                    "a node sets `lb-server-port`: name the API server with --api-host".to_owned(),
                ));
            }
            (None, _) => (local_host, "k3s answers there on every node"),
        };
        self.api_port = if host == local_host { local_port } else { API_PORT };
        host.clone_into(&mut self.api_host);
        if flags.api_host.is_some() && self.api_host != local_host {
            self.server_address = Some(self.api_host.clone());
        }
        if self.cilium {
            self.note("API server", &format!("{}:{}", self.api_host, self.api_port), reason);
        }
        Ok(())
    }

    /// Pins the cluster, so that `apps` need not ask whether it is the right one.
    pub(super) fn pin(&mut self, uid: &str, reason: &str) {
        self.note("pin", uid, reason);
        self.uid = Some(uid.to_owned());
    }

    /// What is newer in the cluster is not downgraded.
    fn choose_versions(&mut self, live: Option<&Live>, pins: &Pins) {
        let Some(Ok(records)) = live.map(|live| &live.records) else { return };
        for (id, pin) in pins {
            // An operator cannot install the Flux of a newer one: both have the version of the newer one.
            let is_pair =
                |other: &ReleaseId| FLUX.contains(&id.name.as_str()) && FLUX.contains(&other.name.as_str());
            let same = records.iter().filter(|(other, _)| *other == id || is_pair(other));
            let newer = same.map(|(_, record)| &record.version).filter(|version| is_newer(version, pin));
            if let Some(version) = newer.reduce(|one, other| if is_newer(other, one) { other } else { one }) {
                let reason = "installed, and newer than that of the template";
                self.note("version", &format!("{id} {version}"), reason);
                self.newer.insert(id.clone(), (pin.clone(), version.clone()));
            }
        }
    }

    /// The files of a release, with the version that is installed if it is newer.
    pub(super) fn with_installed_version(&self, path: &Path, text: String) -> String {
        let folder = |id: &ReleaseId| Path::new("kubernetes/apps").join(&id.namespace).join(&id.name);
        let Some((_, (pin, installed))) = self.newer.iter().find(|(id, _)| path.starts_with(folder(id)))
        else {
            return text;
        };
        text.replace(&format!("tag: {pin}\n"), &format!("tag: {installed}\n"))
            .replace(&format!("-manifests:v{pin}\n"), &format!("-manifests:v{installed}\n"))
    }
}

/// Networks of k3s, and where they come from.
fn networks(
    (flag, default): (&str, &str),
    named: &[IpNet],
    seen: &Seen<'_>,
) -> Result<(Vec<IpNet>, &'static str), Impossible> {
    if !named.is_empty() {
        return Ok((named.to_vec(), "named by flags"));
    }
    let (text, reason) = match seen.flag(flag) {
        Some(text) => (text, "the configuration of the servers"),
        None => (default, "the default of k3s"),
    };
    let parsed: Result<Vec<IpNet>, _> = text.split(',').map(|one| one.trim().parse()).collect();
    let networks =
        parsed.map_err(|_| Impossible(format!("`{flag}` of the servers is no network: `{text}`")))?;
    Ok((networks, reason))
}

fn tenth(network: &IpNet) -> IpAddr {
    match network.network() {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_add(10)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).saturating_add(10)).into(),
    }
}

pub(super) fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
