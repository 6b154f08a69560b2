//! The answers of rules without anything to inspect: never ok.

use std::collections::BTreeMap;

use semver::Version;

use super::fixture::{World, signs};
use super::rules::ALL;
use super::{Answer, run};
use crate::base::distribution::Distribution;
use crate::desired::AgeKey;
use crate::observed::claims::Claims;
use crate::observed::{Live, Program};

/// Checks the answers of rules: `expected` has two lines for each answer, the reason and the rules with it. Other rules must not
/// be ok.
#[track_caller]
fn assert_reasons(world: &World, expected: &str) {
    let lines: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expected: BTreeMap<_, _> =
        lines.chunks(2).flat_map(|pair| pair[1].split(' ').map(move |rule| (rule, pair[0]))).collect();
    assert!(expected.keys().all(|id| ALL.iter().any(|rule| rule.id == *id)), "{expected:?}");
    for rule in ALL {
        let answer = match world.ask(rule) {
            Answer::Ok | Answer::Counted(_) => "ok".to_owned(),
            Answer::NotApplicable(reason) => format!("– {reason}"),
            Answer::Unknown(reason) => format!("? {reason}"),
            Answer::Found(findings) => format!("! {}", findings[0].summary),
        };
        match expected.get(rule.id) {
            Some(expected) => assert_eq!(answer, *expected, "{}", rule.id),
            None => assert_ne!(answer, "ok", "{}", rule.id),
        }
    }
}

#[test]
fn without_anything_read_no_rule_is_ok() {
    for asked in [false, true] {
        for (offline, kubeconfig) in [(false, vec![]), (true, vec![]), (false, vec!["/k".into()])] {
            let mut world = World::default();
            world.options.offline = offline;
            world.options.kubeconfig = kubeconfig;
            world.observed.live = asked.then(Live::default);
            // All that is known of this cluster is that it responds.
            let known: &[&str] = if asked { &["api"] } else { &[] };
            for rule in ALL {
                assert!(
                    world.ask(rule) != Answer::Ok || known.contains(&rule.id),
                    "{} with offline: {offline}, a cluster: {asked}",
                    rule.id
                );
            }
        }
    }
}

/// A helmfile without releases, in a repository where Git tracks nothing.
fn empty_repository() -> World {
    World::of("")
}

#[test]
fn missing_inputs_are_not_applicable() {
    let mut world = empty_repository();
    world.options.offline = true;
    let live = Live {
        version: "v1.33.6+k3s1".to_owned(),
        claims: Ok(Claims::default()),
        releases: Ok(Vec::new()),
        records: Ok([].into()),
        owners: Ok(Vec::new()),
        objects: Ok([].into()),
        ..Live::default()
    };
    world.observed.live = Some(live);
    assert_reasons(
        &world,
        "
    – there is no k3s-boot.yaml
        config
    – no template requires a variable
        env
    ? no program was looked up
        programs
    – no program is installed
        versions
    ok
        helmfile hooks api cluster-identity distribution
    – there are no releases to sync
        releases helm-features mirror kube-version pending flux-owned newer
    – no chart comes from a registry
        charts chart-login
    – no release uses the chart `flux-operator`
        flux-pair
    – no release has values
        placeholders
    – no release has values for a chart whose keys are known
        values-keys
    – no release uses the chart `cilium`
        cilium-values k3s-kube-proxy pod-cidr api-port api-host api-host-cert api-host-roles
    – no release uses the chart `cert-manager`
        cert-manager-crds
    – no release uses the chart `flux-instance`
        flux-sync flux-decryption
    – there are no folders in kubernetes/apps
        namespaces
    – there is no bootstrap-apps.sh
        old-script
    – there is no age key
        age-key age-key-mode age-key-git age-key-flux
    – bootstrap/ has no encrypted files
        sops
    – Git tracks no file named as encrypted
        sops-plain
    – no encrypted file is meant for the cluster
        sops-recipients
    – there is no .sops.yaml
        sops-rules
    ? no kubeconfig was read
        kubeconfig kubeconfig-cert
    ? not asked
        api-ready rights
    ? the time is unknown
        clock
    – no release installs a known CNI
        k3s-flannel k3s-network-policy k3s-coredns k3s-servers k3s-bundled coredns-bundled
    – no bundled component of k3s is installed
        bundled-adopted
    – no node is expected
        nodes
    ? no node has registered
        nodes-ready
    – no rendered release has workloads
        taints
    – no rendered release has replicas
        replicas
    – no release uses the chart `coredns`
        coredns-values cluster-dns dns-address
    – no release needs to be rendered
        renders ownership
    – no release is installed and up to date
        drift
    – the cluster has no FluxInstance
        flux-state
    – there is nothing to install
        plan
    ",
    );
    // The rules about k3s do not apply to another distribution.
    world.observed.live.as_mut().unwrap().version = "v1.33.6+rke2r1".to_owned();
    world.desired.signs = signs(Distribution::Rke2);
    assert_reasons(
        &world,
        "
    ok
        helmfile hooks api cluster-identity distribution
    – the cluster does not run k3s
        k3s-flannel k3s-network-policy k3s-kube-proxy k3s-coredns k3s-servers k3s-bundled coredns-bundled bundled-adopted api-port api-host-roles
    ",
    );
}

