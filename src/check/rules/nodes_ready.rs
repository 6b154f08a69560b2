//! Nodes are Ready, or wait only for a CNI.

use std::time::{Duration, SystemTime};

use humantime::parse_rfc3339;

use crate::base::finding::{Finding, Severity};
use crate::check::scheduling::missing_cni_fix;
use crate::check::{Answer, Check, Facts, Group, Inspection, NO_NODES, Needs, Rule};
use crate::observed::Live;
use crate::observed::node::Node;

pub(super) const RULE: Rule = Rule {
    id: "nodes-ready",
    group: Group::Nodes,
    title: "nodes are Ready, or wait only for a CNI",
    why: "A fresh node without a CNI is NotReady with `cni plugin not initialized` (k3s-io/k3s#12583), which the \
          bootstrap fixes. A node that is NotReady for another reason stays so, and Cilium's agent on it cannot \
          become ready.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

/// A node reports transient reasons in its first minute.
const STARTUP: Duration = Duration::from_mins(1);

/// A node that became `NotReady` this long after it registered was Ready before.
const WAS_READY_AFTER: Duration = Duration::from_mins(2);

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let mut inspection = Inspection::default();
    for node in &live.cluster.nodes {
        inspection.look(not_ready(facts, node));
        inspection.look(node.unschedulable.then(|| {
            Finding::warning(RULE.id, "Node is cordoned")
                .with("node", &node.name)
                .fix(format!("kubectl uncordon {}", node.name))
        }));
        // It is unknown whether a release installs the CNI that it waits for.
        if waits_for_cni(node)
            && facts.desired.cni().is_none()
            && let Some(reason) = facts.desired.unread()
        {
            inspection.miss(reason);
        }
    }
    if live.cluster.nodes.is_empty() {
        inspection.miss(NO_NODES);
    }
    inspection.answer(NO_NODES)
}

fn waits_for_cni(node: &Node) -> bool {
    !node.ready && node.waits_for_cni()
}

fn not_ready(facts: &Facts<'_>, node: &Node) -> Option<Finding> {
    if node.ready {
        return None;
    }
    if waits_for_cni(node) {
        // A CNI may also come from an unknown chart, or from k3s a second later.
        let is_missing = facts.desired.unread().is_none() && facts.desired.cni().is_none();
        return is_missing.then(|| {
            Finding::warning(RULE.id, "Node waits for a CNI, and no release installs a known one")
                .with("node", &node.name)
                .fix(missing_cni_fix(facts.k3s().is_ok()))
        });
    }
    let (severity, message) = if was_ready(node) {
        (Severity::Warning, "Node is no longer Ready")
    } else if is_new(node, facts.observed.now) {
        (Severity::Warning, "Node is not Ready yet")
    } else {
        (Severity::Error, "Node is not Ready, for another reason than a missing CNI")
    };
    let finding = Finding { severity, ..Finding::error(RULE.id, message) }
        .with("node", &node.name)
        .with("reason", format!("{}: {}", node.reason, node.waiting_for()))
        .fix(format!("kubectl describe node {}, then check {}", node.name, facts.distribution().node_log()));
    Some(finding)
}

fn was_ready(node: &Node) -> bool {
    let after = || {
        let (changed, created) = (parse_rfc3339(&node.changed).ok()?, parse_rfc3339(&node.created).ok()?);
        changed.duration_since(created).ok()
    };
    node.reason == "NodeStatusUnknown" || after().is_some_and(|after| after > WAS_READY_AFTER)
}

/// Whether it has just registered, or at an unknown time.
fn is_new(node: &Node, now: SystemTime) -> bool {
    let age = parse_rfc3339(&node.created).ok().and_then(|created| now.duration_since(created).ok());
    node.reason.is_empty() || age.is_none_or(|age| age < STARTUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::World;

    fn broken(reason: &str, changed: &str) -> World {
        let mut world = World::healthy();
        let node = &mut world.live_mut().cluster.nodes[0];
        reason.clone_into(&mut node.reason);
        changed.clone_into(&mut node.changed);
        "PLEG is not healthy".clone_into(&mut node.message);
        world
    }

    #[test]
    fn ready_nodes_and_nodes_that_wait_for_a_cni_pass() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().cluster.nodes[0].ready = true;
        world.without("cilium");
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().cluster.nodes[0].ready = false;
        let message = "Node waits for a CNI, and no release installs a known one";
        assert_eq!(world.found(&RULE), [(Warning, message.to_owned())]);
        assert_eq!(world.fix(&RULE), "add a CNI to the helmfile, or enable flannel in k3s");
        world.talos();
        assert_eq!(world.fix(&RULE), "add a CNI to the helmfile");
        // A helmfile that was not read may install one.
        world.desired.coverage.unread = Some("01-apps.yaml was not read".to_owned());
        assert_eq!(world.ask(&RULE), Answer::unknown("01-apps.yaml was not read"));
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.ask(&RULE), Answer::unknown(NO_NODES));
    }

    #[test]
    fn another_reason_is_an_error_unless_it_is_transient() {
        let created = "2026-11-23T08:00:00Z";
        let error = "Node is not Ready, for another reason than a missing CNI";
        let cases = [
            ("KubeletNotReady", created, Error, error),
            ("KubeletNotReady", "2026-11-23T08:01:00Z", Error, error),
            ("KubeletNotReady", "2026-11-23T08:09:00Z", Warning, "Node is no longer Ready"),
            ("NodeStatusUnknown", created, Warning, "Node is no longer Ready"),
            ("", created, Warning, "Node is not Ready yet"),
        ];
        for (reason, changed, severity, message) in cases {
            let found = broken(reason, changed).found(&RULE);
            assert_eq!(found, [(severity, message.to_owned())], "{reason} {changed}");
        }
        let mut world = broken("KubeletNotReady", created);
        assert_eq!(world.detail(&RULE, "reason"), "KubeletNotReady: PLEG is not healthy");
        assert!(world.fix(&RULE).ends_with(", then check `journalctl -u k3s` on that node"));
        world.talos();
        assert_eq!(
            world.fix(&RULE),
            "kubectl describe node a, then check `talosctl logs kubelet` of that node"
        );
        world.observed.now = parse_rfc3339("2026-11-23T08:00:10Z").unwrap();
        assert_eq!(world.found(&RULE), [(Warning, "Node is not Ready yet".to_owned())]);
        world.observed.now = SystemTime::UNIX_EPOCH;
        assert_eq!(world.found(&RULE), [(Warning, "Node is not Ready yet".to_owned())]);
    }

    #[test]
    fn a_cordoned_node_is_a_warning() {
        let mut world = World::healthy();
        world.live_mut().cluster.nodes[0].unschedulable = true;
        assert_eq!(world.found(&RULE), [(Warning, "Node is cordoned".to_owned())]);
        assert_eq!(world.fix(&RULE), "kubectl uncordon a");
    }
}
