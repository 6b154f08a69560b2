//! Every workload can be scheduled.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::finding::{Finding, Severity};
use crate::base::release_id::ReleaseId;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule, scheduling};
use crate::observed::Live;
use crate::observed::node::{Node, Taint};

pub(super) const RULE: Rule = Rule {
    id: "taints",
    group: Group::Nodes,
    title: "every workload can be scheduled",
    why: "A pod that tolerates the taints of no node stays Pending, and its release never becomes ready. Most charts \
          have no tolerations, and since 1.18 cilium-operator no longer tolerates every taint (cilium/cilium#40475, \
          vitobotta/hetzner-k3s#744).",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Nodes(check),
};

/// Why no node accepts some workloads of a release, and the fix for them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Refused<'a> {
    severity: Severity,
    release: &'a ReleaseId,
    taints: Vec<&'a Taint>,
    fix: String,
}

/// Whether a workload fits on a node, or why not.
enum Placement<'n> {
    Fits,
    NoLabels,
    Tainted(Vec<&'n Taint>),
}

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let nodes = &live.cluster.nodes;
    let mut tainted: BTreeMap<Refused<'_>, Vec<String>> = BTreeMap::new();
    let mut inspection = scheduling::inspect(facts);
    let mut refusals = Vec::new();
    for (release, object, pod) in scheduling::workloads(facts) {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        match place(nodes, pod) {
            Placement::Fits => inspection.look(None),
            // It is for another type of nodes.
            Placement::NoLabels if kind == "DaemonSet" => inspection.look(None),
            Placement::NoLabels => refusals.push(without_labels(severity(kind), release, object, pod)),
            Placement::Tainted(taints) => {
                let fix = tolerations(pod, &taints);
                let refused = Refused { severity: severity(kind), release, taints, fix };
                tainted.entry(refused).or_default().push(scheduling::name(object));
            }
        }
    }
    refusals.extend(tainted.into_iter().map(|(refused, workloads)| refused.finding(&workloads.join(", "))));
    // A node that has not registered yet may accept them.
    let expected = facts.options.nodes.max(1);
    if !refusals.is_empty() && nodes.len() < expected {
        return Answer::Unknown(format!("{} of {expected} nodes have registered", nodes.len()));
    }
    inspection.find(refusals);
    inspection.answer("no rendered release has workloads")
}

/// Helm waits for neither: a `DaemonSet` without a node counts as ready.
fn severity(kind: &str) -> Severity {
    if matches!(kind, "DaemonSet" | "CronJob") { Severity::Warning } else { Severity::Error }
}

fn place<'n>(nodes: &'n [Node], pod: &Value) -> Placement<'n> {
    let fitting = nodes.iter().filter(|node| scheduling::has_labels(node, pod));
    // The node with the fewest obstacles.
    match fitting.map(|node| scheduling::untolerated(node, pod)).min_by_key(Vec::len) {
        None => Placement::NoLabels,
        Some(taints) if taints.is_empty() => Placement::Fits,
        Some(taints) => Placement::Tainted(taints),
    }
}

fn found(severity: Severity, message: &str) -> Finding {
    Finding { severity, ..Finding::error(RULE.id, message) }
}

impl Refused<'_> {
    fn finding(&self, workloads: &str) -> Finding {
        let Self { severity, release, taints, fix } = self;
        let text = |taint: &&Taint| {
            let Taint { key, value, effect } = taint;
            if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") }
        };
        found(*severity, "Workload does not tolerate the taints of any node")
            .with("release", release)
            .with("workloads", workloads)
            .with("taints", taints.iter().map(text).collect::<Vec<_>>().join(", "))
            .fix(format!("# in the values of {release}, for {workloads}\n{fix}"))
    }
}

/// All tolerations that a pod needs, including those that it has: Helm replaces lists as a whole.
fn tolerations(pod: &Value, taints: &[&Taint]) -> String {
    let already = pod.get("tolerations").and_then(Value::as_array).into_iter().flatten().cloned();
    let missing = taints.iter().map(|Taint { key, value, effect }| match value.as_str() {
        "" => json!({"key": key, "operator": "Exists", "effect": effect}),
        value => json!({"key": key, "operator": "Equal", "value": value, "effect": effect}),
    });
    let list = json!({"tolerations": already.chain(missing).collect::<Vec<_>>()});
    serde_yaml::to_string(&list).unwrap_or_default().trim_end().to_owned()
}

