//! Every node reaches the API server at Cilium's API server address.

use crate::base::finding::Finding;
use crate::check::address::{API_HOST, API_PORT, NO_HOST, is_loopback};
use crate::check::{Answer, Check, Facts, Group, NO_NODES, Needs, OPEN, Rule, k3s};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "api-host-roles",
    group: Group::Dns,
    title: "every node reaches the API server at Cilium's API server address",
    why: "On port 6443 of the node itself, only servers answer. On port 6444, k3s answers on every node, on agents \
          with its own load balancer (k3s-io/k3s#3026). With the address of one of several servers, all nodes depend \
          on that server.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

/// The port on which only servers listen.
const SERVERS_ONLY: &str = "6443";

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    if let Err(answer) = k3s::is_k3s(live) {
        return answer;
    }
    let cilium = match facts.release_of_chart("cilium") {
        Ok(cilium) if cilium.is_open(API_HOST) || cilium.is_open(API_PORT) => return Answer::unknown(OPEN),
        Ok(cilium) => cilium,
        Err(answer) => return answer,
    };
    let host = cilium.text(API_HOST).filter(|host| !host.is_empty());
    let Some(host) = host else { return Answer::not_applicable(NO_HOST) };
    if live.cluster.nodes.is_empty() {
        return Answer::unknown(NO_NODES);
    }
    let port = cilium.text(API_PORT).unwrap_or_default();
    let fix = "# in the values of cilium: k3s listens there on every node\nk8sServiceHost: 127.0.0.1\nk8sServicePort: 6444";
    if is_loopback(&host) {
        let agents: Vec<_> = live
            .cluster
            .nodes
            .iter()
            .filter(|node| !node.is_server())
            .map(|node| node.name.as_str())
            .collect();
        let finding = || {
            Finding::error(
                RULE.id,
                "Agents cannot reach the API server at the address in the values of cilium",
            )
            .with("address", format!("{host}:{port}"))
            .with("agents", agents.join(", "))
            .fix(fix)
        };
        return Answer::judged((port == SERVERS_ONLY && !agents.is_empty()).then(finding));
    }
    let own = live
        .cluster
        .servers()
        .find(|node| node.name == host || node.addresses.iter().any(|address| address.address == host));
    let several = live.cluster.servers().count() + k3s::without_node(live).len() > 1;
    let finding = own.filter(|_| several).map(|server| {
        Finding::warning(RULE.id, "All nodes depend on a single server")
            .with("address", format!("{host}:{port}"))
            .with("server", &server.name)
            .fix(fix)
    });
    Answer::judged(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::{SERVER_ARGS, World};

    fn with(host: &str, port: &str) -> World {
        let mut world = World::healthy();
        world.values("cilium", &format!("{{k8sServiceHost: '{host}', k8sServicePort: {port}}}"));
        world
    }

    #[test]
    fn agents_do_not_listen_on_the_port_of_servers() {
        let message = "Agents cannot reach the API server at the address in the values of cilium";
        for host in ["127.0.0.1", "localhost"] {
            let mut world = with(host, "6443");
            assert_eq!(world.ask(&RULE), Answer::Ok, "servers listen there");
            world.agent("b");
            assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
            assert_eq!(world.detail(&RULE, "agents"), "b");
            let mut world = with(host, "6444");
            world.agent("b");
            assert_eq!(world.ask(&RULE), Answer::Ok);
        }
    }

    #[test]
    fn a_single_server_of_several_is_a_warning() {
        let mut world = World::healthy();
        world.agent("b");
        assert_eq!(world.ask(&RULE), Answer::Ok, "there is only one server");
        world.server("c", &SERVER_ARGS);
        assert_eq!(world.found(&RULE), [(Warning, "All nodes depend on a single server".to_owned())]);
        assert_eq!(world.detail(&RULE, "server"), "a");
        let mut world = with("10.0.0.9", "6443");
        world.server("c", &SERVER_ARGS);
        assert_eq!(world.ask(&RULE), Answer::Ok, "a virtual address");
    }

    #[test]
    fn unknown_values_are_not_checked() {
        for (host, port) in [("stand-in.invalid", "6443"), ("127.0.0.1", "stand-in.invalid")] {
            let mut world = with(host, port);
            world.agent("b");
            assert_eq!(world.ask(&RULE), Answer::unknown(OPEN));
        }
        let mut world = with("127.0.0.1", "6443");
        world.agent("b");
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
    }
}
