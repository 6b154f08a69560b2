//! All rules, a file each, in the order in which they are told.

mod age_key;
mod age_key_flux;
mod age_key_git;
mod age_key_mode;
mod api;
mod api_host;
mod api_host_cert;
mod api_host_roles;
mod api_port;
mod api_ready;
mod cert_manager_crds;
mod chart_login;
mod charts;
mod cilium_values;
mod clock;
mod cluster_dns;
mod config;
mod coredns_bundled;
mod coredns_values;
mod dns_address;
mod drift;
mod env;
mod flux_decryption;
mod flux_owned;
mod flux_pair;
mod flux_state;
mod flux_sync;
mod guard;
mod helmfile;
mod hooks;
mod k3s;
mod k3s_bundled;
mod k3s_coredns;
mod k3s_flannel;
mod k3s_kube_proxy;
mod k3s_network_policy;
mod k3s_servers;
mod kube_version;
mod kubeconfig;
mod kubeconfig_cert;
mod mirror;
mod namespaces;
mod newer;
mod nodes;
mod nodes_ready;
mod old_script;
mod ownership;
mod pending;
mod placeholders;
mod plan;
mod pod_cidr;
mod programs;
mod releases;
mod renders;
mod replicas;
mod rights;
mod sops;
mod sops_plain;
mod sops_recipients;
mod sops_rules;
mod taints;
mod values_keys;
mod versions;

use super::Rule;

/// All rules, in the order in which they are told; those of a group stand together.
pub const ALL: &[&Rule] = &[
    // Environment
    &config::RULE,
    &env::RULE,
    &programs::RULE,
    &versions::RULE,
    // Repository
    &helmfile::RULE,
    &hooks::RULE,
    &releases::RULE,
    &charts::RULE,
    &chart_login::RULE,
    &mirror::RULE,
    &flux_pair::RULE,
    &placeholders::RULE,
    &values_keys::RULE,
    &cilium_values::RULE,
    &cert_manager_crds::RULE,
    &flux_sync::RULE,
    &flux_decryption::RULE,
    &namespaces::RULE,
    &old_script::RULE,
    // Secrets
    &age_key::RULE,
    &age_key_mode::RULE,
    &age_key_git::RULE,
    &age_key_flux::RULE,
    &sops::RULE,
    &sops_plain::RULE,
    &sops_recipients::RULE,
    &sops_rules::RULE,
    // Kubeconfig
    &kubeconfig::RULE,
    &kubeconfig_cert::RULE,
    &api::RULE,
    &guard::RULE,
    // Cluster
    &api_ready::RULE,
    &k3s::RULE,
    &kube_version::RULE,
    &rights::RULE,
    &clock::RULE,
    // k3s
    &k3s_flannel::RULE,
    &k3s_network_policy::RULE,
    &k3s_kube_proxy::RULE,
    &k3s_coredns::RULE,
    &k3s_servers::RULE,
    &k3s_bundled::RULE,
    &coredns_bundled::RULE,
    // Nodes
    &nodes::RULE,
    &nodes_ready::RULE,
    &taints::RULE,
    &replicas::RULE,
    &pod_cidr::RULE,
    // DNS and API address
    &coredns_values::RULE,
    &api_port::RULE,
    &cluster_dns::RULE,
    &dns_address::RULE,
    &api_host::RULE,
    &api_host_cert::RULE,
    &api_host_roles::RULE,
    // Helm and Flux
    &renders::RULE,
    &pending::RULE,
    &ownership::RULE,
    &flux_owned::RULE,
    &newer::RULE,
    &drift::RULE,
    &flux_state::RULE,
    &plan::RULE,
];

/// The rules that the user may leave out.
pub fn skippable() -> impl Iterator<Item = &'static Rule> {
    ALL.iter().copied().filter(|rule| !rule.essential)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A finding that no rule tells would be lost.
    #[test]
    fn every_finding_is_of_a_rule() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for kind in ["error", "warning", "info"] {
                    let start = format!("Finding::{kind}(");
                    for rest in text.split(&start).skip(1) {
                        let Some(id) =
                            rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                        else {
                            continue;
                        };
                        assert!(ALL.iter().any(|rule| rule.id == id), "`{id}` in {}", path.display());
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn every_file_is_a_rule_and_every_group_stands_together() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/rules");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, ALL.len());
        let ids: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len(), "every rule has a name of its own");
        assert!(ALL.is_sorted_by_key(|rule| rule.group));
        for rule in ALL {
            assert!(rule.why.len() > 40 && rule.why.ends_with('.'), "{} tells why", rule.id);
            assert!(
                rule.id.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()),
                "{}",
                rule.id
            );
        }
    }
}
