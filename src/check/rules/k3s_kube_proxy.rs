//! Either kube-proxy or Cilium handles Services.

use crate::base::finding::Finding;
use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::desired::releases::Release;
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s-kube-proxy",
    group: Group::K3s,
    title: "either kube-proxy or Cilium handles Services",
    why: "Cilium with `kubeProxyReplacement` is meant for nodes without kube-proxy. With neither, no pod reaches any \
          Service, including the API server. kube-proxy runs inside k3s, so only `--disable-kube-proxy` shows \
          whether it is running.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

const VALUE: &[&str] = &["kubeProxyReplacement"];

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let servers = match Servers::of_k3s(live) {
        Ok(servers) => servers,
        Err(answer) => return answer,
    };
    let cilium = match facts.release_of_chart("cilium") {
        Ok(cilium) if cilium.is_open(VALUE) => return Answer::unknown(OPEN),
        Ok(cilium) => cilium,
        Err(answer) => return answer,
    };
    let finding = match cilium.text(VALUE).as_deref() {
        Some("true") => both(facts, live, cilium, &servers),
        // The default of the chart is `false`.
        Some("false") | None => neither(cilium, &servers),
        // The chart rejects other values itself.
        Some(_) => return Answer::unknown("cilium's `kubeProxyReplacement` is neither true nor false"),
    };
    servers.answer(finding)
}

fn both(facts: &Facts<'_>, live: &Live, cilium: &Release, servers: &Servers<'_>) -> Option<Finding> {
    let missing = servers.missing_lines(|args| {
        (!args.is_on("disable-kube-proxy")).then(|| "disable-kube-proxy: true".to_owned())
    });
    if missing.is_empty() {
        return None;
    }
    let finding = Finding::warning(RULE.id, "kube-proxy runs although Cilium replaces it")
        .with("servers", k3s::names(&missing))
        .with("release", cilium.id());
    // If Cilium is installed, kube-proxy can be disabled safely.
    if live.is_deployed(&cilium.id()) {
        return Some(servers.fixed(finding, &missing, None));
    }
    let keep = "To keep kube-proxy, set `kubeProxyReplacement: false` in the values of cilium";
    Some(k3s::fix_or_keep(finding, facts, live, "Services", keep, |finding| {
        servers.fixed(finding, &missing, None)
    }))
}

fn neither(cilium: &Release, servers: &Servers<'_>) -> Option<Finding> {
    let without = servers.missing_lines(|args| args.is_on("disable-kube-proxy").then(String::new));
    (!without.is_empty()).then(|| {
        Finding::error(RULE.id, "kube-proxy is disabled, and nothing replaces it")
            .with("servers", k3s::names(&without))
            .with("release", cilium.id())
            .fix("# in the values of cilium\nkubeProxyReplacement: true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::World;

    #[test]
    fn both_are_a_warning() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.server("a", &["server"]);
        let message = "kube-proxy runs although Cilium replaces it";
        assert_eq!(world.found(&RULE), [(Warning, message.to_owned())]);
        assert!(world.fix(&RULE).contains("\ndisable-kube-proxy: true\n"));
        world.user("media", "plex");
        assert!(world.fix(&RULE).contains("`kubeProxyReplacement: false`"));
        assert!(!world.fix(&RULE).contains("disable-kube-proxy"));
        world.deployed("kube-system", "cilium");
        assert!(world.fix(&RULE).contains("disable-kube-proxy: true"));
    }

    #[test]
    fn neither_is_an_error() {
        for value in ["kubeProxyReplacement: false", "kubeProxyReplacement: 'false'"] {
            let mut world = World::healthy();
            world.values("cilium", value);
            let message = "kube-proxy is disabled, and nothing replaces it";
            assert_eq!(world.found(&RULE), [(Error, message.to_owned())], "{value}");
            world.server("a", &["server"]);
            assert_eq!(world.ask(&RULE), Answer::Ok);
        }
        let mut world = World::healthy();
        world.release("cilium").values.clear();
        assert_eq!(world.found(&RULE).len(), 1);
    }

    #[test]
    fn unknown_values_are_not_checked() {
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.values("cilium", "kubeProxyReplacement: stand-in.invalid");
        assert_eq!(world.ask(&RULE), Answer::unknown(OPEN));
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.server("a", &[]).annotations.clear();
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }
}
