//! Which taints keep a pod away: the scheduler tells only that there are some (Kubernetes 1.36, seen on the sandbox; until 1.33
//! it named them).

use std::collections::BTreeSet;

use crate::observed::node::Node;

/// The scheduler's words.
const UNNAMED: &str = "untolerated taint(s)";

/// Whether the scheduler's words leave open which taints it means.
#[must_use]
pub fn are_unnamed(state: &str) -> bool {
    state.contains(UNNAMED)
}

/// The same words, with the taints of the nodes in them; those that Kubernetes sets itself come last, for some pods tolerate
/// them and nobody else's.
#[must_use]
pub fn named(state: &str, nodes: &[Node]) -> String {
    let taints = nodes.iter().flat_map(|node| &node.taints);
    let keeps_away = taints.filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    let words = |key: &str, value: &str| format!("{{{key}: {value}}}");
    let taints: BTreeSet<_> = keeps_away
        .map(|taint| (taint.key.starts_with("node.kubernetes.io/"), words(&taint.key, &taint.value)))
        .collect();
    let taints: Vec<_> = taints.into_iter().map(|(_, words)| words).collect();
    if taints.is_empty() {
        return state.to_owned();
    }
    state.replace(UNNAMED, &format!("untolerated taint {}", taints.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::known::find;
    use crate::observed::node::Taint;

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
        );
        assert_eq!(
            away,
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. no new claims to deallocate"
        );
        assert_eq!(find(&away).unwrap().id, "node-not-ready");
        let gpu = named(
            state,
            &[node(&[not_ready, ("gpu", "yes", "NoSchedule"), ("soft", "", "PreferNoSchedule")])],
        );
        assert!(gpu.contains("untolerated taint {gpu: yes}, {node.kubernetes.io/not-ready: }."), "{gpu}");
        assert_eq!(find(&gpu).unwrap().id, "taint");
        assert_eq!(named(state, &[]), state);
    }
}
