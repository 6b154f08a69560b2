//! A second run on a bootstrapped cluster: what it syncs, recovers and leaves alone.

use sandbox::Mark;
use sandbox::charts::Chart;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult, Running};
use super::helm_and_flux::{install_crd, record, with_status};
use super::k3s_and_nodes::{GOOD_ARGS, node_args};
use super::manifests::BUNDLED_COREDNS;
use super::problem_table::{Table, none, problem};

const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";
const COREDNS: &str = "oci://ghcr.io/coredns/charts/coredns";
const CILIUM: &str = "oci://quay.io/cilium/charts/cilium";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
const WEBHOOK: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/cert-manager-webhook";

pub(super) fn newer() -> [Chart; 2] {
    [("coredns", "1.45.1"), ("cilium", "1.18.7")]
        .map(|(name, version)| Chart::named(name).unwrap().with_version(version))
}

/// One bootstrapped cluster, whose registry also has newer charts. Each part leaves it as the shipped repository wants it.
#[test]
fn second_run_on_a_bootstrapped_cluster() {
    let fixture = Fixture::with_charts("second-run", &newer());
    fixture.apps(&[]).run().assert().code(0);
    assert_unchanged(&fixture, "nothing differs", &[]);
    pending_release_is_recovered(&fixture);
    release_upgraded_by_flux_is_left_alone(&fixture);
    equivalent_values_are_not_synced(&fixture);
    only_differences_are_synced(&fixture);
}

