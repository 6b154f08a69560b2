//! Bootstraps an empty cluster with the shipped `bootstrap/` until Flux syncs it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::fixture::{Fixture, temp_is_empty};
use super::support::bin_dir;

const SECRET: &str = "/api/v1/namespaces/flux-system/secrets/sops-age";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn decoded(secret: &Value, key: &str) -> String {
    String::from_utf8(STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn first_run_reconciles_and_reports_a_wrong_key() {
    let fixture = Fixture::with_large_crds("first-run");

    // The first run, on a cluster without workloads and Ready nodes.
    let ran = fixture.apps(&["--log-level", "debug"]).run();
    ran.assert().code(0);
    ran.assert_format();
    assert_eq!(ran.stderr, "");
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.contains("Bootstrap complete! Flux is now syncing the Git repository"), "{last}");
    for words in [
        "waiting_for=\"CNI\"",
        "Namespace exists namespace=\"kube-system\"",
        "Namespace created namespace=\"monitoring\"",
        "SOPS age secret applied secret=\"flux-system/sops-age\"",
        "Helm releases synced successfully releases=\"6\"",
    ] {
        assert!(ran.stdout.contains(words), "{words}");
    }
    assert!(temp_is_empty(&fixture));
    let releases = fixture.sandbox.helm_list().unwrap();
    assert_eq!(releases.len(), 6);
    assert!(releases.iter().all(|release| release["status"] == "deployed"), "{releases:?}");
    let secret = fixture.get(SECRET);
    assert_eq!(secret["metadata"]["annotations"], Value::Null);
    assert_eq!(decoded(&secret, "age.agekey"), std::fs::read_to_string(fixture.sandbox.age_key()).unwrap());
    let flux = "/apis/fluxcd.controlplane.io/v1/namespaces/flux-system/fluxinstances/flux";
    assert!(ready(&fixture.get(flux)));
    for from_git in [fixture.sandbox.git_secret(), fixture.sandbox.root_secret()] {
        let path = format!("/api/v1/namespaces/{}/secrets/{}", from_git.namespace, from_git.name);
        assert_eq!(decoded(&fixture.get(&path), from_git.key), from_git.value);
    }

    // Another age key would remove an identity from the cluster: an error, and nothing is changed.
    let other = fixture.sandbox.other_age_key();
    let other = other.to_str().unwrap();
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&["--age-key", other]).run();
    ran.assert().code(1);
    assert!(ran.stderr.contains("This would remove an age identity from the cluster"), "{}", ran.stderr);
    assert_eq!(fixture.changes(mark), [""; 0]);

    // With --rotate-age-key it is applied. The old status of Flux does not count: Flux is requested to reconcile, cannot
    // decrypt, and the error of kustomize-controller is reported.
    let ran = fixture.apps(&["--age-key", other, "--rotate-age-key"]).run();
    ran.assert().code(5);
    assert!(!ran.stdout.contains("Bootstrap complete"));
    assert!(
        ran.stderr.contains("Flux failed to reconcile") && ran.stderr.contains("decrypt"),
        "{}",
        ran.stderr
    );

    // The next run removes the copy of the key that `kubectl apply` leaves in an annotation, and does not count the
    // status of Flux from before the key was corrected.
    let client_side = fixture.root.join("client-side.json");
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "sops-age", "namespace": "flux-system"},
        "data": {"age.agekey": STANDARD.encode(std::fs::read(fixture.sandbox.age_key()).unwrap())}});
    std::fs::write(&client_side, manifest.to_string()).unwrap();
    fixture
        .sandbox
        .kubectl(&["apply", "--force-conflicts=false", "-f", client_side.to_str().unwrap()])
        .unwrap();
    std::fs::remove_file(&client_side).unwrap();
    assert!(fixture.get(SECRET)["metadata"]["annotations"][LAST_APPLIED].is_string());
    let ran = fixture
        .program("task", &["bootstrap:apps", "--", "-o", "json"])
        .env("PATH", path_with_the_program(&fixture))
        .run();
    ran.assert().code(0);
    assert_eq!(fixture.get(SECRET)["metadata"]["annotations"][LAST_APPLIED], Value::Null);
    assert!(ran.stderr.contains("SOPS age secret applied"));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["result"], "complete");
    assert_eq!(report["releases"].as_array().unwrap().len(), 6);
    let stages: Vec<_> = report["stages"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(stages, ["preflight", "nodes", "namespaces", "secrets", "crds", "apps", "verify"]);

    // Another run reports that there is nothing to change, and writes nothing.
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    let nothing = "Nothing to change namespaces=\"4\" secrets=\"1\" releases=\"6\"";
    assert!(ran.stdout.contains(nothing), "{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);
}

#[test]
fn wrong_age_key_fails_the_run() {
    let fixture = Fixture::start("wrong-key");
    let other = fixture.sandbox.other_age_key();
    let ran = fixture.apps(&["--age-key", other.to_str().unwrap()]).run();
    ran.assert().code(5);
    assert!(!ran.stdout.contains("Bootstrap complete"));
    let [error] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stderr) };
    for words in
        ["Flux failed to reconcile object=\"Kustomization flux-system/flux-system\"", "decrypt", "fix=\""]
    {
        assert!(error.contains(words), "no `{words}` in {error}");
    }
}

#[test]
fn helm_3_is_supported() {
    let fixture = Fixture::with_large_crds("helm-3");
    let bin = fixture.root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(fixture.sandbox.tools().helm_3(), bin.join("helm")).unwrap();
    let path = format!("{}:{}", bin.display(), path_with_the_program(&fixture));
    let ran = fixture.apps(&["-o", "json"]).env("PATH", path).run();
    ran.assert().code(0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["result"], "complete");
    assert_eq!(report["flux"]["repository"], sandbox::GIT_URL);
}

/// k3s-boot on PATH, and the Taskfile of this repository.
fn path_with_the_program(fixture: &Fixture) -> String {
    let taskfile = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Taskfile.yaml");
    std::fs::copy(taskfile, fixture.root.join("Taskfile.yaml")).unwrap();
    let tools = fixture.sandbox.tools().path_dir().display();
    format!("{}:{tools}:{}", bin_dir().display(), std::env::var("PATH").unwrap())
}
