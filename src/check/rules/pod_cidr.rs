//! Cilium's values match the pod and Service networks.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_yaml::Value;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Inspection, NO_NODES, Needs, OPEN, Rule};
use crate::desired::STAND_IN;
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::k3s::CLUSTER_CIDR;

pub(super) const RULE: Rule = Rule {
    id: "pod-cidr",
    group: Group::Nodes,
    title: "Cilium's values match the pod and Service networks",
    why: "Cilium's default pool, 10.0.0.0/8, contains the networks of k3s (10.42.0.0/16 and 10.43.0.0/16). With \
          native routing, its agents do not start without `ipv4NativeRoutingCIDR`, and they hide pods outside of it \
          behind the address of their node.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

const MODE: &[&str] = &["ipam", "mode"];
const POOLS: &[&str] = &["ipam", "operator", "clusterPoolIPv4PodCIDRList"];
const NATIVE: &[&str] = &["ipv4NativeRoutingCIDR"];

/// The default pool of the chart.
const DEFAULT_POOL: &str = "10.0.0.0/8";

/// The networks of the cluster.
struct Networks<'a> {
    /// The pod network of each node.
    nodes: Vec<(&'a str, IpNet)>,
    /// The Service address of the API server.
    service: Option<IpAddr>,
}

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let cilium = match facts.release_of_chart("cilium") {
        Ok(cilium) => cilium,
        Err(answer) => return answer,
    };
    if [MODE, NATIVE, &["routingMode"]].iter().any(|path| cilium.is_open(path)) {
        return Answer::unknown(OPEN);
    }
    let networks = Networks::of(live);
    let mode = cilium.text(MODE).filter(|mode| !mode.is_empty()).unwrap_or_else(|| "cluster-pool".to_owned());
    let findings: Vec<_> = match mode.as_str() {
        "cluster-pool" => {
            let pools = pools(cilium);
            let overlap = pools.iter().find_map(|pool| overlap(cilium, *pool, &networks));
            let pools: Vec<_> = pools.into_iter().map(|pool| ("a pool", pool)).collect();
            overlap.into_iter().chain(native(live, cilium, &pools)).collect()
        }
        "kubernetes" => native(live, cilium, &networks.nodes).into_iter().collect(),
        // Other modes, such as those of clouds, are not checked.
        _ => {
            return Answer::not_applicable(
                "the IPAM mode of cilium uses neither the podCIDRs of nodes nor a pool",
            );
        }
    };
    let mut inspection = Inspection::default();
    inspection.look(findings);
    if mode == "cluster-pool" && pools(cilium).len() < named_pools(cilium) {
        inspection.miss("a pool in the values of cilium is not a CIDR");
    }
    if cilium.text(NATIVE).is_some_and(|text| !text.is_empty() && text.parse::<IpNet>().is_err()) {
        inspection.miss("`ipv4NativeRoutingCIDR` in the values of cilium is not a CIDR");
    }
    if live.cluster.nodes.is_empty() {
        inspection.miss(NO_NODES);
    }
    for node in live.cluster.nodes.iter().filter(|node| node.pod_cidrs.is_empty()).take(1) {
        inspection.miss(format!("node {} has no pod network yet", node.name));
    }
    inspection.answer(NO_NODES)
}

impl<'a> Networks<'a> {
    fn of(live: &'a Live) -> Self {
        let cluster = &live.cluster;
        let nodes = cluster.nodes.iter().flat_map(|node| {
            node.pod_cidrs.iter().filter_map(|network| Some((node.name.as_str(), network.parse().ok()?)))
        });
        let api = cluster.services.iter().find(|one| one.namespace == "default" && one.name == "kubernetes");
        let service = api.and_then(|api| api.cluster_ip.as_deref()?.parse().ok());
        Self { nodes: nodes.collect(), service }
    }
}

