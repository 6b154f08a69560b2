//! Helmfiles run no programs when they are read.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "hooks",
    group: Group::Repository,
    title: "helmfiles run no commands while rendering",
    why: "helmfile runs `prepare` hooks and `exec` for `list`, `build` and `template` too, so even a read-only \
          command could change the cluster.",
    essential: true,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.settings.allow_hooks {
        return Answer::not_applicable("allowed by --allow-hooks");
    }
    facts.desired.unread().map_or(Answer::Ok, Answer::Unknown)
}
