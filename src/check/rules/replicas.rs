//! Replicas that cannot share a node have enough nodes.

use serde_json::Value;

use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule, scheduling};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "replicas",
    group: Group::Nodes,
    title: "replicas that cannot share a node have enough nodes",
    why: "Where a chart forbids two replicas on one node, the replicas beyond the number of nodes stay Pending, and \
          the release never becomes ready. cilium-operator has two by default, which is one too many for a single \
          node.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Nodes(check),
};

const HOSTNAME: &str = "kubernetes.io/hostname";

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let nodes = live.cluster.nodes.len().max(facts.options.nodes).max(1);
    let mut inspection = scheduling::inspect(facts);
    for (release, object, pod) in scheduling::workloads(facts) {
        if let Some(replicas) = replicas(object) {
            let too_many = replicas > nodes as u64 && keeps_apart(object, pod);
            inspection.look(too_many.then(|| found(release, object, replicas, nodes)));
        }
    }
    inspection.answer("no rendered release has replicas")
}

fn replicas(object: &Value) -> Option<u64> {
    let kind = object.get("kind")?.as_str()?;
    let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet").then_some(replicas)
}

/// Whether its pods require different nodes.
fn keeps_apart(object: &Value, pod: &Value) -> bool {
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    let terms = pod.pointer("/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    terms.and_then(Value::as_array).into_iter().flatten().any(|term| {
        let hostname = term.get("topologyKey").and_then(Value::as_str) == Some(HOSTNAME);
        // It is unknown which namespaces a selector matches.
        let elsewhere =
            ["namespaces", "namespaceSelector"].iter().any(|key| term.get(*key).is_some_and(is_set));
        let selector = term.get("labelSelector").unwrap_or(&Value::Null);
        hostname && !elsewhere && scheduling::selects(selector, &labels)
    })
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn found(release: &ReleaseId, object: &Value, replicas: u64, nodes: usize) -> Finding {
    let workload = scheduling::name(object);
    let fix = if workload == "Deployment/cilium-operator" {
        format!("# in the values of {release}\noperator:\n  replicas: {nodes}")
    } else {
        format!("set its replicas to {nodes} in the values of {release}")
    };
    Finding::error(RULE.id, "More replicas than nodes, and they cannot share a node")
        .with("release", release)
        .with("workload", workload)
        .with("replicas", replicas)
        .with("nodes", nodes)
        .fix(fix)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::finding::Severity::Error;
    use crate::check::testing::World;

    const MESSAGE: &str = "More replicas than nodes, and they cannot share a node";

    fn operator(world: &mut World) -> &mut Value {
        &mut world.manifests.objects.get_mut(&"kube-system/cilium".into()).unwrap().as_mut().unwrap()[1]
    }

    fn two() -> World {
        let mut world = World::healthy();
        operator(&mut world)["spec"]["replicas"] = json!(2);
        world
    }

    #[test]
    fn a_replica_without_a_node_is_an_error() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = two();
        assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())]);
        assert_eq!(world.fix(&RULE), "# in the values of kube-system/cilium\noperator:\n  replicas: 1");
        operator(&mut world)["metadata"]["name"] = json!("other");
        assert_eq!(world.fix(&RULE), "set its replicas to 1 in the values of kube-system/cilium");
        world.options.nodes = 2;
        assert_eq!(world.ask(&RULE), Answer::Ok, "the second node is expected");
        world.options.nodes = 1;
        world.agent("b");
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }

    #[test]
    fn other_terms_allow_a_shared_node() {
        let at =
            "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0";
        for (key, value) in [
            ("topologyKey", json!("topology.kubernetes.io/zone")),
            ("labelSelector", json!({"matchLabels": {"name": "another"}})),
            ("labelSelector", Value::Null),
            ("namespaces", json!(["elsewhere"])),
        ] {
            let mut world = two();
            operator(&mut world).pointer_mut(at).unwrap()[key] = value;
            assert_eq!(world.ask(&RULE), Answer::Ok, "{key}");
        }
        let mut world = two();
        operator(&mut world)["spec"]["template"]["spec"]["affinity"] = Value::Null;
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }

    #[test]
    fn unknown_manifests_are_unknown() {
        let mut world = World::healthy();
        world.manifests.objects.insert("kube-system/cilium".into(), Err("no chart".to_owned()));
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
