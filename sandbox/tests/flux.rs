//! Flux in the sandbox: helmfile installs it, and the real kustomize-controller decrypts the files in Git.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::time::Duration;

use sandbox::{FluxBehavior, GitSecret, Options, Sandbox, wait_for};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);
const INSTANCE: &str = "/apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux";
const ROOT: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/flux-system";
const REPOSITORY: &str =
    "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/flux-system";

fn condition(object: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
}

fn wait_condition(sandbox: &Sandbox, path: &str, kind: &str, status: &str) -> String {
    let what = format!("{path} to have {kind}={status}");
    wait_for(&what, LIMIT, || {
        let object = sandbox.get(path)?.unwrap_or_default();
        Ok(condition(&object, kind).filter(|(found, _)| found == status).map(|(_, message)| message))
    })
    .unwrap()
}

fn put_age_key(sandbox: &Sandbox, key: &Path) {
    sandbox
        .kubectl(&["delete", "secret", "sops-age", "--namespace=flux-system", "--ignore-not-found"])
        .unwrap();
    let file = format!("--from-file=age.agekey={}", key.display());
    sandbox.kubectl(&["create", "secret", "generic", "sops-age", "--namespace=flux-system", &file]).unwrap();
}

fn exists(sandbox: &Sandbox, secret: &GitSecret) -> bool {
    let path = format!("/api/v1/namespaces/{}/secrets/{}", secret.namespace, secret.name);
    sandbox.get(&path).unwrap().is_some()
}

#[test]
fn flux_syncs_only_with_the_right_key() {
    let sandbox = Sandbox::start(Options { name: "flux".to_owned(), ..Options::default() }).unwrap();
    sandbox.kubectl(&["create", "namespace", "flux-system"]).unwrap();
    put_age_key(&sandbox, &sandbox.other_age_key());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in ["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"] {
        let mut helmfile = sandbox.command("helmfile");
        helmfile.args(["--file", file, "sync", "--hide-notes"]).current_dir(&workspace);
        let output = helmfile.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(sandbox.helm_list().unwrap().len(), 6);
    wait_condition(&sandbox, INSTANCE, "Ready", "True");
    wait_condition(&sandbox, REPOSITORY, "Ready", "True");
    // Before, it fails because the source is not there yet.
    wait_for("the decryption to fail", LIMIT, || {
        let message = wait_condition(&sandbox, ROOT, "Ready", "False");
        Ok(message.contains("failed to decrypt").then_some(()))
    })
    .unwrap();
    assert!(!exists(&sandbox, sandbox.root_secret()));

    put_age_key(&sandbox, &sandbox.age_key());
    sandbox
        .kubectl(&[
            "annotate",
            "--namespace=flux-system",
            "kustomization/flux-system",
            "reconcile.fluxcd.io/requestedAt=now",
        ])
        .unwrap();
    wait_condition(&sandbox, ROOT, "Ready", "True");
    wait_condition(
        &sandbox,
        &ROOT.replace("kustomizations/flux-system", "kustomizations/cluster-apps"),
        "Ready",
        "True",
    );
    for secret in [sandbox.root_secret(), sandbox.git_secret()] {
        let template = format!("--template={{{{ index .data \"{}\" | base64decode }}}}", secret.key);
        let namespace = format!("--namespace={}", secret.namespace);
        let output = sandbox.kubectl(&["get", "secret", secret.name, &namespace, &template]).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), secret.value);
    }

    sandbox.flux_stall("build failed: caused by the test");
    assert_eq!(wait_condition(&sandbox, INSTANCE, "Stalled", "True"), "build failed: caused by the test");
    sandbox.set_flux_behavior(FluxBehavior::Works);
    wait_condition(&sandbox, INSTANCE, "Ready", "True");

    let digest =
        || sandbox.get(REPOSITORY).unwrap().unwrap_or_default()["status"]["artifact"]["digest"].clone();
    let before = digest();
    std::fs::write(sandbox.git_folder().join("kubernetes/apps/new.yaml"), NEW).unwrap();
    sandbox.push().unwrap();
    assert_ne!(digest(), before);
    wait_for("what was pushed", LIMIT, || sandbox.get("/api/v1/namespaces/pushed")).unwrap();

    // The chart sources of HelmReleases.
    let manifest = sandbox.folder().join("sources.yaml");
    std::fs::write(&manifest, SOURCES).unwrap();
    sandbox.kubectl(&["apply", "--filename", &manifest.to_string_lossy()]).unwrap();
    let source =
        |name: &str| REPOSITORY.replace("gitrepositories/flux-system", &format!("ocirepositories/{name}"));
    let message = wait_condition(&sandbox, &source("cilium"), "Ready", "True");
    assert!(message.contains("stored artifact for digest '1.18.6@sha256:"), "{message}");
    let message = wait_condition(&sandbox, &source("missing"), "Ready", "False");
    assert!(message.contains("MANIFEST_UNKNOWN"), "{message}");
}

const NEW: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: pushed\n";

const SOURCES: &str = "\
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: cilium, namespace: flux-system}
spec:
  interval: 1h
  url: oci://quay.io/cilium/charts/cilium
  ref: {tag: 1.18.6}
  layerSelector: {mediaType: application/vnd.cncf.helm.chart.content.v1.tar+gzip, operation: copy}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: missing, namespace: flux-system}
spec:
  interval: 1h
  url: oci://quay.io/cilium/charts/cilium
  ref: {tag: 0.0.0}
";
