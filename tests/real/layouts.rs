//! Repositories of all known layouts (`tests/fixtures/layouts`): each bootstraps as it is, and a second run changes nothing.
//!
//! Each folder is laid over `common`, which holds what Flux applies.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sandbox::charts::{self, Chart};
use sandbox::{Registry, copy_folder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::fixture::{Fixture, Invocation, registry_with};

/// Secrets that the command of `11-secrets-from-commands` adds.
const VAULT: [(&str, &str); 2] =
    [("token", "canary-token-of-the-vault"), ("host", "canary-host.of.the.vault")];

const ZONES: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: zones, namespace: kube-system}\ndata: {zone: a}\n";

/// The charts of CRD helmfiles: with CRDs in `crds/`, in a subchart, and among the templates.
fn crd_charts() -> [Chart; 3] {
    let crd = |plural: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.org")},
            "spec": {"group": "example.org", "scope": "Namespaced",
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
                "names": {"kind": plural.to_uppercase(), "plural": plural}}})
        .to_string()
    };
    let inner = "apiVersion: v2\nname: inner\nversion: 1.0.0\n";
    [
        Chart::generic("crds-folder").with_file("crds/apples.yaml", crd("apples")),
        Chart::generic("crds-subchart")
            .with_file("charts/inner/Chart.yaml", inner)
            .with_file("charts/inner/crds/pears.yaml", crd("pears")),
        Chart::generic("crds-template").with_file("templates/plums.yaml", crd("plums")),
    ]
}

/// A registry with these charts, which is a web server with a chart repository too.
fn registry() -> Arc<Registry> {
    static REGISTRY: Mutex<Option<Arc<Registry>>> = Mutex::new(None);
    let mut registry = REGISTRY.lock().unwrap();
    Arc::clone(registry.get_or_insert_with(|| {
        let all = [&crd_charts()[..], &[Chart::generic("spegel")]].concat();
        let registry = registry_with(&all);
        let folder = tempfile::tempdir().unwrap();
        let packed = charts::build_one(folder.path(), &all[0]).unwrap();
        registry.faults().serve("/charts/crds-folder-1.0.0.tgz", std::fs::read(packed.file).unwrap());
        let index = "apiVersion: v1\nentries:\n  crds-folder:\n  - apiVersion: v2\n    name: crds-folder\n    version: 1.0.0\n    \
                     urls: [crds-folder-1.0.0.tgz]\n";
        registry.faults().serve("/charts/index.yaml", index);
        registry.faults().serve("/manifests/zones.yaml", ZONES);
        registry
    }))
}

/// A repository of a layout, with its own cluster.
fn fixture(layout: &str) -> Fixture {
    let mut fixture = Fixture::with_registry(layout, registry());
    std::fs::remove_dir_all(fixture.root.join("bootstrap")).unwrap();
    let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layouts");
    for folder in ["common", layout] {
        copy_folder(&layouts.join(folder), &fixture.root).unwrap();
    }
    for (name, secret) in VAULT {
        fixture.add_secret(secret);
        let vault: PathBuf = fixture.root.parent().unwrap().join("vault");
        std::fs::create_dir_all(&vault).unwrap();
        std::fs::write(vault.join(name), secret).unwrap();
    }
    let config = fixture.root.join("k3s-boot.yaml");
    if let Ok(text) = std::fs::read_to_string(&config) {
        let hash = format!("{:x}", Sha256::digest(ZONES));
        std::fs::write(config, text.replace("SHA256_OF_ZONES", &hash)).unwrap();
    }
    fixture.git(&["add", "--all", "."]);
    fixture
}

