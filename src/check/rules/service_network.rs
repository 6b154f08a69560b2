//! Fixed addresses of Services are in the Service network.

use crate::base::finding::Finding;
use crate::check::address::{default_address, outside_service_network};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule, scheduling};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "service-network",
    group: Group::Dns,
    title: "fixed addresses of Services are in the Service network",
    why: "The API server refuses a Service whose `clusterIP` is outside of the network of Services (`service-cidr`, \
          10.43.0.0/16 in k3s), which fails the release in the middle of a bootstrap.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let mut inspection = scheduling::inspect(facts);
    for (release, object) in facts.manifests.objects() {
        let fixed = object["spec"]["clusterIP"].as_str().and_then(|address| address.parse().ok());
        let Some(address) = fixed.filter(|_| object["kind"] == "Service") else { continue };
        if let Err(reason) = &live.service_networks {
            inspection.miss(reason);
            continue;
        }
        let is_dns =
            facts.desired.releases().any(|one| one.id() == *release && one.chart_name() == "coredns");
        inspection.look(outside_service_network(live, address).map(|network| {
            let fix = match (is_dns, default_address(live)) {
                (true, Some(dns)) => format!("# in the values of {release}\nservice:\n  clusterIP: {dns}"),
                _ => format!("in the values of {release}, choose an address in that network, or none"),
            };
            Finding::error(RULE.id, "Address of a Service is outside the Service network")
                .with("release", release)
                .with("service", object["metadata"]["name"].as_str().unwrap_or_default())
                .with("address", address)
                .with("network", network)
                .fix(fix)
        }));
    }
    inspection.answer(NO_ADDRESS)
}

const NO_ADDRESS: &str = "no rendered Service has a fixed address";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Error;
    use crate::check::testing::World;

    const MESSAGE: &str = "Address of a Service is outside the Service network";

    /// A cluster whose API server has this Service address.
    fn world(api: &str, networks: &[&str]) -> World {
        let mut world = World::healthy();
        world.live_mut().service_networks = Ok(networks.iter().map(|one| (*one).to_owned()).collect());
        world.live_mut().cluster.services[0].cluster_ip = Some(api.to_owned());
        world
    }

    #[test]
    fn an_address_outside_is_an_error() {
        for (api, networks, is_wrong) in [
            ("10.43.0.1", &[][..], false),
            ("10.43.0.1", &["10.43.0.0/16"], false),
            ("10.96.0.1", &["10.96.0.0/12"], true),
            // There may be several networks.
            ("10.96.0.1", &["fd00::/112", "10.43.0.0/24"], false),
            ("10.96.0.1", &["unknown"], false),
            // Without a list, only what no network contains is certain.
            ("10.96.0.1", &[], true),
            ("10.0.0.1", &[], true),
            ("10.40.0.1", &[], false),
            ("fd00::1", &[], false),
        ] {
            let world = world(api, networks);
            if is_wrong {
                assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())], "{api} {networks:?}");
            } else {
                assert_eq!(world.ask(&RULE), Answer::Ok, "{api} {networks:?}");
            }
        }
        let mut world = world("10.96.0.1", &["10.96.0.0/12"]);
        assert_eq!(
            world.fix(&RULE),
            "# in the values of kube-system/coredns\nservice:\n  clusterIP: 10.96.0.10"
        );
        assert_eq!(world.detail(&RULE, "network"), "10.96.0.0/12");
        world.live_mut().service_networks = Err("forbidden".to_owned());
        assert_eq!(world.ask(&RULE), Answer::unknown("forbidden"));
    }

    #[test]
    fn without_a_fixed_address_it_is_not_applicable() {
        let mut world = World::healthy();
        world.manifests.objects.remove(&"kube-system/coredns".into());
        assert_eq!(world.ask(&RULE), Answer::not_applicable(NO_ADDRESS));
    }
}
