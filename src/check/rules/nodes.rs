//! The expected number of nodes has registered.

use crate::check::{Answer, Check, Facts, Finding, Group, Needs, Rule};
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
    let (registered, expected) = (live.cluster.nodes.len(), facts.settings.nodes);
    if registered == 0 && expected == 0 {
        return Answer::not_applicable("no node is expected");
    }
    Answer::judged((registered < expected).then(|| {
        let check = "check `systemctl status k3s` (on agents `k3s-agent`) on the missing nodes";
        let fix = facts
            .settings
            .nodes_from
            .lower()
            .map_or_else(|| check.to_owned(), |lower| format!("{check}, or {lower}"));
        Finding::warning(RULE.id, "Fewer nodes than expected have registered")
            .with("registered", registered)
            .with("expected", expected)
            .fix(fix)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity::Warning;
    use crate::check::testing::World;
    use crate::settings::NodesFrom;

    #[test]
    fn missing_nodes_are_a_warning() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.settings.nodes = 2;
        for (from, end) in [
            (NodesFrom::Default, "on the missing nodes"),
            (NodesFrom::Flag, ", or lower --nodes"),
            (NodesFrom::Config, ", or lower `nodes` in k3s-boot.yaml"),
        ] {
            world.settings.nodes_from = from;
            assert!(world.pair(&RULE, "fix").ends_with(end), "{end}");
        }
        assert_eq!(world.found(&RULE), [(Warning, "Fewer nodes than expected have registered".to_owned())]);
        world.agent("b");
        world.agent("c");
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.pair(&RULE, "registered"), "0");
    }
}
