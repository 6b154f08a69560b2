//! The files of the original repository, verbatim: `check --offline` reports all their known faults and contacts nothing.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sandbox::copy_folder;

use super::fixture::{Fixture, RunResult};
use super::problem_table::{blocks, reports};

/// A fault: the check that reports it, its mark, and texts of the report.
type Fault = (&'static str, &'static str, &'static [&'static str]);

const FAULTS: &[Fault] = &[
    (
        "helmfile",
        "✗",
        &[
            "Values file not found",
            "./templates/values.yaml.gotmpl",
            "write `../templates/values.yaml.gotmpl`",
        ],
    ),
    (
        "old-script",
        "!",
        &["scripts/bootstrap-apps.sh", "00-crds.yaml", "encrypted files", "verification of Flux"],
    ),
    (
        "mirror",
        "!",
        &["charts-mirror/cilium", "1.18.5", "chart: oci://quay.io/cilium/charts/cilium", "version: 1.18.6"],
    ),
    ("flux-pair", "✗", &["too new for flux-operator", "latest", "flux-operator-manifests:v0.37.1"]),
    ("coredns-values", "✗", &["service.clusterIP", "clusterIP: 10.43.0.10"]),
    ("coredns-values", "!", &["service.name", "name: kube-dns"]),
    ("coredns-values", "!", &["serviceAccount.create", "create: true"]),
    ("coredns-values", "!", &["k8sAppLabelOverride: kube-dns"]),
    ("cilium-values", "!", &["ipam.mode", "mode: kubernetes"]),
    ("flux-sync", "!", &["instance.sync.url", "pullSecret"]),
    ("flux-decryption", "!", &["age.key", "path: /spec/decryption", "name: sops-age"]),
];

/// The port is wrong if the API server is at 127.0.0.1.
const PORT: Fault = ("api-port", "!", &["k8s_service_host: 127.0.0.1", "k8sServicePort: 6444"]);

/// The number of releases with the wrong path.
const WRONG_PATHS: usize = 5;

#[test]
fn original_files_have_all_known_faults() {
    let fixture = Fixture::with_own_registry("original-files");
    // Downloads the charts that both repositories use.
    fixture.k3s_boot(&["check"]).run().assert().code(0);
    std::fs::remove_dir_all(fixture.root.join("bootstrap")).unwrap();
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/original"), &fixture.root)
        .unwrap();
    fixture.git(&["add", "--all", "bootstrap", "scripts"]);
    let mark = fixture.sandbox.audit_mark().unwrap();
    let requests = fixture.sandbox.registry().faults().requests();
    let called = fixture.root.join("kubectl-was-called");
    let path = path_with_recording_kubectl(&fixture, &called);
    let check = || fixture.k3s_boot(&["check", "--offline"]).env("PATH", path.clone());
    let local = || check().env("K3S_API_HOST", "127.0.0.1");

    let with_port = [FAULTS, &[PORT]].concat();
    // With some charts, without charts, and without the variable that the templates require.
    let ran = local().run();
    assert_reported(&ran, &with_port);
    assert_unknown(&ran, "charts", &["cilium 1.18.5"], &["coredns 1.45.0"]);
    assert_unknown(&ran, "values-keys", &["not downloaded: cilium 1.18.5"], &[]);
    let empty = fixture.root.join("empty-cache");
    let ran = local().env("XDG_CACHE_HOME", &empty).run();
    assert_reported(&ran, &with_port);
    let all = ["prometheus-operator-crds 19.1.0", "cilium 1.18.5", "coredns 1.45.0", "cert-manager v1.19.2"];
    assert_unknown(
        &ran,
        "charts",
        &[&all[..], &["flux-operator 0.37.1", "flux-instance 0.37.1"]].concat(),
        &[],
    );
    let ran = check().env_remove("K3S_API_HOST").run();
    let with_variable: Fault = ("env", "✗", &["envs: K3S_API_HOST"]);
    assert_reported(&ran, &[FAULTS, &[with_variable]].concat());

    assert_eq!(fixture.sandbox.registry().faults().requests(), requests, "no registry was contacted");
    let requests_of_k3s_boot = fixture.sandbox.audit_since(mark).unwrap();
    let requests_of_k3s_boot: Vec<_> =
        requests_of_k3s_boot.iter().filter(|event| event.is_from_admin()).map(|event| &event.uri).collect();
    assert_eq!(requests_of_k3s_boot, [""; 0], "no cluster was contacted");
    assert!(!called.exists(), "kubectl ran: {}", std::fs::read_to_string(called).unwrap());
    assert!(!empty.join("k3s-boot/charts").exists(), "placeholders of charts are not kept");
}

/// Checks that these faults are reported, and nothing else.
#[track_caller]
fn assert_reported(ran: &RunResult, faults: &[Fault]) {
    ran.assert().code(1);
    assert!(!ran.stdout.contains("the API server responds"), "the cluster was not queried");
    let blocks = blocks(&ran.stdout);
    for (rule, mark, texts) in faults {
        let start = format!("  {mark} {rule}: ");
        let is_reported = blocks
            .iter()
            .any(|block| block.starts_with(&start) && texts.iter().all(|text| block.contains(text)));
        assert!(is_reported, "no `{start}` with {texts:?} in\n{}", ran.stdout);
    }
    let reported: Vec<_> =
        blocks.iter().filter(|block| block.starts_with("  ✗ ") || block.starts_with("  ! ")).collect();
    // The path is reported for each release.
    assert_eq!(reported.len(), faults.len() + WRONG_PATHS - 1, "{}", ran.stdout);
}

/// Checks that a check is unknown and names what is missing.
#[track_caller]
fn assert_unknown(ran: &RunResult, rule: &str, texts: &[&str], others: &[&str]) {
    let blocks = blocks(&ran.stdout);
    let block = blocks.iter().find(|block| reports(block, "?", rule));
    let block = block.unwrap_or_else(|| panic!("no `? {rule}` in\n{}", ran.stdout));
    assert!(texts.iter().all(|text| block.contains(text)), "no {texts:?} in {block}");
    assert!(!others.iter().any(|text| block.contains(text)), "{others:?} in {block}");
}

/// A PATH with a kubectl that records its calls in a file.
fn path_with_recording_kubectl(fixture: &Fixture, called: &Path) -> OsString {
    let bin = fixture.root.parent().unwrap().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let kubectl = bin.join("kubectl");
    std::fs::write(&kubectl, format!("#!/bin/sh\necho \"$@\" >> '{}'\nexit 1\n", called.display())).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_, path) = fixture.sandbox.env().into_iter().find(|(name, _)| name == "PATH").unwrap();
    format!("{}:{path}", bin.display()).into()
}
