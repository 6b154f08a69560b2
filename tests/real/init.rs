//! `k3s-boot init`, the bootstrap of what it writes, and the hand-over to Flux.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox::{copy_folder, wait_for};
use serde::Deserialize as _;
use serde_json::Value;

use super::fixture::Fixture;
use super::support::assert_no_canary_in_files;

const URL: &str = "https://git.sandbox.test/home.git";
const HELM_RELEASES: &str = "/apis/helm.toolkit.fluxcd.io/v2/helmreleases";
const HAND_OVER_TIMEOUT: Duration = Duration::from_mins(3);

/// A cluster, and what `init` writes for it in place of the shipped files.
fn initialized(fixture: &mut Fixture, args: &[&str]) {
    for path in ["bootstrap", "age.key"] {
        let path = fixture.root.join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
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
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);
    let ran = fixture.k3s_boot(&["check"]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert!(!ran.stdout.contains('✗') && !ran.stdout.contains("\n  ! "), "{}", ran.stdout);
    let ran = fixture.k3s_boot(&["status"]).run();
    ran.assert().code(0);
    println!("{}", ran.stdout);
    assert!(ran.stdout.contains("HelmRelease kube-system/cilium"), "{}", ran.stdout);
    assert_no_canary_in_files(&[], &fixture.root);
}
