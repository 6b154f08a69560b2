//! Namespaces with labels, and an age key that lies encrypted in the repository.

use serde_json::{Value, json};

use super::fixture::Fixture;
use super::small_charts::{releases, write};

const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: not-used
  labels:
    pod-security.kubernetes.io/enforce: privileged
    level: ${LEVEL}
  annotations:
    kustomize.toolkit.fluxcd.io/prune: disabled
";

/// Two namespaces, one with labels, a group, and the age key as an encrypted Secret beside `age.key`.
fn fixture() -> Fixture {
    let fixture = Fixture::start("namespaces");
    write(&fixture, &releases(&["    name: small\n    namespace: media\n"]));
    let apps = |file: &str, text: &str| fixture.write(&format!("kubernetes/apps/{file}"), text);
    apps("media/kustomization.yaml", "namespace: media\nresources: [./namespace.yaml]\n");
    apps("media/namespace.yaml", NAMESPACE);
    apps("tools/kustomization.yaml", "resources: [./games, ./notes]\n");
    apps("tools/games/kustomization.yaml", "namespace: games\n");
    apps("tools/notes/kustomization.yaml", "resources: []\n");
    let key = std::fs::read_to_string(fixture.sandbox.age_key()).unwrap();
    let identity = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    assert_ne!(key, identity, "the file has comments or a line break");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sops-age", "namespace": "flux-system"},
        "stringData": {"age.agekey": identity}});
    fixture.encrypt_text("bootstrap/sops-age.sops.yaml", &secret.to_string());
    fixture
}

fn namespace(fixture: &Fixture, name: &str) -> Option<Value> {
    fixture.sandbox.get(&format!("/api/v1/namespaces/{name}")).unwrap()
}

#[track_caller]
fn assert_unchanged(fixture: &Fixture) {
    let mark = fixture.sandbox.audit_mark().unwrap();
    let diff = fixture.k3s_boot(&["diff", "--exit-code"]).run();
    diff.assert().code(0);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);
}

#[test]
fn declared_namespaces_and_an_encrypted_age_key_are_applied_once() {
    let fixture = fixture();
    let ran = fixture.k3s_boot(&["diff"]).run();
    let expected = "Namespaces
  + create games (kubernetes/apps/tools/games/kustomization.yaml)
  + create media (kubernetes/apps/media/namespace.yaml)
      annotations.kustomize.toolkit.fluxcd.io/prune: (not set) → \"disabled\"
      labels.pod-security.kubernetes.io/enforce: (not set) → \"privileged\"
  + create flux-system (Flux)
";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    for words in ["Namespace created namespace=\"games\"", "SOPS age secret applied"] {
        assert!(ran.stdout.contains(words), "no `{words}` in {}", ran.stdout);
    }
    let media = namespace(&fixture, "media").unwrap();
    let labels = media["metadata"]["labels"].as_object().unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "privileged");
    assert!(!labels.contains_key("level"), "Flux substitutes it");
    assert_eq!(media["metadata"]["annotations"], json!({"kustomize.toolkit.fluxcd.io/prune": "disabled"}));
    for name in ["tools", "notes", "not-used"] {
        assert!(namespace(&fixture, name).is_none(), "{name}");
    }
    assert_unchanged(&fixture);
    others_are_left_alone(&fixture);

    // The encrypted Secret is enough.
    std::fs::remove_file(fixture.root.join("age.key")).unwrap();
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).env("SOPS_AGE_KEY_FILE", fixture.sandbox.age_key()).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("No age key"), "{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);
}

/// Only declared labels are set, and none on a namespace that Flux manages.
fn others_are_left_alone(fixture: &Fixture) {
    let enforce = "pod-security.kubernetes.io/enforce";
    let label = |labels: &[&str]| {
        fixture.kubectl(&[&["label", "--overwrite", "namespace", "media"], labels].concat());
    };
    label(&[&format!("{enforce}=baseline"), "team=home"]);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    let changed = format!("Namespace changed namespace=\"media\" fields=\"labels.{enforce}\"");
    assert!(ran.stdout.contains(&changed), "{}", ran.stdout);
    let labels = namespace(fixture, "media").unwrap()["metadata"]["labels"].clone();
    assert_eq!((&labels[enforce], &labels["team"]), (&json!("privileged"), &json!("home")));
    assert_unchanged(fixture);
    let flux = "kustomize.toolkit.fluxcd.io";
    label(&[
        &format!("{enforce}=baseline"),
        &format!("{flux}/name=apps"),
        &format!("{flux}/namespace=flux-system"),
    ]);
    assert_unchanged(fixture);
    let diff = fixture.k3s_boot(&["diff"]).run();
    let skipped =
        "! skip media (kubernetes/apps/media/namespace.yaml): managed by Kustomization flux-system/apps";
    assert!(diff.stdout.contains(skipped), "{}", diff.stdout);
}