/// Runs helm manually.
#[track_caller]
fn helm(fixture: &Fixture, args: &[&str]) {
    let output = fixture.helm(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The revision of each release.
fn revisions(fixture: &Fixture) -> Vec<(String, u64)> {
    let list = fixture.sandbox.helm_list().unwrap();
    let revision = |release: &Value| {
        let number = release["revision"].as_str().unwrap().parse().unwrap();
        (release["name"].as_str().unwrap().to_owned(), number)
    };
    list.iter().map(revision).collect()
}

fn revision_of(fixture: &Fixture, release: &str) -> u64 {
    revisions(fixture).into_iter().find(|(name, _)| name == release).unwrap().1
}

/// The releases with new revisions.
fn synced(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<String> {
    let new = after.iter().filter(|release| !before.contains(release));
    new.map(|(name, _)| name.clone()).collect()
}

#[track_caller]
fn assert_logged(ran: &RunResult, words: &[&str]) {
    for word in words {
        assert!(ran.stdout.contains(word), "no `{word}` in {}", ran.stdout);
    }
}

/// Checks that a run changes nothing.
#[track_caller]
fn assert_unchanged(fixture: &Fixture, name: &str, words: &[&str]) {
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
    assert_eq!(fixture.changes(mark), [""; 0], "{name}");
    assert_logged(&ran, &[words, &["Nothing to change", "Bootstrap complete!"]].concat());
    println!("| {name} | nothing |");
}

/// Checks that a run syncs these releases only, and the next run none.
#[track_caller]
fn assert_synced(fixture: &Fixture, name: &str, args: &[&str], releases: &[&str], words: &[&str]) {
    let before = revisions(fixture);
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(args).run();
    assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
    assert_logged(&ran, words);
    let is_deployed = |release: &Value| release["status"] == "deployed";
    assert!(fixture.sandbox.helm_list().unwrap().iter().all(is_deployed), "{name}");
    assert_eq!(synced(&before, &revisions(fixture)), releases, "{name}");
    assert_writes_only(fixture, mark, releases);
    println!("| {name} | {} |", releases.join(", "));
}

/// Checks that only Secrets of these releases were written.
#[track_caller]
fn assert_writes_only(fixture: &Fixture, mark: Mark, releases: &[&str]) {
    let of =
        |change: &str| releases.iter().any(|name| change.contains(&format!("sh.helm.release.v1.{name}.")));
    let changes = fixture.changes(mark);
    let others = changes.iter().filter(|change| change.contains("sh.helm.release.v1.") && !of(change));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
}

fn only_differences_are_synced(fixture: &Fixture) {
    fixture.kubectl(&["delete", "deployment/coredns", "--namespace", "kube-system"]);
    assert_synced(
        fixture,
        "a deleted object",
        &[],
        &["coredns"],
        &["missing: Deployment kube-system/coredns"],
    );

    let manual_change = r#"{"spec": {"template": {"spec": {"priorityClassName": "system-node-critical"}}}}"#;
    fixture.kubectl(&["patch", "deployment/coredns", "--namespace", "kube-system", "--patch", manual_change]);
    let field = "Deployment kube-system/coredns spec.template.spec.priorityClassName (by kubectl-patch)";
    assert_unchanged(
        fixture,
        "a manually changed field",
        &["WARN Release has manual changes in the cluster", field],
    );
    let args = ["--fix-drift", "coredns"];
    assert_synced(
        fixture,
        "the same with --fix-drift",
        &args,
        &["coredns"],
        &["changed manually: Deployment"],
    );
    let class = &fixture.get(DEPLOYMENT)["spec"]["template"]["spec"]["priorityClassName"];
    assert_eq!(class, "system-cluster-critical");

    fixture.replace(VALUES, "  replicas: 1\n", "  replicas: 2\n");
    fixture.sandbox.add_node().unwrap();
    assert_synced(fixture, "a changed value", &[], &["cilium"], &["values changed: operator.replicas"]);

    // helm installs another chart with the same version.
    let folder = tempfile::tempdir().unwrap();
    let chart = Chart::named("coredns").unwrap();
    let service = format!("{}# by hand\n", chart.file("templates/service.yaml").unwrap());
    let other =
        sandbox::charts::build_one(folder.path(), &chart.with_file("templates/service.yaml", service));
    let file = other.unwrap().file.display().to_string();
    let upgrade = ["upgrade", "coredns", &file, "--namespace", "kube-system", "--reuse-values"];
    helm(fixture, &upgrade);
    let words = ["its chart has changed: templates/service.yaml"];
    assert_synced(fixture, "changed content of a chart with the same version", &[], &["coredns"], &words);

    let failing = [&upgrade[..], &["--wait", "--timeout", "1ms"]].concat();
    assert!(!fixture.helm(&failing).status.success());
    assert_synced(fixture, "a failed release", &[], &["coredns"], &["its last revision is failed"]);

    // helm can leave either status if it is interrupted at the end.
    let revision = revision_of(fixture, "coredns");
    let last = record(fixture, ("kube-system", "coredns"), revision);
    let mut failed = with_status(&last, revision, "failed");
    failed["metadata"]["labels"]["status"] = "deployed".into();
    fixture.apply(&failed.to_string());
    assert_synced(fixture, "a failed release with the label `deployed`", &[], &["coredns"], &["is failed"]);

    // Superseded old revisions are normal; a superseded last revision is not.
    let revision = revision_of(fixture, "coredns");
    assert!(revision > 5, "{revision}");
    let last = record(fixture, ("kube-system", "coredns"), revision);
    fixture.apply(&with_status(&last, revision + 1, "superseded").to_string());
    let words = ["its last revision is superseded"];
    assert_synced(fixture, "a superseded last revision", &[], &["coredns"], &words);

    let before = revisions(fixture);
    let ran = fixture.apps(&["--force"]).run();
    ran.assert().code(0);
    assert_logged(&ran, &["requested with --force"]);
    assert_eq!(synced(&before, &revisions(fixture)).len(), 6);
    assert_unchanged(fixture, "after all changes", &[]);
}

fn equivalent_values_are_not_synced(fixture: &Fixture) {
    let bundle = r#"[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Y2E="}]"#;
    let name = "validatingwebhookconfiguration/cert-manager-webhook";
    fixture.kubectl(&["patch", name, "--type=json", "--patch", bundle, "--field-manager=cainjector"]);
    fixture.kubectl(&["annotate", name, "example.org/seen=yes", "--field-manager=other"]);
    assert_unchanged(fixture, "fields of another manager", &[]);
    assert_eq!(fixture.get(WEBHOOK)["webhooks"][0]["clientConfig"]["caBundle"], "Y2E=");

    let upgrade = [
        "upgrade",
        "coredns",
        COREDNS,
        "--namespace",
        "kube-system",
        "--reuse-values",
        "--version",
        "1.45.1",
    ];
    helm(fixture, &upgrade);
    let words = ["Release is newer in the cluster than in the helmfile", "--downgrade coredns"];
    Table::new(fixture).check(&problem("a newer chart", "newer", "!", &words), none, none);
    assert_unchanged(fixture, "a newer chart", &words);
    let before = revisions(fixture);
    let ran = fixture.apps(&["--force"]).run();
    ran.assert().code(0);
    assert!(!synced(&before, &revisions(fixture)).contains(&"coredns".to_owned()), "--force is not enough");
    let args = ["--downgrade", "coredns"];
    assert_synced(fixture, "the same with --downgrade", &args, &["coredns"], &["version 1.45.1 → 1.45.0"]);

    install_crd(fixture, "helmcharts", "HelmChart", "helm.cattle.io", "v1");
    let chart = r#"{"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart",
        "metadata": {"name": "coredns", "namespace": "kube-system"}, "spec": {"chart": "coredns"}}"#;
    fixture.apply(chart);
    fixture.replace(VALUES, "system-cluster-critical", "system-node-critical");
    assert_unchanged(fixture, "a release of a HelmChart", &["HelmChart kube-system/coredns"]);
    fixture.delete(chart);
    fixture.restore();

    // Without metrics it still keeps the minimum number of replicas.
    fixture.kubectl(&["autoscale", "deployment/coredns", "--namespace", "kube-system", "--min=3", "--max=5"]);
    let three =
        ["wait", "deployment/coredns", "--namespace", "kube-system", "--for=jsonpath={.spec.replicas}=3"];
    fixture.kubectl(&[&three[..], &["--timeout=90s"]].concat());
    assert_unchanged(fixture, "replicas of an autoscaler", &[]);
    assert_eq!(fixture.get(DEPLOYMENT)["spec"]["replicas"], 3);

    // The pods of a node that is switched off are recreated and cannot be scheduled.
    fixture.sandbox.set_node_ready("node-1", false).unwrap();
    fixture.sandbox.hold("kube-system", "coredns").unwrap();
    fixture.kubectl(&["delete", "pod", "--namespace", "kube-system", "--selector", "k8s-app=kube-dns"]);
    let gone = ["wait", "deployment/coredns", "-n", "kube-system", "--for=condition=Available=false"];
    fixture.kubectl(&[&gone[..], &["--timeout=90s"]].concat());
    assert_unchanged(
        fixture,
        "a node switched off",
        &["WARN Release not ready", "Deployment/coredns 0/", "kubectl describe nodes"],
    );
    fixture.sandbox.release().unwrap();
    fixture.sandbox.set_node_ready("node-1", true).unwrap();
    fixture.kubectl(&["delete", "hpa/coredns", "--namespace", "kube-system"]);
}

/// Flux has installed a newer Cilium than the version in the helmfile.
fn release_upgraded_by_flux_is_left_alone(fixture: &Fixture) {
    install_crd(fixture, "helmreleases", "HelmRelease", "helm.toolkit.fluxcd.io", "v2");
    let release = r#"{"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"name": "net", "namespace": "infra"},
        "spec": {"releaseName": "cilium", "storageNamespace": "kube-system", "suspend": true}}"#;
    fixture.kubectl(&["create", "namespace", "infra"]);
    fixture.apply(release);
    helm(
        fixture,
        &["upgrade", "cilium", CILIUM, "--namespace", "kube-system", "--reuse-values", "--version", "1.18.7"],
    );
    let owner = "HelmRelease infra/net";
    assert_unchanged(fixture, "a newer release that Flux manages", &[owner]);

    // Also if its values differ, with --force, and if an operation of Flux is stuck.
    fixture.replace(VALUES, "rollOutCiliumPods: true", "rollOutCiliumPods: false");
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&["--force"]).run();
    ran.assert().code(0);
    assert_logged(&ran, &[owner]);
    let changes = fixture.changes(mark);
    let cilium: Vec<_> = changes.iter().filter(|change| change.contains("cilium")).collect();
    println!("audit log, --force: {} changes, of cilium {}:", changes.len(), cilium.len());
    for change in &changes {
        println!("  {change}");
    }
    assert!(!changes.is_empty());
    assert_eq!(cilium, [""; 0]);

    let revision = revision_of(fixture, "cilium");
    let last = record(fixture, ("kube-system", "cilium"), revision);
    let mut stuck = with_status(&last, revision + 1, "pending-upgrade");
    stuck["metadata"]["labels"]["modifiedAt"] = "1000000000".into();
    let stuck = stuck.to_string();
    fixture.apply(&stuck);
    assert_unchanged(
        fixture,
        "a stuck operation of Flux",
        &["flux reconcile helmrelease net --namespace infra --force"],
    );
    let ran = fixture.k3s_boot(&["recover", "--yes"]).run();
    ran.assert().code(0);
    let path = format!("/api/v1/namespaces/kube-system/secrets/sh.helm.release.v1.cilium.v{}", revision + 1);
    assert!(fixture.sandbox.get(&path).unwrap().is_some());
    fixture.delete(&stuck);

    // With --adopt it is synced.
    let args = ["--force", "--adopt", "cilium", "--downgrade", "cilium", "--only", "apps"];
    let ran = fixture.apps(&args).run();
    ran.assert().code(0);
    let cilium =
        fixture.sandbox.helm_list().unwrap().into_iter().find(|release| release["name"] == "cilium").unwrap();
    assert_eq!(cilium["chart"], "cilium-1.18.6");
    assert_eq!(revision_of(fixture, "cilium"), revision + 1);

    // Flux lets go of it.
    fixture.delete(release);
    fixture.restore();
    assert_synced(fixture, "a release that Flux has managed", &[], &["cilium"], &["values changed"]);
}

