//! The configuration file can be read.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "config",
    group: Group::Environment,
    title: "k3s-boot.yaml is valid",
    why: "It pins the cluster of this repository and overrides defaults. A misspelt key that is silently ignored \
          could drop the pin, and with it the protection of other clusters.",
    essential: true,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.settings.config_found { Answer::Ok } else { Answer::not_applicable("there is no k3s-boot.yaml") }
}
