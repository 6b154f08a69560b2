//! Namespaces that the repository declares.

use serde_json::{Value, json};

use super::fixture::Fixture;

const LABEL: &str = "pod-security.kubernetes.io/enforce";

/// A repository that declares `media` and `games`, with a group, a cluster and a folder that cannot be read.
fn fixture(command: &str) -> Fixture {
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: not-used\n  labels: {{{LABEL}: privileged, level: '${{LEVEL}}'}}\n"
    );
    let declared = |name: &str| format!("namespace: {name}\nresources: [namespace.yaml]\n");
    Fixture::for_command(command)
        .file("kubernetes/apps/media/kustomization.yaml", &declared("media"))
        .file("kubernetes/apps/media/namespace.yaml", &namespace)
        .file("kubernetes/apps/games/kustomization.yaml", &declared("games"))
        .file("kubernetes/apps/games/namespace.yaml", &namespace)
        .file("kubernetes/apps/group/kustomization.yaml", "resources: []\n")
        .file("kubernetes/apps/base/web/app/kustomization.yaml", "resources: []\n")
        .file("kubernetes/apps/broken/kustomization.yaml", "resources: [\n")
}

fn namespace(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": {"own": "stays"}},
        "status": {"phase": "Active"}})
}

#[test]
fn only_declared_namespaces_are_created() {
    let fixture = fixture("apps").objects([namespace("games", &json!({LABEL: "baseline"}))]);
    let ran = fixture.run();
    ran.assert().code(0);
    let created: Vec<_> = ran
        .lines("INFO Namespace created ")
        .iter()
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(created, ["media", "flux-system", "monitoring"]);
    let changed = r#"namespace="games" fields="labels.pod-security.kubernetes.io/enforce""#;
    assert_eq!(ran.lines("INFO Namespace changed ").len(), 1);
    assert!(ran.stdout.contains(changed), "{}", ran.stdout);
    let warning = r#"WARN File that may declare a namespace cannot be read file="[TMP]/root/kubernetes/apps/broken/kustomization.yaml" reason="not valid YAML: "#;
    assert!(ran.stdout.contains(warning), "{}", ran.stdout);
}

#[test]
fn diff_shows_labels_and_sources() {
    let managed = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    let flux = fixture("diff").objects([namespace("games", &managed)]);
    let fixture = fixture("diff").objects([namespace("games", &json!({LABEL: "baseline", "x": "y"}))]);
    let ran = fixture.run();
    ran.assert().code(0);
    let (namespaces, _) = ran.stdout.split_once("\n\n").unwrap();
    let label = format!("labels.{LABEL}");
    let expected = format!(
        "Namespaces
  ~ change games (kubernetes/apps/games/namespace.yaml)
      {label}: \"baseline\" → \"privileged\"
  + create media (kubernetes/apps/media/namespace.yaml)
      {label}: (not set) → \"privileged\"
  + create flux-system (Flux)
  + create monitoring (release monitoring/prometheus-operator-crds)
  = 1 unchanged"
    );
    assert_eq!(namespaces, expected);
    let report = fixture.args(&["-o", "json"]).run().report();
    let games = json!({"name": "games", "source": "kubernetes/apps/games/namespace.yaml", "action": "change",
        "fields": [{"path": label, "old": "baseline", "new": "privileged"}]});
    assert_eq!(report["namespaces"][0], games);
    assert_eq!(report["namespaces"][4]["source"], "release kube-system/cilium");
    let skipped =
        "  ! skip games (kubernetes/apps/games/namespace.yaml): managed by Kustomization flux-system/apps\n";
    let ran = flux.run();
    assert!(ran.stdout.contains(skipped), "{}", ran.stdout);
}

#[test]
fn an_object_whose_namespace_is_not_created_stops_the_run() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: group}\nstringData: {k: CANARY-of-group}\n";
    let fixture = fixture("apps")
        .canary("CANARY-of-group")
        .rule(json!({"tool": "sops", "args": ["decrypt"], "stdout": text}));
    let ran = fixture.run();
    ran.assert().code(1);
    assert_eq!(ran.mutating(), [""; 0]);
    let error = "ERROR Namespace is missing namespace=\"group\" object=\"Secret group/a\" fix=\"declare it in kubernetes/apps/group/kustomization.yaml";
    assert!(ran.stderr.contains(error), "{}", ran.stderr);
}
