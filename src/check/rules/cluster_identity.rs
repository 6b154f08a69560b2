//! The cluster is the right one.

use crate::base::finding::Finding;
use crate::check::cluster_identity::{self, Verdict};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "cluster-identity",
    group: Group::Kubeconfig,
    title: "the cluster is the right one",
    why: "Every k3s kubeconfig calls its context `default` (k3s-io/k3s#2081), so nothing else protects other \
          clusters from a bootstrap. A cluster is identified by the UID of its namespace kube-system: it is pinned \
          in k3s-boot.yaml, marked by an earlier bootstrap from this repository, or synced from it by Flux. A fresh \
          cluster passes; `apps` asks before it changes any other.",
    essential: true,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    match cluster_identity::judge(facts.options, facts.desired, live) {
        Verdict::Right(_) | Verdict::Fresh => Answer::Ok,
        Verdict::Refused(finding) => Answer::Found(vec![finding]),
        Verdict::Unknown(_) if cluster_identity::is_repository_unknown(facts.desired) => {
            let reason =
                "the URL of the repository is unknown: a variable is not set, or a helmfile cannot be read";
            Answer::Unknown(reason.to_owned())
        }
        Verdict::Unknown(runs) => {
            let finding = cluster_identity::unknown(live, &runs);
            Answer::Found(vec![Finding { severity: crate::base::finding::Severity::Warning, ..finding }])
        }
    }
}
