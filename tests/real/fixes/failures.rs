//! Fixes of known failures.

use k3s_boot::base::known_failures;

use super::cluster::failed;
use super::{Case, FAILURES, case, commands};
use crate::world::World;

const NODE: &str = "node-1";

#[test]
fn fixes_of_failed_releases() {
    let world = World::start("fixes-failures");
    let fast = ["--fail-fast"];
    world.kubectl(&["label", "namespace", "kube-system", "pod-security.kubernetes.io/enforce=restricted"]);
    let fix = failed(&world, &fast);
    assert!(fix.contains("every pod of kube-system may take over its node"), "{fix}");
    run(&world, &fix);

    world.kubectl(&["cordon", NODE]);
    let fix = failed(&world, &fast);
    assert_eq!(fix, "kubectl get nodes; kubectl uncordon NODE");
    run(&world, &fix.replace("NODE", NODE));

    // The preflight reports this one unless the check is skipped.
    world.kubectl(&["taint", "node", NODE, "dedicated=db:NoSchedule"]);
    let fix = failed(&world, &[&fast[..], &["--skip-check", "taints"]].concat());
    let command = commands(&fix)[0].replace("KEY", "dedicated");
    assert_eq!(command, "kubectl taint nodes --all dedicated-");
    run(&world, &command);

    world.apps(&fast).run().assert().code(0);
}

/// helm must not change a field of another manager.
pub(super) fn fields_of_somebody_else(world: &World) {
    let patch = r#"{"spec": {"replicas": 2}}"#;
    world.kubectl(&["patch", "deployment/coredns", "--namespace", "kube-system", "--patch", patch]);
    let values = "bootstrap/templates/values.yaml.gotmpl";
    world.replace(values, "priorityClassName: system-cluster-critical\n", "replicaCount: 3\n");
    let fix = failed(world, &[]);
    assert!(fix.contains("--fix-drift kube-system/coredns"), "{fix}");
    run(world, &fix);
    world.restore();
    world.apps(&[]).run().assert().code(0);
}

/// Runs commands that only show something.
pub(super) fn commands_that_show(world: &World) {
    let pods = world.get("/api/v1/namespaces/kube-system/pods");
    let is_coredns = |name: &&str| name.starts_with("coredns-");
    let mut names =
        pods["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap());
    let pod = names.find(is_coredns).unwrap();
    let mut count = 0;
    for failure in known_failures::table().filter(|failure| case(FAILURES, failure.id) == Case::Shows) {
        for command in commands(&failure.fix("kube-system/coredns", Some(pod))) {
            if command.starts_with("journalctl") || command.contains("--release ") {
                continue;
            }
            run(world, &command);
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

#[track_caller]
fn run(world: &World, command: &str) {
    let ran = world.shell(command);
    assert_eq!(ran.code, Some(0), "{command}\n{}{}", ran.stdout, ran.stderr);
}
