//! The API server responds.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "api",
    group: Group::Kubeconfig,
    title: "the API server responds",
    why: "Unreachable, unauthorized and untrusted API servers need different fixes; after k3s was reinstalled, the \
          API server rejects the old kubeconfig.",
    essential: true,
    check: Check::Online(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    facts.findings_or(RULE.id, |facts| match facts.observed.live {
        Some(_) => Answer::Ok,
        None => Answer::unknown(facts.unanswered()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;
    use crate::observed::Live;

    #[test]
    fn a_server_that_was_not_queried_is_unknown() {
        let mut world = World::shipped();
        world.observed.live = None;
        world.assert_found(&RULE, &["unknown no kubeconfig was read"]);
        world.desired.problems.push(Finding::error("api", "Cluster unreachable"));
        world.assert_found(&RULE, &["error Cluster unreachable"]);
        world.desired.problems.clear();
        world.observed.live = Some(Live::default());
        world.assert_found(&RULE, &[]);
    }
}
