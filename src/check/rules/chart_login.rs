//! No stale login keeps a public chart away.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "chart-login",
    group: Group::Repository,
    title: "no login keeps a public chart away",
    why: "A registry answers 401 or 403 to a login that has expired, even for a chart that everybody may read; \
          `helm registry login` and `docker login` both leave one behind.",
    essential: true,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    facts.told(RULE.id).into()
}
