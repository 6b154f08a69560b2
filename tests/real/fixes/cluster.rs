//! Fixes that change the cluster.

use serde_json::Value;

use super::{Scenario, commands};
use crate::fixture::Fixture;
use crate::helm_and_flux::{record, with_status};
use crate::manifests::USER_WORKLOAD;

const NODE: &str = "node-1";

#[test]
fn fixes_on_a_fresh_cluster() {
    let fixture = Fixture::start("fixes-fresh");
    fixture.kubectl(&["cordon", NODE]);
    Scenario::new(&fixture, "nodes-ready").runs();

    // A workload for nodes with a label.
    let values = "bootstrap/templates/values.yaml.gotmpl";
    let line = "priorityClassName: system-cluster-critical\n";
    fixture.replace(values, line, &format!("{line}nodeSelector: {{disk: fast}}\n"));
    let taints = Scenario::new(&fixture, "taints");
    taints.runs_with(|fix| {
        assert_eq!(fix, "kubectl label node NODE disk=fast");
        fix.replace("NODE", NODE)
    });
    fixture.restore();

    namespace_that_is_deleted(&fixture);
    fixture.apply(USER_WORKLOAD);
    let guard = Scenario::new(&fixture, "cluster-identity");
    guard.runs_with(|fix| format!("{} --yes", commands(&fix)[0]));
    // Another cluster under the same kubeconfig, as after a re-installation.
    let pinned = std::fs::read_to_string(fixture.root.join("k3s-boot.yaml")).unwrap();
    let uid = fixture.get("/api/v1/namespaces/kube-system")["metadata"]["uid"].as_str().unwrap().to_owned();
    let other = uid.replace(|digit: char| digit.is_ascii_digit(), "0");
    fixture.write("k3s-boot.yaml", &pinned.replace(&uid, &other));
    guard.runs_with(|fix| commands(&fix)[0].clone());
}

#[test]
fn fixes_on_a_bootstrapped_cluster() {
    let fixture = Fixture::start("fixes-done");
    fixture.apps(&[]).run().assert().code(0);
    let by_hand = r#"{"spec": {"template": {"spec": {"priorityClassName": "system-node-critical"}}}}"#;
    fixture.kubectl(&["patch", "deployment/coredns", "--namespace", "kube-system", "--patch", by_hand]);
    Scenario::new(&fixture, "drift").runs();
    let path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
    assert_eq!(fixture.get(path)["spec"]["template"]["spec"]["priorityClassName"], "system-cluster-critical");

    let interrupted = with_status(&record(&fixture, ("kube-system", "cilium"), 1), 2, "pending-upgrade");
    fixture.apply(&interrupted.to_string());
    let pending = Scenario::new(&fixture, "pending");
    pending.runs_with(|fix| format!("{} --yes --force", fix.split("  #").next().unwrap()));
    fixture.apps(&[]).run().assert().code(0);

    super::failures::fields_of_another_manager(&fixture);
    super::failures::commands_that_show(&fixture);
    dns_address(&fixture);
}

/// The command shows why the namespace is not deleted.
fn namespace_that_is_deleted(fixture: &Fixture) {
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: monitoring, finalizers: [example.org/wait]}\n";
    fixture.apply(namespace);
    fixture.kubectl(&["delete", "namespace", "monitoring", "--wait=false"]);
    let fixes = fixture.fixes("plan", &[], &[]);
    let ran = fixture.shell(&commands(&fixes[0])[0]);
    ran.assert().code(0);
    assert!(ran.stdout.contains("example.org/wait"), "{}", ran.stdout);
    fixture.kubectl(&[
        "patch",
        "namespace",
        "monitoring",
        "--type=merge",
        "--patch",
        r#"{"metadata": {"finalizers": null}}"#,
    ]);
    fixture.kubectl(&["wait", "--for=delete", "namespace/monitoring"]);
    assert_eq!(fixture.fixes("plan", &[], &[]), [""; 0]);
}

/// The command shows which Service has the address.
fn dns_address(fixture: &Fixture) {
    let values = "bootstrap/templates/values.yaml.gotmpl";
    let squatter = "apiVersion: v1\nkind: Service\nmetadata: {name: squatter, namespace: default}\n\
                    spec: {clusterIP: 10.43.0.53, ports: [{port: 80}]}\n";
    fixture.apply(squatter);
    fixture.replace(values, "clusterIP: 10.43.0.10", "clusterIP: 10.43.0.53");
    let fixes = fixture.fixes("dns-address", &[], &[]);
    let ran = fixture.shell(&commands(&fixes[0])[0]);
    ran.assert().code(0);
    assert!(ran.stdout.contains("name: squatter"), "{}", ran.stdout);
    fixture.restore();
    fixture.delete(squatter);
    assert_eq!(fixture.fixes("dns-address", &[], &[]), [""; 0]);
}

/// The `fix` of a failed run.
#[track_caller]
pub(super) fn failed(fixture: &Fixture, args: &[&str]) -> String {
    let ran = fixture.apps(&[&["-o", "json"], args].concat()).run();
    ran.assert().code(5);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    report["failure"]["fix"].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
}
