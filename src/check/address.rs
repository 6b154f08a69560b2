//! Addresses in values: those of the cluster DNS and of the API server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_yaml::Value;

use crate::desired::releases::Release;
use crate::observed::Live;

/// The value of cilium with the host of the API server.
pub(super) const API_HOST: &[&str] = &["k8sServiceHost"];

/// Why a rule about that address does not apply.
pub(super) const NO_HOST: &str = "the values of cilium set no API server address";

/// The value of cilium with the port of the API server.
pub(super) const API_PORT: &[&str] = &["k8sServicePort"];

/// The Service address that a release of coredns requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DnsAddress {
    /// This address.
    Fixed(String),
    /// Any address.
    Any,
    /// Unknown: it depends on a variable that is not set.
    Open,
}

impl DnsAddress {
    pub(super) fn of(coredns: &Release) -> Self {
        let list = coredns.value(&["service", "clusterIPs"]).and_then(|list| list.get(0));
        let one = coredns.value(&["service", "clusterIP"]).filter(|address| address.as_str() != Some(""));
        match one.or(list).and_then(Value::as_str) {
            Some(text) if text.contains(crate::desired::STAND_IN) => Self::Open,
            Some(text) => Self::Fixed(text.to_owned()),
            None => Self::Any,
        }
    }
}

/// In k3s, DNS has the tenth address of the Service network, and the API server the first.
const OFFSET_FROM_API: u32 = 9;

/// The address of the cluster DNS in k3s, if nothing else is configured.
pub(super) fn default_address(live: &Live) -> Option<String> {
    match api_address(live)? {
        IpAddr::V4(first) => {
            Some(Ipv4Addr::from_bits(first.to_bits().checked_add(OFFSET_FROM_API)?).to_string())
        }
        IpAddr::V6(first) => {
            Some(Ipv6Addr::from_bits(first.to_bits().checked_add(OFFSET_FROM_API.into())?).to_string())
        }
    }
}

/// The address of the Service of the API server.
fn api_address(live: &Live) -> Option<IpAddr> {
    let mut services = live.cluster.services.iter();
    let api = services.find(|one| one.namespace == "default" && one.name == "kubernetes")?;
    api.cluster_ip.as_deref()?.parse().ok()
}

/// The largest IPv4 network of Services (Kubernetes, `cmd/kube-apiserver/app/options/validation.go`: at most 20 bits).
const MAX_ADDRESSES: u32 = 1 << 20;

/// The Service network, if an address is certainly outside of it.
pub(super) fn outside_service_network(live: &Live, address: IpAddr) -> Option<String> {
    match live.service_networks.as_deref() {
        Ok([]) => {}
        Err(_) => return None,
        Ok(networks) => {
            let is_inside =
                |network: &String| network.parse::<IpNet>().map_or(true, |one| one.contains(&address));
            return (!networks.iter().any(is_inside)).then(|| networks.join(", "));
        }
    }
    // The API server has the first address of the network.
    let (IpAddr::V4(first), IpAddr::V4(address)) = (api_address(live)?, address) else {
        return None;
    };
    let network = first.to_bits().checked_sub(1)?;
    let is_outside = address.to_bits().checked_sub(network).is_none_or(|offset| offset >= MAX_ADDRESSES);
    is_outside.then(|| format!("the one that begins at {}", Ipv4Addr::from_bits(network)))
}

/// Whether a host is the machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a text is an IP address or host name without scheme, port and path.
pub(super) fn is_bare_host(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    host.parse::<IpAddr>().is_ok() || host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::World;

    #[test]
    fn a_bare_host_has_no_scheme_port_or_path() {
        for host in ["10.0.0.10", "fd00::10", "api.home.lan", "node-1", "api.lan."] {
            assert!(is_bare_host(host), "{host}");
        }
        let others = [
            "",
            "https://10.0.0.10",
            "10.0.0.10:6443",
            "[fd00::10]",
            "api.lan/x",
            "a b",
            " a",
            "a@b",
            "..",
            "api.lan\n",
        ];
        for host in others {
            assert!(!is_bare_host(host), "{host:?}");
        }
        assert!(is_loopback("127.0.0.1") && is_loopback("localhost") && is_loopback("::1"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("api.lan"));
    }

    #[test]
    fn the_requested_dns_address_is_read() {
        let of = |values: &str| {
            let mut world = World::healthy();
            world.release("coredns").values.clear();
            world.values("coredns", values);
            DnsAddress::of(world.release("coredns"))
        };
        assert_eq!(of("service: {clusterIP: 10.43.0.10}"), DnsAddress::Fixed("10.43.0.10".to_owned()));
        assert_eq!(of("service: {clusterIPs: [10.43.0.10]}"), DnsAddress::Fixed("10.43.0.10".to_owned()));
        assert_eq!(of("service: {clusterIP: ''}"), DnsAddress::Any);
        assert_eq!(of("{}"), DnsAddress::Any);
        assert_eq!(of("service: {clusterIP: stand-in.invalid}"), DnsAddress::Open);
    }

    proptest::proptest! {
        #[test]
        fn no_host_makes_it_panic(near in crate::base::mutate::text(&["10.0.0.10", "https://api.example.org:6443/x", "[fe80::1%eth0]", "localhost."])) {
            _ = (is_bare_host(&near), is_loopback(&near));
        }
    }
}
