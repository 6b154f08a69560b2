//! The charts of a CRD helmfile render, and their CRDs can be applied.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;
use crate::plan::crds::{CrdAction, CrdPlan, plan};

pub(super) const RULE: Rule = Rule {
    id: "crds",
    group: Group::Releases,
    title: "charts of the CRD helmfile render, and their CRDs can be applied",
    why: "A CRD helmfile for `helmfile template` is rendered, and only its CustomResourceDefinitions are applied. The CRDs of a \
          chart that does not render are missing, and releases that use them fail. A CRD in the cluster that is newer, or that \
          has stored versions which the chart does not have, is left as it is.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let crds = &facts.desired.crds;
    let mut inspection = facts.inspect_releases();
    for (release, reason) in &crds.failures {
        let finding = Finding::warning(RULE.id, "Chart of the CRD helmfile cannot be rendered");
        let fix = "add the missing values to its release in the CRD helmfile, or update the chart";
        inspection.look(Some(finding.with("release", release).with("reason", reason).fix(fix)));
    }
    match &live.crds {
        Ok(known) => {
            for crd in &crds.all {
                inspection.look(finding(plan(crd, known.get(&crd.name))));
            }
        }
        Err(reason) if !crds.all.is_empty() => inspection.miss(reason),
        Err(_) => {}
    }
    inspection.answer("no helmfile is only rendered for its CRDs")
}

fn finding(CrdPlan { release, name, action }: CrdPlan) -> Option<Finding> {
    let found = |summary: &str| Finding::warning(RULE.id, summary).with("crd", name).with("release", release);
    match action {
        CrdAction::KeepsVersions(versions) => Some(
            found("CRD has stored versions that the chart does not have")
                .with("versions", versions.join(" "))
                .fix(
                    "update the chart in the CRD helmfile, or migrate the stored objects to another version",
                ),
        ),
        CrdAction::Rejected(reason) => {
            Some(found("API server rejects the CRD of the chart").with("reason", reason))
        }
        CrdAction::Create(_)
        | CrdAction::Change(..)
        | CrdAction::UpToDate
        | CrdAction::ManagedElsewhere(_)
        | CrdAction::Newer => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::finding::Severity;
    use crate::check::testing::World;
    use crate::desired::crds::Crd;
    use crate::observed::crds::{Comparison, LiveCrd};

    #[test]
    fn charts_that_do_not_render_and_kept_versions_are_reported() {
        let mut world = World::healthy();
        assert!(world.is_not_applicable(&RULE));
        let manifest = r#"{"spec": {"versions": [{"name": "v1"}]}}"#.to_owned();
        world.desired.crds.all = vec![Crd { name: "xs".to_owned(), manifest, ..Crd::default() }];
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
        world.live_mut().crds = Ok(BTreeMap::new());
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let comparison = Comparison {
            versions: ["v1beta1".to_owned()].into(),
            stored: ["v1beta1".to_owned()].into(),
            annotations: BTreeMap::new(),
            would_change: Err("invalid".to_owned()),
            next_generation: 2,
        };
        let live = LiveCrd { comparison: Some(comparison), ..LiveCrd::default() };
        world.live_mut().crds = Ok([("xs".to_owned(), live)].into());
        let kept = "CRD has stored versions that the chart does not have".to_owned();
        assert_eq!(world.found(&RULE), [(Severity::Warning, kept)]);
        assert_eq!(world.detail(&RULE, "versions"), "v1beta1");
        world.desired.crds.failures = vec![("n/a".into(), "reason".to_owned())];
        assert_eq!(world.found(&RULE).len(), 2);
    }
}
