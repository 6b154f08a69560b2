//! The stage `verify` with the real kustomize-controller.

use std::fs;

use sandbox::{GIT_URL, wait_for};
use serde_json::Value;

use super::fixture::{Fixture, LIMIT};

/// Adds a Kustomization to the root Kustomization, with the files in its folder.
fn add(fixture: &Fixture, name: &str, spec: &str, files: &[(&str, &str)]) {
    let git = fixture.sandbox.git_folder();
    let text = format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: {name}, namespace: flux-system}}
spec:
  interval: 1h
  retryInterval: 1h
  timeout: 10m
  path: ./kubernetes/{name}
  prune: true
  sourceRef: {{kind: GitRepository, name: flux-system}}
{spec}"
    );
    fs::write(git.join(format!("kubernetes/flux/cluster/{name}.yaml")), text).unwrap();
    let folder = git.join("kubernetes").join(name);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\n")
}

/// Status and reason of a Kustomization's `Ready`.
fn ready(fixture: &Fixture, name: &str) -> Option<(String, String)> {
    let path = format!("/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/{name}");
    let object = fixture.sandbox.get(&path).unwrap()?;
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some((ready["status"].as_str()?.to_owned(), ready["reason"].as_str()?.to_owned()))
}

#[track_caller]
fn wait_until(fixture: &Fixture, name: &str, status: &str) {
    let is = || Ok(ready(fixture, name).filter(|(found, _)| found == status).map(drop));
    wait_for(&format!("Ready={status} of {name}"), LIMIT, is).unwrap();
}

/// The objects that k3s-boot has requested Flux to reconcile.
fn requests(changes: &[String]) -> Vec<&str> {
    let of_flux = changes.iter().filter(|change| change.contains(".toolkit.fluxcd.io/"));
    of_flux.map(|change| change.rsplit_once("/namespaces/flux-system/").unwrap().1).collect()
}

/// What source-controller reports of references that the repository does not have: no time resolves that.
#[test]
fn missing_reference_ends_the_wait() {
    let fixture = Fixture::start("reference");
    let ran = fixture.apps(&[]).env("FLUX_GIT_REF", "refs/heads/nowhere").run();
    ran.assert().code(5);
    let [error] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stderr) };
    for words in [
        "Flux failed to reconcile object=\"GitRepository flux-system/flux-system\"",
        "cause=\"the Git repository has no such branch, tag or commit\"",
        "fix=\"correct `instance.sync.ref`",
        "unable to resolve ref 'refs/heads/nowhere' to a specific commit",
    ] {
        assert!(error.contains(words), "no `{words}` in {error}");
    }
    let branch = "couldn't find remote ref \"refs/heads/nowhere\"";
    let tag = "couldn't find remote ref \"refs/tags/v9\"";
    let commit =
        "unable to resolve commit object for '0123456789012345678901234567890123456789': object not found";
    for (name, reference, expected) in [
        ("branch", "{branch: nowhere}", branch),
        ("tag", "{tag: v9}", tag),
        ("semver", "{semver: 9.x}", "no match found for semver: 9.x"),
        ("commit", "{commit: '0123456789012345678901234567890123456789'}", commit),
    ] {
        fixture.apply(&format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
             metadata: {{name: {name}, namespace: flux-system}}\n\
             spec: {{interval: 1h, url: '{GIT_URL}', ref: {reference}}}\n"
        ));
        let path = format!("/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/{name}");
        let message = || {
            let object = fixture.get(&path);
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().find(|one| one["type"] == "Ready" && one["status"] == "False");
            Ok(ready.map(|ready| ready["message"].as_str().unwrap_or_default().to_owned()))
        };
        let message = wait_for(&format!("an error of {path}"), LIMIT, message).unwrap();
        assert!(message.ends_with(expected), "{name}: {message}");
    }
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
}

const SLOW: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: slow, namespace: default}
spec:
  selector: {matchLabels: {app: slow}}
  template:
    metadata: {labels: {app: slow}}
    spec: {containers: [{name: slow, image: slow}]}
";

#[test]
fn dependency_chain_reconciles_and_a_broken_child_is_named() {
    let fixture = Fixture::start("takeover");
    // The first of the chain becomes healthy slowly.
    fixture.sandbox.hold("default", "slow").unwrap();
    add(&fixture, "first", "  wait: true\n", &[("slow.yaml", SLOW)]);
    let waits = |other: &str| format!("  wait: true\n  dependsOn: [{{name: {other}}}]\n");
    add(&fixture, "second", &waits("first"), &[("second.yaml", &config_map("second"))]);
    add(&fixture, "third", &waits("second"), &[("third.yaml", &config_map("third"))]);
    fixture.sandbox.push().unwrap();
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Bootstrap complete!"));
    assert_eq!(ready(&fixture, "first").unwrap(), ("Unknown".to_owned(), "Progressing".to_owned()));
    assert_eq!(ready(&fixture, "third").unwrap().1, "DependencyNotReady");
    assert_eq!(requests(&fixture.changes(mark)), [""; 0]);
    fixture.sandbox.release().unwrap();
    wait_until(&fixture, "third", "True");

    // One broken child among ready ones.
    let missing = "resources: [config.yaml, missing.yaml]\n";
    let config = config_map("broken");
    let files = [("kustomization.yaml", missing), ("config.yaml", config.as_str())];
    add(&fixture, "broken", "", &files);
    add(&fixture, "after", "  dependsOn: [{name: broken}]\n", &[("after.yaml", &config_map("after"))]);
    fixture.sandbox.push().unwrap();
    wait_until(&fixture, "broken", "False");
    wait_until(&fixture, "after", "False");
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(5);
    let [error] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stderr) };
    for words in [
        "Flux failed to reconcile object=\"Kustomization flux-system/broken\"",
        "reason=\"BuildFailed: kustomize build failed: ",
        "missing.yaml",
        "fix=\"run `kustomize build`",
    ] {
        assert!(error.contains(words), "no `{words}` in {error}");
    }
    let expected = ["gitrepositories/flux-system", "kustomizations/broken"];
    let changes = fixture.changes(mark);
    let requested: Vec<_> =
        requests(&changes).into_iter().map(|path| path.split('?').next().unwrap()).collect();
    assert_eq!(requested, expected);

    // A commit that the source has not fetched yet fixes it.
    fs::remove_file(fixture.sandbox.git_folder().join("kubernetes/broken/kustomization.yaml")).unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert_eq!(ready(&fixture, "broken").unwrap().0, "True");

    // A missing folder, and a failure below a child, which does not count.
    let deep = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: deep, namespace: flux-system}
spec: {interval: 1h, path: ./kubernetes/nowhere, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
";
    fs::write(fixture.sandbox.git_folder().join("kubernetes/broken/deep.yaml"), deep).unwrap();
    fixture.sandbox.push().unwrap();
    wait_until(&fixture, "deep", "False");
    wait_until(&fixture, "after", "True");
    let ran = fixture.apps(&["-o", "json"]).run();
    ran.assert().code(0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["result"], "complete");
    let warnings: Vec<_> = ran.stderr.lines().filter(|line| line.contains(" WARN ")).collect();
    let [warning] = warnings[..] else { panic!("{}", ran.stderr) };
    for words in [
        "Flux failed to reconcile object=\"Kustomization flux-system/deep\" cause=",
        "reason=\"ArtifactFailed: kustomization path not found",
    ] {
        assert!(warning.contains(words), "{warning}");
    }
}