/// `recover` fixes a release in `pending-*` with unknown owner without uninstalling it.
fn pending_release_is_recovered(fixture: &Fixture) {
    for (name, status) in [("cilium", "pending-upgrade"), ("coredns", "pending-rollback")] {
        let pending = with_status(&record(fixture, ("kube-system", name), 1), 2, status);
        fixture.apply(&pending.to_string());
    }
    let ran = fixture.apps(&[]).run();
    ran.assert().code(1);
    assert!(ran.stderr.contains("k3s-boot recover"), "{}", ran.stderr);
    // A recent operation may still be in progress.
    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.k3s_boot(&["recover", "--yes"]).run();
    ran.assert().code(1);
    assert_logged(&ran, &["skip_reason=\"the operation may still be running", "--force"]);
    assert_eq!(fixture.changes(mark), [""; 0]);
    let daemon_set = "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium";
    let uid = fixture.get(daemon_set)["metadata"]["uid"].clone();
    let ran = fixture.k3s_boot(&["recover", "--force", "--yes", "-o", "json"]).run();
    ran.assert().code(0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["releases"].as_array().map(Vec::len), Some(2), "{report}");
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert_eq!(revisions(fixture).len(), 6);
    assert_eq!(fixture.get(daemon_set)["metadata"]["uid"], uid, "never uninstalled");
    assert_unchanged(fixture, "after recover", &[]);
}