fn pools(cilium: &Release) -> Vec<IpNet> {
    let read = |value: &Value| value.as_str().filter(|text| !text.contains(STAND_IN))?.parse().ok();
    match cilium.value(POOLS) {
        None | Some(Value::Null) => DEFAULT_POOL.parse().ok().into_iter().collect(),
        Some(Value::Sequence(pools)) => pools.iter().filter_map(read).collect(),
        Some(pool) => read(pool).into_iter().collect(),
    }
}

/// The number of pools in the values, valid or not.
fn named_pools(cilium: &Release) -> usize {
    cilium.value(POOLS).and_then(Value::as_sequence).map_or(1, Vec::len)
}

fn overlap(cilium: &Release, pool: IpNet, networks: &Networks<'_>) -> Option<Finding> {
    let overlaps = |network: &IpNet| pool.contains(&network.network()) || network.contains(&pool.network());
    let with = match networks.nodes.iter().find(|(_, network)| overlaps(network)) {
        Some((node, network)) => format!("{network}, the pods of node {node}"),
        None => networks
            .service
            .filter(|address| pool.contains(address))
            .map(|address| format!("the Service network, which contains {address}"))?,
    };
    Some(
        Finding::warning(RULE.id, "Cilium's address pool overlaps a network of the cluster")
            .with("release", cilium.id())
            .with("pool", pool)
            .with("overlaps", with)
            .fix("# in the values of cilium\nipam:\n  mode: kubernetes"),
    )
}

/// Checks that `ipv4NativeRoutingCIDR` contains all pods.
fn native(live: &Live, cilium: &Release, pods: &[(&str, IpNet)]) -> Option<Finding> {
    let is = |path: &[&str], value: &str| cilium.text(path).is_some_and(|text| text == value);
    if !is(&["routingMode"], "native") || is(&["ipv4", "enabled"], "false") {
        return None;
    }
    let fix = |live| format!("# in the values of cilium\nipv4NativeRoutingCIDR: {}", pod_network(live, pods));
    let Some(text) = cilium.text(NATIVE).filter(|text| !text.is_empty()) else {
        let is_optional = is(&["enableIPv4Masquerade"], "false")
            || is(&["ipMasqAgent", "enabled"], "true")
            || cilium.value(&["extraConfig", "ipv4-native-routing-cidr"]).is_some();
        return (!is_optional).then(|| {
            Finding::error(RULE.id, "Cilium's agents do not start without `ipv4NativeRoutingCIDR`")
                .with("release", cilium.id())
                .with("routing_mode", "native")
                .fix(fix(live))
        });
    };
    let native: IpNet = text.parse().ok()?;
    let outside = |(_, network): &&(&str, IpNet)| {
        network.network().is_ipv4()
            && !(native.contains(&network.network()) && native.contains(&network.broadcast()))
    };
    let (whose, network) = pods.iter().find(outside)?;
    Some(
        Finding::warning(RULE.id, "Pod CIDR is outside `ipv4NativeRoutingCIDR`")
            .with("release", cilium.id())
            .with("native", native)
            .with("pods", format!("{network} ({whose})"))
            .fix(fix(live)),
    )
}

