//! `diff --manifests`, and manual changes of objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fixture::Fixture;

/// A value of the release in the output of helmfile.
const VALUE: &str = "CANARY-of-a-release";

/// A repository with one release, `media/web`, of a local chart with this values file.
fn fixture_for(command: &str, values: &str) -> Fixture {
    let helmfile =
        "releases:\n- name: web\n  namespace: media\n  chart: ../charts/web\n  values: [../values.yaml]\n";
    let build = format!(
        "---\nreleases:\n- name: web\n  namespace: media\n  chart: ../charts/web\n  values:\n  - key: {VALUE}\n"
    );
    Fixture::for_command(command)
        .file("bootstrap/helmfile.d/00-crds.yaml", "releases: []\n")
        .file("bootstrap/helmfile.d/01-apps.yaml", helmfile)
        .file("bootstrap/values.yaml", values)
        .file("bootstrap/charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n")
        .rule(
            json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "build"], "stdout": "---\nreleases: []\n"}),
        )
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
        .canary(VALUE)
}

/// Sets the rendered manifest of the release.
fn rendering(fixture: Fixture, manifest: &str) -> Fixture {
    let rendered = json!({"namespace-media/web/all.yaml": manifest});
    fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "template"], "rendered": rendered}))
}

/// An object of the release in the cluster.
fn of_release(kind: &str, api_version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "spec": spec, "metadata": {"name": name, "namespace": "media",
        "generation": 1, "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "media"}}})
}

const RENDERED: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: kept}
spec:
  template: {spec: {volumes: [{name: keys, secret: {defaultMode: 0400}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: grown}
spec: {replicas: 2}
---
apiVersion: v1
kind: Service
metadata: {name: refused}
spec: {clusterIP: 10.0.0.7}
";

/// Three objects: one is unchanged, one differs, one is rejected.
fn compared(fixture: Fixture) -> Fixture {
    let mode = json!({"template": {"spec": {"volumes": [{"name": "keys", "secret": {"defaultMode": 256}}]}}});
    let refusal = r#"{"kind":"Status","message":"Service \"refused\" is invalid: spec.clusterIP: Invalid value: \"10.0.0.7\""}"#;
    let path = "/api/v1/namespaces/media/services/refused?dryRun=All*";
    rendering(fixture, RENDERED)
        .objects([
            of_release("Deployment", "apps/v1", "kept", &mode),
            of_release("Deployment", "apps/v1", "grown", &json!({"replicas": 1})),
            of_release("Service", "v1", "refused", &json!({"clusterIP": "10.0.0.6"})),
        ])
        .rule(json!({"tool": "api", "args": ["PATCH", path], "status": 422, "stdout": refusal}))
}

#[test]
fn rejected_object_does_not_hide_others() {
    let fixture = compared(fixture_for("diff", "key: x\n")).args(&["--manifests"]);
    let ran = fixture.run();
    assert_eq!((ran.code(), ran.mutating()), (0, Vec::new()), "{}", ran.stderr);
    let objects = ran.stdout.split("Objects\n").nth(1).unwrap();
    let expected = "  ? unknown Service media/refused (media/web): Service \"refused\" is invalid";
    assert!(objects.contains("  ~ change Deployment media/grown (media/web)\n      spec.replicas: 1 → 2\n"));
    assert!(objects.contains(expected), "{objects}");
    // Helm reads 0400 as an octal number, so there is no difference.
    assert_eq!(objects.matches("media/web").count(), 2, "{objects}");
    let path = "/apis/apps/v1/namespaces/media/deployments/kept?dryRun=All&force=true&fieldManager=helm";
    let mode = "/body/spec/template/spec/volumes/0/secret/defaultMode";
    assert_eq!(ran.calls_of("api", path)[0].pointer(mode), Some(&json!(256)));
}

/// The API server quotes wrong values, which may be decrypted ones.
#[test]
fn rejection_has_no_decrypted_values() {
    let encrypted = "key: ref+sops://../secrets.sops.yaml#/key\n";
    let fixture = || compared(fixture_for("diff", encrypted)).helmfile_decrypts().args(&["--manifests"]);
    let ran = fixture().run();
    ran.assert().code(0);
    let line = "  ? unknown Service media/refused (media/web): rejected by the API server (message withheld: it may contain secret values)\n";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    assert!(ran.stdout.contains("media/grown (media/web)\n      spec.replicas\n"), "{}", ran.stdout);
    let report = fixture().args(&["-o", "json"]).run().report();
    assert!(!report.to_string().contains("10.0.0.7"), "{report:#}");
}

/// An installed release with a DaemonSet from which a field was removed with `kubectl edit`.
fn edited(fixture: Fixture) -> Fixture {
    let spec = json!({"template": {"spec": {"hostNetwork": true, "volumes": [{"name": "keys", "secret": {"defaultMode": 256}}]}}});
    let mut live = spec.clone();
    live["template"]["spec"].as_object_mut().unwrap().remove("hostNetwork");
    let manifest = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\nspec:\n  template: {spec: {hostNetwork: true, volumes: \
                    [{name: keys, secret: {defaultMode: 0400}}]}}\n";
    let release = json!({"name": "web", "namespace": "media", "version": 1, "info": {"status": "deployed"},
        "chart": {"metadata": {"name": "web", "version": "1.0.0"}}, "config": {"key": VALUE}, "manifest": manifest});
    let labels = json!({"owner": "helm", "name": "web", "status": "deployed", "version": "1"});
    let data = STANDARD.encode(STANDARD.encode(release.to_string()));
    fixture.objects([
        of_release("DaemonSet", "apps/v1", "agent", &live),
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"release": data},
            "metadata": {"name": "sh.helm.release.v1.web.v1", "namespace": "media", "labels": labels}}),
    ])
}

#[test]
fn manually_removed_field_is_drift() {
    let report = |fixture: Fixture| fixture.args(&["-o", "json"]).run().report();
    let drift = |report: &Value| {
        let all = report["checks"].as_array().unwrap();
        all.iter().find(|check| check["id"] == "drift").unwrap().clone()
    };
    let found = drift(&report(edited(fixture_for("check", "key: x\n"))));
    let fields = "DaemonSet media/agent spec.template.spec.hostNetwork (removed)";
    assert_eq!(found["status"], "warning", "{found:#}");
    assert_eq!(found["problems"][0]["details"]["fields"], fields, "{found:#}");
    // What the API server rejects is unknown, never ok.
    let path = "/apis/apps/v1/namespaces/media/daemonsets/agent?dryRun=All*";
    let refusal = json!({"tool": "api", "args": ["PATCH", path], "status": 422,
        "stdout": r#"{"kind":"Status","message":"spec.x: Invalid value: \"hostile\""}"#});
    let refused = drift(&report(edited(fixture_for("check", "key: x\n")).rule(refusal.clone())));
    assert_eq!(refused["status"], "unknown", "{refused:#}");
    let reason = "media/web: DaemonSet media/agent: spec.x: Invalid value: \"hostile\"";
    assert_eq!(refused["reason"], reason, "{refused:#}");
    let encrypted = fixture_for("check", "key: ref+sops://../secrets.sops.yaml#/key\n").helmfile_decrypts();
    let withheld = drift(&report(edited(encrypted).rule(refusal)));
    assert_eq!(withheld["status"], "unknown", "{withheld:#}");
    assert!(!withheld.to_string().contains("hostile"), "{withheld:#}");
}
