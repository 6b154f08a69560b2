//! Cilium that k3s has installed from a HelmChart is taken over. The Helm controller of k3s is real; the test does what the
//! containers of its Jobs would do, and what k3s does with a file in `server/manifests`.

use std::collections::BTreeMap;
use std::net::TcpListener;

use nix::sys::signal::Signal;
use sandbox::wait_for;
use serde_json::{Value, json};

use super::Scenario;
use super::k3s::ADDON_KIND;
use crate::fixture::{Fixture, LIMIT};

const CHART: &str = "/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts/cilium";
const ADDON: &str = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons/cilium";
const FILE: &str = "/var/lib/rancher/k3s/server/manifests/cilium.yaml";
const FINALIZER: &str = "wrangler.cattle.io/on-helm-chart-remove";
const UNMANAGED: &str = "helmcharts.helm.cattle.io/unmanaged=true";
const ADOPT: [&str; 2] = ["--adopt", "kube-system/cilium"];

fn job(action: &str) -> String {
    format!("/apis/batch/v1/namespaces/kube-system/jobs/helm-{action}-cilium")
}

/// What k3s creates from the file: the HelmChart, and the Addon that records it.
fn apply_file(fixture: &Fixture, values: &str) {
    let chart = json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart",
        "metadata": {"name": "cilium", "namespace": "kube-system",
            "labels": {"objectset.rio.cattle.io/hash": "0b9e6ee5a3c4a3c1d1e1f0e6f4c8b1a2d3e4f5a6"},
            "annotations": {"objectset.rio.cattle.io/id": "", "objectset.rio.cattle.io/owner-name": "cilium",
                "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
                "objectset.rio.cattle.io/owner-namespace": "kube-system"}},
        "spec": {"chart": "oci://quay.io/cilium/charts/cilium", "version": "1.18.6", "bootstrap": true,
            "targetNamespace": "kube-system", "valuesContent": values}});
    let addon = json!({"apiVersion": "k3s.cattle.io/v1", "kind": "Addon",
        "metadata": {"name": "cilium", "namespace": "kube-system",
            "annotations": {"addon.k3s.cattle.io/gvks": "helm.cattle.io/v1, Kind=HelmChart"}},
        "spec": {"source": FILE}});
    fixture.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [addon, chart]}).to_string());
    until("the Helm controller manages the HelmChart and has ended its Job", || {
        let chart = fixture.get(CHART);
        let conditions = fixture.sandbox.get(&job("install")).unwrap().unwrap_or_default();
        let conditions = conditions["status"]["conditions"].as_array().cloned().unwrap_or_default();
        chart["metadata"]["finalizers"] == json!([FINALIZER])
            && chart["metadata"]["annotations"]["helmcharts.cattle.io/managed-by"] == "helm-controller"
            && conditions.iter().any(|one| one["type"] == "Complete" && one["status"] == "True")
    });
}

#[track_caller]
fn until(what: &str, mut is_met: impl FnMut() -> bool) {
    wait_for(what, LIMIT, || Ok(is_met().then_some(()))).unwrap();
}

