//! The kubeconfig leads to a cluster.

use crate::check::{Check, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "kubeconfig",
    group: Group::Kubeconfig,
    title: "the kubeconfig leads to a cluster",
    why: "A kubeconfig file that does not exist is no error for kubectl and helm: they use `localhost:8080` without a word. Every context of k3s is called `default`.",
    essential: true,
    check: Check::Told,
};
