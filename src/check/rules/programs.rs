//! Required programs are there.

use crate::check::{Check, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "programs",
    group: Group::Environment,
    title: "required programs are there",
    why: "k3s-boot drives helmfile, kubectl and sops, and helmfile needs helm. One that is missing is found out in the middle of a bootstrap otherwise.",
    essential: true,
    check: Check::Told,
};
