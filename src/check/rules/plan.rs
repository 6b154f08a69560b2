//! The plan destroys nothing.

use crate::base::finding::Severity;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;
use crate::plan::plan;

pub(super) const RULE: Rule = Rule {
    id: "plan",
    group: Group::Releases,
    title: "the plan destroys nothing",
    why: "`installed: false` makes helmfile uninstall an existing release, a different age key would remove the one \
          in the cluster, with access to everything that only it decrypts, and nothing can be created in a namespace \
          that is being deleted.",
    essential: true,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let mut inspection = facts.inspect_releases();
    // Objects that were not read are not part of the plan.
    if facts.reported("sops").iter().any(|finding| finding.severity == Severity::Error) {
        inspection.miss("encrypted files cannot be decrypted");
    }
    match plan(facts.desired, Some(live), &facts.options.plan_options, facts.observed.now) {
        Err(findings) => inspection.look(findings),
        Ok(plan)
            if plan.namespaces.is_empty() && plan.objects.is_empty() && plan.releases().next().is_none() => {}
        Ok(_) => inspection.look(None),
    }
    inspection.answer("there is nothing to install")
}
