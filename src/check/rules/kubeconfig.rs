//! The kubeconfig selects a cluster.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "kubeconfig",
    group: Group::Kubeconfig,
    title: "the kubeconfig selects a cluster",
    why: "If the kubeconfig file does not exist, kubectl and helm silently use `localhost:8080`. Every k3s context \
          is called `default`.",
    essential: true,
    check: Check::Online(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    facts.findings_or(RULE.id, |facts| match facts.observed.target {
        Some(_) => Answer::Ok,
        None => Answer::unknown(facts.unanswered()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;
    use crate::kubeconfig::Target;

    #[test]
    fn without_a_kubeconfig_it_is_unknown() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["unknown no kubeconfig was read"]);
        world.observed.target = Some(Target::default());
        world.assert_found(&RULE, &[]);
        world.observed.target = None;
        world.desired.problems.push(Finding::error("kubeconfig", "Kubeconfig file not found"));
        world.assert_found(&RULE, &["error Kubeconfig file not found"]);
    }
}
