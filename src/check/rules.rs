//! All rules. A new rule is a file in `rules/` with a `RULE`, and its row in the list here.

use super::{Needs, Rule};
use crate::observed::Live;
use crate::observed::claims::HELM_RELEASES;
use crate::observed::flux::KUSTOMIZATIONS;

/// Declares the module of each row, and lists its rule. A row is a module, or a rule in the table `reported`.
///
/// `cargo fmt` does not follow modules that a macro declares: `tests/generated.rs` checks their format.
macro_rules! rules {
    (@module $module:ident) => {
        mod $module;
    };
    (@module $table:ident :: $rule:ident) => {};
    (@rule $module:ident) => {
        &$module::RULE
    };
    (@rule $table:ident :: $rule:ident) => {
        &$table::$rule
    };
    ($($module:ident $(:: $rule:ident)?),+ $(,)?) => {
        $(rules!(@module $module $(:: $rule)?);)+

        /// All rules in the order of reports, by group.
        pub(crate) const ALL: &[&Rule] = &[$(rules!(@rule $module $(:: $rule)?)),+];
    };
}

mod reported;

rules![
    // Environment
    reported::CONFIG,
    reported::ENV,
    reported::ENVIRONMENT,
    reported::PROGRAMS,
    versions,
    // Repository
    reported::HELMFILE,
    reported::HOOKS,
    releases,
    helm_features,
    charts,
    chart_version,
    reported::CHART_LOGIN,
    mirror,
    flux_pair,
    placeholders,
    values_keys,
    cilium_values,
    cert_manager_crds,
    flux_sync,
    flux_patches,
    flux_decryption,
    reported::MANIFESTS,
    parity,
    reported::NAMESPACES,
    reported::OLD_SCRIPT,
    // Secrets
    reported::AGE_KEY,
    age_key_mode,
    age_key_git,
    age_key_flux,
    reported::SOPS,
    reported::SECRETS_COMMANDS,
    sops_plain,
    sops_recipients,
    sops_rules,
    flux_pull_secret,
    // Kubeconfig
    reported::KUBECONFIG,
    kubeconfig_cert,
    reported::API,
    cluster_identity,
    // Cluster
    api_ready,
    distribution,
    kube_version,
    rights,
    clock,
    // k3s
    k3s_flannel,
    k3s_network_policy,
    k3s_kube_proxy,
    k3s_coredns,
    k3s_servers,
    k3s_bundled,
    coredns_bundled,
    bundled_adopted,
    // Nodes
    nodes,
    nodes_ready,
    taints,
    replicas,
    pod_cidr,
    // DNS and API address
    coredns_values,
    api_port,
    service_network,
    cluster_dns,
    dns_address,
    api_host,
    api_host_cert,
    api_host_roles,
    // Helm and Flux
    crds,
    renders,
    pending,
    ownership,
    flux_owned,
    newer,
    drift,
    flux_state,
    plan,
];

/// The rules that the user can skip.
pub(crate) fn skippable() -> impl Iterator<Item = &'static Rule> {
    ALL.iter().copied().filter(|rule| !rule.essential)
}

