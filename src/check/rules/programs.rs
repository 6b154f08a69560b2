//! Required programs are installed.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "programs",
    group: Group::Environment,
    title: "required programs are installed",
    why: "k3s-boot runs helmfile, kubectl and sops, and helmfile runs helm. Without this check, a missing program \
          would stop a bootstrap half-way.",
    essential: true,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.observed.programs.is_empty() { Answer::unknown("no program was looked up") } else { Answer::Ok }
}
