//! Programs run, and their versions are accepted.

use crate::check::{Answer, Check, Facts, Group, Rule, versions};

pub(super) const RULE: Rule = Rule {
    id: "versions",
    group: Group::Environment,
    title: "programs run, and their versions are accepted",
    why: "helmfile 1.7.1 is the first whose `list` and `write-values` need no chart, `sops decrypt` came with 3.9, \
          helmfile asks for helm 3.18 or later, and nothing newer than helmfile 1 and helm 4 was ever tried.",
    essential: false,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let programs = facts.observed.programs.iter().filter(|program| program.path.is_some());
    let found = programs
        .filter_map(|program| versions::check(program.name, program.version.as_ref().ok()?.as_ref()).err());
    // kubectl tells its own version with the server's.
    found.chain(facts.told(RULE.id)).collect::<Vec<_>>().into()
}
