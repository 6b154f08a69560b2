//! Clusters and repositories of other distributions.

use serde_json::{Value, json};

use super::checks::status_of;
use super::fixture::{Fixture, RunResult};

/// A repository for Talos, and a Talos cluster with problems.
fn talos() -> Fixture {
    let node = json!({"kind": "Node", "metadata": {"name": "node-1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "status": {"nodeInfo": {"kubeletVersion": "v1.34.1", "osImage": "Talos (v1.11.2)"}, "conditions": [
            {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "PLEG is not healthy",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    Fixture::for_command("check")
        .file("bootstrap/templates/values.yaml.gotmpl", "k: 1\n")
        .file("talos/talconfig.yaml", "clusterName: home\n")
        .rule(json!({"tool": "api", "args": ["GET", "/version"], "stdout": r#"{"gitVersion":"v1.34.1"}"#}))
        .rule(json!({"tool": "api", "args": ["POST", "*/selfsubjectaccessreviews"], "stdout": r#"{"status":{"allowed":false}}"#}))
        .without_objects("Node")
        .objects([node])
}

/// The lines that name k3s, apart from k3s-boot itself.
fn lines_about_k3s(ran: &RunResult) -> Vec<&str> {
    let lines = ran.stdout.lines().chain(ran.stderr.lines());
    lines.filter(|line| line.replace("k3s-boot", "").to_lowercase().contains("k3s")).collect()
}

fn reason<'a>(report: &'a Value, rule: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == rule).unwrap()["reason"].as_str().unwrap()
}

#[test]
fn nothing_about_k3s_is_reported_for_talos() {
    let online = talos().run();
    online.assert().code(1);
    assert_eq!(lines_about_k3s(&online), [""; 0]);
    assert!(online.stdout.contains("then check `talosctl logs kubelet` of that node"), "{}", online.stdout);
    assert!(online.stdout.contains("write one with `talosctl kubeconfig`"), "{}", online.stdout);
    let report = talos().args(&["-o", "json"]).run().report();
    assert_eq!(status_of(&report, "distribution"), "ok");
    assert_eq!(reason(&report, "api-port"), "the cluster does not run k3s");

    let offline = || talos().args(&["--offline"]).without_env("KUBECONFIG").without("root/age.key");
    let ran = offline().run();
    assert_eq!(lines_about_k3s(&ran), [""; 0]);
    assert!(ran.stdout.contains("\nDNS and API address\n"), "{}", ran.stdout);
    let report = offline().args(&["-o", "json"]).run().report();
    for rule in ["api-port", "k3s-flannel"] {
        assert_eq!(reason(&report, rule), "the repository does not say that the cluster runs k3s", "{rule}");
    }
    let missing = talos().without("kubeconfig").run();
    assert!(
        missing.stdout.contains("write one with `talosctl kubeconfig`, and set KUBECONFIG"),
        "{}",
        missing.stdout
    );
    assert_eq!(lines_about_k3s(&missing), [""; 0]);
}

#[test]
fn the_configuration_decides_the_distribution() {
    let offline = |fixture: Fixture| {
        fixture.args(&["--offline", "-o", "json"]).without_env("KUBECONFIG").run().report()
    };
    let named = talos().file("k3s-boot.yaml", "cluster: {distribution: k3s}\n");
    assert_ne!(
        reason(&offline(named), "k3s-flannel"),
        "the repository does not say that the cluster runs k3s"
    );
    // The cluster itself takes precedence.
    let named =
        talos().file("k3s-boot.yaml", "cluster: {distribution: k3s}\n").args(&["-o", "json"]).run().report();
    assert_eq!(reason(&named, "k3s-flannel"), "the cluster does not run k3s");
    assert_eq!(status_of(&named, "distribution"), "warning");
}
