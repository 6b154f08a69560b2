//! Folders can be namespaces.

use crate::check::{Check, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "namespaces",
    group: Group::Repository,
    title: "folders can be namespaces",
    why: "The folders of `kubernetes/apps` become namespaces; the API server takes lower-case letters, digits and `-` only.",
    essential: false,
    check: Check::Told,
};
