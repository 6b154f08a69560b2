//! Fixes of known failures.

use k3s_boot::internals::known_failures;

use super::cluster::failed;
use super::{Case, FAILURES, case, commands};
use crate::fixture::Fixture;

const NODE: &str = "node-1";

#[test]
fn fixes_of_failed_releases() {
    let fixture = Fixture::start("fixes-failures");
    let fast = ["--fail-fast"];
    fixture.kubectl(&["label", "namespace", "kube-system", "pod-security.kubernetes.io/enforce=restricted"]);
    let fix = failed(&fixture, &fast);
    assert!(fix.contains("every pod of kube-system may take over its node"), "{fix}");
    run(&fixture, &fix);

    fixture.kubectl(&["cordon", NODE]);
    let fix = failed(&fixture, &fast);
    assert_eq!(fix, "kubectl get nodes; kubectl uncordon NODE");
    run(&fixture, &fix.replace("NODE", NODE));

    // The preflight reports this one unless the check is skipped.
    fixture.kubectl(&["taint", "node", NODE, "dedicated=db:NoSchedule"]);
    let fix = failed(&fixture, &[&fast[..], &["--skip-check", "taints"]].concat());
    let command = commands(&fix)[0].replace("KEY", "dedicated");
    assert_eq!(command, "kubectl taint nodes --all dedicated-");
    run(&fixture, &command);

    fixture.apps(&fast).run().assert().code(0);
}

/// helm must not change a field of another manager.
pub(super) fn fields_of_another_manager(fixture: &Fixture) {
    let patch = r#"{"spec": {"replicas": 2}}"#;
    fixture.kubectl(&["patch", "deployment/coredns", "--namespace", "kube-system", "--patch", patch]);
    let values = "bootstrap/templates/values.yaml.gotmpl";
    fixture.replace(values, "priorityClassName: system-cluster-critical\n", "replicaCount: 3\n");
    let fix = failed(fixture, &[]);
    assert!(fix.contains("--fix-drift kube-system/coredns"), "{fix}");
    run(fixture, &fix);
    fixture.restore();
    fixture.apps(&[]).run().assert().code(0);
}

/// Runs commands that only show something.
pub(super) fn commands_that_show(fixture: &Fixture) {
    let pods = fixture.get("/api/v1/namespaces/kube-system/pods");
    let is_coredns = |name: &&str| name.starts_with("coredns-");
    let mut names =
        pods["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap());
    let pod = names.find(is_coredns).unwrap();
    let mut count = 0;
    for failure in known_failures().filter(|failure| case(FAILURES, failure.id) == Case::Shows) {
        for command in commands(&failure.fix(&"kube-system/coredns".into(), Some(pod))) {
            if command.starts_with("journalctl") || command.contains("--release ") {
                continue;
            }
            run(fixture, &command);
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

#[track_caller]
fn run(fixture: &Fixture, command: &str) {
    let ran = fixture.shell(command);
    assert_eq!(ran.code, Some(0), "{command}\n{}{}", ran.stdout, ran.stderr);
}