/// The network that contains all pods.
fn pod_network(live: &Live, pods: &[(&str, IpNet)]) -> String {
    let configured =
        live.cluster.servers().find_map(|node| node.k3s()?.list("cluster-cidr").into_iter().next());
    let network = configured.as_deref().unwrap_or(CLUSTER_CIDR.1);
    let is_inside = |pods: &IpNet| network.parse::<IpNet>().is_ok_and(|network| network.contains(pods));
    match pods
        .iter()
        .map(|(_, network)| network)
        .filter(|network| network.network().is_ipv4())
        .collect::<Vec<_>>()
    {
        pods if pods.iter().all(|pods| is_inside(pods)) => network.to_owned(),
        pods => pods.first().map_or_else(|| network.to_owned(), ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::World;

    fn with(values: &str) -> World {
        let mut world = World::healthy();
        world.values("cilium", values);
        world
    }

    #[test]
    fn a_pool_must_not_overlap_other_networks() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let message = "Cilium's address pool overlaps a network of the cluster";
        let pool = |pool: &str| {
            with(&format!("ipam: {{mode: cluster-pool, operator: {{clusterPoolIPv4PodCIDRList: {pool}}}}}"))
        };
        let mut plain = World::healthy();
        plain.release("cilium").values.clear();
        let bad = vec![
            (plain, "10.42.0.0/24, the pods of node a"),
            (with("ipam: {mode: cluster-pool}"), "10.42.0.0/24, the pods of node a"),
            (pool("[10.52.0.0/16, 10.42.0.0/16]"), "10.42.0.0/24, the pods of node a"),
            (pool("10.42.0.0/16"), "10.42.0.0/24, the pods of node a"),
            (pool("[10.43.0.0/16]"), "the Service network, which contains 10.43.0.1"),
        ];
        for (world, overlaps) in bad {
            assert_eq!(world.found(&RULE), [(Warning, message.to_owned())]);
            assert_eq!(world.detail(&RULE, "overlaps"), overlaps);
        }
        for good in ["[10.52.0.0/16]", "['fd00::/48']"] {
            assert_eq!(pool(good).ask(&RULE), Answer::Ok, "{good}");
        }
    }

    #[test]
    fn native_routing_must_contain_all_pods() {
        let good = [
            "{routingMode: native, ipv4NativeRoutingCIDR: 10.42.0.0/16}",
            "{routingMode: native, ipv4NativeRoutingCIDR: 10.0.0.0/8}",
            "{routingMode: native, enableIPv4Masquerade: false}",
            "{routingMode: native, extraConfig: {ipv4-native-routing-cidr: 10.42.0.0/16}}",
            "{routingMode: tunnel, ipv4NativeRoutingCIDR: 10.52.0.0/16}",
        ];
        for values in good {
            assert_eq!(with(values).ask(&RULE), Answer::Ok, "{values}");
        }
        let open = with("{routingMode: native, ipv4NativeRoutingCIDR: stand-in.invalid}");
        assert_eq!(open.ask(&RULE), Answer::unknown(OPEN));
        assert!(with("{routingMode: native, ipam: {mode: eni}}").is_not_applicable(&RULE));
        for unread in [
            "{routingMode: native, ipv4NativeRoutingCIDR: all}",
            "{ipam: {mode: cluster-pool, operator: {clusterPoolIPv4PodCIDRList: [10.52.0.0/16, stand-in.invalid]}}}",
        ] {
            assert!(matches!(with(unread).ask(&RULE), Answer::Unknown(_)), "{unread}");
        }
        let world = with("{routingMode: native, ipv4NativeRoutingCIDR: 10.52.0.0/16}");
        assert_eq!(world.found(&RULE), [(Warning, "Pod CIDR is outside `ipv4NativeRoutingCIDR`".to_owned())]);
        assert!(world.fix(&RULE).ends_with("\nipv4NativeRoutingCIDR: 10.42.0.0/16"));
        let mut world = with("{routingMode: native}");
        let message = "Cilium's agents do not start without `ipv4NativeRoutingCIDR`";
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        world.server("a", &["server", "--cluster-cidr", "10.0.0.0/12"]).pod_cidrs =
            vec!["10.1.2.0/24".to_owned()];
        assert!(world.fix(&RULE).ends_with("\nipv4NativeRoutingCIDR: 10.0.0.0/12"));
        let values = "{routingMode: native, ipv4NativeRoutingCIDR: 10.42.0.0/16, ipam: {mode: cluster-pool, \
            operator: {clusterPoolIPv4PodCIDRList: [10.52.0.0/16]}}}";
        assert_eq!(with(values).detail(&RULE, "pods"), "10.52.0.0/16 (a pool)");
    }

    #[test]
    fn without_networks_it_is_unknown() {
        let mut world = World::healthy();
        world.live_mut().cluster.nodes[0].pod_cidrs.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("node a has no pod network yet".to_owned()));
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
    }
}
