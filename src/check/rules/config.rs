//! The configuration file can be read.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "config",
    group: Group::Environment,
    title: "k3s-boot.yaml can be read, if there is one",
    why: "It says which cluster this repository belongs to, and what differs from the usual. A key that is misspelt would be ignored without a word, and with it a pin that guards another cluster.",
    essential: true,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.options.config_found { Answer::Ok } else { Answer::not_applicable("there is no k3s-boot.yaml") }
}
