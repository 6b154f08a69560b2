//! The expected number of nodes has registered.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "nodes",
    group: Group::Nodes,
    title: "the expected number of nodes has registered",
    why: "A bootstrap waits for the expected nodes (`--nodes`, default 1), and stops without changes if they do not \
          register.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let (registered, expected) = (live.cluster.nodes.len(), facts.options.nodes);
    if registered == 0 && expected == 0 {
        return Answer::not_applicable("no node is expected");
    }
    Answer::judged((registered < expected).then(|| {
        let check = facts.distribution().node_status();
        let lower = facts.options.nodes_from.lower().map(|lower| format!(", or {lower}"));
        let fix = format!("check {check}{}", lower.unwrap_or_default());
        Finding::warning(RULE.id, "Fewer nodes than expected have registered")
            .with("registered", registered)
            .with("expected", expected)
            .fix(fix)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::options::NodesFrom;
    use crate::check::testing::World;

    #[test]
    fn missing_nodes_are_a_warning() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.options.nodes = 2;
        for (from, end) in [
            (NodesFrom::Default, "on the missing nodes"),
            (NodesFrom::Flag, ", or lower --nodes"),
            (NodesFrom::Config, ", or lower `nodes` in k3s-boot.yaml"),
        ] {
            world.options.nodes_from = from;
            assert!(world.fix(&RULE).ends_with(end), "{end}");
        }
        assert_eq!(world.found(&RULE), [(Warning, "Fewer nodes than expected have registered".to_owned())]);
        world.options.nodes_from = NodesFrom::Default;
        assert!(world.fix(&RULE).starts_with("check `systemctl status k3s` (on agents"));
        world.talos();
        assert_eq!(world.fix(&RULE), "check `talosctl service kubelet` of the missing nodes");
        world.agent("b");
        world.agent("c");
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.detail(&RULE, "registered"), "0");
    }
}
