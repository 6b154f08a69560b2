//! Required programs are there.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "programs",
    group: Group::Environment,
    title: "required programs are there",
    why: "k3s-boot drives helmfile, kubectl and sops, and helmfile needs helm. One that is missing is found out in the middle of a bootstrap otherwise.",
    essential: true,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.observed.programs.is_empty() { Answer::unknown("no program was looked for") } else { Answer::Ok }
}
