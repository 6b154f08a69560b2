//! Folders can be namespaces.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "namespaces",
    group: Group::Repository,
    title: "folders can be namespaces",
    why: "The folders of `kubernetes/apps` become namespaces; the API server takes lower-case letters, digits and `-` only.",
    essential: false,
    check: Check::Told(read),
};

fn read(facts: &Facts<'_>) -> Answer {
    if facts.options.namespaces.is_some() {
        Answer::not_applicable("k3s-boot.yaml names the namespaces")
    } else if facts.desired.coverage.app_folders == 0 {
        Answer::not_applicable("there are no folders in kubernetes/apps")
    } else {
        Answer::Ok
    }
}
