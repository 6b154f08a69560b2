//! Nothing that is asked for would destroy something.

use crate::base::finding::Severity;
use crate::check::{Answer, Check, Facts, Group, Rule};
use crate::observed::Live;
use crate::plan::plan;

pub(super) const RULE: Rule = Rule {
    id: "plan",
    group: Group::Releases,
    title: "nothing that is asked for would destroy something",
    why: "`installed: false` makes helmfile uninstall a release that exists, another age key in the cluster would vanish with \
          all that only it decrypts, and nothing can be made in a namespace that is being deleted.",
    essential: true,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let mut inspection = facts.inspect_releases();
    // Objects that were not read are not part of the plan.
    if facts.told("sops").iter().any(|finding| finding.severity == Severity::Error) {
        inspection.miss("encrypted files cannot be decrypted");
    }
    match plan(facts.desired, Some(live), &facts.options.wishes, facts.observed.now) {
        Err(findings) => inspection.look(findings),
        Ok(plan)
            if plan.namespaces.is_empty() && plan.objects.is_empty() && plan.releases().next().is_none() => {}
        Ok(_) => inspection.look(None),
    }
    inspection.answer("there is nothing to install")
}
