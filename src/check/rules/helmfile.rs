//! Helmfiles and their values can be read.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "helmfile",
    group: Group::Repository,
    title: "helmfiles and their values are valid",
    why: "Paths in a helmfile are relative to its own folder, and helmfile renders values group by group: a missing \
          file or a template error stops it after the first releases are installed.",
    essential: true,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    facts.desired.unread().map_or(Answer::Ok, Answer::Unknown)
}
