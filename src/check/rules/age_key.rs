//! The age key is valid.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "age-key",
    group: Group::Secrets,
    title: "the age key is valid",
    why: "kustomize-controller rejects the whole key file if a single line is not an identity, and reports it only \
          when Flux first decrypts a file.",
    essential: true,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    facts.age_key().map_or_else(|answer| answer, |_| Answer::Ok)
}
