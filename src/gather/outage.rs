//! One finding for a failure of this machine's network that blocks the cluster and the charts.

use super::unfetched::{known, without_request};
use crate::base::finding::Finding;
use crate::base::url::Url;
use crate::tools::unanswered::{is_refused_by_proxy, without_prefix};

/// A failure that is not about a single server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage<'r> {
    /// There is no route out of this machine.
    Network,
    /// Names are not resolved.
    Names,
    /// A proxy refuses the connection, or cannot be reached.
    Proxy(&'r str),
}

impl<'r> Outage<'r> {
    /// The failure in an error of Go's HTTP client, with or without the request.
    fn of(reason: &'r str) -> Option<Self> {
        let error = without_request(without_prefix(reason));
        // A machine without IPv6 has no route to such an address only.
        let has_no_route = error.ends_with("connect: network is unreachable") && !error.contains('[');
        if is_refused_by_proxy(error) {
            Some(Self::Proxy(error))
        } else if has_no_route {
            Some(Self::Network)
        } else {
            error.starts_with("dial tcp: lookup ").then_some(Self::Names)
        }
    }

    /// What blocks both. Without a route, the resolver cannot be reached either.
    fn shared(self, charts: Outage<'_>) -> Option<Self> {
        match (self, charts) {
            (Self::Network | Self::Names, Outage::Network) | (Self::Network, Outage::Names) => {
                Some(Self::Network)
            }
            (one, other) => Some(one).filter(|_| one == other),
        }
    }
}

/// Joins the findings about the API server and about charts if one failure causes them. The cluster may have a proxy of its own:
/// its refusal says nothing about the charts.
pub(super) fn join(mut findings: Vec<Finding>, cluster_has_own_proxy: bool) -> Vec<Finding> {
    let api = findings.iter().find(|finding| finding.rule == "api").cloned();
    let Some(api) = api else { return findings };
    let Some(outage) = api.detail("reason").and_then(Outage::of) else { return findings };
    if cluster_has_own_proxy && matches!(outage, Outage::Proxy(_)) {
        return findings;
    }
    let mut shared = None;
    let mut joined = Vec::new();
    findings.retain(|finding| {
        let reason = finding.detail("reason").filter(|_| finding.rule == "charts");
        let Some(both) = reason.and_then(Outage::of).and_then(|charts| outage.shared(charts)) else {
            return true;
        };
        shared = Some(both);
        joined.push(finding.clone());
        false
    });
    let finding = findings.iter_mut().find(|finding| finding.rule == "api");
    if let (Some(shared), Some(finding)) = (shared, finding) {
        *finding = about_both(shared, &api, &joined);
    }
    findings
}

fn about_both(outage: Outage<'_>, api: &Finding, charts: &[Finding]) -> Finding {
    let (summary, fix) = match outage {
        Outage::Network => (
            "This machine has no network connection",
            "connect this machine to the network of the cluster and to the internet".to_owned(),
        ),
        Outage::Names => (
            "This machine does not resolve host names",
            "check the network and DNS of this machine; the kubeconfig can also name the address of a server"
                .to_owned(),
        ),
        Outage::Proxy(_) => ("A proxy blocks the cluster and the charts", fix_proxy(api, charts)),
    };
    let list = |keys: [&str; 2]| {
        let values = charts.iter().filter_map(|one| keys.iter().find_map(|key| one.detail(key)));
        values.filter(|value| !value.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let mut finding = Finding { summary: summary.to_owned(), ..api.clone() };
    let reason = api.details.iter().position(|(key, _)| *key == "reason").unwrap_or(api.details.len());
    let affected = [("charts", list(["charts", "chart"])), ("releases", list(["releases", "release"]))];
    finding.details.splice(reason..reason, affected.into_iter().filter(|(_, names)| !names.is_empty()));
    finding.fix(fix)
}

/// The fix of the failed charts, for the host of the cluster too.
fn fix_proxy(api: &Finding, charts: &[Finding]) -> String {
    let server = api.detail("server").unwrap_or_default();
    let host = Url::parse(server).map_or(server, |url| url.host_and_port().0);
    let named = charts.iter().filter_map(|one| one.detail("charts").or_else(|| one.detail("chart")));
    let named = named.flat_map(|names| names.split(", ")).chain([host]).collect::<Vec<_>>();
    let reason = charts.iter().find_map(|one| one.detail("reason")).unwrap_or_default();
    known(reason, &named).map(|(_, fix)| fix).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(api: &str, charts: &str, cluster_has_own_proxy: bool) -> Vec<Finding> {
        let request =
            r#"failed to perform "FetchReference" on source: Get "https://quay.io/v2/a/manifests/1": "#;
        let findings = vec![
            Finding::error("charts", "Chart cannot be fetched")
                .with("chart", "oci://quay.io/a")
                .with("version", "1")
                .with("release", "a")
                .with("reason", format!("{request}{charts}")),
            Finding::error("charts", "Chart cannot be fetched").with("reason", "quay.io/b:1: not found"),
            Finding::error("api", "Cluster unreachable")
                .with("server", "https://k3s.lan:6443")
                .with("reason", api),
        ];
        join(findings, cluster_has_own_proxy)
    }

    #[test]
    fn one_failure_is_one_finding() {
        let dns = "dial tcp: lookup quay.io on 127.0.0.53:53: server misbehaving";
        let own =
            "Unable to connect to the server: dial tcp: lookup k3s.lan on 127.0.0.53:53: server misbehaving";
        let route = "dial tcp 10.0.0.10:6443: connect: network is unreachable";
        let proxy = "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused";
        let no_network = "This machine has no network connection";
        let no_names = "This machine does not resolve host names";
        let by_proxy = "A proxy blocks the cluster and the charts";
        for (api, charts, summary) in [
            (own, dns, no_names),
            (route, dns, no_network),
            (route, "dial tcp 1.2.3.4:443: connect: network is unreachable", no_network),
            (proxy, proxy, by_proxy),
            ("Proxy Authentication Required", "Proxy Authentication Required", by_proxy),
        ] {
            let findings = joined(api, charts, false);
            assert_eq!(findings.len(), 2, "{api}, {charts}");
            assert_eq!(findings[1].summary, summary);
            let keys: Vec<_> = findings[1].fields().into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, ["server", "charts", "releases", "reason", "fix"]);
        }
        let fix = joined(proxy, proxy, false)[1].fix.clone();
        assert_eq!(fix.as_deref(), Some("correct HTTPS_PROXY, or add k3s.lan,quay.io to NO_PROXY"));
    }

    #[test]
    fn two_failures_are_two_findings() {
        let route = "dial tcp [fd00::10]:6443: connect: network is unreachable";
        let dns = "dial tcp: lookup quay.io on 127.0.0.53:53: no such host";
        for (api, charts, own_proxy) in [
            ("dial tcp 10.0.0.10:6443: connect: connection refused", dns, false),
            (route, dns, false),
            ("Forbidden", "Bad Gateway", false),
            ("Forbidden", "Forbidden", true),
            ("dial tcp 10.0.0.10:6443: i/o timeout", "dial tcp 1.2.3.4:443: i/o timeout", false),
        ] {
            assert_eq!(joined(api, charts, own_proxy).len(), 3, "{api}, {charts}");
        }
    }
}
