//! App folders have valid namespace names.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "namespaces",
    group: Group::Repository,
    title: "app folders have valid namespace names",
    why: "The folders in `kubernetes/apps` become namespaces, whose names consist of lower-case letters, digits and \
          `-`.",
    essential: false,
    check: Check::Reported(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.settings.namespaces.is_some() {
        Answer::not_applicable("k3s-boot.yaml lists the namespaces")
    } else if facts.desired.coverage.app_folders == 0 {
        Answer::not_applicable("there are no folders in kubernetes/apps")
    } else {
        Answer::Ok
    }
}
