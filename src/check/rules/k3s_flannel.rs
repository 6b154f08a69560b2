//! flannel is disabled if a release installs another CNI.

use crate::base::finding::Finding;
use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "k3s-flannel",
    group: Group::K3s,
    title: "flannel is disabled if a release installs another CNI",
    why: "With flannel enabled, containerd reads only the CNI configuration of k3s: pods never join the network of \
          the release, and both use port 8472 (Cilium's guide for k3s requires `--flannel-backend=none`).",
    essential: false,
    needs: Needs::Cluster,
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
    let missing = servers.missing_lines(|args| {
        (args.flannel_backend() != "none").then(|| "flannel-backend: \"none\"".to_owned())
    });
    if missing.is_empty() {
        return servers.answer(None);
    }
    let message = "Flannel is enabled beside another CNI";
    // An installed CNI works all the same.
    let finding = if live.is_deployed(&cni.id()) {
        Finding::warning(RULE.id, message)
    } else {
        Finding::error(RULE.id, message)
    };
    let finding = finding.with("servers", k3s::names(&missing)).with("release", cni.id());
    let keep = format!("To keep flannel, remove {} from the helmfile", cni.id());
    let finding = k3s::fix_or_keep(finding, facts, live, "networking", &keep, |finding| {
        servers.fixed(finding, &missing, None)
    });
    servers.answer(Some(finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::{SERVER_ARGS, World};

    const MESSAGE: &str = "Flannel is enabled beside another CNI";

    #[test]
    fn a_second_cni_is_an_error_until_it_is_installed() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.server("b", &["server", "--flannel-backend", "host-gw"]);
        assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())]);
        assert_eq!(world.detail(&RULE, "servers"), "b");
        let fix = "# /etc/rancher/k3s/config.yaml on b\nflannel-backend: \"none\"\n# then there: systemctl restart k3s";
        assert_eq!(world.fix(&RULE), fix);
        world.deployed("kube-system", "cilium");
        assert_eq!(world.found(&RULE), [(Warning, MESSAGE.to_owned())]);
    }

    #[test]
    fn with_user_workloads_there_are_no_commands() {
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.user("media", "plex");
        assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())]);
        assert_eq!(world.detail(&RULE, "workloads"), "media/plex");
        let fix = world.fix(&RULE);
        assert!(!fix.contains("config.yaml") && !fix.contains("flannel-backend"), "{fix}");
        assert!(fix.contains("remove kube-system/cilium from the helmfile"), "{fix}");
    }

    #[test]
    fn without_a_cni_or_k3s_it_is_not_applicable() {
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.live_mut().version = "v1.33.6+rke2r1".to_owned();
        assert!(world.is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
    }

    #[test]
    fn servers_without_known_settings_are_unknown() {
        let mut world = World::healthy();
        world.server("b", &SERVER_ARGS).annotations.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("b does not report how k3s was started".to_owned()));
        world.live_mut().cluster.nodes.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("no server has registered".to_owned()));
        world.agent("c");
        assert_eq!(world.ask(&RULE), Answer::Unknown("no server has registered".to_owned()));
    }
}
