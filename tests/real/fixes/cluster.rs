//! Fixes that change the cluster.

use serde_json::Value;

use super::{Scenario, commands};
use crate::manifests::USER_WORKLOAD;
use crate::standing::{record, rewritten};
use crate::world::World;

const NODE: &str = "node-1";

#[test]
fn fixes_on_a_fresh_cluster() {
    let world = World::start("fixes-fresh");
    world.kubectl(&["cordon", NODE]);
    Scenario::new(&world, "nodes-ready").goes();

    // A workload for nodes with a label.
    let values = "bootstrap/templates/values.yaml.gotmpl";
    let line = "priorityClassName: system-cluster-critical\n";
    world.replace(values, line, &format!("{line}nodeSelector: {{disk: fast}}\n"));
    let taints = Scenario::new(&world, "taints");
    taints.goes_with(|fix| {
        assert_eq!(fix, "kubectl label node NODE disk=fast");
        fix.replace("NODE", NODE)
    });
    world.restore();

    namespace_that_is_deleted(&world);
    world.apply(USER_WORKLOAD);
    let guard = Scenario::new(&world, "cluster-identity");
    guard.goes_with(|fix| format!("{} --yes", commands(&fix)[0]));
    // Another cluster under the same kubeconfig, as after a re-installation.
    let pinned = std::fs::read_to_string(world.root.join("k3s-boot.yaml")).unwrap();
    let uid = world.get("/api/v1/namespaces/kube-system")["metadata"]["uid"].as_str().unwrap().to_owned();
    let other = uid.replace(|digit: char| digit.is_ascii_digit(), "0");
    world.write("k3s-boot.yaml", &pinned.replace(&uid, &other));
    guard.goes_with(|fix| commands(&fix)[0].clone());
}

#[test]
fn fixes_on_a_bootstrapped_cluster() {
    let world = World::start("fixes-done");
    world.apps(&[]).run().assert().code(0);
    let by_hand = r#"{"spec": {"template": {"spec": {"priorityClassName": "system-node-critical"}}}}"#;
    world.kubectl(&["patch", "deployment/coredns", "--namespace", "kube-system", "--patch", by_hand]);
    Scenario::new(&world, "drift").goes();
    let path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
    assert_eq!(world.get(path)["spec"]["template"]["spec"]["priorityClassName"], "system-cluster-critical");

    let interrupted = rewritten(&record(&world, ("kube-system", "cilium"), 1), 2, "pending-upgrade");
    world.apply(&interrupted.to_string());
    let pending = Scenario::new(&world, "pending");
    pending.goes_with(|fix| format!("{} --yes --force", fix.split("  #").next().unwrap()));
    world.apps(&[]).run().assert().code(0);

    super::failures::fields_of_somebody_else(&world);
    super::failures::commands_that_show(&world);
    dns_address(&world);
}

/// The command shows why the namespace is not deleted.
fn namespace_that_is_deleted(world: &World) {
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: network, finalizers: [example.org/wait]}\n";
    world.apply(namespace);
    world.kubectl(&["delete", "namespace", "network", "--wait=false"]);
    let fixes = world.fixes("plan", &[], &[]);
    let ran = world.shell(&commands(&fixes[0])[0]);
    ran.assert().code(0);
    assert!(ran.stdout.contains("example.org/wait"), "{}", ran.stdout);
    world.kubectl(&[
        "patch",
        "namespace",
        "network",
        "--type=merge",
        "--patch",
        r#"{"metadata": {"finalizers": null}}"#,
    ]);
    world.kubectl(&["wait", "--for=delete", "namespace/network"]);
    assert_eq!(world.fixes("plan", &[], &[]), [""; 0]);
}

/// The command shows which Service has the address.
fn dns_address(world: &World) {
    let values = "bootstrap/templates/values.yaml.gotmpl";
    let squatter = "apiVersion: v1\nkind: Service\nmetadata: {name: squatter, namespace: default}\n\
                    spec: {clusterIP: 10.43.0.53, ports: [{port: 80}]}\n";
    world.apply(squatter);
    world.replace(values, "clusterIP: 10.43.0.10", "clusterIP: 10.43.0.53");
    let fixes = world.fixes("dns-address", &[], &[]);
    let ran = world.shell(&commands(&fixes[0])[0]);
    ran.assert().code(0);
    assert!(ran.stdout.contains("name: squatter"), "{}", ran.stdout);
    world.restore();
    world.delete(squatter);
    assert_eq!(world.fixes("dns-address", &[], &[]), [""; 0]);
}

/// The `fix` of a failed run.
#[track_caller]
pub(super) fn failed(world: &World, args: &[&str]) -> String {
    let ran = world.apps(&[&["-o", "json"], args].concat()).run();
    ran.assert().code(5);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    report["failure"]["fix"].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
}
