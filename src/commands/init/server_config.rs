//! The configuration of the k3s servers that a repository needs.

use std::collections::{BTreeMap, BTreeSet};

use super::choices::{Choices, LOCAL_API, Seen, join};
use super::existing::Flags;

/// The keys of k3s that the servers share (docs.k3s.io, `k3s server`), and how they are written.
const SHARED_FLAGS: [&str; 5] =
    ["cluster-cidr", "service-cidr", "cluster-dns", "cluster-domain", "egress-selector-mode"];
const SHARED_SWITCHES: [&str; 4] =
    ["disable-helm-controller", "disable-cloud-controller", "secrets-encryption", "embedded-registry"];

/// The configuration of the servers: what they share already, and what the repository needs.
pub(super) fn server_config(choices: &Choices, flags: &Flags, seen: &Seen<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut from_flags = BTreeMap::new();
    for (name, networks) in [("cluster-cidr", &flags.cluster_cidr), ("service-cidr", &flags.service_cidr)] {
        if !networks.is_empty() {
            from_flags.insert(name, join(networks));
        }
    }
    for name in SHARED_FLAGS {
        if let Some(value) = from_flags.get(name).map(String::as_str).or_else(|| seen.flag(name)) {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.extend(SHARED_SWITCHES.iter().filter(|name| seen.is_on(name)).map(|name| format!("{name}: true")));
    let mut disabled = seen.disabled();
    if choices.cilium {
        lines.push("# Cilium replaces flannel, the network policies and kube-proxy of k3s.".to_owned());
        lines.push("flannel-backend: \"none\"".to_owned());
        lines.push("disable-network-policy: true".to_owned());
        lines.push("disable-kube-proxy: true".to_owned());
        if seen.servers.is_empty() {
            disabled.extend(["servicelb", "traefik"].map(ToOwned::to_owned));
        }
    } else {
        if let Some(backend) = seen.flag("flannel-backend") {
            lines.push(format!("flannel-backend: \"{backend}\""));
        }
        let switches = ["disable-network-policy", "disable-kube-proxy"];
        lines.extend(switches.iter().filter(|name| seen.is_on(name)).map(|name| format!("{name}: true")));
    }
    if choices.coredns {
        disabled.insert("coredns".to_owned());
    } else {
        disabled.remove("coredns");
    }
    if !disabled.is_empty() {
        let disabled: Vec<_> = disabled.into_iter().collect();
        lines.push(format!("disable: [{}]", disabled.join(", ")));
    }
    let mut names: BTreeSet<String> = seen.servers.iter().flat_map(|args| args.list("tls-san")).collect();
    names.extend(flags.api_host.clone().filter(|host| host != LOCAL_API.0));
    if !names.is_empty() {
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        lines.push(format!("tls-san: [{}]", quoted.join(", ")));
    }
    lines
}
