//! The script that k3s-boot replaces is gone.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "old-script",
    group: Group::Repository,
    title: "the original bootstrap-apps.sh is removed",
    why: "bootstrap-apps.sh never syncs 00-crds.yaml, never runs sops, and reports success without checking that \
          Flux syncs. Who runs it out of habit gets half a cluster.",
    essential: false,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    // One of that name may be another program.
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
    fn what_reading_found_is_told() {
        let mut world = World::shipped();
        world.says(&RULE, &["- there is no bootstrap-apps.sh"]);
        world.desired.coverage.scripts = 1;
        world.says(&RULE, &[]);
        world.desired.problems.push(Finding::warning("old-script", "Old bootstrap script is still there"));
        world.says(&RULE, &["warning Old bootstrap script is still there"]);
    }
}
