//! Required variables are set.

use crate::check::{Check, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "env",
    group: Group::Environment,
    title: "required variables are set",
    why: "Templates demand variables through `requiredEnv`. helmfile stops at the first that is missing, and that of the last release only after all others were installed. KUBECONFIG must be named, for without it the tools take `localhost:8080` without a word.",
    essential: true,
    check: Check::Told,
};
