//! Pods use the DNS of the release.

use crate::base::finding::Finding;
use crate::check::address::{DnsAddress, default_address, outside_service_network};
use crate::check::k3s::Servers;
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::desired::releases::Release;
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "cluster-dns",
    group: Group::Dns,
    title: "pods use the DNS of the release",
    why: "The kubelet configures one DNS address in every pod (`cluster-dns`, 10.43.0.10 in k3s). Unless \
          `service.clusterIP` is set, the Service of the chart gets another one, and no pod can resolve names.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let coredns = match facts.release_of_chart("coredns") {
        Ok(coredns) => coredns,
        Err(answer) => return answer,
    };
    if coredns.text(&["isClusterService"]).is_some_and(|ours| ours == "false") {
        return Answer::not_applicable("the release of coredns is not the cluster DNS");
    }
    let address = DnsAddress::of(coredns);
    if address == DnsAddress::Open {
        return Answer::unknown(OPEN);
    }
    let outside = match &address {
        DnsAddress::Fixed(address) => {
            address.parse().ok().and_then(|address| outside_service_network(live, address))
        }
        DnsAddress::Any | DnsAddress::Open => None,
    };
    if outside.is_some() {
        // `service-network` reports it.
        return Answer::unknown("the address of the release is outside the Service network");
    }
    match &live.kubelet {
        Ok(kubelet) if !kubelet.cluster_dns.is_empty() => {
            let used = &kubelet.cluster_dns;
            let met = matches!(&address, DnsAddress::Fixed(address) if used.contains(address));
            Answer::judged((!met).then(|| differs(live, coredns, &address, used)))
        }
        Ok(kubelet) => {
            guess(live, coredns, &address, &format!("the kubelet of {} has no cluster DNS", kubelet.node))
        }
        Err(reason) => guess(live, coredns, &address, reason),
    }
}

fn found(finding: Finding, coredns: &Release, address: &DnsAddress, asked: &str) -> Finding {
    let address = match address {
        DnsAddress::Fixed(address) => address,
        DnsAddress::Any | DnsAddress::Open => "any",
    };
    finding
        .with("release", coredns.id())
        .with("service", address)
        .with("pods_use", asked)
        .fix(format!("# in the values of {}\nservice:\n  clusterIP: {asked}", coredns.id()))
}

fn differs(live: &Live, coredns: &Release, address: &DnsAddress, asked: &[String]) -> Finding {
    let message = "Pods do not use the DNS of the release";
    let another = live.cluster.services.iter().any(|service| {
        service.cluster_ip.as_ref().is_some_and(|address| asked.contains(address))
            && service.release() != Some(coredns.id())
    });
    // If another Service has that address, this one has another purpose.
    let finding = if another { Finding::warning(RULE.id, message) } else { Finding::error(RULE.id, message) };
    found(finding, coredns, address, asked.first().map_or("", String::as_str))
}

/// Falls back to the settings and defaults of k3s if the kubelet's configuration is unknown.
fn guess(live: &Live, coredns: &Release, address: &DnsAddress, reason: &str) -> Answer {
    let Ok(servers) = Servers::of_k3s(live) else { return Answer::unknown(reason) };
    let configured = servers.known.iter().find_map(|(_, args)| args.list("cluster-dns").into_iter().next());
    let Some(asked) = configured.or_else(|| default_address(live)) else { return Answer::unknown(reason) };
    if matches!(address, DnsAddress::Fixed(address) if *address == asked) {
        // It is certain if the settings of all servers are known.
        return match servers.answer(None) {
            Answer::Ok => Answer::Ok,
            _ => Answer::unknown(reason),
        };
    }
    let finding = Finding::warning(RULE.id, "Pods may not use the DNS of the release");
    Answer::judged(Some(found(finding, coredns, address, &asked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::World;

    const MESSAGE: &str = "Pods do not use the DNS of the release";
    const MAYBE: &str = "Pods may not use the DNS of the release";

    fn unread() -> World {
        let mut world = World::healthy();
        world.live_mut().kubelet = Err("no kubelet".to_owned());
        world
    }

    #[test]
    fn an_address_that_pods_do_not_use_is_an_error() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        for values in ["service: {clusterIP: 10.43.0.53}", "service: {clusterIP: ''}"] {
            let mut world = World::healthy();
            world.values("coredns", values);
            assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())], "{values}");
            assert!(world.fix(&RULE).ends_with("\nservice:\n  clusterIP: 10.43.0.10"));
            world.service("kube-system", "kube-dns", "10.43.0.10");
            assert_eq!(world.found(&RULE), [(Warning, MESSAGE.to_owned())]);
        }
        let mut world = World::healthy();
        world.values("coredns", "service: {clusterIP: stand-in.invalid}");
        assert_eq!(world.ask(&RULE), Answer::unknown(OPEN));
        world.values("coredns", "{isClusterService: false, service: {clusterIP: 10.43.0.53}}");
        assert!(world.is_not_applicable(&RULE));
        world.without("coredns");
        assert!(world.is_not_applicable(&RULE));
    }

    #[test]
    fn without_the_kubelet_the_defaults_of_k3s_count() {
        let mut world = unread();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.values("coredns", "service: {clusterIP: 10.43.0.53}");
        assert_eq!(world.found(&RULE), [(Warning, MAYBE.to_owned())]);
        world.server("a", &["server", "--cluster-dns", "10.43.0.53"]);
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let mut world = unread();
        world.server("a", &[]).annotations.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("no kubelet".to_owned()));
        world.live_mut().cluster.services.clear();
        assert_eq!(world.ask(&RULE), Answer::Unknown("no kubelet".to_owned()));
        let mut world = World::healthy();
        world.live_mut().kubelet.as_mut().unwrap().cluster_dns.clear();
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }
}