fn without_labels(severity: Severity, release: &ReleaseId, object: &Value, pod: &Value) -> Finding {
    let selector = pod.get("nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let labels: Vec<_> =
        selector.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    let affinity = pod.pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    let finding = found(severity, "No node has the labels that the workload selects")
        .with("release", release)
        .with("workload", scheduling::name(object));
    match affinity {
        Some(affinity) => finding
            .with("node_selector", labels.join(" "))
            .with("node_affinity", affinity)
            .fix("add the labels to a node, or change `nodeSelector` and `affinity` in the values"),
        None => finding
            .with("node_selector", labels.join(" "))
            .fix(format!("kubectl label node NODE {}", labels.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::{World, taint, workload};

    const REFUSED: &str = "Workload does not tolerate the taints of any node";

    fn dedicated() -> World {
        let mut world = World::healthy();
        let taints = &mut world.live_mut().cluster.nodes[0].taints;
        taints.push(taint("CriticalAddonsOnly", "true", "NoExecute"));
        world
    }

    fn only(object: Value) -> World {
        let mut world = World::healthy();
        world.manifests.objects.clear();
        world.manifests.objects.insert("x/y".into(), Ok(vec![object]));
        world
    }

    #[test]
    fn untolerated_taints_are_reported_by_release() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = dedicated();
        let Answer::Found(found) = world.ask(&RULE) else { panic!("found nothing") };
        let listed: Vec<_> = found
            .iter()
            .map(|one| {
                assert_eq!((one.severity, one.summary.as_str()), (Error, REFUSED));
                (one.details[0].1.as_str(), one.details[1].1.as_str())
            })
            .collect();
        let expected = [
            (
                "cert-manager/cert-manager",
                "Deployment/cert-manager, Deployment/cert-manager-webhook, Job/cert-manager-startupapicheck",
            ),
            ("flux-system/flux-operator", "Deployment/flux-operator"),
            ("kube-system/cilium", "Deployment/cilium-operator"),
        ];
        assert_eq!(listed, expected);
        assert_eq!(world.detail(&RULE, "taints"), "CriticalAddonsOnly=true:NoExecute");
        let new = "- effect: NoExecute\n  key: CriticalAddonsOnly\n  operator: Equal\n  value: 'true'";
        assert!(world.fix(&RULE).ends_with(&format!("\ntolerations:\n{new}")));
        let kept = "- effect: NoSchedule\n  key: node-role.kubernetes.io/control-plane\n  operator: Exists";
        let fix = found[2].fix.as_ref().unwrap();
        assert!(fix.ends_with(&format!("\ntolerations:\n{kept}\n{new}")), "{fix}");
        world.agent("b");
        assert_eq!(world.ask(&RULE), Answer::Ok, "the agent accepts them");
    }

    #[test]
    fn an_expected_node_may_accept_them() {
        let mut world = dedicated();
        world.options.nodes = 2;
        assert_eq!(world.ask(&RULE), Answer::Unknown("1 of 2 nodes have registered".to_owned()));
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("0 of 2 nodes have registered".to_owned()));
    }

    #[test]
    fn workloads_that_helm_does_not_wait_for_are_a_warning() {
        let mut world = only(workload("DaemonSet", "x", &json!({}), &json!({})));
        world.live_mut().cluster.nodes[0].taints.push(taint("k", "", "NoSchedule"));
        assert_eq!(world.found(&RULE), [(Warning, REFUSED.to_owned())]);
        assert!(world.fix(&RULE).ends_with("\n- effect: NoSchedule\n  key: k\n  operator: Exists"));
        let windows = json!({"nodeSelector": {"kubernetes.io/os": "windows"}});
        assert_eq!(only(workload("DaemonSet", "x", &json!({}), &windows)).ask(&RULE), Answer::Ok);
        let off = workload("Deployment", "x", &json!({"replicas": 0}), &windows);
        assert!(only(off).is_not_applicable(&RULE));
    }

    #[test]
    fn missing_node_labels_are_an_error() {
        let message = "No node has the labels that the workload selects";
        let pod = json!({"nodeSelector": {"gpu": "yes"}});
        let world = only(workload("Deployment", "x", &json!({}), &pod));
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        assert_eq!(world.fix(&RULE), "kubectl label node NODE gpu=yes");
        let pod = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}}}});
        let world = only(workload("StatefulSet", "x", &json!({}), &pod));
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        assert!(world.detail(&RULE, "node_affinity").contains("gpu"));
    }

    #[test]
    fn unknown_manifests_are_unknown_unless_something_was_found() {
        let mut world = World::healthy();
        world.manifests.objects.insert("a/b".into(), Err("no chart".to_owned()));
        assert_eq!(world.ask(&RULE), Answer::Unknown("a/b cannot be rendered: no chart".to_owned()));
        let mut world = dedicated();
        world.manifests.objects.insert("a/b".into(), Err("no chart".to_owned()));
        assert_eq!(world.found(&RULE).len(), 3);
    }
}
