//! The cluster runs the distribution that the repository is for.

use crate::base::distribution::Distribution;
use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::distribution::decide;
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "distribution",
    group: Group::Cluster,
    title: "the cluster runs the distribution that the repository is for",
    why: "Values that are right for one distribution are wrong for another: networks, the bundled CoreDNS, and where every node \
          reaches the API server. Another distribution may mean another cluster. The files of the repository show its \
          distribution (folders such as `talos/` and `ansible/roles/k3s`, `talconfig.yaml`, tasks, Plans of \
          system-upgrade-controller, the templates of the bootstrap), or `cluster.distribution` in k3s-boot.yaml.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

/// How many signs are listed.
const MAX_SIGNS: usize = 3;

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let (runs, meant) = (live.distribution(), decide(&facts.desired.signs));
    match (runs, meant) {
        (_, Distribution::Unknown) if facts.desired.signs.is_empty() => {
            return Answer::not_applicable("the repository does not show which distribution it is for");
        }
        (_, Distribution::Unknown) => {
            return Answer::not_applicable("the repository names several distributions");
        }
        (Distribution::Unknown, _) => return Answer::unknown("the server does not report its version"),
        (runs, meant) if runs == meant || (runs.is_k3s() && meant.is_k3s()) => return Answer::Ok,
        // The version does not show these two, and not every node does.
        (Distribution::Other, Distribution::Talos | Distribution::Kubeadm) => {
            return Answer::unknown("the nodes do not show which distribution the cluster runs");
        }
        _ => {}
    }
    let files = facts.desired.signs.iter().take(MAX_SIGNS).map(|sign| sign.file.display().to_string());
    Answer::judged(Some(
        Finding::warning(
            RULE.id,
            format!("Cluster runs {}, but the repository is for {}", runs.name(), meant.name()),
        )
        .with("version", &live.version)
        .with("files", files.collect::<Vec<_>>().join(", "))
        .fix(format!(
            "check that this is the right cluster; if it is, set `distribution: {}` below `cluster` in k3s-boot.yaml",
            runs.key()
        )),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::k3s::tests::lease;
    use crate::check::rules::ALL;
    use crate::check::testing::World;

    #[test]
    fn another_distribution_is_a_warning() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let cases = [
            ("v1.33.6+rke2r1", "Cluster runs RKE2, but the repository is for k3s"),
            ("v1.33.6", "Cluster runs another distribution, but the repository is for k3s"),
            ("v1.33.5-eks-1", "Cluster runs another distribution, but the repository is for k3s"),
        ];
        for (version, message) in cases {
            version.clone_into(&mut world.live_mut().version);
            assert_eq!(world.found(&RULE), [(Warning, message.to_owned())], "{version}");
            assert_eq!(world.detail(&RULE, "files"), "bootstrap/templates/values.yaml.gotmpl");
        }
        world.live_mut().version.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
        world.desired.signs.clear();
        assert!(world.is_not_applicable(&RULE));
    }

    #[test]
    fn a_talos_repository_belongs_to_a_talos_cluster() {
        let mut world = World::healthy();
        world.desired.signs[0].distribution = Distribution::Talos;
        let message = "Cluster runs k3s, but the repository is for Talos";
        assert_eq!(world.found(&RULE), [(Warning, message.to_owned())]);
        world.talos();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().cluster.nodes.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)), "no node shows it");
    }

    #[test]
    fn no_finding_names_k3s_on_talos() {
        let mut world = World::healthy();
        world.talos();
        let node = &mut world.live_mut().cluster.nodes[0];
        "KubeletNotReady".clone_into(&mut node.reason);
        "PLEG is not healthy".clone_into(&mut node.message);
        world.options.nodes = 3;
        let live = world.live_mut();
        live.may_everything = Ok(false);
        live.not_ready = Ok(Some("etcd failed".to_owned()));
        live.api_host_refused = Ok(Some("certificate is valid for a".to_owned()));
        world.values("cilium", "{k8sServiceHost: '', ipam: {mode: cluster-pool}}");
        for offline in [false, true] {
            world.options.offline = offline;
            if offline {
                world.observed.live = None;
            }
            let outcomes = crate::check::run(&world.facts(), |_| true);
            let findings: Vec<_> = outcomes.iter().flat_map(crate::check::Outcome::findings).collect();
            assert!(findings.len() >= if offline { 1 } else { 5 }, "{findings:?}");
            for finding in findings {
                let text = format!("{finding:?}").replace("k3s-boot", "");
                assert!(!text.to_lowercase().contains("k3s"), "{text}");
            }
            for outcome in outcomes.iter().filter(|outcome| outcome.rule.group == Group::K3s) {
                assert!(outcome.is_for_another_distribution(), "{}", outcome.rule.id);
            }
        }
    }

    #[test]
    fn the_settings_of_a_server_without_an_agent_are_unknown() {
        let mut world = World::healthy();
        let now = "2026-11-23T08:10:00Z";
        world.live_mut().cluster.leases = vec![lease("a", now), lease("b", now)];
        let unknown = "API server on b has no Node that would report how k3s was started";
        let rules = ALL.iter().filter(|rule| rule.id.starts_with("k3s-"));
        for rule in rules.clone() {
            assert_eq!(world.ask(rule), Answer::unknown(unknown), "{}", rule.id);
        }
        assert_eq!(rules.count(), 6);
        let flannel = ALL.iter().find(|rule| rule.id == "k3s-flannel").unwrap();
        world.server("a", &["server"]);
        assert_eq!(world.found(flannel).len(), 1, "the known server is wrong all the same");
    }
}
