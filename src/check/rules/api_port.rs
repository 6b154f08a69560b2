//! Cilium uses a port on which k3s listens.

use crate::base::finding::{Finding, Severity};
use crate::check::address::{API_HOST, API_PORT, NO_HOST};
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};

pub(super) const RULE: Rule = Rule {
    id: "api-port",
    group: Group::Dns,
    title: "Cilium uses a port on which k3s listens",
    why: "On every k3s node, 127.0.0.1:6444 answers: the API server itself on servers, the client load balancer on \
          agents (k3s-io/k3s#3026). 127.0.0.1:6443 answers on servers only; at other addresses, the port is 6443.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    if let Err(answer) = facts.k3s() {
        return answer;
    }
    let release = match facts.release_of_chart("cilium") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let text = |path| release.text(path).unwrap_or_default();
    let (host, port) = (text(API_HOST), text(API_PORT));
    if host.is_empty() || host == "auto" {
        return Answer::not_applicable(NO_HOST);
    }
    if release.is_open(API_HOST) || release.is_open(API_PORT) {
        return Answer::unknown(OPEN);
    }
    let local = matches!(host.as_str(), "127.0.0.1" | "localhost" | "::1");
    let (severity, message, expected) = match (local, port.as_str()) {
        (true, "6444") | (false, "6443") => return Answer::Ok,
        (true, "6443") => (Severity::Warning, "API server port is open on servers only", 6444),
        (true, _) => (Severity::Warning, "API server does not listen on this port", 6444),
        (false, "6444") => (Severity::Warning, "API server port is open on the node itself only", 6443),
        (false, "") => (Severity::Warning, "API server port is missing in the values of cilium", 6443),
        // A load balancer, or k3s itself (`https-listen-port`), can use any port.
        (false, _) => (Severity::Info, "API server port is not the default of k3s", 6443),
    };
    let finding = Finding::warning(RULE.id, message)
        .with("release", release.id())
        .with("k8s_service_host", host)
        .with("k8s_service_port", port)
        .fix(format!("k8sServicePort: {expected}"));
    Answer::Found(vec![Finding { severity, ..finding }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::distribution::Distribution;
    use crate::check::fixture::{World, signs};
    use crate::observed::Live;

    #[test]
    fn only_k3s_has_these_ports() {
        let mut world =
            World::with_values("cilium", "1.18.6", "{k8sServiceHost: localhost, k8sServicePort: 7445}");
        world.assert_found(&RULE, &["warning API server does not listen on this port"]);
        world.desired.signs = signs(Distribution::Talos);
        world.assert_found(&RULE, &["- the repository does not say that the cluster runs k3s"]);
        world.desired.signs.clear();
        world.assert_found(&RULE, &["- the repository does not say that the cluster runs k3s"]);
        world.observed.live = Some(Live { version: "v1.33.6+rke2r1".to_owned(), ..Live::default() });
        world.assert_found(&RULE, &["- the cluster does not run k3s"]);
        world.observed.live = Some(Live { version: "v1.33.6+k3s1".to_owned(), ..Live::default() });
        world.assert_found(&RULE, &["warning API server does not listen on this port"]);
    }

    #[test]
    fn the_port_fits_the_host() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `cilium`"]);
        let none = "- the values of cilium set no API server address";
        let cases = [
            ("127.0.0.1", "6444", ""),
            ("127.0.0.1", "'6444'", ""),
            ("10.0.0.1", "6443", ""),
            ("stand-in.invalid", "6444", "unknown a variable that the values use is not set"),
            ("''", "6443", none),
            ("auto", "''", none),
            ("127.0.0.1", "6443", "warning API server port is open on servers only"),
            ("localhost", "7445", "warning API server does not listen on this port"),
            ("127.0.0.1", "''", "warning API server does not listen on this port"),
            ("10.0.0.1", "6444", "warning API server port is open on the node itself only"),
            ("10.0.0.1", "''", "warning API server port is missing in the values of cilium"),
            ("10.0.0.1", "443", "info API server port is not the default of k3s"),
        ];
        for (host, port, expected) in cases {
            let values = format!("{{k8sServiceHost: {host}, k8sServicePort: {port}}}");
            let expected: Vec<_> = Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
            World::with_values("cilium", "1.18.6", &values).assert_found(&RULE, &expected);
        }
    }
}
