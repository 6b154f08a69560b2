//! The address of the cluster DNS is free, or used by the release.

use crate::base::finding::Finding;
use crate::check::address::DnsAddress;
use crate::check::k3s::BUNDLED_COREDNS;
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "dns-address",
    group: Group::Dns,
    title: "the address of the cluster DNS is free, or used by the release",
    why: "Only one Service can have an address: `provided IP is already allocated` fails the release during its \
          installation (k3s-io/k3s#10611).",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let coredns = match facts.release_of_chart("coredns") {
        Ok(coredns) => coredns,
        Err(answer) => return answer,
    };
    let address = match DnsAddress::of(coredns) {
        DnsAddress::Fixed(address) => address,
        DnsAddress::Any => return Answer::not_applicable("the release of coredns requests no address"),
        DnsAddress::Open => return Answer::unknown(OPEN),
    };
    let (label, hash) = BUNDLED_COREDNS;
    let taken = live.cluster.services.iter().find(|service| {
        service.cluster_ip.as_deref() == Some(address.as_str())
            && service.release() != Some(coredns.id())
            // Reported by `coredns-bundled`.
            && service.labels.get(label).is_none_or(|value| value != hash)
    });
    let finding = taken.map(|service| {
        let (namespace, name) = (&service.namespace, &service.name);
        let owner = service.release().map_or_else(|| "no Helm release".to_owned(), |release| release.to_string());
        Finding::error(RULE.id, "Another Service has the address of the cluster DNS")
            .with("address", &address)
            .with("service", format!("{namespace}/{name}"))
            .with("owner", owner)
            .with("release", coredns.id())
            .fix(format!(
                "--skip-release {}, if that Service should stay the cluster DNS; otherwise see what created it: \
                 kubectl -n {namespace} get service {name} -o yaml",
                coredns.id()
            ))
    });
    Answer::judged(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Error;
    use crate::check::testing::World;

    #[test]
    fn an_address_of_another_service_is_an_error() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.service("dns", "other", "10.43.0.10");
        let message = "Another Service has the address of the cluster DNS";
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        assert_eq!(world.detail(&RULE, "service"), "dns/other");
        world.values("coredns", "service: {clusterIP: stand-in.invalid}");
        assert_eq!(world.ask(&RULE), Answer::unknown(OPEN));
        world.without("coredns");
        assert!(world.is_not_applicable(&RULE));
    }

    #[test]
    fn the_release_and_the_bundled_coredns_pass() {
        let mut world = World::healthy();
        let own = [("name", "coredns"), ("namespace", "kube-system")];
        world.service("kube-system", "kube-dns", "10.43.0.10").annotations =
            own.map(|(key, value)| (format!("meta.helm.sh/release-{key}"), value.to_owned())).into();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let mut world = World::healthy();
        world.bundled_coredns();
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }
}