/// Runs helm as the container of the install Job does. The Helm controller expects the hash in a label of the release
/// (k3s-io/helm-controller v0.17.9, `getJobAndRelatedResources`).
fn install(fixture: &Fixture, values: &str) {
    let job = fixture.get(&job("install"));
    let env = &job["spec"]["template"]["spec"]["containers"][0]["env"];
    let hash =
        env.as_array().unwrap().iter().find(|one| one["name"] == "CONFIG_HASH").unwrap()["value"].clone();
    let label = format!("helmcharts.helm.cattle.io/configHash={}", hash.as_str().unwrap());
    let file = fixture.sandbox.folder().join("cilium-values.yaml");
    std::fs::write(&file, values).unwrap();
    let file = file.display().to_string();
    let chart = "oci://quay.io/cilium/charts/cilium";
    let args = ["install", "cilium", chart, "--version", "1.18.6", "--namespace", "kube-system"];
    let output = fixture.helm(&[&args[..], &["--labels", &label, "--values", &file]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The values that the helmfile gives Cilium.
fn values(fixture: &Fixture) -> String {
    let file = fixture.sandbox.folder().join("helmfile-values.yaml");
    let template = file.display().to_string();
    let args = ["--file", "bootstrap/helmfile.d/01-apps.yaml", "--selector", "name=cilium", "write-values"];
    let args = [&args[..], &["--output-file-template", &template]].concat();
    fixture.program("helmfile", &args).run().assert().code(0);
    std::fs::read_to_string(file).unwrap()
}

/// A cluster whose Cilium k3s has installed, bootstrapped with that.
fn installed_by_k3s(name: &str) -> (Fixture, String) {
    let fixture = Fixture::start(name);
    fixture.sandbox.start_helm_controller().unwrap();
    fixture.apply(ADDON_KIND);
    let crds = ["crd/addons.k3s.cattle.io", "crd/helmcharts.helm.cattle.io"];
    until("the Helm controller creates its CRDs", || fixture.sandbox.kubectl(&["get", crds[1]]).is_ok());
    fixture.kubectl(&[&["wait", "--for=condition=Established", "--timeout=60s"][..], &crds].concat());
    let values = values(&fixture);
    apply_file(&fixture, &values);
    install(&fixture, &values);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("HelmChart kube-system/cilium"), "{}", ran.stdout);
    (fixture, values)
}

/// The UIDs of the pods of Cilium.
fn pods(fixture: &Fixture) -> BTreeMap<String, String> {
    let list = fixture.get("/api/v1/namespaces/kube-system/pods");
    let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
    let pods = list["items"].as_array().unwrap().iter().map(|pod| (text(pod, "name"), text(pod, "uid")));
    pods.filter(|(name, _)| name.starts_with("cilium")).collect()
}

/// Checks that the Helm controller has not begun to uninstall.
#[track_caller]
fn assert_not_uninstalled(fixture: &Fixture) {
    assert_eq!(fixture.sandbox.get(&job("delete")).unwrap(), None);
    let events = fixture.get("/api/v1/namespaces/kube-system/events?fieldSelector=reason%3DRemoveJob");
    assert_eq!(events["items"], json!([]));
}

/// The revision of Cilium.
fn revision(fixture: &Fixture) -> String {
    let list = fixture.sandbox.helm_list().unwrap();
    let cilium = list.iter().find(|release| release["name"] == "cilium").unwrap();
    assert_eq!(cilium["status"], "deployed");
    cilium["revision"].as_str().unwrap().to_owned()
}

/// Kills a run that takes the release over when it sends the request that this webhook matches.
fn kill_at(fixture: &Fixture, operation: &str, condition: &str) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let webhook = |name: &str,
                   url: &str,
                   condition: &str,
                   (group, resource, operation): (&str, &str, &str)| {
        json!({"name": format!("{name}.example.org"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 30, "clientConfig": {"url": url},
            "matchConditions": [{"name": "step", "expression": condition}],
            "rules": [{"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": [operation]}]})
    };
    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "silent"}, "webhooks": [
        webhook("silent", &url, condition, ("helm.cattle.io", "helmcharts", operation)),
        webhook("closed", "https://127.0.0.1:1/", "object.metadata.name == 'closed'", ("", "configmaps", "CREATE")),
    ]});
    fixture.apply(&webhook.to_string());
    until("the API server asks the webhooks", || {
        fixture.sandbox.kubectl(&["create", "configmap", "closed", "--dry-run=server"]).is_err()
    });
    let run = fixture.apps(&ADOPT).start();
    silent.set_nonblocking(true).unwrap();
    until("the API server asks the silent webhook", || silent.accept().is_ok());
    run.signal(Signal::SIGKILL);
    assert_eq!(run.finish().code, None);
    fixture.delete(&webhook.to_string());
    println!("killed at {operation} if {condition}: {}", fixture.get(CHART)["metadata"]);
}

