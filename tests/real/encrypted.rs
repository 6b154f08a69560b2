//! Encrypted files with objects of every built-in kind: a second run changes none of them.

use super::fixture::Fixture;
use super::small_charts::{releases, write};

const FILE: &str = "bootstrap/objects.sops.yaml";

/// Each has fields that the API server defaults or normalizes.
const OBJECTS: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: own}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: own, namespace: media}
rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: own}
rules: [{apiGroups: [apps], resources: [deployments], verbs: [get, list]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: own, namespace: media}
spec:
  replicas: 0
  selector: {matchLabels: {app: own}}
  template:
    metadata: {labels: {app: own}}
    spec: {containers: [{name: own, image: own, env: [{name: TOKEN, value: canary-of-an-encrypted-deployment}], resources: {requests: {cpu: 1000m}}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: own}
data: {token: canary-of-an-encrypted-configmap}
";

#[test]
fn encrypted_objects_of_every_kind_are_applied_once() {
    let mut fixture = Fixture::start("encrypted");
    unknown_kind_stops_the_run_before_a_change(&fixture);
    let canaries = ["canary-of-an-encrypted-deployment", "canary-of-an-encrypted-configmap"];
    for canary in canaries {
        fixture.add_secret(canary);
    }
    write(&fixture, &releases(&["    name: small\n    namespace: media\n"]));
    fixture.encrypt_text(FILE, OBJECTS);
    let ran = fixture.apps(&["--log-level", "debug"]).run();
    ran.assert().code(0);
    // Objects without a namespace get that of the folder, like Secrets.
    for path in [
        "/api/v1/namespaces/flux-system/serviceaccounts/own",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/own",
    ] {
        fixture.get(path);
    }
    let unchanged = || {
        let mark = fixture.sandbox.audit_mark().unwrap();
        let ran = fixture.k3s_boot(&["diff", "--exit-code"]).run();
        ran.assert().code(0);
        let ran = fixture.apps(&[]).run();
        assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
        assert_eq!(fixture.changes(mark), [""; 0]);
    };
    unchanged();
    // Differences are applied, and fields that the file no longer sets are removed.
    fixture.encrypt_text(
        FILE,
        &OBJECTS
            .replace("verbs: [get, list]", "verbs: [get]")
            .replace("resources: {requests: {cpu: 1000m}}", "tty: true"),
    );
    let ran = fixture.k3s_boot(&["diff", "--exit-code"]).run();
    ran.assert().code(7);
    assert!(
        ran.stdout.contains("ClusterRole own") && ran.stdout.contains("Deployment media/own"),
        "{}",
        ran.stdout
    );
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    let role = fixture.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/own");
    assert_eq!(role["rules"][0]["verbs"], serde_json::json!(["get"]));
    unchanged();
    // A change by another client to a field of the file is reverted.
    fixture.kubectl(&[
        "patch",
        "clusterrole",
        "own",
        "--type=json",
        "--patch",
        r#"[{"op":"add","path":"/rules/0/verbs/-","value":"watch"}]"#,
    ]);
    let ran = fixture.apps(&[]).run();
    assert!(ran.stdout.contains(r#"Object applied kind="ClusterRole" object="own""#), "{}", ran.stdout);
    unchanged();
}

fn unknown_kind_stops_the_run_before_a_change(fixture: &Fixture) {
    write(fixture, &releases(&["    name: small\n    namespace: media\n"]));
    let mark = fixture.sandbox.audit_mark().unwrap();
    for (api_version, kind, fix) in [
        ("gateway.networking.k8s.io/v1", "Gateway", "let Flux apply it"),
        ("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass", "let Flux apply it"),
        ("policy/v1beta1", "PodDisruptionBudget", "kubectl api-resources"),
        ("apps/v1", "Deploment", "kubectl api-resources"),
    ] {
        fixture
            .encrypt_text(FILE, &format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n"));
        let ran = fixture.apps(&[]).run();
        ran.assert().code(1);
        for words in [kind, fix, "objects.sops.yaml"] {
            assert!(ran.stderr.contains(words), "no `{words}` in {}", ran.stderr);
        }
    }
    assert_eq!(fixture.changes(mark), [""; 0]);
}
