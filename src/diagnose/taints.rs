//! The taints that block a pod: the scheduler only reports that there are some (Kubernetes 1.36, seen in the sandbox; until
//! 1.33 it named them).

use std::collections::BTreeSet;

use crate::observed::node::{Node, Taint};
use crate::observed::pods::Toleration;

/// The message of the scheduler.
const UNNAMED: &str = "untolerated taint(s)";

/// Whether the message of the scheduler does not name the taints.
pub(crate) fn are_unnamed(state: &str) -> bool {
    state.contains(UNNAMED)
}

/// Adds the taints that a pod does not tolerate to the message. Taints that Kubernetes itself sets and removes count only on
/// nodes without others.
pub(crate) fn named(state: &str, nodes: &[Node], tolerations: &[Toleration]) -> String {
    let taints = nodes.iter().flat_map(|node| untolerated(node, tolerations));
    let taints: BTreeSet<_> = taints.map(|taint| format!("{{{}: {}}}", taint.key, taint.value)).collect();
    let taints: Vec<_> = taints.into_iter().collect();
    if taints.is_empty() {
        return state.to_owned();
    }
    state.replace(UNNAMED, &format!("untolerated taint {}", taints.join(", ")))
}

/// The nodes that are not ready, and why; none if all are ready.
pub(crate) fn unready(nodes: &[Node]) -> Option<String> {
    let mut unready = nodes.iter().filter(|node| !node.ready);
    let first = unready.next()?;
    let words = format!("not ready: {} ({}: {})", first.name, first.reason, first.waiting_for());
    Some(match unready.count() {
        0 => words,
        more => format!("{words} and {more} more"),
    })
}

fn untolerated<'a>(node: &'a Node, tolerations: &[Toleration]) -> Vec<&'a Taint> {
    let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let untolerated = |taint: &&Taint| !tolerations.iter().any(|one| one.covers(taint));
    let taints: Vec<_> = node.taints.iter().filter(keeps_away).filter(untolerated).collect();
    let (own, others): (Vec<_>, Vec<_>) =
        taints.into_iter().partition(|taint| taint.key.starts_with("node.kubernetes.io/"));
    if others.is_empty() { own } else { others }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known_failures::{Origin, find};

    fn node(taints: &[(&str, &str, &str)]) -> Node {
        let taint = |(key, value, effect): &(&str, &str, &str)| Taint {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            effect: (*effect).to_owned(),
        };
        Node { taints: taints.iter().map(taint).collect(), ..Node::default() }
    }

    #[test]
    fn the_nodes_name_what_the_scheduler_does_not() {
        let state =
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate";
        assert!(are_unnamed(state) && !are_unnamed("1 node(s) had untolerated taint {gpu: yes}"));
        let not_ready = ("node.kubernetes.io/not-ready", "", "NoSchedule");
        let away = named(
            state,
            &[node(&[not_ready, ("node.kubernetes.io/not-ready", "", "NoExecute")]), node(&[not_ready])],
            &[],
        );
        assert_eq!(
            away,
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. no new claims to deallocate"
        );
        assert_eq!(find(Origin::State, &away).unwrap().id, "node-not-ready");
        let gpu = named(
            state,
            &[node(&[not_ready, ("gpu", "yes", "NoSchedule"), ("soft", "", "PreferNoSchedule")])],
            &[],
        );
        assert!(gpu.contains("untolerated taint {gpu: yes}."), "{gpu}");
        assert_eq!(find(Origin::State, &gpu).unwrap().id, "taint");
        assert_eq!(named(state, &[], &[]), state);
        let control_plane = ("node-role.kubernetes.io/control-plane", "", "NoSchedule");
        let key = control_plane.0.to_owned();
        let tolerates = [Toleration { key, operator: "Exists".to_owned(), ..Toleration::default() }];
        let left = named(state, &[node(&[control_plane, not_ready])], &tolerates);
        assert_eq!(find(Origin::State, &left).unwrap().id, "node-not-ready", "{left}");
    }

    #[test]
    fn nodes_that_are_not_ready_are_named() {
        let node = |name: &str, ready, reason: &str, message: &str| Node {
            name: name.to_owned(),
            ready,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Node::default()
        };
        let well = node("a", true, "KubeletReady", "kubelet is posting ready status");
        let off = node("b", false, "NodeStatusUnknown", "Kubelet stopped posting node status.");
        let bare = node("c", false, "KubeletNotReady", "cni plugin not initialized");
        assert_eq!(unready(&[]), None);
        assert_eq!(unready(std::slice::from_ref(&well)), None);
        assert_eq!(unready(&[well, bare.clone()]).unwrap(), "not ready: c (KubeletNotReady: CNI)");
        assert_eq!(
            unready(&[off, bare]).unwrap(),
            "not ready: b (NodeStatusUnknown: Kubelet stopped posting node status.) and 1 more"
        );
    }
}
