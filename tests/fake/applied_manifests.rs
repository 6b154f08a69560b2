//! Manifests that `k3s-boot.yaml` names.

use serde_json::json;

use super::fixture::Fixture;

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: pools.example.org}\n\
    spec:\n  group: example.org\n  scope: Cluster\n  names: {kind: Pool, plural: pools}\n  versions: [{name: v1, served: true, storage: true}]\n";

fn fixture(command: &str, manifests: &str) -> Fixture {
    Fixture::for_command(command).file("k3s-boot.yaml", &format!("manifests:\n{manifests}"))
}

#[test]
fn unusable_manifests_are_reported_before_the_first_change() {
    let encrypted =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: 'ENC[x]'}\nsops: {mac: x}\n";
    let cases: &[(&str, &[&str])] = &[
        (
            "- path: nowhere.yaml\n",
            &["Manifest cannot be read manifest=\"nowhere.yaml\" reason=\"No such file or directory"],
        ),
        ("- path: bootstrap\n", &["Manifest is a folder without a kustomization manifest=\"bootstrap\""]),
        ("- path: encrypted.yaml\n", &["Manifest is encrypted manifest=\"encrypted.yaml\"", "secrets.files"]),
        ("- path: broken.yaml\n", &["Manifest contains no Kubernetes object manifest=\"broken.yaml\""]),
        ("- url: https://example.org/a.yaml\n", &["a URL without `sha256`", "curl -fsSL URL | sha256sum"]),
        ("- url: http://example.org/a.yaml\n  sha256: aa\n", &["a URL that starts with `https://`"]),
        ("- url: https://example.org/a.yaml\n  sha256: aa\n", &["a SHA-256 hash of 64 hexadecimal digits"]),
        ("- path: a.yaml\n  sha256: aa\n", &["a SHA-256 hash of 64"]),
        ("- {}\n", &["`path`, or `url` and `sha256`"]),
        ("- a.yaml\n", &["a mapping with the key `path`"]),
    ];
    for (manifests, expected) in cases {
        let fixture =
            fixture("apps", manifests).file("encrypted.yaml", encrypted).file("broken.yaml", "a: [\n");
        let refused = fixture.refusal();
        for words in *expected {
            assert!(refused.contains(words), "{manifests}{words}\n{refused}");
        }
    }
}

#[test]
fn an_unknown_kind_is_reported_unless_a_manifest_defines_it() {
    let pool = "apiVersion: example.org/v1\nkind: Pool\nmetadata: {name: first}\n";
    let refused = fixture("apps", "- path: pool.yaml\n").file("pool.yaml", pool).refusal();
    let expected = "Manifest contains an object of a kind that the cluster does not know manifest=\"pool.yaml\" kind=\"example.org/v1 Pool\"";
    assert!(refused.contains(expected), "{refused}");

    let manifests = "- path: pool.yaml\n- path: crds\n";
    let rendered = json!({"tool": "kubectl", "args": ["kustomize"], "stdout": CRD});
    let fixture = |command| {
        let kustomization = "resources: [https://example.org/crds.yaml]\n";
        fixture(command, manifests)
            .file("pool.yaml", pool)
            .file("crds/kustomization.yaml", kustomization)
            .rule(rendered.clone())
    };
    let ran = fixture("diff").run();
    ran.assert().code(0);
    let expected =
        "Manifests\n  + create Pool first\n  + create CustomResourceDefinition pools.example.org\n";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
    let ran = fixture("apps").args(&["--list"]).run();
    assert!(ran.stdout.contains("manifests\n  pool.yaml\n  crds\n"), "{}", ran.stdout);
    // Offline, too, what only needs files is reported.
    let ran = fixture("check").args(&["--offline"]).file("pool.yaml", "a: [\n").run();
    ran.assert().code(1);
    assert!(ran.stdout.contains("Manifest contains no Kubernetes object"), "{}", ran.stdout);
}
