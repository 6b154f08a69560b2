//! The age key can be used.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "age-key",
    group: Group::Secrets,
    title: "the age key can be used",
    why: "kustomize-controller refuses the whole key when a single line of it is no identity, and says so only when Flux decrypts for the first time.",
    essential: true,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    facts.age_key().map_or_else(|answer| answer, |_| Answer::Ok)
}
