//! The configuration of the k3s servers that a repository needs.

use std::collections::BTreeSet;

use super::choices::{Choices, LOCAL_API, Seen, join};
use super::existing::Flags;
use crate::observed::k3s::{CLUSTER_CIDR, CRITICAL_SWITCHES, CRITICAL_VALUES, SERVICE_CIDR};

/// Switches that a running cluster keeps, besides the critical ones.
const OTHER_SWITCHES: [&str; 3] = ["disable-kube-proxy", "secrets-encryption", "embedded-registry"];

/// What Cilium does in place of k3s, besides flannel.
const CILIUM_SWITCHES: [&str; 2] = ["disable-network-policy", "disable-kube-proxy"];

/// The configuration of the servers: what they share already, and what the repository needs.
pub(super) fn server_config(choices: &Choices, flags: &Flags, seen: &Seen<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let from_flags = |flag| {
        [(CLUSTER_CIDR.0, &flags.cluster_cidr), (SERVICE_CIDR.0, &flags.service_cidr)]
            .into_iter()
            .find_map(|(name, networks)| (name == flag && !networks.is_empty()).then(|| join(networks)))
    };
    for (flag, _) in CRITICAL_VALUES {
        if let Some(value) = from_flags(flag).or_else(|| seen.flag(flag).map(ToOwned::to_owned)) {
            lines.push(format!("{flag}: {value}"));
        }
    }
    let is_kept = |name: &&&str| seen.is_on(name) && !(choices.cilium && CILIUM_SWITCHES.contains(name));
    let switches = CRITICAL_SWITCHES.iter().chain(&OTHER_SWITCHES);
    lines.extend(switches.filter(is_kept).map(|name| format!("{name}: true")));
    let mut disabled = seen.disabled();
    if choices.cilium {
        lines.push("# Cilium replaces flannel, the network policies and kube-proxy of k3s.".to_owned());
        lines.push("flannel-backend: \"none\"".to_owned());
        lines.extend(CILIUM_SWITCHES.map(|name| format!("{name}: true")));
        if seen.servers.is_empty() {
            disabled.extend(["servicelb", "traefik"].map(ToOwned::to_owned));
        }
    } else if let Some(backend) = seen.flag("flannel-backend") {
        lines.push(format!("flannel-backend: \"{backend}\""));
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
