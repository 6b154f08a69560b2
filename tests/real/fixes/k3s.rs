//! Fixes for the flags of k3s. The sandbox has no k3s: its start is simulated as observed on k3s v1.36.3. It reads
//! `/etc/rancher/k3s/config.yaml` before its flags, writes both into an annotation of its Node, and deletes the objects
//! with the label of a disabled Addon.

use serde_json::json;

use super::{Scenario, commands};
use crate::fixture::Fixture;
use crate::k3s_and_nodes::{GOOD_ARGS, node_args};
use crate::manifests::BUNDLED_COREDNS;

/// The label of k3s on the objects of its bundled CoreDNS.
const LABEL: &str = "objectset.rio.cattle.io/hash=bce283298811743a0386ab510f2f67ef74240c57";

/// All kinds of the bundled CoreDNS.
const KINDS: &str = "deployments,services,configmaps,serviceaccounts,clusterroles,clusterrolebindings";

/// Starts the simulated k3s with this configuration, and flags as in the annotation of the Node (`,"--flag","value"`).
fn start(fixture: &Fixture, config: &[&str], flags: &str) {
    let mut args = String::new();
    for line in config {
        let (key, value) =
            line.split_once(": ").unwrap_or_else(|| panic!("`{line}` is no line of a configuration"));
        let values = value.trim_matches(['[', ']']).split(", ");
        for value in values.map(|value| value.trim_matches('"')) {
            args = format!("{args},\"--{key}\",\"{value}\"");
        }
    }
    node_args(fixture, &format!("{args}{flags}"));
    if args.contains("\"coredns\"") || flags.contains("\"coredns\"") {
        fixture.kubectl(&[
            "delete",
            "--namespace",
            "kube-system",
            "--ignore-not-found",
            "--selector",
            LABEL,
            KINDS,
        ]);
    }
}

/// The lines of the configuration in a fix.
fn config(fix: &str) -> Vec<&str> {
    let keys = ["disable", "disable-kube-proxy", "disable-network-policy", "flannel-backend"];
    let lines = fix.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let lines = lines.filter(|line| line.split_once(": ").is_some_and(|(key, _)| keys.contains(&key)));
    lines.map(|line| line.split("  (").next().unwrap()).collect()
}

#[test]
fn fixes_that_restart_k3s() {
    let fixture = Fixture::start("fixes-k3s");
    let all = [
        ("k3s-flannel", r#","--flannel-backend","none""#),
        ("k3s-network-policy", r#","--disable-network-policy","true""#),
        ("k3s-kube-proxy", r#","--disable-kube-proxy","true""#),
        ("k3s-coredns", r#","--disable","coredns""#),
        ("k3s-bundled", r#","--disable","servicelb","--disable","traefik""#),
    ];
    for (rule, missing) in all {
        let flags = GOOD_ARGS.replace(missing, "");
        start(&fixture, &[], &flags);
        let scenario = Scenario::new(&fixture, rule);
        let fix = fixture.fixes(rule, &[], &[]).remove(0);
        assert!(fix.contains("# /etc/rancher/k3s/config.yaml on node-1\n"), "{fix}");
        assert_eq!(commands(&fix), ["systemctl restart k3s"], "{rule}");
        start(&fixture, &config(&fix), &flags);
        scenario.assert_fixed();
    }

    // k3s deletes the bundled CoreDNS when it is disabled.
    let flags = GOOD_ARGS.replace(r#","--disable","coredns""#, "");
    start(&fixture, &[], &flags);
    fixture.apply(BUNDLED_COREDNS);
    let scenario = Scenario::new(&fixture, "coredns-bundled");
    let fix = scenario.fix();
    start(&fixture, &config(&fix), &flags);
    scenario.assert_fixed();
    start(&fixture, &[], GOOD_ARGS);
}

/// The objects that Helm has adopted remain when k3s disables its CoreDNS, if the steps run in the printed order.
#[test]
fn an_adopted_coredns_keeps_its_permissions() {
    let fixture = Fixture::start("fixes-adopted");
    let flags = GOOD_ARGS.replace(r#","--disable","coredns""#, "");
    start(&fixture, &[], &flags);
    fixture.apply(ADDON_KIND);
    fixture.kubectl(&["wait", "--for=condition=Established", "crd/addons.k3s.cattle.io"]);
    fixture.apply(ADDON);
    fixture.apply(BUNDLED_COREDNS);
    fixture.apply(ROLES);
    let objects = [
        "deployment/coredns",
        "service/kube-dns",
        "configmap/coredns",
        "serviceaccount/coredns",
        "clusterrole/system:coredns",
        "clusterrolebinding/system:coredns",
    ];
    let owner = json!({"applied": "H4sI", "id": "", "owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
        "owner-name": "coredns", "owner-namespace": "kube-system"});
    let mut annotations = vec![
        "meta.helm.sh/release-name=coredns".to_owned(),
        "meta.helm.sh/release-namespace=kube-system".to_owned(),
    ];
    for (name, value) in owner.as_object().unwrap() {
        annotations.push(format!("objectset.rio.cattle.io/{name}={}", value.as_str().unwrap()));
    }
    for object in objects {
        let annotations: Vec<_> = annotations.iter().map(String::as_str).collect();
        fixture.kubectl(
            &[&["annotate", "--overwrite", "--namespace", "kube-system", object][..], &annotations].concat(),
        );
        let helm = "app.kubernetes.io/managed-by=Helm";
        fixture.kubectl(&["label", "--overwrite", "--namespace", "kube-system", object, helm, LABEL]);
    }

    let scenario = Scenario::new(&fixture, "bundled-adopted");
    let fix = scenario.fix();
    assert_eq!(fixture.fixes("k3s-coredns", &[], &[]).concat(), fix, "no other rule restarts k3s first");
    // All lines are for a shell: lines that are no command are comments.
    scenario.runs_with(|fix| format!("set -e\n{fix}"));
    let steps = [
        "without restarting k3s",
        "kubectl -n kube-system annotate",
        "kubectl -n kube-system delete",
        "systemctl",
    ];
    let places: Vec<_> = steps.iter().map(|step| fix.find(step).unwrap()).collect();
    assert!(places.is_sorted(), "{fix}");
    let addon = fixture.sandbox.get("/apis/k3s.cattle.io/v1/namespaces/kube-system/addons/coredns").unwrap();
    assert_eq!(addon, None);

    start(&fixture, &config(&fix), &flags);
    for object in objects {
        fixture.kubectl(&["get", "--namespace", "kube-system", object]);
    }
    for rule in ["bundled-adopted", "k3s-coredns", "coredns-bundled"] {
        assert_eq!(fixture.fixes(rule, &[], &[]), [""; 0], "{rule}");
    }
}

pub(super) const ADDON_KIND: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: addons.k3s.cattle.io}
spec:
  group: k3s.cattle.io
  names: {kind: Addon, plural: addons, singular: addon, listKind: AddonList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

const ADDON: &str = "apiVersion: k3s.cattle.io/v1
kind: Addon
metadata: {name: coredns, namespace: kube-system}
spec: {source: /var/lib/rancher/k3s/server/manifests/coredns.yaml}
";

/// The RBAC objects of the bundled CoreDNS.
const ROLES: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: 'system:coredns'}
rules: [{apiGroups: [''], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: 'system:coredns'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:coredns'}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
";