/// Bootstraps the repository; a second run has nothing to change, and changes nothing.
fn assert_served(fixture: &Fixture) -> Value {
    let with_cluster = |args: &[&str]| -> Invocation<'_> { fixture.k3s_boot(args).env("CLUSTER", "main") };
    let report_of = |args: &[&str]| -> Value {
        let ran = with_cluster(args).run();
        ran.assert().code(0);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let checks = report_of(&["check", "--output", "json"]);
    assert_eq!([&checks["counts"]["errors"], &checks["counts"]["warnings"]], [0, 0], "{checks:#}");
    let report = report_of(&["apps", "--output", "json"]);
    assert_eq!(report["result"], "complete", "{report:#}");
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = with_cluster(&["diff", "--exit-code"]).run();
    ran.assert().code(0);
    let ran = with_cluster(&["apps"]).run();
    ran.assert().code(0);
    for words in ["Nothing to change", "Bootstrap complete!"] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }
    assert_eq!(fixture.changes(mark), [""; 0]);
    let network = fixture.get("/api/v1/namespaces/network");
    assert_eq!(network["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    report
}

fn has_crd(fixture: &Fixture, name: &str) -> bool {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    fixture.sandbox.get(&path).unwrap().is_some()
}

/// The layouts that need nothing else.
macro_rules! layouts {
    ($($name:ident: $folder:literal, $crds:expr;)+) => {$(
        #[test]
        fn $name() {
            let fixture = fixture($folder);
            assert!(!fixture.root.join("k3s-boot.yaml").exists());
            let report = assert_served(&fixture);
            let crds: &[&str] = &$crds;
            assert_eq!(report["crds"].as_array().map_or(0, Vec::len), crds.len(), "{report:#}");
            for plural in crds {
                assert!(has_crd(&fixture, &format!("{plural}.example.org")), "{plural}");
            }
        }
    )+};
}

layouts! {
    helmfile_d: "01-helmfile-d", ["apples", "pears", "plums"];
    helmfile_d_gotmpl: "02-helmfile-d-gotmpl", ["apples", "plums"];
    helmfile_folder: "03-helmfile-folder", ["apples", "pears", "plums"];
    kubernetes_helmfile_d: "04-kubernetes-helmfile-d", ["pears"];
    kubernetes_helmfile_folder: "05-kubernetes-helmfile-folder", ["apples"];
    single_helmfile_gotmpl: "07-single-helmfile-gotmpl", [];
    kubernetes_single_helmfile: "08-kubernetes-single-helmfile", [];
    kubernetes_apps_helmfile: "09-kubernetes-apps-helmfile", [];
}

#[test]
fn single_helmfile_with_hooks() {
    let fixture = fixture("06-single-helmfile");
    assert_served(&fixture);
    fixture.get("/api/v1/namespaces/flux-system/configmaps/pools");
}

#[test]
fn one_of_two_layouts_is_named() {
    let fixture = fixture("10-two-layouts");
    assert_served(&fixture);
    std::fs::remove_file(fixture.root.join("k3s-boot.yaml")).unwrap();
    let ran = fixture.k3s_boot(&["check", "--offline"]).run();
    ran.assert().code(1);
    assert!(ran.stdout.contains("Several layouts of helmfiles found"), "{}", ran.stdout);
}

#[test]
fn secrets_from_commands() {
    let fixture = fixture("11-secrets-from-commands");
    assert_served(&fixture);
    let secret = fixture.get("/api/v1/namespaces/external-secrets/secrets/onepassword");
    assert_eq!(secret["data"]["token"], "Y2FuYXJ5LXRva2VuLW9mLXRoZS12YXVsdA==");
    let settings = fixture.get("/api/v1/namespaces/flux-system/configmaps/cluster");
    assert_eq!(settings["data"]["host"], VAULT[1].1);
}

#[test]
fn manifests_before_the_apps() {
    let fixture = fixture("12-manifests-and-clusters");
    assert_served(&fixture);
    fixture.get("/apis/example.com/v1/pools/first");
    fixture.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/example:view");
    fixture.get("/api/v1/namespaces/kube-system/configmaps/zones");
    // A newer CRD stays, and what Flux manages.
    let pools = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pools.example.com";
    let mut newer = fixture.get(pools);
    newer["metadata"] = json!({"name": "pools.example.com"});
    let mut version = newer["spec"]["versions"][0].clone();
    (version["name"], version["storage"]) = ("v2".into(), false.into());
    newer["spec"]["versions"].as_array_mut().unwrap().push(version);
    newer.as_object_mut().unwrap().remove("status");
    fixture.apply(&newer.to_string());
    let flux = "kustomize.toolkit.fluxcd.io";
    let zones = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"zone": "b"}, "metadata": {"name": "zones",
        "namespace": "kube-system", "labels": {format!("{flux}/name"): "apps", format!("{flux}/namespace"): "flux-system"}}});
    fixture.apply(&zones.to_string());
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.k3s_boot(&["diff"]).env("CLUSTER", "main").run();
    for line in [
        "! skip CustomResourceDefinition pools.example.com: newer in the cluster\n",
        "! skip ConfigMap kube-system/zones: managed by Kustomization flux-system/apps\n",
    ] {
        assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
    }
    fixture.apps(&[]).env("CLUSTER", "main").run().assert().code(0);
    assert_eq!(fixture.changes(mark), [""; 0]);
    // The folder of a cluster.
    assert!(fixture.sandbox.get("/api/v1/namespaces/base").unwrap().is_none());
    // Another file behind the URL is refused.
    std::fs::remove_dir_all(fixture.sandbox.home().join(".cache/k3s-boot/manifests")).unwrap();
    fixture.replace(
        "k3s-boot.yaml",
        "sha256: ",
        "sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef # ",
    );
    let ran = fixture.apps(&[]).env("CLUSTER", "main").run();
    ran.assert().code(1);
    assert!(
        ran.stderr.contains(
            "Manifest has another hash manifest=\"https://files.sandbox.test/manifests/zones.yaml\""
        ),
        "{}",
        ran.stderr
    );
}
