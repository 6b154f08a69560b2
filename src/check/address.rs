//! Addresses in values: those of the cluster DNS and of the API server.

use std::net::IpAddr;

use serde_yaml::Value;

use crate::desired::releases::Release;

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
