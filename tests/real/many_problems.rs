//! Problems that one run of `check` reports together: of a repository and a cluster that no other test has.

use std::path::Path;

use sandbox::{CILIUM_NODE_ARGS, copy_folder};

use super::fixture::Fixture;
use super::problem_table::{Table, problem};

const APPS: &str = "bootstrap/helmfile.d/01-apps.yaml";
const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";

/// A variable with two values, and a manifest and a program that do not exist.
const CONFIG: &str = "environment:
  files: [settings.env]
  variables: {CLUSTER: main}
manifests: [{path: bootstrap/crds.yaml}]
secrets:
  commands: [{command: [no-such-program, inject]}]
";

/// The Lease of a kubelet whose clock is an hour ahead.
const LEASE: &str = "apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: node-1-of-the-future, namespace: kube-node-lease}
spec: {holderIdentity: node-1, leaseDurationSeconds: 40, renewTime: '2999-01-01T00:00:00.000000Z'}
";

#[test]
fn many_problems_are_reported_at_once() {
    let fixture = Fixture::start("many-problems");
    let mark = fixture.sandbox.audit_mark().unwrap();
    let mut table = Table::new(&fixture);
    repository(&fixture);
    cluster(&fixture);
    let check = || fixture.k3s_boot(&["check"]).env("TALOS_API_HOST", "10.0.0.10");
    let ran = check().run();
    let expired_file = fixture.sandbox.kubeconfig().with_file_name("expired.kubeconfig");
    fixture.sandbox.write_expired_kubeconfig(&expired_file).unwrap();
    let problems = [
        problem("variable with two values", "environment", "✗", &["CLUSTER", "settings.env"]),
        problem("manifest that does not exist", "manifests", "✗", &["bootstrap/crds.yaml"]),
        problem("command that is not installed", "secrets-commands", "✗", &["program: no-such-program"]),
        problem("range of versions", "chart-version", "!", &["kube-system/coredns", "version: ~1.45.0"]),
        problem(
            "HelmRelease of another version",
            "parity",
            "!",
            &["kube-system/cilium", "flux_version: 1.18.5"],
        ),
        problem("repository for Talos", "distribution", "!", &["Cluster runs k3s", "talconfig.yaml"]),
        problem("a clock that is ahead", "clock", "!", &["lease: kube-node-lease/node-1-of-the-future"]),
        problem(
            "servers with other flags",
            "k3s-servers",
            "!",
            &["flag: disable-helm-controller", "node-2: true"],
        ),
        problem("the address of one of two servers", "api-host-roles", "!", &["10.0.0.10", "server: node-1"]),
        problem("Kubernetes that is too new for cilium", "kube-version", "i", &["tested: 1.30 to 1.33"]),
    ];
    table.check_all(&problems, &ran);

    let ran = check().env("KUBECONFIG", expired_file).run();
    let expired = ["Kubeconfig certificate has expired", "until: 2000-01-01"];
    table.check_all(&[problem("an old kubeconfig", "kubeconfig-cert", "✗", &expired)], &ran);

    fixture.sandbox.api_end().unwrap();
    let ran = check().run();
    let ending = ["API server is not ready", "checks of /readyz failed: shutdown"];
    table.check_all(&[problem("an API server that is stopped", "api-ready", "✗", &ending)], &ran);
    table.end();
    assert_eq!(fixture.changes(mark), [""; 0]);
}

fn repository(fixture: &Fixture) {
    fixture.replace(APPS, "version: 1.45.0", "version: ~1.45.0");
    fixture.write("k3s-boot.yaml", CONFIG);
    fixture.write("settings.env", "CLUSTER=other\n");
    fixture.write("talconfig.yaml", "clusterName: main\n");
    // Comments and the name of a variable say for which distribution the values are.
    fixture.replace(VALUES, "k3s", "Talos");
    fixture.replace(VALUES, "K3S", "TALOS");
    let common = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layouts/common");
    copy_folder(&common.join("kubernetes"), &fixture.root.join("kubernetes")).unwrap();
    fixture.replace("kubernetes/apps/kube-system/cilium/app/ocirepository.yaml", "1.18.6", "1.18.5");
    fixture.git(&["add", "--all", "."]);
}

fn cluster(fixture: &Fixture) {
    let args = CILIUM_NODE_ARGS.iter().chain(&["--disable-helm-controller", "true"]);
    fixture.sandbox.add_node_with(&args.map(|arg| (*arg).to_owned()).collect::<Vec<_>>()).unwrap();
    fixture.apply(LEASE);
}
