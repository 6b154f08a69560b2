//! Jobs with `ttlSecondsAfterFinished`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::scenario;

const TEMPLATE: &str = "# a Job, and what it leaves\n";

fn manifest(ttl: &str) -> String {
    format!(
        "---\n# Source: jobs/templates/all.yaml\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: job\n  namespace: media\nspec:\n{ttl}  template: {{}}\n\
         ---\n# Source: jobs/templates/all.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: left\n  namespace: media\n"
    )
}

/// The Secret of a release with this manifest.
fn record(manifest: &str) -> Value {
    let templates = json!([{"name": "templates/all.yaml", "data": STANDARD.encode(TEMPLATE)}]);
    let release = json!({"name": "jobs", "namespace": "media", "version": 3, "info": {"status": "deployed"},
        "chart": {"metadata": {"name": "jobs", "version": "1.0.0"}, "templates": templates}, "config": {}, "manifest": manifest});
    let mut record = scenario::record("jobs", "media", "deployed", "1.0.0", &json!({}));
    record["data"]["release"] = STANDARD.encode(STANDARD.encode(release.to_string())).into();
    record
}

/// A cluster with that release, whose Job was deleted.
fn installed(ttl: &str) -> Fixture {
    let fixture = Fixture::new();
    let secret = |name: &str, key: &str, value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name, "namespace": "flux-system"},
            "data": {key: STANDARD.encode(value)}})
    };
    let age_key = std::fs::read_to_string(fixture.path("root/age.key")).unwrap();
    let secrets =
        [secret("sops-age", "age.agekey", &age_key), secret("github", "token", &fixture.canaries.decrypted)];
    let namespaces = ["kube-system", "cert-manager", "flux-system", "network", "monitoring", "media"]
        .map(|name| (name, "Active"));
    let helm = json!({"meta.helm.sh/release-name": "jobs", "meta.helm.sh/release-namespace": "media"});
    let left = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "left", "namespace": "media", "uid": "left",
        "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": helm}});
    let apps = "filepath: 01-apps.yaml\nreleases:\n  - chart: ../charts/jobs\n    version: 1.0.0\n    name: jobs\n    namespace: media\n";
    fixture.file("bootstrap/charts/jobs/Chart.yaml", "apiVersion: v2\nname: jobs\nversion: 1.0.0\n")
        .file("bootstrap/charts/jobs/templates/all.yaml", TEMPLATE)
        .file("bootstrap/helmfile.d/01-apps.yaml", apps)
        .objects(scenario::cluster(&namespaces, 1))
        .objects(secrets)
        .objects([record(&manifest(ttl)), left])
        .rule(json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "build"], "stdout": "filepath: 00-crds.yaml\nreleases: []\n"}))
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": apps}))
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "stderr": scenario::synced("media", "jobs")}))
}

#[test]
fn job_with_ttl_is_not_missing() {
    let ran = installed("  ttlSecondsAfterFinished: 60\n")
        .args(&["--skip", "verify", "--cluster", "uid-of-kube-system", "-o", "json"])
        .run();
    ran.assert().code(0);
    assert!(ran.stderr.contains("Nothing to change"), "{}", ran.stderr);
    assert_eq!(ran.report()["changed"], false);
    assert_eq!(ran.calls_of("helmfile", "sync").len(), 0);
}

#[test]
fn deleted_job_is_missing() {
    let ran = installed("").args(&["--skip", "verify", "--cluster", "uid-of-kube-system"]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("missing: Job media/job"), "{}", ran.stdout);
    assert_eq!(ran.calls_of("helmfile", "sync").len(), 1);
}
