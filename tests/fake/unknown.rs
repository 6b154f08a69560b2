//! `check` never answers "ok" about something that it could not read.

use k3s_boot::internals::rule_ids;
use serde_json::{Value, json};

use super::checks::status_of;
use super::fixture::{Fixture, RunResult};
use super::scenario;

/// Checks the counts of a report against its checks; every rule is reported once.
fn assert_counts(report: &Value) {
    let counts = &report["counts"];
    assert_eq!(
        (counts["checks"].as_u64(), counts["skipped"].as_u64()),
        (Some(rule_ids().count() as u64), Some(0))
    );
    for status in ["ok", "unknown", "not_applicable"] {
        assert_eq!(counts[status], with_status(report, status).len(), "{status}");
    }
}

/// The checks with this status.
fn with_status<'a>(report: &'a Value, status: &str) -> Vec<&'a str> {
    let all = report["checks"].as_array().unwrap();
    let found = all.iter().filter(|check| check["status"] == status);
    found.map(|check| check["id"].as_str().unwrap()).collect()
}

/// The reason of a check that could not answer.
#[track_caller]
fn reason<'a>(report: &'a Value, rule: &str) -> &'a str {
    let all = report["checks"].as_array().unwrap();
    all.iter().find(|check| check["id"] == rule).unwrap()["reason"].as_str().unwrap()
}

/// `check --offline` without a kubeconfig.
fn offline() -> Fixture {
    Fixture::for_command("check").args(&["--offline"]).without_env("KUBECONFIG")
}

fn report(fixture: Fixture) -> (RunResult, Value) {
    let ran = fixture.args(&["-o", "json"]).run();
    let report = ran.report();
    (ran, report)
}

#[test]
fn empty_folder_checks_only_programs() {
    let empty = || offline().file("../empty/unrelated.txt", "").cwd("empty");
    let (ran, report) = report(empty());
    ran.assert().code(1);
    assert_eq!(with_status(&report, "ok"), ["programs", "versions"]);
    assert_eq!(with_status(&report, "error"), ["helmfile"]);
    assert_eq!((with_status(&report, "warning").len(), with_status(&report, "info").len()), (0, 0));
    assert_counts(&report);
    assert_eq!(reason(&report, "flux-pair"), "no helmfile was read");
    let text = empty().run().stdout;
    assert!(text.contains(&format!("{} checks: 2 ok, 1 error, 0 warnings, ", rule_ids().count())), "{text}");
    assert_eq!(text.matches("no helmfile was read").count(), 1, "{text}");
    let searched = "searched: bootstrap/helmfile/apps.yaml, bootstrap/helmfile.d/01-apps.yaml, ";
    assert!(text.contains(searched) && text.contains("all folders above"), "{text}");
}

#[test]
fn root_is_found_without_git() {
    let fixture = offline().file("../plain/bootstrap/helmfile.d/00-crds.yaml", "releases: []\n");
    let fixture = fixture.file("../plain/bootstrap/helmfile.d/01-apps.yaml", "releases: []\n");
    let fixture = fixture.file("../plain/bootstrap/templates/x", "").cwd("plain/bootstrap/templates");
    let (ran, report) = report(fixture);
    ran.assert().code(0);
    assert_eq!(status_of(&report, "helmfile"), "ok");
}

#[test]
fn unreadable_helmfile_makes_checks_unknown() {
    let (ran, report) = report(offline().file("bootstrap/helmfile.d/01-apps.yaml", "releases: [\n"));
    ran.assert().code(1);
    assert_eq!(with_status(&report, "error"), ["helmfile"]);
    let ok = ["programs", "versions", "age-key", "age-key-mode", "age-key-flux"];
    assert_eq!(with_status(&report, "ok"), ok);
    assert_counts(&report);
    for rule in ["releases", "mirror", "cilium-values", "flux-sync", "api-host", "hooks", "env"] {
        assert_eq!(reason(&report, rule), "bootstrap/helmfile.d/01-apps.yaml was not read");
    }
}

#[test]
fn missing_kubeconfig_is_one_reason_for_all_checks() {
    let missing = || Fixture::for_command("check").without("kubeconfig");
    let (_, report) = report(missing());
    assert_eq!(status_of(&report, "kubeconfig"), "error");
    for rule in ["kubeconfig-cert", "api", "cluster-identity", "k3s-flannel", "nodes", "flux-owned"] {
        assert_eq!(reason(&report, rule), "no kubeconfig was read", "{rule}");
    }
    let text = missing().run().stdout;
    assert_eq!(text.matches("no kubeconfig was read").count(), 1, "{text}");
    assert!(text.contains("flux-state, plan: not checked\n      reason: no kubeconfig was read\n"), "{text}");
}

#[test]
fn unreachable_cluster_is_one_reason_for_all_checks() {
    let unreachable = || {
        let refused = "The connection to the server 10.0.0.10:6443 was refused\n";
        Fixture::for_command("check")
            .rule(json!({"tool": "api", "args": ["GET"], "exit": 1, "stderr": refused}))
    };
    let (_, report) = report(unreachable());
    assert_eq!(status_of(&report, "api"), "error");
    assert_eq!(reason(&report, "nodes"), "the cluster does not answer");
    assert_eq!(unreachable().run().stdout.matches("the cluster does not answer").count(), 1);
}

