//! No release is newer than in the helmfile.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::observed::Live;
use crate::plan::releases::{ReleaseAction, ReleasePlan, plan};

pub(super) const RULE: Rule = Rule {
    id: "newer",
    group: Group::Releases,
    title: "no release is newer than in the helmfile",
    why: "After `cilium install`, a manual upgrade or `flux bootstrap`, the cluster runs a newer version than the \
          helmfile. A downgrade can lose data that the newer version has written, so it happens only on request.",
    essential: false,
    needs: Needs::Owners,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    if let Err(reason) = &live.records {
        return Answer::unknown(reason);
    }
    let mut inspection = facts.inspect_releases();
    for release in facts.desired.releases().filter(|release| release.is_wanted()) {
        let plan = plan(release, facts.desired, live, &facts.options.plan_options);
        inspection.look((plan.action == ReleaseAction::Newer).then(|| finding(plan)));
    }
    inspection.answer(NO_RELEASES)
}

fn finding(plan: ReleasePlan) -> Finding {
    let name = plan.id.name.as_str();
    Finding::warning(RULE.id, "Release is newer in the cluster than in the helmfile")
        .with("release", &plan.id)
        .with("installed", plan.from.map(|from| from.version).unwrap_or_default())
        .with("desired", &plan.to.version)
        .fix(format!(
            "set `version` in the helmfile to the installed one, or downgrade with --downgrade {name}"
        ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::finding::Severity;
    use crate::check::testing::World;
    use crate::observed::helm::Record;

    #[test]
    fn newer_releases_are_reported_unless_they_are_downgraded() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let release = world.desired.release("coredns").unwrap();
        let (id, chart) = (release.id(), release.chart_name().to_owned());
        let record = Record { chart, version: "99.0.0".to_owned(), ..Record::default() };
        world.live_mut().records = Ok(BTreeMap::from([(id, record)]));
        let message = "Release is newer in the cluster than in the helmfile".to_owned();
        assert_eq!(world.found(&RULE), [(Severity::Warning, message)]);
        world.options.plan_options.downgrade = vec!["coredns".to_owned()];
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }
}
