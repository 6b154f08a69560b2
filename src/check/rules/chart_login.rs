//! No stale login keeps a public chart away.

use super::charts;
use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "chart-login",
    group: Group::Repository,
    title: "no expired registry login blocks a public chart",
    why: "A registry answers 401 or 403 to an expired login, even for a public chart. `helm registry login` and \
          `docker login` both store logins.",
    essential: true,
    check: Check::Online(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    // A chart that is here was kept away by nothing.
    facts.findings_or(RULE.id, charts::read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;

    #[test]
    fn what_was_found_when_charts_were_fetched_is_told() {
        let mut world = World::shipped();
        world.says(&RULE, &["unknown not downloaded: prometheus-operator-crds 19.1.0"]);
        World::of("- {name: a, chart: ./a}\n").says(&RULE, &["- no chart comes from a registry"]);
        world.desired.problems.push(Finding::error("chart-login", "Login keeps a public chart away"));
        world.says(&RULE, &["error Login keeps a public chart away"]);
    }
}