/// Ten runs at once: one syncs, the others wait and have nothing to change, or exit with 8.
#[test]
fn ten_concurrent_runs_do_the_work_of_one() {
    let fixture = Fixture::start("ten");
    let mut running: Vec<Running<'_>> = (0..10).map(|_| fixture.apps(&[]).start()).collect();
    let ran: Vec<_> = running.drain(..).map(Running::finish).collect();
    let with = |code: i32| ran.iter().filter(|ran| ran.code == Some(code)).count();
    let worked = ran.iter().filter(|ran| ran.stdout.contains("Helm releases synced successfully")).count();
    let nothing =
        ran.iter().filter(|ran| ran.code == Some(0) && ran.stdout.contains("Nothing to change")).count();
    println!("worked {worked}, ended with 8 {}, found nothing to do {nothing}", with(8));
    assert_eq!((worked, with(8) + nothing), (1, 9));
    assert!(revisions(&fixture).iter().all(|(_, revision)| *revision == 1), "{:?}", revisions(&fixture));
    assert_eq!(revisions(&fixture).len(), 6);
    for refused in ran.iter().filter(|ran| ran.code == Some(8)) {
        assert!(
            refused.stderr.contains("holder=\"") && refused.stderr.contains("since=\""),
            "{}",
            refused.stderr
        );
    }
    assert_unchanged(&fixture, "after ten at once", &[]);
}