#[test]
fn inspected_inputs_are_ok() {
    let mut world = empty_repository();
    world.options.config_found = true;
    let key = AgeKey { path: "/repository/age.key".into(), mode: Some(0o600), ..AgeKey::default() };
    world.desired.age_key = Some(key);
    world.desired.adds_age_key = Some(false);
    let coverage = &mut world.desired.coverage;
    (coverage.requires_variables, coverage.app_folders) = (true, 1);
    let program =
        |name| Program { name, path: Some("/bin/x".into()), version: Ok(Some(Version::new(3, 18, 0))) };
    world.observed.programs = vec![program("helm")];
    let is_ok = |world: &World, id: &str| {
        let rule = ALL.iter().find(|rule| rule.id == id).unwrap();
        world.ask(rule) == Answer::Ok
    };
    let read = ["config", "env", "programs", "versions", "helmfile", "hooks", "namespaces"];
    let keys = ["age-key", "age-key-mode", "age-key-git", "age-key-flux"];
    for id in read.iter().chain(&keys) {
        assert!(is_ok(&world, id), "{id}");
    }
    // The settings replace what would be checked.
    world.options.allow_hooks = true;
    world.options.namespaces = Some(vec!["media".to_owned()]);
    assert!(!is_ok(&world, "hooks") && !is_ok(&world, "namespaces"));
    // KUBECONFIG is the only required variable.
    world.desired.coverage.requires_variables = false;
    assert!(!is_ok(&world, "env"));
    world.options.kubeconfig = vec!["/k".into()];
    assert!(is_ok(&world, "env"));
    world.options.offline = true;
    assert!(!is_ok(&world, "env"));
}

#[test]
fn rules_about_the_cluster_are_not_applicable_offline() {
    let mut world = empty_repository();
    world.options.offline = true;
    world.options.skip_checks = vec!["api-ready".to_owned()];
    for outcome in run(&world.facts(), |rule| !rule.works_offline()) {
        let skipped = outcome.rule.id == "api-ready";
        assert_eq!(outcome.answer.is_none(), skipped, "{}", outcome.rule.id);
        assert!(skipped || matches!(outcome.answer, Some(Answer::NotApplicable(_))), "{}", outcome.rule.id);
    }
}

#[test]
fn an_unread_helmfile_makes_rules_unknown() {
    let mut world = empty_repository();
    world.desired.coverage.unread = Some("bootstrap/helmfile.d/01-apps.yaml was not read".to_owned());
    world.observed.live = Some(Live { version: "v1.33.6+k3s1".to_owned(), ..Live::default() });
    assert_reasons(&world, "
    – there is no k3s-boot.yaml
        config
    ? bootstrap/helmfile.d/01-apps.yaml was not read
        env helmfile hooks releases helm-features charts chart-login mirror flux-pair placeholders values-keys cilium-values cert-manager-crds flux-sync flux-decryption kube-version k3s-flannel k3s-network-policy k3s-kube-proxy k3s-coredns k3s-servers k3s-bundled coredns-bundled taints replicas pod-cidr coredns-values api-port cluster-dns dns-address api-host api-host-cert api-host-roles renders drift
    ? no program was looked up
        programs
    – no program is installed
        versions
    – there are no folders in kubernetes/apps
        namespaces
    – there is no bootstrap-apps.sh
        old-script
    – there is no age key
        age-key age-key-mode age-key-git age-key-flux
    – bootstrap/ has no encrypted files
        sops
    – Git tracks no file named as encrypted
        sops-plain
    – no encrypted file is meant for the cluster
        sops-recipients
    – there is no .sops.yaml
        sops-rules
    ? no kubeconfig was read
        kubeconfig kubeconfig-cert
    ok
        api distribution
    ! Unknown cluster with workloads on it
        cluster-identity
    ? not asked
        api-ready rights pending ownership flux-owned newer flux-state
    ? the time is unknown
        clock
    – no bundled component of k3s is installed
        bundled-adopted
    – no node is expected
        nodes
    ? no node has registered
        nodes-ready
    ! Cluster cannot be read
        plan
    ");
}
