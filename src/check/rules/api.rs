//! The API server answers.

use crate::check::{Check, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "api",
    group: Group::Kubeconfig,
    title: "the API server answers",
    why: "Unreachable, unauthorized and untrusted have different cures; after a re-installation the old kubeconfig is refused.",
    essential: true,
    check: Check::Told,
};