/// k3s keeps its CoreDNS, and releases that need the skipped one are still installed.
#[test]
fn bundled_coredns_can_be_kept() {
    let fixture = Fixture::start("bundled");
    node_args(&fixture, &GOOD_ARGS.replace(r#","--disable","coredns""#, ""));
    fixture.apply(&BUNDLED_COREDNS.replace("replicas: 0", "replicas: 1"));
    let mark = fixture.sandbox.audit_mark().unwrap();
    let refused = fixture.apps(&[]).run();
    refused.assert().code(1);
    assert!(refused.stderr.contains("--skip-release"), "{}", refused.stderr);
    assert_eq!(fixture.changes(mark), [""; 0]);
    let ran = fixture.apps(&["--skip-release", "coredns"]).run();
    ran.assert().code(0);
    assert_logged(&ran, &["Bootstrap complete!"]);
    assert_eq!(revisions(&fixture).len(), 5);
    let touched = fixture.changes(mark).into_iter().filter(|change| change.contains("coredns")).count();
    assert_eq!(touched, 0);
    // The configuration applies to every run.
    fixture.write("k3s-boot.yaml", "skipReleases: [coredns]\n");
    assert_unchanged(&fixture, "without CoreDNS", &[]);
    let diff = fixture.k3s_boot(&["diff", "-o", "json"]).run();
    let report: Value = serde_json::from_str(&diff.stdout).unwrap();
    let skipped = json!("--skip-release");
    assert!(report["releases"].as_array().unwrap().iter().any(|one| one["reason"] == skipped), "{report}");
}

/// Running the stages one by one has the same result as running all.
#[test]
fn stages_can_be_selected() {
    let fixture = Fixture::start("stages");
    let run = |args: &[&str], code| {
        let ran = fixture.apps(args).run();
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        ran
    };
    let count = || fixture.sandbox.helm_list().unwrap().len();
    run(&["--only", "namespaces"], 0);
    assert_eq!(count(), 0);
    let missing = fixture.sandbox.get("/api/v1/namespaces/flux-system/secrets/sops-age").unwrap();
    assert!(missing.is_none() && fixture.sandbox.get("/api/v1/namespaces/flux-system").unwrap().is_some());
    run(&["--skip", "apps", "--skip", "verify"], 0);
    assert_eq!(count(), 1);
    // With its `needs`.
    run(&["--release", "coredns", "--skip", "verify"], 0);
    assert_eq!(
        revisions(&fixture).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["cilium", "coredns", "prometheus-operator-crds"]
    );
    fixture.sandbox.hold("cert-manager", "cert-manager").unwrap();
    let failed = run(&["--release-timeout", "5s"], 6);
    assert!(
        failed.stderr.contains("resume=\"k3s-boot apps --release-timeout 5s --from apps\""),
        "{}",
        failed.stderr
    );
    fixture.sandbox.release().unwrap();
    let ran = run(&["--from", "apps"], 0);
    assert_logged(&ran, &["Bootstrap complete!"]);
    assert_eq!(revisions(&fixture).len(), 6);
    assert_unchanged(&fixture, "after stages one by one", &[]);
}
