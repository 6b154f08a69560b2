//! Required variables are set.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "env",
    group: Group::Environment,
    title: "required variables are set",
    why: "Templates demand variables through `requiredEnv`. helmfile stops at the first that is missing, and that of the last release only after all others were installed. KUBECONFIG must be named, for without it the tools take `localhost:8080` without a word.",
    essential: true,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    // Offline, KUBECONFIG is not needed.
    let kubeconfig = !facts.options.offline && !facts.options.kubeconfig.is_empty();
    match facts.desired.unread() {
        Some(reason) => Answer::Unknown(reason),
        None if kubeconfig || facts.desired.coverage.demands_variables => Answer::Ok,
        None => Answer::not_applicable("no template demands a variable"),
    }
}
