//! The network of k3s itself is switched off.

use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Finding, Group, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s-flannel",
    group: Group::K3s,
    title: "flannel is disabled if a release installs another CNI",
    why: "With flannel enabled, containerd reads only the CNI configuration of k3s: pods never join the network of \
          the release, and both use port 8472 (Cilium's guide for k3s requires `--flannel-backend=none`).",
    essential: false,
    check: Check::Nodes(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let servers = match Servers::of_k3s(live) {
        Ok(servers) => servers,
        Err(answer) => return answer,
    };
    let cni = match facts.cni() {
        Ok(cni) => cni,
        Err(answer) => return answer,
    };
    let lacks = servers
        .lacking(|args| (args.flannel_backend() != "none").then(|| "flannel-backend: \"none\"".to_owned()));
    if lacks.is_empty() {
        return servers.answer(None);
    }
    let message = "Flannel is enabled beside another CNI";
    // What is installed already got along somehow.
    let finding = if live.is_deployed(&cni.id()) {
        Finding::warning(RULE.id, message)
    } else {
        Finding::error(RULE.id, message)
    };
    let finding = finding.with("servers", k3s::names(&lacks)).with("release", cni.id());
    let keep = format!("To keep flannel, remove {} from the helmfile", cni.id());
    let finding = k3s::fix_or_keep(finding, facts, live, "networking", &keep, || servers.fix(&lacks));
    servers.answer(Some(finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity::{Error, Warning};
    use crate::check::testing::{SERVER_ARGS, World};

    const MESSAGE: &str = "Flannel is enabled beside another CNI";

    #[test]
    fn a_second_network_is_an_error_until_it_is_installed() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.server("b", &["server", "--flannel-backend", "host-gw"]);
        assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())]);
        assert_eq!(world.pair(&RULE, "servers"), "b");
        let fix = "# /etc/rancher/k3s/config.yaml on b\nflannel-backend: \"none\"\n# then there: systemctl restart k3s";
        assert_eq!(world.pair(&RULE, "fix"), fix);
        world.deployed("kube-system", "cilium");
        assert_eq!(world.found(&RULE), [(Warning, MESSAGE.to_owned())]);
    }

    #[test]
    fn where_somebody_runs_something_nothing_is_there_to_paste() {
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.user("media", "plex");
        assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())]);
        assert_eq!(world.pair(&RULE, "workloads"), "media/plex");
        let fix = world.pair(&RULE, "fix");
        assert!(!fix.contains("config.yaml") && !fix.contains("flannel-backend"), "{fix}");
        assert!(fix.contains("remove kube-system/cilium from the helmfile"), "{fix}");
    }

    #[test]
    fn without_a_network_to_install_or_k3s_there_is_nothing_to_say() {
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.live_mut().version = "v1.33.6+rke2r1".to_owned();
        assert!(world.is_idle(&RULE));
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.without("cilium");
        assert!(world.is_idle(&RULE));
    }

    #[test]
    fn servers_that_do_not_tell_are_unknown() {
        let mut world = World::healthy();
        world.server("b", &SERVER_ARGS).annotations.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("b does not report how k3s was started".to_owned()));
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("no server has registered".to_owned()));
        world.agent("c");
        assert_eq!(world.ask(&RULE), Answer::Unknown("no server has registered".to_owned()));
    }
}
