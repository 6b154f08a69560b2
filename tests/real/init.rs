//! `k3s-boot init`, the bootstrap of what it writes, and the hand-over to Flux.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox::{CILIUM_NODE_ARGS, copy_folder, wait_for};
use serde::Deserialize as _;
use serde_json::Value;

use super::fixture::Fixture;
use super::second_run::newer;

const URL: &str = "https://git.sandbox.test/home.git";
const HELM_RELEASES: &str = "/apis/helm.toolkit.fluxcd.io/v2/helmreleases";
const HAND_OVER_TIMEOUT: Duration = Duration::from_mins(3);

/// A cluster, and what `init` writes for it in place of the shipped files.
fn initialized(fixture: &mut Fixture, args: &[&str]) {
    for path in ["bootstrap", "age.key"] {
        let path = fixture.root.join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    let ran = fixture.k3s_boot(&[&["init", "--git-url", URL], args].concat()).run();
    ran.assert().code(0);
    println!("{}{}", ran.stderr, ran.stdout);
    let key = std::fs::read_to_string(fixture.root.join("age.key")).unwrap();
    let identity = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    assert!(!ran.stdout.contains(identity) && !ran.stderr.contains(identity));
    fixture.add_secret(identity);
    fixture.git(&["add", "--all", "."]);
}

/// The objects of all releases, as Helm has stored them. Charts make new certificates whenever they are rendered.
fn manifests(fixture: &Fixture) -> BTreeMap<String, Vec<Value>> {
    let releases = fixture.sandbox.helm_list().unwrap();
    let text = |release: &Value, key: &str| release[key].as_str().unwrap().to_owned();
    let manifest = |release: &Value| {
        let (name, namespace) = (text(release, "name"), text(release, "namespace"));
        let output = fixture.helm(&["get", "manifest", &name, "--namespace", &namespace]);
        let documents = serde_yaml::Deserializer::from_slice(&output.stdout);
        let mut objects: Vec<Value> = documents.map(|one| Value::deserialize(one).unwrap()).collect();
        for object in objects.iter_mut().filter(|object| object["kind"] == "Secret") {
            object["data"].as_object_mut().unwrap().values_mut().for_each(|value| *value = Value::Null);
        }
        (format!("{namespace}/{name}"), objects)
    };
    releases.iter().map(manifest).collect()
}

/// The UIDs of all pods, by name.
fn pods(fixture: &Fixture) -> BTreeMap<String, String> {
    let pods = fixture.get("/api/v1/pods");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pods = pods["items"].as_array().unwrap().iter();
    pods.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]))).collect()
}

