//! CoreDNS has the address that pods use.

use serde_json::Value;

use crate::check::{Answer, Check, Facts, Finding, Group, Inspection, Needs, OPEN, Rule, Severity};
use crate::desired::releases::Release;

/// The namespace of the cluster DNS.
const NAMESPACE: &str = "kube-system";

/// The values that are checked.
const CHECKED: [&[&str]; 4] =
    [&["service", "clusterIP"], &["service", "name"], &["serviceAccount", "name"], &["k8sAppLabelOverride"]];

pub(super) const RULE: Rule = Rule {
    id: "coredns-values",
    group: Group::Dns,
    title: "CoreDNS has the address that pods use",
    why: "The kubelet configures one DNS address in every pod, 10.43.0.10 on k3s. By default, the chart creates a \
          Service `coredns` with any address, so that no pod has DNS. Its default service account is `default`, \
          which cannot read Services, and monitoring and network policies expect the name and the label `kube-dns`.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let release = match facts.release_of_chart("coredns") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let values = facts.desired.values(release);
    // A CoreDNS for the local network is not the cluster DNS.
    if release.namespace != NAMESPACE || values.get("isClusterService") == Some(&Value::Bool(false)) {
        return Answer::not_applicable("the release of coredns is not the cluster DNS");
    }
    let found = [
        address(facts, release, &values),
        name(release, &values),
        account(release, &values),
        label(release, &values),
    ];
    let mut inspection = Inspection::default();
    inspection.look(found.into_iter().flatten());
    if CHECKED.iter().any(|path| release.is_open(path)) {
        inspection.miss(OPEN);
    }
    inspection.answer("the release of coredns is not the cluster DNS")
}

fn text<'a>(values: &'a Value, path: &str) -> &'a str {
    values.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn found(release: &Release, severity: Severity, message: &str, key: &str, fix: &str) -> Finding {
    Finding { severity, ..Finding::warning(RULE.id, message) }
        .with("release", release.id())
        .with("key", key)
        .fix(fix)
}

fn address(facts: &Facts<'_>, release: &Release, values: &Value) -> Option<Finding> {
    let one = text(values, "/service/clusterIP");
    let several = values.pointer("/service/clusterIPs").and_then(Value::as_array);
    if (!one.is_empty() && one != "None") || several.is_some_and(|addresses| !addresses.is_empty()) {
        return None;
    }
    // If another CoreDNS exists, such as the bundled one, pods have DNS.
    let severity = if has_other_dns(facts, release) { Severity::Warning } else { Severity::Error };
    let fix = "service:\n  name: kube-dns\n  clusterIP: 10.43.0.10  # the kubelets' clusterDNS";
    Some(found(release, severity, "CoreDNS has no fixed address", "service.clusterIP", fix))
}

/// Whether a Service of another CoreDNS is the cluster DNS.
fn has_other_dns(facts: &Facts<'_>, release: &Release) -> bool {
    let services = facts.observed.live.iter().flat_map(|live| &live.cluster.services);
    services.filter(|service| service.namespace == NAMESPACE && service.name == "kube-dns").any(|service| {
        service.cluster_ip.is_some()
            && service.annotations.get("meta.helm.sh/release-name") != Some(&release.name)
    })
}

fn name(release: &Release, values: &Value) -> Option<Finding> {
    (text(values, "/service/name") != "kube-dns").then(|| {
        let fix = "service:\n  name: kube-dns";
        found(release, Severity::Warning, "CoreDNS Service is not named kube-dns", "service.name", fix)
    })
}

fn account(release: &Release, values: &Value) -> Option<Finding> {
    let created = values.pointer("/serviceAccount/create") == Some(&Value::Bool(true));
    (!created && text(values, "/serviceAccount/name").is_empty()).then(|| {
        let fix = "serviceAccount:\n  create: true";
        found(
            release,
            Severity::Warning,
            "CoreDNS has no service account of its own",
            "serviceAccount.create",
            fix,
        )
    })
}

fn label(release: &Release, values: &Value) -> Option<Finding> {
    (text(values, "/k8sAppLabelOverride") != "kube-dns").then(|| {
        let fix = "k8sAppLabelOverride: kube-dns";
        found(
            release,
            Severity::Warning,
            "CoreDNS pods are not labelled kube-dns",
            "k8sAppLabelOverride",
            fix,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::observed::Live;
    use crate::observed::cluster::Service;

    const ADDRESS: &str = "CoreDNS has no fixed address";
    const GOOD: &str = "service: {name: kube-dns, clusterIP: 10.43.0.10}, serviceAccount: {create: true}, k8sAppLabelOverride: kube-dns";

    fn world(namespace: &str, values: &str) -> World {
        World::of(&format!(
            "- {{name: coredns, namespace: {namespace}, chart: 'oci://r/coredns', version: 1.45.0, values: [{{{values}}}]}}\n"
        ))
    }

    #[test]
    fn the_service_has_the_address_that_pods_use() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `coredns`"]);
        world("kube-system", GOOD).assert_found(&RULE, &[]);
        let others = "- the release of coredns is not the cluster DNS";
        world("network", "").assert_found(&RULE, &[others]);
        world("kube-system", "isClusterService: false").assert_found(&RULE, &[others]);
        world("kube-system", &GOOD.replace("clusterIP: 10.43.0.10", "clusterIPs: [10.43.0.10]"))
            .assert_found(&RULE, &[]);
        world("kube-system", &GOOD.replace("create: true", "name: mine")).assert_found(&RULE, &[]);
        world("kube-system", "").assert_found(
            &RULE,
            &[
                &format!("error {ADDRESS}"),
                "warning CoreDNS Service is not named kube-dns",
                "warning CoreDNS has no service account of its own",
                "warning CoreDNS pods are not labelled kube-dns",
            ],
        );
        let mistyped = GOOD.replace("clusterIP:", "clusterIp:");
        world("kube-system", &mistyped).assert_found(&RULE, &[&format!("error {ADDRESS}")]);
    }

    #[test]
    fn beside_another_dns_it_is_a_warning() {
        let mut world = world("kube-system", &GOOD.replace(", clusterIP: 10.43.0.10", ""));
        world.assert_found(&RULE, &[&format!("error {ADDRESS}")]);
        let service = Service {
            namespace: "kube-system".to_owned(),
            name: "kube-dns".to_owned(),
            cluster_ip: Some("10.43.0.10".to_owned()),
            ..Service::default()
        };
        let mut live = Live::default();
        live.cluster.services.push(service);
        world.observed.live = Some(live);
        world.assert_found(&RULE, &[&format!("warning {ADDRESS}")]);
        let live = world.observed.live.as_mut().unwrap();
        live.cluster.services[0]
            .annotations
            .insert("meta.helm.sh/release-name".to_owned(), "coredns".to_owned());
        world.assert_found(&RULE, &[&format!("error {ADDRESS}")]);
    }
}
