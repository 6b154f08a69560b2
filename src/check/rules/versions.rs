//! Programs run, and their versions are accepted.

use crate::check::{Answer, Check, Facts, Group, Rule, versions};

pub(super) const RULE: Rule = Rule {
    id: "versions",
    group: Group::Environment,
    title: "programs run, and their versions are accepted",
    why: "nothing older than helmfile 1.7.1 and nothing newer than helmfile 1 and helm 4 was ever tried, `sops decrypt` \
          came with 3.9, and helmfile asks for helm 3.18 or later.",
    essential: false,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let programs = facts.observed.programs.iter().filter(|program| program.path.is_some());
    programs
        .filter_map(|program| versions::check(program.name, program.version.as_ref().ok()?.as_ref()).err())
        .collect::<Vec<_>>()
        .into()
}