/// Whether the answer of a rule before rendering is final.
pub(crate) fn is_settled(rule: &Rule, live: &Live) -> bool {
    // Only Flux marks its releases by labels on their rendered objects.
    let has_flux = || {
        let kinds = [HELM_RELEASES, KUSTOMIZATIONS];
        live.kinds.as_ref().map_or(true, |known| kinds.iter().any(|kind| known.named(kind).is_some()))
    };
    match rule.needs {
        Needs::Files | Needs::Network | Needs::Cluster => true,
        Needs::Owners => !has_flux(),
        Needs::Rendered => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check::Check;
    use crate::check::testing::{self, World};
    use crate::desired::crds::Crds;
    use crate::desired::manifests::{Manifests, RenderFailure};
    use crate::observed::helm::{Record, Stored};
    use crate::observed::inventory::Meta;
    use crate::observed::kinds::{Kinds, Resource};
    use crate::observed::standing::{Drift, ObjectState};
    use crate::observed::{Kubelet, Owned};

    /// Healthy clusters with a problem that the rules can see only after rendering.
    fn late_problems() -> Vec<World> {
        let taint = testing::taint("CriticalAddonsOnly", "true", "NoExecute");
        let meta = |labels: [(&str, &str); 2]| Meta {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Meta::default()
        };
        let owned =
            |release: &str, meta: Meta| Owned { release: release.into(), among: 1, meta, ..Owned::default() };
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
                let objects = world.manifests.objects.get_mut(&cilium.into()).unwrap().as_mut().unwrap();
                objects[1]["spec"]["replicas"] = 2.into();
            }),
            with(&|world| {
                let reason = "values don't meet the specifications of the schema(s)".to_owned();
                world.manifests.objects.insert(cilium.into(), Err(reason.clone()));
                let failure = RenderFailure { reason, depends_on_cluster: false };
                world.manifests.failures.insert(cilium.into(), failure);
            }),
            with(&|world| {
                world.values("cert-manager", "crds: {enabled: false}");
                let object = serde_json::json!({"kind": "CustomResourceDefinition",
                    "metadata": {"name": "certificates.cert-manager.io"}});
                world.manifests.objects.insert("x/crds".into(), Ok(vec![object]));
            }),
            with(&|world| {
                world.desired.crds.failures = vec![("monitoring/crds".into(), "no provider".to_owned())];
            }),
            with(&|world| {
                let drift =
                    Drift { object: "Deployment n/d".to_owned(), path: "spec.x".to_owned(), by: None };
                let standing = ObjectState { drift: vec![drift], ..ObjectState::default() };
                world.live_mut().standing.insert("kube-system/coredns".into(), Ok(standing));
            }),
            with(&|world| {
                let live = world.live_mut();
                live.may_everything = Ok(false);
                live.not_ready = Ok(Some("checks of /readyz failed: etcd".to_owned()));
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
                live.records = Ok([(cilium.into(), record)].into());
            }),
        ]
    }

    fn flux_kinds() -> Kinds {
        let mut kinds = Kinds::default();
        let (plural, group) = ("helmreleases".to_owned(), "helm.toolkit.fluxcd.io".to_owned());
        kinds.add("HelmRelease", Resource { group, plural, ..Resource::default() });
        kinds
    }

    /// A finding that was logged before rendering must stay, and one that could be logged then must not wait.
    #[test]
    fn a_settled_answer_is_final() {
        let mut changing = BTreeSet::new();
        for world in late_problems() {
            let late = ALL.iter().map(|rule| world.ask(rule));
            let late: Vec<_> = late.collect();
            let mut early = World { manifests: Manifests::default(), ..world };
            early.desired.crds = Crds::default();
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
        let unsettled = ALL.iter().filter(|rule| rule.needs >= Needs::Owners);
        assert_eq!(changing, unsettled.map(|rule| rule.id).collect());
    }

    /// A finding without a rule would be lost.
    #[test]
    fn every_finding_has_a_rule() {
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
    fn every_file_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/rules");
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let id = file.file_stem().unwrap().to_str().unwrap().replace('_', "-");
            assert!(id == "reported" || ALL.iter().any(|rule| rule.id == id), "no row for {id}");
        }
    }

    #[test]
    fn rules_are_documented_and_grouped() {
        let ids: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len(), "every rule has its own ID");
        assert!(ALL.is_sorted_by_key(|rule| rule.group));
        for rule in ALL {
            assert!(rule.why.len() > 40 && rule.why.ends_with('.'), "{} has no reason", rule.id);
            let is_valid = |c: char| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit();
            assert!(rule.id.chars().all(is_valid), "{}", rule.id);
        }
    }

    #[test]
    fn needs_fit_the_function() {
        for rule in ALL {
            let fits = match rule.check {
                Check::Reported(_) => rule.needs < Needs::Cluster,
                Check::Facts(_) => rule.needs < Needs::Cluster || rule.needs == Needs::Rendered,
                Check::Cluster(_) | Check::Nodes(_) => rule.needs >= Needs::Cluster,
            };
            assert!(fits, "{} needs {:?}", rule.id, rule.needs);
        }
    }

    proptest::proptest! {
        #![proptest_config(crate::base::mutate::slow_config())]

        #[test]
        fn no_cluster_makes_a_rule_panic(cluster in crate::observed::cluster::tests::odd_clusters()) {
            let mut world = World::healthy();
            world.live_mut().cluster = cluster.unwrap_or_default();
            for rule in ALL {
                _ = world.ask(rule);
            }
        }
    }
}
