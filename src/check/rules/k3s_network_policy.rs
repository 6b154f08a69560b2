//! The network policy controller of k3s is disabled if a release installs another CNI.

use crate::base::finding::Finding;
use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s-network-policy",
    group: Group::K3s,
    title: "the network policy controller of k3s is disabled if a release installs another CNI",
    why: "The controller would enforce every NetworkPolicy a second time, with its own rules for addresses that \
          another CNI assigns. Cilium's guide for k3s requires `--disable-network-policy`.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let servers = match Servers::of_k3s(live) {
        Ok(servers) => servers,
        Err(answer) => return answer,
    };
    if let Err(answer) = facts.cni() {
        return answer;
    }
    let missing = servers.missing_lines(|args| {
        (!args.is_on("disable-network-policy")).then(|| "disable-network-policy: true".to_owned())
    });
    if missing.is_empty() {
        return servers.answer(None);
    }
    let finding = Finding::warning(RULE.id, "Network policy controller of k3s is enabled beside another CNI")
        .with("servers", k3s::names(&missing));
    servers.answer(Some(servers.fixed(finding, &missing, None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::testing::World;

    #[test]
    fn a_second_controller_is_a_warning() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.server("a", &["server", "--disable-network-policy", "false"]);
        let message = "Network policy controller of k3s is enabled beside another CNI";
        assert_eq!(world.found(&RULE), [(Warning, message.to_owned())]);
        let fix = "# /etc/rancher/k3s/config.yaml on a\ndisable-network-policy: true\n# then there: systemctl restart k3s";
        assert_eq!(world.fix(&RULE), fix);
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.server("a", &[]).annotations.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
