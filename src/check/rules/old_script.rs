//! The original bootstrap-apps.sh is removed.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "old-script",
    group: Group::Repository,
    title: "the original bootstrap-apps.sh is removed",
    why: "bootstrap-apps.sh never syncs 00-crds.yaml, never runs sops, and reports success without checking that \
          Flux syncs. Who runs it out of habit gets half a cluster.",
    essential: false,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    // A script of that name may be another program.
    if facts.desired.coverage.scripts == 0 {
        Answer::not_applicable("there is no bootstrap-apps.sh")
    } else {
        Answer::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;

    #[test]
    fn reported_findings_are_returned() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["- there is no bootstrap-apps.sh"]);
        world.desired.coverage.scripts = 1;
        world.assert_found(&RULE, &[]);
        world.desired.problems.push(Finding::warning("old-script", "Old bootstrap script is still there"));
        world.assert_found(&RULE, &["warning Old bootstrap script is still there"]);
    }
}
