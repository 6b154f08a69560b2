//! The cluster is the right one.

use crate::base::finding::Finding;
use crate::check::cluster_identity::{self, Verdict};
use crate::check::{Answer, Check, Facts, Group, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "guard",
    group: Group::Kubeconfig,
    title: "the cluster is the right one",
    why: "Every kubeconfig of k3s calls its context `default` (k3s-io/k3s#2081), so nothing else keeps a bootstrap from \
          the wrong cluster. A cluster is known by the UID of kube-system: pinned in k3s-boot.yaml, marked by an earlier \
          bootstrap from this repository, or synced by Flux from it. A fresh one passes; about any other `apps` asks.",
    essential: true,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    match cluster_identity::judge(facts.options, facts.desired, live) {
        Verdict::Known(_) | Verdict::Fresh => Answer::Ok,
        Verdict::Refused(finding) => Answer::Found(vec![finding]),
        Verdict::Unknown(_) if cluster_identity::is_open(facts.desired) => {
            let reason =
                "the repository's address is not known: a variable is not set, or a helmfile cannot be read";
            Answer::Unknown(reason.to_owned())
        }
        Verdict::Unknown(runs) => {
            let finding = cluster_identity::unknown(live, &runs);
            Answer::Found(vec![Finding { severity: crate::base::finding::Severity::Warning, ..finding }])
        }
    }
}
