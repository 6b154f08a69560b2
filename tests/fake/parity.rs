//! What Flux will install, compared with the helmfiles.

use insta::assert_snapshot;

use super::checks::status_of;
use super::fixture::Fixture;
use super::scenario;

/// An app of the repository with a HelmRelease and its OCIRepository.
fn app(fixture: Fixture, namespace: &str, name: &str, tag: &str, values: &str) -> Fixture {
    let folder = format!("kubernetes/apps/{namespace}/{name}");
    let ks = format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}}}\n\
         spec: {{path: ./{folder}/app, targetNamespace: {namespace}}}\n"
    );
    let release = format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {name}}}\n\
         spec:\n  chartRef: {{kind: OCIRepository, name: {name}}}\n  values: {values}\n"
    );
    let source = format!(
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {{name: {name}}}\n\
         spec: {{url: 'oci://registry.invalid/charts/{name}', ref: {{tag: {tag}}}}}\n"
    );
    fixture
        .file(&format!("{folder}/ks.yaml"), &ks)
        .file(&format!("{folder}/app/helmrelease.yaml"), &release)
        .file(&format!("{folder}/app/ocirepository.yaml"), &source)
}

fn offline() -> Fixture {
    Fixture::for_command("check").args(&["--offline"]).without_env("KUBECONFIG").without("root/age.key")
}

#[test]
fn differences_are_reported_offline() {
    let instance = format!(
        "{{instance: {{sync: {{kind: GitRepository, url: '{}', ref: refs/heads/other, path: kubernetes/flux/cluster}}}}}}",
        scenario::URL
    );
    let cilium = "{ipam: {mode: kubernetes}, password: '${PASSWORD}'}";
    let fixture = app(offline(), "kube-system", "cilium", "1.19.0", cilium);
    let fixture = app(fixture, "flux-system", "flux-instance", "0.54.0", &instance);
    let fixture = app(fixture, "monitoring", "prometheus-operator-crds", "19.1.0", "{}");
    let ran = fixture.run();
    ran.assert().code(0);
    let lines = ran.stdout.lines().skip_while(|line| !line.contains(" parity: "));
    let found: Vec<_> =
        lines.take_while(|line| line.starts_with("      ") || line.contains(" parity: ")).collect();
    assert_snapshot!(found.join("\n"), @r#"
      ! parity: Flux will upgrade the release
          release: kube-system/cilium
          helm_release: kubernetes/apps/kube-system/cilium/app/helmrelease.yaml
          version: 1.18.6
          flux_version: 1.19.0
          unknown: 1 value with variables was not compared
          fix: set the same version in the helmfile and in kubernetes/apps/kube-system/cilium/app/ocirepository.yaml
      i parity: Flux will apply other values
          release: flux-system/flux-instance
          helm_release: kubernetes/apps/flux-system/flux-instance/app/helmrelease.yaml
          values: instance.sync.ref ("refs/heads/main", in Flux "refs/heads/other")
    "#);
}

#[test]
fn equal_releases_are_ok() {
    let fixture = app(offline(), "monitoring", "prometheus-operator-crds", "19.1.0", "{}");
    let text = fixture.run().stdout;
    assert!(text.contains("✓ Flux will install the releases as the helmfiles do (1 release)\n"), "{text}");
    let report = fixture.args(&["-o", "json"]).run().report();
    assert_eq!(status_of(&report, "parity"), "ok");
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["id"] == "parity" && check["checked"] == "1 release"),
        "{report:#}"
    );
    let none = offline().args(&["-o", "json"]).run().report();
    assert_eq!(status_of(&none, "parity"), "not_applicable");
}
