//! Cilium's API server address is a bare host.

use crate::base::finding::Finding;
use crate::base::url::Url;
use crate::check::address::{API_HOST, NO_HOST, is_bare_host};
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::desired::releases::Release;
use crate::observed::workloads::Workload;

pub(super) const RULE: Rule = Rule {
    id: "api-host",
    group: Group::Dns,
    title: "Cilium's API server address is a bare host",
    why: "Cilium's agents accept only a host in `k8sServiceHost`. The chart also accepts an address with scheme or \
          port, and then no agent reaches the API server. Without kube-proxy, agents have no other way to reach it.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let cilium = match facts.release_of_chart("cilium") {
        Ok(cilium) => cilium,
        Err(answer) => return answer,
    };
    if cilium.is_open(API_HOST) || cilium.is_open(&["kubeProxyReplacement"]) {
        return Answer::unknown(OPEN);
    }
    let host = cilium.text(API_HOST).unwrap_or_default();
    let replaces = cilium.text(&["kubeProxyReplacement"]).is_some_and(|value| value == "true");
    let finding = if host.is_empty() {
        if !replaces || has_other_address(cilium) {
            return Answer::not_applicable(NO_HOST);
        }
        Some(missing(facts, cilium))
    } else if host == "auto" && facts.k3s().is_err_and(|answer| matches!(answer, Answer::NotApplicable(_))) {
        return Answer::not_applicable(NO_HOST);
    } else if host == "auto" {
        Some(
            Finding::error(RULE.id, "k3s does not support `k8sServiceHost: auto`")
                .with("release", cilium.id())
                .with("k8s_service_host", host)
                .fix(local_fix(facts)),
        )
    } else if is_bare_host(&host) {
        None
    } else {
        let (host_only, port) =
            host_and_port(&host).unwrap_or_else(|| ("HOST".to_owned(), "6443".to_owned()));
        Some(
            Finding::error(RULE.id, "API server address in the values of cilium is not a bare host")
                .with("release", cilium.id())
                .with("k8s_service_host", &host)
                .fix(fix(facts, &host_only, &port)),
        )
    };
    Answer::judged(finding)
}

/// Newer charts have two more values for it.
fn has_other_address(cilium: &Release) -> bool {
    let others: [&[&str]; 2] = [&["k8s", "apiServerURLs"], &["k8sServiceHostRef", "name"]];
    others.iter().any(|path| cilium.text(path).is_some_and(|text| !text.is_empty()))
}

fn missing(facts: &Facts<'_>, cilium: &Release) -> Finding {
    let message = "Cilium replaces kube-proxy, but has no API server address";
    // A kube-proxy that runs all the same leads to the API server.
    let cluster = facts.observed.live.as_ref().map(|live| &live.cluster);
    let proxied = cluster.is_some_and(|cluster| {
        let is_proxy = |one: &Workload| one.kind == "DaemonSet" && one.name == "kube-proxy";
        cluster.workloads.iter().any(is_proxy)
            || cluster.servers().any(|node| node.k3s().is_some_and(|args| !args.is_on("disable-kube-proxy")))
    });
    let finding = if proxied { Finding::warning(RULE.id, message) } else { Finding::error(RULE.id, message) };
    finding.with("release", cilium.id()).fix(local_fix(facts))
}

/// The host and the port of an address with or without scheme, port or path.
fn host_and_port(address: &str) -> Option<(String, String)> {
    let address = address.trim();
    let url = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let (host, port) = Url::parse(&url)?.host_and_port();
    let is_port = |port: &&str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = host.trim_start_matches('[').trim_end_matches(']');
    is_bare_host(host).then(|| (host.to_owned(), port.filter(is_port).unwrap_or("6443").to_owned()))
}

/// The address at which every node reaches the API server.
fn local_fix(facts: &Facts<'_>) -> String {
    let (host, port) = facts.distribution().local_api();
    fix(facts, host, port)
}

fn fix(facts: &Facts<'_>, host: &str, port: &str) -> String {
    let shipped = if facts.k3s().is_ok() { "; in the shipped values, set K3S_API_HOST" } else { "" };
    format!("# in the values of cilium{shipped}\nk8sServiceHost: {host}\nk8sServicePort: {port}")
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
    fn only_a_bare_host_is_accepted() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        for host in ["127.0.0.1", "api.lan", "fd00::10"] {
            assert_eq!(with(&format!("k8sServiceHost: '{host}'")).ask(&RULE), Answer::Ok, "{host}");
        }
        for host in ["stand-in.invalid", "https://stand-in.invalid"] {
            let world = with(&format!("k8sServiceHost: '{host}'"));
            assert_eq!(world.ask(&RULE), Answer::unknown(OPEN), "{host}");
        }
        let message = "API server address in the values of cilium is not a bare host";
        let cases = [
            ("https://10.0.0.10:6443", "\nk8sServiceHost: 10.0.0.10\nk8sServicePort: 6443"),
            ("10.0.0.10:7443", "\nk8sServiceHost: 10.0.0.10\nk8sServicePort: 7443"),
            ("api.lan/", "\nk8sServiceHost: api.lan\nk8sServicePort: 6443"),
            (" api.lan", "\nk8sServiceHost: api.lan\nk8sServicePort: 6443"),
            ("[fd00::10]:6443", "\nk8sServiceHost: fd00::10\nk8sServicePort: 6443"),
            ("a b", "\nk8sServiceHost: HOST\nk8sServicePort: 6443"),
        ];
        for (host, fix) in cases {
            let world = with(&format!("k8sServiceHost: '{host}'"));
            assert_eq!(world.found(&RULE), [(Error, message.to_owned())], "{host}");
            assert!(world.fix(&RULE).ends_with(fix), "{host}");
        }
    }

    #[test]
    fn without_an_address_agents_need_kube_proxy() {
        let message = "Cilium replaces kube-proxy, but has no API server address";
        let mut world = with("k8sServiceHost: ''");
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        world.server("a", &["server"]);
        assert_eq!(world.found(&RULE), [(Warning, message.to_owned())]);
        world.values("cilium", "kubeProxyReplacement: false");
        assert!(world.is_not_applicable(&RULE));
        assert_eq!(with("k8sServiceHost: auto").found(&RULE)[0].0, Error);
        let mut other = with("k8sServiceHost: auto");
        other.live_mut().version = "v1.33.6".to_owned();
        assert!(other.is_not_applicable(&RULE), "other distributions support `auto`");
        let mut talos = with("k8sServiceHost: ''");
        talos.talos();
        assert_eq!(
            talos.fix(&RULE),
            "# in the values of cilium\nk8sServiceHost: localhost\nk8sServicePort: 7445"
        );
        talos.user("kube-system", "kube-proxy");
        talos.live_mut().cluster.workloads[0].kind = "DaemonSet".to_owned();
        assert_eq!(talos.found(&RULE), [(Warning, message.to_owned())]);
        talos.values("cilium", "k8sServiceHost: https://api.lan");
        assert_eq!(
            talos.fix(&RULE),
            "# in the values of cilium\nk8sServiceHost: api.lan\nk8sServicePort: 6443"
        );
        let urls = "{k8sServiceHost: '', k8s: {apiServerURLs: 'https://10.0.0.10:6443'}}";
        assert!(with(urls).is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.release("cilium").values.clear();
        assert!(world.is_not_applicable(&RULE));
        world.without("cilium");
        assert!(world.is_not_applicable(&RULE));
    }
}
