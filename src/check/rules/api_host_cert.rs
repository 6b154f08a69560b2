//! The API server's certificate is valid for Cilium's API server address.

use crate::base::finding::Finding;
use crate::check::address::{API_HOST, NO_HOST};
use crate::check::k3s::Servers;
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "api-host-cert",
    group: Group::Dns,
    title: "the API server's certificate is valid for Cilium's API server address",
    why: "Cilium's agents verify the certificate like every client. It contains a virtual address or a custom name \
          only after that was added with `tls-san` (k3s-io/k3s#9257).",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let host = match facts.release_of_chart("cilium") {
        Ok(cilium) if cilium.is_open(API_HOST) => return Answer::unknown(OPEN),
        Ok(cilium) => cilium.text(API_HOST).filter(|host| !host.is_empty()),
        Err(answer) => return answer,
    };
    let Some(host) = host else { return Answer::not_applicable(NO_HOST) };
    match &live.api_host_refused {
        Ok(None) => Answer::Ok,
        Ok(Some(words)) => {
            let message = "API server certificate is not valid for the address in the values of cilium";
            let finding =
                Finding::error(RULE.id, message).with("k8s_service_host", &host).with("reason", words);
            Answer::judged(Some(fixed(finding, facts, live, &host)))
        }
        Err(reason) => Answer::Unknown(reason.clone()),
    }
}

/// Adds the host to the certificate: on k3s, to the `tls-san` of each server.
fn fixed(finding: Finding, facts: &Facts<'_>, live: &Live, host: &str) -> Finding {
    let distribution = facts.distribution();
    if !distribution.is_k3s() {
        return finding.fix(format!("{host} is missing in the certificate: {}", distribution.add_address()));
    }
    let lines = |names: &mut dyn Iterator<Item = String>| {
        let items: Vec<_> = names.map(|name| format!("\n  - {name:?}")).collect();
        format!("tls-san:{}", items.concat())
    };
    let servers = Servers::of(live);
    let missing = servers.missing_lines(|args| {
        let mut names = args.list("tls-san");
        names.insert(host.to_owned()).then(|| lines(&mut names.into_iter()))
    });
    if missing.is_empty() && servers.are_containers {
        return finding.fix(distribution.add_address().replace("ADDRESS", host));
    }
    if missing.is_empty() {
        let block = lines(&mut std::iter::once(host.to_owned()));
        return finding.fix(format!(
            "# /etc/rancher/k3s/config.yaml on all servers\n{block}\n# then there: systemctl restart k3s"
        ));
    }
    servers.fixed(finding, &missing, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Error;
    use crate::check::testing::World;

    fn refused() -> World {
        let mut world = World::healthy();
        let words =
            "tls: failed to verify certificate: x509: certificate is valid for 127.0.0.1, not 10.0.0.10";
        world.live_mut().api_host_refused = Ok(Some(words.to_owned()));
        world
    }

    #[test]
    fn a_missing_name_is_an_error() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = refused();
        let message = "API server certificate is not valid for the address in the values of cilium";
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        let fix = "# /etc/rancher/k3s/config.yaml on a\ntls-san:\n  - \"10.0.0.10\"\n# then there: systemctl restart k3s";
        assert_eq!(world.fix(&RULE), fix);
        world.server("a", &["server", "--tls-san", "api.lan"]);
        assert!(world.fix(&RULE).contains("tls-san:\n  - \"10.0.0.10\"\n  - \"api.lan\"\n"));
        world.server("a", &[]).annotations.clear();
        assert!(world.fix(&RULE).starts_with("# /etc/rancher/k3s/config.yaml on all servers\ntls-san:\n"));
    }

    #[test]
    fn each_distribution_has_its_own_fix() {
        let mut world = refused();
        let node = &mut world.live_mut().cluster.nodes[0];
        node.name = "k3d-home-server-0".to_owned();
        let fix = "# create the cluster again with `k3d cluster create --k3s-arg`, with these settings of the servers\n\
                   tls-san:\n  - \"10.0.0.10\"";
        assert_eq!(world.fix(&RULE), fix);
        world.live_mut().cluster.nodes[0].annotations.clear();
        let fix = "recreate the cluster with `k3d cluster create --k3s-arg '--tls-san=10.0.0.10@server:*'`";
        assert_eq!(world.fix(&RULE), fix);
        world.talos();
        let fix = "10.0.0.10 is missing in the certificate: add it to `cluster.apiServer.certSANs` in the machine \
                   configuration of the control plane nodes";
        assert_eq!(world.fix(&RULE), fix);
    }

    #[test]
    fn unknown_answers_and_values_are_unknown() {
        let mut world = World::healthy();
        world.live_mut().api_host_refused = Err("no answer".to_owned());
        assert_eq!(world.ask(&RULE), Answer::Unknown("no answer".to_owned()));
        world.values("cilium", "k8sServiceHost: stand-in.invalid");
        assert_eq!(world.ask(&RULE), Answer::unknown(OPEN));
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
    }
}