#[test]
fn k3s_checks_do_not_apply_to_other_distributions() {
    let rke2 = r#"{"gitVersion":"v1.33.6+rke2r1"}"#;
    let (_, report) = report(
        Fixture::for_command("check")
            .rule(json!({"tool": "api", "args": ["GET", "/version"], "stdout": rke2})),
    );
    for rule in
        ["k3s-flannel", "k3s-servers", "coredns-bundled", "bundled-adopted", "api-port", "api-host-roles"]
    {
        assert_eq!(reason(&report, rule), "the cluster does not run k3s", "{rule}");
        assert_eq!(status_of(&report, rule), "not_applicable");
    }
}

/// The Node of a k3s server that was started for this bootstrap.
fn server(name: &str) -> Value {
    let args = r#"["server","--flannel-backend","none","--disable-network-policy","true","--disable-kube-proxy","true","--disable","coredns,servicelb,traefik"]"#;
    json!({"kind": "Node", "metadata": {"name": name, "annotations": {"k3s.io/node-args": args},
        "labels": {"node-role.kubernetes.io/control-plane": "true", "kubernetes.io/hostname": name}},
        "status": {"conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]}})
}

/// The Lease of a running API server.
fn server_lease(host: &str) -> Value {
    json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": {"renewTime": "2026-11-23T08:10:00.000000Z"},
        "metadata": {"name": format!("apiserver-{host}"), "namespace": "kube-system", "labels": {
            "apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": host}}})
}

#[test]
fn server_without_node_is_named() {
    let with = |objects: Vec<Value>| {
        report(Fixture::for_command("check").without_objects("Node").objects(objects)).1
    };
    let both = with(vec![server("one"), server_lease("one")]);
    assert_eq!(status_of(&both, "k3s-flannel"), "ok", "{both:#}");
    let report = with(vec![server("one"), server_lease("one"), server_lease("two")]);
    for rule in ["k3s-flannel", "k3s-network-policy", "k3s-servers", "k3s-bundled"] {
        assert_eq!(
            reason(&report, rule),
            "API server on two has no Node that would report how k3s was started"
        );
    }
}

/// A check with the address of the API server in the values of cilium. Connections with these server names fail.
fn with_refusals(refused: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::for_command("check");
    let build = scenario::apps_build(&fixture.canaries)
        .replace("        ipam:\n", "        k8sServiceHost: 10.0.0.99\n        ipam:\n");
    let build = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build});
    let accepted = json!({"tool": "kubectl", "args": ["get", "--raw", "/version"], "stdout": "{}"});
    let refusals = refused.iter().map(|(name, words)| {
        let name = format!("--tls-server-name={name}");
        let words =
            format!("Unable to connect to the server: tls: failed to verify certificate: x509: {words}\n");
        json!({"tool": "kubectl", "args": ["get", "--raw", "/version", name], "exit": 1, "stderr": words})
    });
    refusals.fold(fixture.rule(build).rule(accepted), Fixture::rule)
}

const OWN: &str = "kubernetes.default.svc";

#[test]
fn certificate_is_checked_only_if_it_is_the_api_servers() {
    let address = ("10.0.0.99", "certificate is valid for 10.43.0.1, 127.0.0.1, not 10.0.0.99");
    let proxy = (OWN, "certificate is valid for proxy.lan, not kubernetes.default.svc");
    let (_, good) = report(with_refusals(&[]));
    assert_eq!(status_of(&good, "api-host-cert"), "ok");
    let (_, wrong) = report(with_refusals(&[address]));
    assert_eq!((status_of(&wrong, "api-host-cert"), status_of(&wrong, "api-ready")), ("error", "ok"));
    for refused in [&[proxy][..], &[proxy, address]] {
        let (_, other) = report(with_refusals(refused));
        assert_eq!((status_of(&other, "api-host-cert"), status_of(&other, "api-ready")), ("unknown", "ok"));
        let reason = reason(&other, "api-host-cert");
        let start = "the kubeconfig's server does not present the API server's own certificate: ";
        assert!(reason.starts_with(start) && reason.contains("valid for proxy.lan"), "{reason}");
    }
}

#[test]
fn certificate_is_not_checked_without_verification() {
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: default\n\
        contexts:\n- name: default\n  context: {cluster: default, user: default}\n\
        clusters:\n- name: default\n  cluster: {server: \"https://10.0.0.10:6443\", insecure-skip-tls-verify: true}\n\
        users:\n- name: default\n  user: {token: x}\n";
    let (ran, report) = report(with_refusals(&[]).file("../kubeconfig", kubeconfig));
    let expected = "the kubeconfig does not verify the API server's certificate";
    assert_eq!(reason(&report, "api-host-cert"), expected);
    assert_eq!(status_of(&report, "api-ready"), "ok");
    assert!(ran.calls_of("kubectl", "--raw").is_empty(), "the certificate is not checked");
}
