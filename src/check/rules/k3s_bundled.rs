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
    let missing = servers.missing_lines(|args| k3s::disable(args, &COMPONENTS));
    if missing.is_empty() {
        return servers.answer(None);
    }
    let is_disabled =
        |component: &str| servers.known.iter().all(|(_, args)| args.disabled().contains(component));
    let deployed: Vec<_> = COMPONENTS.into_iter().filter(|component| !is_disabled(component)).collect();
    let finding = Finding::info(RULE.id, format!("k3s deploys its own {}", deployed.join(" and ")))
        .with("servers", k3s::names(&missing));
    let note = format!("# {}: only if another component replaces it", deployed.join(", "));
    let finding = k3s::fix_or_keep(finding, facts, live, "ingress", "It can stay", |finding| {
        servers.fixed(finding, &missing, Some(note))
    });
    servers.answer(Some(finding))
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
        assert_eq!(world.found(&RULE), [(Info, "k3s deploys its own servicelb and traefik".to_owned())]);
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.server("a", &[]).annotations.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
