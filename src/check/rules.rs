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
mod bundled_adopted;
mod cert_manager_crds;
mod chart_login;
mod charts;
mod cilium_values;
mod clock;
mod cluster_dns;
mod cluster_identity;
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
mod helm_features;
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
use crate::observed::Live;
use crate::observed::claims::HELM_RELEASES;
use crate::observed::flux::KUSTOMIZATIONS;

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
    &helm_features::RULE,
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
    &cluster_identity::RULE,
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
    &bundled_adopted::RULE,
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

/// These ask what releases would make, who owns what is there of it, or whether the cluster is fit to be changed: all of
/// that is known last.
const LATE: &[&Rule] = &[
    &cert_manager_crds::RULE,
    &api_ready::RULE,
    &rights::RULE,
    &taints::RULE,
    &replicas::RULE,
    &cluster_dns::RULE,
    &api_host_cert::RULE,
    &renders::RULE,
    &ownership::RULE,
    &drift::RULE,
];

/// These ask who owns a release. Only Flux tells that by the labels of what a release would make.
const OF_OWNERS: &[&Rule] = &[&pending::RULE, &flux_owned::RULE, &newer::RULE];

/// Whether what a rule says before anything is rendered still holds when all is known.
#[must_use]
pub fn is_settled(rule: &Rule, live: &Live) -> bool {
    let among = |rules: &[&Rule]| rules.iter().any(|one| one.id == rule.id);
    let flux = || {
        let kinds = [HELM_RELEASES, KUSTOMIZATIONS];
        live.kinds.as_ref().map_or(true, |known| kinds.iter().any(|kind| known.named(kind).is_some()))
    };
    !(among(LATE) || among(OF_OWNERS) && flux())
}

/// The rules that the user may leave out.
pub fn skippable() -> impl Iterator<Item = &'static Rule> {
    ALL.iter().copied().filter(|rule| !rule.essential)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check::testing::{self, World};
    use crate::manifests::{Manifests, RenderFailure};
    use crate::observed::helm::{Record, Stored};
    use crate::observed::inventory::Meta;
    use crate::observed::kinds::{Kinds, Resource};
    use crate::observed::standing::{Drift, Standing};
    use crate::observed::{Kubelet, Owned};

    /// A healthy cluster with something wrong of which the rules know only when all is looked at.
    fn late_troubles() -> Vec<World> {
        let taint = testing::taint("CriticalAddonsOnly", "true", "NoExecute");
        let meta = |labels: [(&str, &str); 2]| Meta {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Meta::default()
        };
        let owned = |release: &str, meta: Meta| Owned {
            release: release.to_owned(),
            among: 1,
            meta,
            ..Owned::default()
        };
        let cilium = "kube-system/cilium";
        let flux = [("helm.toolkit.fluxcd.io/name", "net"), ("helm.toolkit.fluxcd.io/namespace", "infra")];
        let with = |change: &dyn Fn(&mut World)| {
            let mut world = World::healthy();
            change(&mut world);
            world
        };
        vec![
            with(&|world| world.live_mut().cluster.nodes[0].taints.push(taint.clone())),
            with(&|world| {
                let objects = world.manifests.objects.get_mut(cilium).unwrap().as_mut().unwrap();
                objects[1]["spec"]["replicas"] = 2.into();
            }),
            with(&|world| {
                let reason = "values don't meet the specifications of the schema(s)".to_owned();
                world.manifests.objects.insert(cilium.to_owned(), Err(reason.clone()));
                let failure = RenderFailure { reason, depends_on_cluster: false };
                world.manifests.failures.insert(cilium.to_owned(), failure);
            }),
            with(&|world| {
                world.values("cert-manager", "crds: {enabled: false}");
                let object = serde_json::json!({"kind": "CustomResourceDefinition",
                    "metadata": {"name": "certificates.cert-manager.io"}});
                world.manifests.objects.insert("x/crds".to_owned(), Ok(vec![object]));
            }),
            with(&|world| {
                let drift =
                    Drift { object: "Deployment n/d".to_owned(), path: "spec.x".to_owned(), by: None };
                let standing = Standing { drift: vec![drift], ..Standing::default() };
                world.live_mut().standing.insert("kube-system/coredns".to_owned(), Ok(standing));
            }),
            with(&|world| {
                let live = world.live_mut();
                live.may_everything = Ok(false);
                live.not_ready = Ok(Some("[-]etcd failed".to_owned()));
                live.api_host_refused = Ok(Some("certificate is valid for a".to_owned()));
                live.kubelet =
                    Ok(Kubelet { node: "a".to_owned(), cluster_dns: vec!["10.43.0.99".to_owned()] });
                live.owners = Ok(vec![owned(cilium, Meta::default())]);
            }),
            with(&|world| {
                let live = world.live_mut();
                live.owners = Ok(vec![owned(cilium, meta(flux))]);
                live.kinds = Ok(flux_kinds());
                let pending = Stored {
                    namespace: "kube-system".to_owned(),
                    name: "cilium".to_owned(),
                    status: "pending-install".to_owned(),
                    ..Stored::default()
                };
                live.releases = Ok(vec![pending]);
                let record =
                    Record { chart: "cilium".to_owned(), version: "99.0.0".to_owned(), ..Record::default() };
                live.records = Ok([(cilium.to_owned(), record)].into());
            }),
        ]
    }

    fn flux_kinds() -> Kinds {
        let mut kinds = Kinds::default();
        let (plural, group) = ("helmreleases".to_owned(), "helm.toolkit.fluxcd.io".to_owned());
        kinds.add("HelmRelease", Resource { group, plural, ..Resource::default() });
        kinds
    }

    /// What is told early cannot be taken back, and what could be told early is not to wait.
    #[test]
    fn a_settled_answer_stays_as_it_is() {
        let mut changing = BTreeSet::new();
        for world in late_troubles() {
            let late = ALL.iter().map(|rule| world.ask(rule));
            let late: Vec<_> = late.collect();
            let mut early = World { manifests: Manifests::default(), ..world };
            let live = early.live_mut();
            let none = Live::default();
            (live.owners, live.standing, live.kubelet) = (none.owners, none.standing, none.kubelet);
            live.may_everything = none.may_everything;
            (live.not_ready, live.api_host_refused) = (none.not_ready, none.api_host_refused);
            for (rule, late) in ALL.iter().zip(late) {
                let settled = is_settled(rule, early.live());
                if early.ask(rule) != late {
                    assert!(!settled, "{}: {late:?}", rule.id);
                    changing.insert(rule.id);
                }
            }
        }
        let known: BTreeSet<_> = LATE.iter().chain(OF_OWNERS).map(|rule| rule.id).collect();
        assert_eq!(changing, known);
    }

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
