//! The cluster is k3s.

use crate::check::{Answer, Check, Facts, Finding, Group, Needs, Rule, k3s};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s",
    group: Group::Cluster,
    title: "the cluster is k3s",
    why: "The shipped values assume k3s: its networks, its CoreDNS, and port 6444 on every node. The checks of k3s \
          settings do not apply to other distributions.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

fn check(_: &Facts<'_>, live: &Live) -> Answer {
    match k3s::is_k3s(live) {
        Ok(()) => return Answer::Ok,
        Err(answer @ Answer::Unknown(_)) => return answer,
        Err(_) => {}
    }
    let message =
        if live.version.contains("+rke2") { "Cluster is RKE2, not k3s" } else { "Cluster is not k3s" };
    Answer::judged(Some(
        Finding::warning(RULE.id, message)
            .with("version", &live.version)
            .fix("check that this is the right cluster and that the values fit it"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity::Warning;
    use crate::check::testing::World;

    #[test]
    fn another_distribution_is_a_warning() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let cases = [
            ("v1.33.6+rke2r1", "Cluster is RKE2, not k3s"),
            ("v1.33.6", "Cluster is not k3s"),
            ("v1.33.5-eks-1", "Cluster is not k3s"),
        ];
        for (version, message) in cases {
            version.clone_into(&mut world.live_mut().version);
            assert_eq!(world.found(&RULE), [(Warning, message.to_owned())], "{version}");
        }
        world.live_mut().version.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
