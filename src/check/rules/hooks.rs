//! Helmfiles run no programs when they are read.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "hooks",
    group: Group::Repository,
    title: "helmfiles run no programs when they are read",
    why: "helmfile runs `prepare` hooks and `exec` on list, build and template too, so that a command that only reads could change the cluster.",
    essential: true,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.options.allow_hooks {
        return Answer::not_applicable("--allow-hooks allows it");
    }
    facts.desired.unread().map_or(Answer::Ok, Answer::Unknown)
}
