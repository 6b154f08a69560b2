//! k3s-boot as a worker: in a pod of its cluster, without files and variables of its own.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::fixture::{Fixture, tools};

/// Runs its arguments after the first two, which are mounted as token and certificate of a service account.
const POD: &str = r#"mount -t tmpfs tmpfs /run &&
    folder=/run/secrets/kubernetes.io/serviceaccount && mkdir -p "$folder" &&
    cp "$1" "$folder/token" && cp "$2" "$folder/ca.crt" && shift 2 && exec "$@""#;

const ACCOUNT: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: k3s-boot, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: k3s-boot}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: k3s-boot, namespace: kube-system}]
";

fn output(fixture: &Fixture, args: &[&str]) -> String {
    let output = fixture.sandbox.kubectl(args).unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Needs root or user namespaces, as the test of restarts does.
#[test]
fn pod_bootstraps_its_own_cluster() {
    let mut fixture = Fixture::start("worker");
    fixture.apply(ACCOUNT);
    let token = output(&fixture, &["create", "token", "k3s-boot", "--namespace", "kube-system"]);
    fixture.add_secret(token.trim());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("token"), token.trim()).unwrap();
    let jsonpath = "jsonpath={.clusters[0].cluster.server} {.clusters[0].cluster.certificate-authority-data}";
    let cluster = output(&fixture, &["config", "view", "--raw", "--output", jsonpath]);
    let (server, certificate) = cluster.split_once(' ').unwrap();
    fs::write(path("ca.crt"), STANDARD.decode(certificate).unwrap()).unwrap();
    let (host, port) = server.trim_start_matches("https://").split_once(':').unwrap();

    fs::remove_file(fixture.root.join("age.key")).unwrap();
    fixture.write("k3s-boot.yaml", "environment: {variables: {K3S_API_HOST: 192.0.2.1}}\n");
    fs::write(path("cluster.env"), "K3S_API_HOST=10.0.0.10\n").unwrap();
    let program = super::support::k3s_boot().display().to_string();
    let run = || {
        let as_root = Command::new("unshare").args(["--mount", "true"]).status().unwrap().success();
        let user: &[&str] = if as_root { &[] } else { &["--user", "--map-root-user"] };
        let (token, report, variables) = (path("token"), path("report.json"), path("cluster.env"));
        let pod = ["--mount", "/bin/sh", "-c", POD, "pod", &token, &path("ca.crt")];
        let worker = [&program, "apps", "--in-cluster", "--age-key", "-", "--env-file", &variables];
        let charts = ["--chart-mirror", "ghcr.io=https://quay.io", "--chart-pulls", "2", "--report", &report];
        let ran = fixture
            .program("unshare", &[user, &pod, &worker, &charts].concat())
            .env_remove("KUBECONFIG")
            .env_remove("K3S_API_HOST")
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port)
            .stdin(File::open(fixture.sandbox.age_key()).unwrap())
            .run();
        ran.assert().code(0).stderr("");
        assert!(ran.stdout.contains("INFO Bootstrap complete!"), "{}", ran.stdout);
        serde_json::from_str::<Value>(&fs::read_to_string(&report).unwrap()).unwrap()
    };
    let first = run();
    assert_eq!((&first["result"], &first["cluster"]["context"]), (&"complete".into(), &"in-cluster".into()));
    let values = values_of_cilium(&fixture);
    assert_eq!(values["k8sServiceHost"], "10.0.0.10", "not that of k3s-boot.yaml");
    let mark = fixture.sandbox.audit_mark().unwrap();
    let second = run();
    assert_eq!(fixture.changes(mark), [""; 0]);
    assert!(second["releases"].as_array().unwrap().iter().all(|release| release["status"] == "unchanged"));
    fixture.assert_no_canary_in(Path::new(&path("report.json")));
}

fn values_of_cilium(fixture: &Fixture) -> Value {
    let mut helm = fixture.sandbox.command(tools().helm());
    let output = helm.args(["get", "values", "cilium", "--namespace", "kube-system", "--output", "json"]);
    serde_json::from_slice(&output.output().unwrap().stdout).unwrap()
}