#[test]
fn cilium_is_taken_over_from_a_helm_chart_without_removing_a_pod() {
    let (fixture, values) = installed_by_k3s("helm-chart");
    let before = pods(&fixture);
    assert!(before.len() >= 2, "{before:?}");

    // k3s knows the file: refused, and nothing is changed.
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&ADOPT).run();
    ran.assert().code(1);
    for word in
        ["Release cannot be taken over from the Helm controller yet", FILE, "servers=\"node-1\"", UNMANAGED]
    {
        assert!(ran.stderr.contains(word), "no `{word}` in {}", ran.stderr);
    }
    assert_eq!(fixture.changes(mark), [""; 0]);

    // The printed steps, with the last one twice interrupted.
    let fix = Scenario::new(&fixture, "flux-owned").fix();
    let (steps, last) = fix.rsplit_once('\n').unwrap();
    assert_eq!(last, "k3s-boot apps --adopt kube-system/cilium");
    fixture.shell(&format!("set -e\n{steps}")).assert().code(0);
    assert_eq!(fixture.sandbox.get(ADDON).unwrap(), None);
    kill_at(&fixture, "UPDATE", "!has(object.metadata.finalizers)");
    assert_eq!(fixture.get(CHART)["metadata"]["finalizers"], json!([FINALIZER]));
    kill_at(&fixture, "DELETE", "true");
    assert_eq!(fixture.get(CHART)["metadata"]["finalizers"], Value::Null);
    assert_not_uninstalled(&fixture);
    let ran = fixture.shell(last);
    ran.assert().code(0);
    assert!(ran.stdout.contains("HelmChart removed, release kept"), "{}", ran.stdout);
    assert_eq!(fixture.sandbox.get(CHART).unwrap(), None);
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);

    // A server still had the file, and k3s starts. The Helm controller has seen the deletion by then.
    apply_file(&fixture, &values);
    assert_not_uninstalled(&fixture);
    assert_eq!((&pods(&fixture), revision(&fixture).as_str()), (&before, "1"));
    println!("pods before and after: {before:#?}");
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("HelmChart kube-system/cilium"), "{}", ran.stdout);

    // An unmanaged HelmChart that somebody deletes stays with its finalizer, and the next run removes it.
    fixture.kubectl(&["annotate", "-n", "kube-system", "helmcharts.helm.cattle.io", "cilium", UNMANAGED]);
    fixture.kubectl(&[
        "delete",
        "-n",
        "kube-system",
        "addons.k3s.cattle.io,helmcharts.helm.cattle.io",
        "cilium",
        "--wait=false",
    ]);
    assert_eq!(fixture.get(CHART)["metadata"]["finalizers"], json!([FINALIZER]));
    let args = [&ADOPT[..], &["--force", "--release", "kube-system/cilium"]].concat();
    let ran = fixture.apps(&args).run();
    ran.assert().code(0);
    let words = ["HelmChart removed, release kept", "Release synced release=\"kube-system/cilium\""];
    let places = words.map(|words| ran.stdout.find(words).unwrap());
    assert!(places.is_sorted(), "{}", ran.stdout);
    assert_eq!(fixture.sandbox.get(CHART).unwrap(), None);
    apply_file(&fixture, &values);
    assert_not_uninstalled(&fixture);
    assert_eq!((pods(&fixture), revision(&fixture).as_str()), (before, "2"));

    // What a plain deletion does: the Job that uninstalls Cilium. It is too late to take the release over.
    fixture.kubectl(&["delete", "-n", "kube-system", "addons.k3s.cattle.io", "cilium"]);
    fixture.sandbox.hold("kube-system", "helm-delete-").unwrap();
    fixture.kubectl(&["delete", "-n", "kube-system", "helmcharts.helm.cattle.io", "cilium", "--wait=false"]);
    until("the Job that uninstalls", || fixture.sandbox.get(&job("delete")).unwrap().is_some());
    let args = &fixture.get(&job("delete"))["spec"]["template"]["spec"]["containers"][0]["args"];
    println!("kubectl delete helmchart: Job helm-delete-cilium with {args}");
    assert_eq!(*args, json!(["delete"]));
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&ADOPT).run();
    ran.assert().code(1);
    let words = "the Helm controller is at work: Job kube-system/helm-delete-cilium";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert_eq!(fixture.changes(mark), [""; 0]);
    let show = Scenario::new(&fixture, "flux-owned").fix();
    assert!(fixture.shell(&show).stdout.contains("helm-delete-cilium"), "{show}");
}
