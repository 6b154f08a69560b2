//! servicelb and traefik of k3s are disabled.

use crate::base::finding::Finding;
use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s-bundled",
    group: Group::K3s,
    title: "servicelb and traefik of k3s are disabled",
    why: "The bootstrap does not require it. But a repository with its own CNI usually has its own load balancer and \
          ingress controller, and both would claim the same addresses.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

const COMPONENTS: [&str; 2] = ["servicelb", "traefik"];

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let servers = match Servers::of_k3s(live) {
        Ok(servers) => servers,
        Err(answer) => return answer,
    };
    if let Err(answer) = facts.cni() {
        return answer;
    }
    let findings = COMPONENTS.iter().filter_map(|component| {
        let missing =
            servers.missing_lines(|args| k3s::disable(args, &COMPONENTS).filter(|_| has(args, component)));
        let finding = Finding::info(RULE.id, format!("k3s deploys its own {component}"))
            .with("servers", k3s::names(&missing));
        let keep = "It can stay";
        (!missing.is_empty()).then(|| {
            k3s::fix_or_keep(finding, facts, live, "ingress", keep, || {
                format!("# only if another component replaces it\n{}", servers.fix(&missing))
            })
        })
    });
    servers.answer(findings)
}

fn has(args: &crate::observed::k3s::NodeArgs, component: &str) -> bool {
    !args.disabled().contains(component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Info;
    use crate::check::testing::World;

    #[test]
    fn bundled_components_are_information() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.server("a", &["server", "--disable", "traefik"]);
        assert_eq!(world.found(&RULE), [(Info, "k3s deploys its own servicelb".to_owned())]);
        assert!(world.fix(&RULE).contains("\ndisable: [servicelb, traefik]\n"));
        world.user("media", "plex");
        assert!(!world.fix(&RULE).contains("disable:"));
        world.server("a", &["server"]);
        assert_eq!(world.found(&RULE).len(), 2);
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.server("a", &[]).annotations.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
