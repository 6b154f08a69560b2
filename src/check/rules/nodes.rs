//! As many nodes as are expected.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "nodes",
    group: Group::Nodes,
    title: "as many nodes have registered as are expected",
    why: "A bootstrap waits for the nodes that are expected (`--nodes`, else one), and ends without a change when they do not \
          come.",
    essential: false,
    check: Check::Nodes(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let (registered, expected) = (live.cluster.nodes.len(), facts.options.nodes);
    if registered == 0 && expected == 0 {
        return Answer::not_applicable("no node is expected");
    }
    Answer::judged((registered < expected).then(|| {
        let start = "see `systemctl status k3s` (on agents `k3s-agent`) on those that are missing";
        let fix = facts
            .options
            .nodes_from
            .lower()
            .map_or_else(|| start.to_owned(), |lower| format!("{start}, or {lower}"));
        Finding::warning(RULE.id, "Fewer nodes have registered than are expected")
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
    fn nodes_that_are_missing_are_told() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.options.nodes = 2;
        for (from, end) in [
            (NodesFrom::Default, "on those that are missing"),
            (NodesFrom::Flag, ", or lower --nodes"),
            (NodesFrom::Config, ", or lower `nodes` in k3s-boot.yaml"),
        ] {
            world.options.nodes_from = from;
            assert!(world.pair(&RULE, "fix").ends_with(end), "{end}");
        }
        assert_eq!(
            world.found(&RULE),
            [(Warning, "Fewer nodes have registered than are expected".to_owned())]
        );
        world.agent("b");
        world.agent("c");
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.pair(&RULE, "registered"), "0");
    }
}
