//! Required environment variables are set.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "env",
    group: Group::Environment,
    title: "required environment variables are set",
    why: "Templates read variables with `requiredEnv`. helmfile stops at the first one that is missing, for the last \
          release only after all others are installed. KUBECONFIG must be set: without it, kubectl and helm silently \
          use `localhost:8080`.",
    essential: true,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    // Offline, KUBECONFIG is not needed.
    let kubeconfig = !facts.settings.offline && !facts.settings.kubeconfig.is_empty();
    match facts.desired.unread() {
        Some(reason) => Answer::Unknown(reason),
        None if kubeconfig || facts.desired.coverage.demands_variables => Answer::Ok,
        None => Answer::not_applicable("no template requires a variable"),
    }
}
