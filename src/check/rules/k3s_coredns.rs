//! k3s does not deploy its bundled CoreDNS beside the release.

use crate::base::finding::Finding;
use crate::check::adopted::COREDNS;
use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s-coredns",
    group: Group::K3s,
    title: "k3s does not deploy its bundled CoreDNS beside the release",
    why: "When it starts, every server applies its bundled CoreDNS over the objects of the release with the same \
          names. One server of several without `disable: coredns` is enough (docs.k3s.io, packaged components).",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let servers = match Servers::of_k3s(live) {
        Ok(servers) => servers,
        Err(answer) => return answer,
    };
    let coredns = match facts.cni().and_then(|_| facts.release_of_chart("coredns")) {
        Ok(coredns) => coredns,
        Err(answer) => return answer,
    };
    let missing = servers.missing_lines(|args| k3s::disable(args, &["coredns"]));
    if missing.is_empty() {
        return servers.answer(None);
    }
    // A `.skip` file disables it too, but is not visible from outside.
    let message = "Server may deploy the bundled CoreDNS of k3s";
    let finding = Finding::warning(RULE.id, message)
        .with("servers", k3s::names(&missing))
        .with("release", coredns.id());
    let keep = format!("To keep the bundled CoreDNS: --skip-release {}", coredns.id());
    // A restart with `disable` alone would delete the objects that the release has adopted.
    let finding = if COREDNS.adopted(live).is_some() {
        finding.fix(COREDNS.fix(&servers))
    } else {
        k3s::fix_or_keep(finding, facts, live, "DNS", &keep, |finding| servers.fixed(finding, &missing, None))
    };
    servers.answer(Some(finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::testing::World;

    #[test]
    fn every_server_must_disable_it() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.server("b", &["server", "--disable", "traefik"]);
        assert_eq!(
            world.found(&RULE),
            [(Warning, "Server may deploy the bundled CoreDNS of k3s".to_owned())]
        );
        let fix = "# /etc/rancher/k3s/config.yaml on b\ndisable: [coredns, traefik]\n# then there: systemctl restart k3s";
        assert_eq!(world.fix(&RULE), fix);
        world.user("media", "plex");
        let fix = world.fix(&RULE);
        assert!(!fix.contains("disable:") && fix.contains("--skip-release kube-system/coredns"), "{fix}");
    }

    #[test]
    fn adopted_objects_are_detached_before_a_restart() {
        let mut world = World::healthy();
        world.server("b", &["server", "--disable", "traefik"]);
        world.bundled_coredns();
        assert!(
            world.fix(&RULE).ends_with("\ndisable: [coredns, traefik]\n# then there: systemctl restart k3s")
        );
        world.adopt_by("kube-system", "coredns");
        let fix = world.fix(&RULE);
        assert_eq!(fix, COREDNS.fix(&Servers::of(world.live())));
        assert!(fix.starts_with("# 1. ") && !fix.contains("then there"), "{fix}");
    }

    #[test]
    fn without_the_release_or_a_cni_it_is_not_applicable() {
        for release in ["coredns", "cilium"] {
            let mut world = World::healthy();
            world.server("a", &["server"]);
            world.without(release);
            assert!(world.is_not_applicable(&RULE), "{release}");
        }
        let mut world = World::healthy();
        world.server("a", &[]).annotations.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
