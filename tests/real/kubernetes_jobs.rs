//! The Jobs in `deploy/kubernetes`, with the real Job controller; the containers are simulated.

use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{copy_folder, wait_for};
use serde_json::{Value, json};

use super::fixture::{Fixture, LIMIT};

const JOBS: &str = "/apis/batch/v1/namespaces/fleet/jobs";

/// Exit codes after which another attempt makes no sense.
const FINAL: [i32; 3] = [1, 2, 5];
/// Timeout, lock, SIGTERM.
const RETRIED: [i32; 3] = [6, 8, 143];

#[test]
fn jobs_end_or_are_retried_by_exit_code() {
    let fixture = Fixture::start("kubernetes-jobs");
    let folder = copy_of_deploy(&fixture);
    let fleet = folder.join("management-cluster");
    fixture.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: fleet, labels: {pod-security.kubernetes.io/enforce: restricted}}\n",
    );
    for code in FINAL.into_iter().chain(RETRIED) {
        let cluster = format!("exit-{code}");
        for name in ["kubeconfig", "user-kubeconfig", "ca"] {
            fixture.apply(&format!(
                "apiVersion: v1\nkind: Secret\ntype: cluster.x-k8s.io/secret\nmetadata: {{name: {cluster}-{name}, namespace: \
                 fleet, labels: {{cluster.x-k8s.io/cluster-name: {cluster}}}}}\nstringData: {{value: a}}\n"
            ));
        }
    }
    replace(&fleet.join("kustomization.yaml"), "namespace: default", "namespace: fleet");
    replace(&fleet.join("parallelism.yaml"), "'10'", "'5'");
    let mut script = fixture.sandbox.command(fleet.join("clusters.sh"));
    script.arg("fleet").env("KUBECONFIG", fixture.sandbox.folder().join("sandbox.kubeconfig"));
    let output = output(&mut script);
    assert_eq!(output.lines().count(), 6, "{output}");

    // The only node is not ready, so no container starts by itself.
    let apply = || fixture.kubectl(&["apply", "--server-side", "-k", &fleet.display().to_string()]);
    apply();
    // The quota lets five of six run at the same time.
    let mut ended = Vec::new();
    while ended.len() < 6 {
        let waiting = || Ok(Some(running(&fixture, &ended)).filter(|pods| !pods.is_empty()));
        let pods = wait_for("pods of the Jobs", LIMIT, waiting).unwrap();
        assert!(pods.len() <= 5, "{pods:?}");
        for (job, pod) in pods {
            let code: i32 = job.split('-').nth(1).unwrap().parse().unwrap();
            end(&fixture, &pod, code);
            ended.push(job);
        }
    }
    for code in FINAL {
        let reason = || {
            let job = fixture.get(&format!("{JOBS}/exit-{code}-k3s-boot"));
            Ok(condition(&job, "Failed"))
        };
        assert_eq!(wait_for("the Job to fail", LIMIT, reason).unwrap(), "PodFailurePolicy", "{code}");
    }
    for code in RETRIED {
        let retried = || {
            let job = fixture.get(&format!("{JOBS}/exit-{code}-k3s-boot"));
            assert_eq!(condition(&job, "Failed"), None, "{code}");
            Ok((job["status"]["failed"] == 1 && job["status"]["active"] == 1).then_some(()))
        };
        wait_for("another pod", LIMIT, retried).unwrap();
    }
    let jsonpath = format!("jsonpath-file={}", folder.join("reports.jsonpath").display());
    let reports = kubectl(
        &fixture,
        &["get", "pods", "-n", "fleet", "-l", "app.kubernetes.io/name=k3s-boot", "-o", &jsonpath],
    );
    for code in FINAL.into_iter().chain(RETRIED) {
        let line = format!("exit-{code}-k3s-boot\t{{\"exit_code\":{code}}}\n");
        assert!(reports.contains(&line), "{reports}");
    }

    let nodes = fixture.get("/api/v1/nodes");
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
    fixture.sandbox.set_node_ready(node, true).unwrap();
    for code in RETRIED {
        wait_for_completion(&fixture, &format!("{JOBS}/exit-{code}-k3s-boot"));
    }
    // Nothing is done twice.
    apply();
}

#[test]
fn a_job_runs_in_a_cluster_without_a_cni() {
    let fixture = Fixture::start("kubernetes-job-in-cluster");
    let nodes = fixture.get("/api/v1/nodes");
    assert_ne!(nodes["items"][0]["spec"]["taints"], Value::Null, "no node is ready");
    let folder = copy_of_deploy(&fixture).join("in-cluster");
    fixture.kubectl(&["apply", "--server-side", "-k", &folder.display().to_string()]);
    wait_for_completion(&fixture, "/apis/batch/v1/namespaces/k3s-boot/jobs/k3s-boot");
    let user = "system:serviceaccount:k3s-boot:k3s-boot";
    assert_eq!(kubectl(&fixture, &["auth", "can-i", "*", "*", "--all-namespaces", "--as", user]), "yes\n");
}

fn copy_of_deploy(fixture: &Fixture) -> PathBuf {
    let folder = fixture.sandbox.folder().join("deploy");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes"), &folder).unwrap();
    folder
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "`{from}` is not in {}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

fn kubectl(fixture: &Fixture, args: &[&str]) -> String {
    let output = fixture.sandbox.kubectl(args).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Job and pod of all pods whose containers have not ended, without those of these Jobs.
fn running(fixture: &Fixture, ended: &[String]) -> Vec<(String, String)> {
    let pods = fixture.get("/api/v1/namespaces/fleet/pods");
    let pods = pods["items"].as_array().unwrap().iter().filter(|pod| pod["status"]["phase"] == "Pending");
    let name = |pod: &Value| {
        let job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_str().unwrap().to_owned();
        (job, pod["metadata"]["name"].as_str().unwrap().to_owned())
    };
    pods.map(name).filter(|(job, _)| !ended.contains(job)).collect()
}

/// Ends the container of a pod, as the kubelet reports it.
fn end(fixture: &Fixture, pod: &str, code: i32) {
    let terminated = json!({"exitCode": code, "message": json!({"exit_code": code}).to_string()});
    let container = json!({
        "name": "k3s-boot", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": terminated},
    });
    let status = json!({"status": {"phase": "Failed", "containerStatuses": [container]}}).to_string();
    fixture.kubectl(&[
        "patch",
        "pod",
        pod,
        "-n",
        "fleet",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ]);
}

/// The reason of a condition that is true.
fn condition(job: &Value, name: &str) -> Option<String> {
    let mut conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let condition =
        conditions.find(|condition| condition["type"] == name && condition["status"] == "True")?;
    Some(condition["reason"].as_str().unwrap_or_default().to_owned())
}

#[track_caller]
fn wait_for_completion(fixture: &Fixture, job: &str) {
    let complete = || Ok(condition(&fixture.get(job), "Complete"));
    wait_for("the Job to complete", LIMIT, complete).unwrap();
}
