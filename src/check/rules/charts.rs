//! Charts are in their registries.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "charts",
    group: Group::Repository,
    title: "charts are in their registries",
    why: "helmfile pulls charts before it installs anything, but the apps only after the CRDs were installed; a tag that is gone stops a fresh cluster half-way.",
    essential: true,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    facts.told(RULE.id).into()
}
