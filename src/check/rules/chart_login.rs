//! No expired login blocks a public chart.

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
    // Nothing blocks a chart that was downloaded.
    facts.findings_or(RULE.id, charts::downloaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;

    #[test]
    fn findings_of_the_download_are_reported() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["unknown not downloaded: prometheus-operator-crds 19.1.0"]);
        World::of("- {name: a, chart: ./a}\n").assert_found(&RULE, &["- no chart comes from a registry"]);
        world
            .desired
            .problems
            .push(Finding::error("chart-login", "Expired registry login blocks a public chart"));
        world.assert_found(&RULE, &["error Expired registry login blocks a public chart"]);
    }
}
