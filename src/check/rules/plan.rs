//! Nothing that is asked for would destroy something.

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
    plan(facts.desired, Some(live), &facts.settings.wishes, facts.observed.now)
        .err()
        .unwrap_or_default()
        .into()
}
