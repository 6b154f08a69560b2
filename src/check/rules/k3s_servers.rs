//! k3s servers have the same critical settings.

use std::collections::BTreeSet;

use crate::base::finding::Finding;
use crate::check::k3s::Servers;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;
use crate::observed::k3s::{CRITICAL_SWITCHES, CRITICAL_VALUES, NodeArgs};

pub(super) const RULE: Rule = Rule {
    id: "k3s-servers",
    group: Group::K3s,
    title: "k3s servers have the same critical settings",
    why: "Networks, DNS, the flannel backend and disabled components must be equal on all servers (docs.k3s.io, `k3s \
          server`, critical configuration values). A server that differs reverts what the others do, or cannot \
          rejoin.",
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
    let values = CRITICAL_VALUES
        .iter()
        .map(|(flag, default)| differs(&servers, flag, |args| args.flag(flag).unwrap_or(default).to_owned()));
    let switches =
        CRITICAL_SWITCHES.iter().map(|flag| differs(&servers, flag, |args| args.is_on(flag).to_string()));
    let others = [
        differs(&servers, "flannel-backend", |args| args.flannel_backend().to_owned()),
        differs(&servers, "disable: servicelb", |args| args.disabled().contains("servicelb").to_string()),
    ];
    servers.answer(values.chain(switches).chain(others).flatten())
}

fn differs(servers: &Servers<'_>, flag: &str, value: impl Fn(&NodeArgs) -> String) -> Option<Finding> {
    let values: Vec<_> = servers.known.iter().map(|(name, args)| (name, value(args))).collect();
    let different: BTreeSet<_> = values.iter().map(|(_, value)| value).collect();
    (different.len() > 1).then(|| {
        let listed: Vec<_> = values.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        Finding::warning(RULE.id, "k3s servers have conflicting settings")
            .with("flag", flag)
            .with("values", listed.join(", "))
            .fix("set the same value in /etc/rancher/k3s/config.yaml on all servers, then restart k3s there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::testing::{SERVER_ARGS, World};

    fn with(more: &[&str]) -> World {
        let mut world = World::healthy();
        world.server("b", &[&SERVER_ARGS, more].concat());
        world
    }

    #[test]
    fn conflicting_settings_are_a_warning() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let defaults = [
            "--cluster-cidr",
            "10.42.0.0/16",
            "--cluster-domain",
            "cluster.local",
            "--disable",
            "local-storage",
        ];
        assert_eq!(with(&defaults).ask(&RULE), Answer::Ok, "other components may differ");
        let cases = [
            (&["--cluster-cidr", "10.52.0.0/16"][..], "a: 10.42.0.0/16, b: 10.52.0.0/16"),
            (&["--cluster-dns", "10.43.0.53"], "a: the default, b: 10.43.0.53"),
            (&["--disable-cloud-controller"], "a: false, b: true"),
            (&["--flannel-backend", "host-gw"], "a: none, b: host-gw"),
        ];
        for (more, values) in cases {
            let world = with(more);
            assert_eq!(world.found(&RULE), [(Warning, "k3s servers have conflicting settings".to_owned())]);
            assert_eq!(world.detail(&RULE, "values"), values, "{more:?}");
        }
        let mut world = World::healthy();
        world.server("b", &[&SERVER_ARGS[..7], &["--disable", "coredns,traefik"]].concat());
        assert_eq!(world.detail(&RULE, "flag"), "disable: servicelb");
    }

    #[test]
    fn servers_without_known_settings_are_unknown() {
        let mut world = with(&[]);
        world.server("c", &[]).annotations.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
    }
}
