//! Helmfiles and their values can be read.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "helmfile",
    group: Group::Repository,
    title: "helmfiles and their values can be read",
    why: "Paths in a helmfile are relative to its own folder, and helmfile renders values group by group: a file that is missing or does not render stops it after the first releases were installed.",
    essential: true,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    facts.desired.unread().map_or(Answer::Ok, Answer::Unknown)
}