#[test]
fn flux_takes_over_what_init_wrote_without_a_change() {
    let mut fixture = Fixture::start("init");
    initialized(&mut fixture, &["--git-branch", "main"]);
    let ran = fixture.k3s_boot(&["check"]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert!(!ran.stdout.contains('✗') && !ran.stdout.contains("\n  ! "), "{}", ran.stdout);

    // As after a push.
    let git = fixture.sandbox.git_folder().to_owned();
    std::fs::remove_dir_all(&git).unwrap();
    copy_folder(&fixture.root.join("kubernetes"), &git.join("kubernetes")).unwrap();
    let ran = fixture.apps(&["--nodes-timeout", "60s"]).run();
    ran.assert().code(0);
    assert!(
        ran.stdout.contains("Bootstrap complete! Flux is now syncing the Git repository"),
        "{}",
        ran.stdout
    );
    println!("{}", ran.stdout);
    let (installed, before) = (manifests(&fixture), pods(&fixture));
    assert_eq!(installed.len(), 6, "{:?}", installed.keys());

    // Flux applies the HelmReleases in the order of their dependencies.
    let is_ready = |release: &Value| {
        release["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    wait_for("the HelmReleases", HAND_OVER_TIMEOUT, || {
        let list = fixture.sandbox.get(HELM_RELEASES)?.unwrap_or_default();
        let all = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        Ok((all.len() == 6 && all.iter().all(is_ready)).then_some(()))
    })
    .unwrap();
    // Each release has another revision, with the same objects; no pod was replaced.
    let rendered = manifests(&fixture);
    for (release, manifest) in &installed {
        assert_eq!(&rendered[release], manifest, "{release}");
    }
    let revisions = fixture.sandbox.helm_list().unwrap();
    assert!(revisions.iter().all(|release| release["revision"] == "2"), "{revisions:?}");
    assert_eq!(pods(&fixture), before);

    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&["--log-level", "debug"]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);
    assert!(!ran.stdout.contains("Pulling "), "charts of templates are fetched once");
    let ran = fixture.k3s_boot(&["check"]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert!(!ran.stdout.contains('✗') && !ran.stdout.contains("\n  ! "), "{}", ran.stdout);
    let ran = fixture.k3s_boot(&["status"]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert!(ran.stdout.contains("HelmRelease kube-system/cilium"), "{}", ran.stdout);
}

/// Writes a repository to a new folder, checks it against the cluster, and returns what was chosen.
fn shape(fixture: &mut Fixture, name: &str) -> BTreeMap<String, String> {
    let ran = fixture.k3s_boot(&["init", name, "--git-url", URL, "-o", "json"]).run();
    ran.assert().code(0);
    let key = std::fs::read_to_string(fixture.root.join(name).join("age.key")).unwrap();
    fixture.add_secret(key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let choices = report["choices"].as_array().unwrap();
    for choice in choices {
        println!(
            "| {name} | {} | {} | {} |",
            text(&choice["name"]),
            text(&choice["value"]),
            text(&choice["reason"])
        );
    }
    let ran = fixture.k3s_boot(&["check", "--root", name]).run();
    ran.assert().code(0);
    assert!(!ran.stdout.contains('✗') && !ran.stdout.contains("\n  ! "), "{name}: {}", ran.stdout);
    choices.iter().map(|choice| (text(&choice["name"]), text(&choice["value"]))).collect()
}

#[test]
fn what_init_writes_fits_the_cluster() {
    let mut fixture = Fixture::with_charts("init-shapes", &newer());
    let one = shape(&mut fixture, "one-node");
    assert_eq!(
        (one["replicas"].as_str(), one["cni"].as_str(), one["dns"].as_str()),
        ("1", "cilium", "coredns")
    );

    for _ in 0..3 {
        fixture.sandbox.add_node().unwrap();
    }
    fixture.kubectl(&["label", "node", "node-4", "node-role.kubernetes.io/control-plane-"]);
    fixture.set_node_args("node-4", &["agent"]);
    let many = shape(&mut fixture, "three-servers-and-an-agent");
    assert_eq!((many["nodes"].as_str(), many["replicas"].as_str()), ("4, 1 of them agents", "2"));

    // All servers of the next ones have the same arguments.
    let set_all = |fixture: &Fixture, args: &[&str]| {
        for node in ["node-1", "node-2", "node-3"] {
            fixture.set_node_args(node, args);
        }
    };
    let networks =
        ["--cluster-cidr", "10.42.0.0/16,fd00:42::/56", "--service-cidr", "10.43.0.0/16,fd00:43::/112"];
    set_all(&fixture, &[&CILIUM_NODE_ARGS[..], &networks].concat());
    let dual = shape(&mut fixture, "dual-stack");
    assert_eq!(dual["cluster DNS"], "10.43.0.10,fd00:43::a");

    // k3s runs everything itself.
    set_all(&fixture, &["server"]);
    let dns = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "coredns", "namespace": "kube-system",
        "labels": {"k8s-app": "kube-dns", "objectset.rio.cattle.io/hash": "bce283298811743a0386ab510f2f67ef74240c57"}},
        "spec": {"selector": {"matchLabels": {"k8s-app": "kube-dns"}}, "template": {"metadata": {"labels": {"k8s-app": "kube-dns"}},
        "spec": {"containers": [{"name": "coredns", "image": "rancher/mirrored-coredns-coredns:1.12.3"}]}}}}"#;
    fixture.apply(dns);
    for node in ["node-1", "node-2", "node-3", "node-4"] {
        fixture.sandbox.set_node_ready(node, true).unwrap();
    }
    let bundled = shape(&mut fixture, "flannel-and-coredns-of-k3s");
    assert_eq!(
        (bundled["cni"].as_str(), bundled["dns"].as_str()),
        ("none of this repository", "CoreDNS of k3s")
    );
    let servers =
        std::fs::read_to_string(fixture.root.join("flannel-and-coredns-of-k3s/k3s/config.yaml")).unwrap();
    assert!(!servers.contains("flannel-backend") && !servers.contains("disable"), "{servers}");

    // Cilium, and still the CoreDNS of k3s.
    let without_dns = [&CILIUM_NODE_ARGS[..7], &["--disable", "servicelb,traefik"]].concat();
    set_all(&fixture, &without_dns);
    let kept = shape(&mut fixture, "coredns-of-k3s");
    assert_eq!((kept["cni"].as_str(), kept["dns"].as_str()), ("cilium", "CoreDNS of k3s"));
    fixture.delete(dns);

    // A release that is newer than the template's.
    set_all(&fixture, &CILIUM_NODE_ARGS);
    let chart = "oci://quay.io/cilium/charts/cilium";
    let output =
        fixture.helm(&["install", "cilium", chart, "--namespace", "kube-system", "--version", "1.18.7"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let newer = shape(&mut fixture, "existing-releases");
    assert_eq!(newer["version"], "kube-system/cilium 1.18.7");
    assert!(newer.contains_key("pin") && !one.contains_key("pin"));
}
