//! Starts a cluster, uses it and stops it.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sandbox::{Options, Sandbox, is_running, wait_for};

const LIMIT: Duration = Duration::from_mins(1);

/// Runs kubectl as the program under test.
fn kubectl(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    sandbox.command("kubectl").args(arguments).output().expect("kubectl runs")
}

#[test]
fn sandbox_from_start_to_end() {
    let started = Instant::now();
    let sandbox = Sandbox::start(Options { name: "smoke".to_owned(), ..Options::default() }).unwrap();
    println!("started in {:?}", started.elapsed());
    the_node_is_as_k3s_leaves_it(&sandbox);
    the_audit_log_shows_changes_of_the_program_under_test(&sandbox);
    a_held_workload_gets_ready_when_released(&sandbox);
    charts_come_through_the_proxy_and_faults_show(&sandbox);
    the_api_server_goes_and_comes_back(&sandbox);

    let (processes, folder) = (sandbox.processes(), sandbox.folder().to_owned());
    assert!(processes.len() >= 7, "{processes:?}");
    assert!(processes.iter().all(|(_, pid)| is_running(*pid)), "{processes:?}");
    let ending = Instant::now();
    drop(sandbox);
    println!("ended in {:?}", ending.elapsed());
    assert!(processes.iter().all(|(_, pid)| !is_running(*pid)), "{processes:?}");
    assert!(!folder.exists());
}

fn the_node_is_as_k3s_leaves_it(sandbox: &Sandbox) {
    let node = sandbox.get("/api/v1/nodes/node-1").unwrap().expect("there is a node");
    let conditions = node["status"]["conditions"].as_array().expect("it has conditions");
    let ready =
        conditions.iter().find(|condition| condition["type"] == "Ready").expect("one of them is Ready");
    assert_eq!(ready["status"], "False");
    assert_eq!(ready["reason"], "KubeletNotReady");
    assert!(ready["message"].as_str().is_some_and(|message| message.ends_with("cni plugin not initialized")));
    let flags = node["metadata"]["annotations"]["k3s.io/node-args"].as_str();
    assert!(flags.is_some_and(|flags| flags.contains(r#""--flannel-backend","none""#)));
    let service = sandbox.get("/api/v1/namespaces/default/services/kubernetes").unwrap();
    assert_eq!(service.expect("there is a Service")["spec"]["clusterIP"], "10.43.0.1");
}

fn the_audit_log_shows_changes_of_the_program_under_test(sandbox: &Sandbox) {
    let mark = sandbox.audit_mark().unwrap();
    assert!(kubectl(sandbox, &["get", "nodes"]).status.success());
    assert!(kubectl(sandbox, &["auth", "can-i", "create", "pods"]).status.success());
    assert!(kubectl(sandbox, &["create", "namespace", "dry", "--dry-run=server"]).status.success());
    sandbox.kubectl(&["create", "namespace", "by-the-sandbox"]).unwrap();
    assert!(sandbox.mutating_since(mark).unwrap().is_empty());
    assert!(kubectl(sandbox, &["create", "namespace", "wet"]).status.success());
    let changes = sandbox.mutating_since(mark).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].object_ref.as_ref().map(|object| object.name.as_str()), Some("wet"));
    assert!(changes[0].user_agent.starts_with("kubectl/"));
}

fn a_held_workload_gets_ready_when_released(sandbox: &Sandbox) {
    sandbox.hold("default", "stuck-").unwrap();
    for name in ["stuck", "free"] {
        sandbox.kubectl(&["create", "deployment", name, "--image=none"]).unwrap();
    }
    let available = |name: &str| {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        let deployment = sandbox.get(&path)?.unwrap_or_default();
        Ok((deployment["status"]["availableReplicas"] == 1).then_some(()))
    };
    sandbox.set_node_ready("node-1", true).unwrap();
    wait_for("the free deployment", LIMIT, || available("free")).unwrap();
    assert!(available("stuck").unwrap().is_none());
    sandbox.release().unwrap();
    wait_for("the released deployment", LIMIT, || available("stuck")).unwrap();
}

fn charts_come_through_the_proxy_and_faults_show(sandbox: &Sandbox) {
    let pull = |chart: &str, version: &str| {
        let mut command = sandbox.command("helm");
        command.args(["pull", chart, "--version", version, "--destination"]).arg(sandbox.home());
        command.output().expect("helm runs")
    };
    let cilium = || pull("oci://quay.io/cilium/charts/cilium", "1.18.6");
    let faults = sandbox.registry().faults();
    faults.answer(100, 403);
    assert!(!cilium().status.success());
    faults.clear();

    faults.hold_after(0);
    std::thread::scope(|scope| {
        let pulling = scope.spawn(cilium);
        assert!(faults.wait_held(LIMIT));
        assert!(!pulling.is_finished());
        faults.clear();
        let pulled = pulling.join().expect("the pull ends");
        assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    });
    assert!(sandbox.home().join("cilium-1.18.6.tgz").is_file());
    assert!(faults.count() > 1);

    let missing = pull("oci://quay.io/cilium/charts/cilium", "1.18.99");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("not found"));
    let refused = pull("oci://docker.io/x/y", "1.0.0");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Forbidden"));
}

fn the_api_server_goes_and_comes_back(sandbox: &Sandbox) {
    sandbox.api_stop();
    assert!(!kubectl(sandbox, &["get", "nodes"]).status.success());
    sandbox.api_start().unwrap();
    assert!(kubectl(sandbox, &["get", "namespace", "wet"]).status.success());
}

/// A sandbox stops when its test process is killed. The killed process is this test, started again.
#[test]
fn killed_process_leaves_nothing() {
    const INNER: &str = "SANDBOX_SMOKE_INNER";
    if let Some(file) = std::env::var_os(INNER) {
        let sandbox = Sandbox::start(Options { name: "killed".to_owned(), ..Options::default() }).unwrap();
        let text = serde_json::to_string(&(sandbox.processes(), sandbox.folder())).unwrap();
        let staging = std::path::Path::new(&file).with_extension("new");
        std::fs::write(&staging, text).unwrap();
        std::fs::rename(&staging, &file).unwrap();
        wait_for::<()>("the end", LIMIT, || Ok(None)).unwrap_err();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("processes.json");
    let mut inner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_process_leaves_nothing"])
        .env(INNER, &file)
        .spawn()
        .unwrap();
    wait_for("the inner sandbox", LIMIT, || Ok(file.exists().then_some(()))).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let (processes, its_folder): (Vec<(String, u32)>, std::path::PathBuf) =
        serde_json::from_str(&text).unwrap();
    inner.kill().unwrap();
    inner.wait().unwrap();
    wait_for("the processes to end", LIMIT, || {
        Ok((!processes.iter().any(|(_, pid)| is_running(*pid)) && !its_folder.exists()).then_some(()))
    })
    .unwrap();
}
