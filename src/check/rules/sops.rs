//! Encrypted files of bootstrap/ decrypt.

use crate::check::{Check, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "sops",
    group: Group::Secrets,
    title: "encrypted files of bootstrap/ decrypt",
    why: "They go into the cluster before Flux is there: a deploy key that cannot be decrypted keeps Flux from its repository.",
    essential: true,
    check: Check::Told,
};
