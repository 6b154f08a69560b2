//! Cilium's values fit k3s.

use semver::Version;
use serde_json::Value;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Inspection, NO_RELEASES, Needs, OPEN, Rule};
use crate::desired::releases::Release;

/// The first chart version that fails on other values of `kubeProxyReplacement`.
const FAILS_SINCE: Version = Version::new(1, 18, 0);

pub(super) const RULE: Rule = Rule {
    id: "cilium-values",
    group: Group::Repository,
    title: "Cilium's values fit the cluster",
    why: "Cilium's default address pool, 10.0.0.0/8, contains the pod (10.42.0.0/16) and Service (10.43.0.0/16) \
          networks of k3s; with `ipam.mode: kubernetes`, Cilium uses the podCIDR of each node. Since 1.18, the chart \
          fails if `kubeProxyReplacement` is neither true nor false.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let release = match facts.release_of_chart("cilium") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let values = release.merged();
    let version = facts.desired.chart_version(release);
    let mut inspection = Inspection::default();
    // The pool overlaps the networks of k3s; `pod-cidr` compares it with those of any cluster.
    match facts.k3s() {
        Ok(()) if release.is_open(&["ipam", "mode"]) => inspection.miss(OPEN),
        Ok(()) => inspection.look(pool(release, &values)),
        Err(_) => {}
    }
    if release.is_open(&["kubeProxyReplacement"]) {
        inspection.miss(OPEN);
    } else {
        inspection.look(replacement(release, &values, version.as_ref()));
    }
    inspection.answer(NO_RELEASES)
}

/// A custom pool may be right.
fn pool(release: &Release, values: &Value) -> Option<Finding> {
    let mode = values.pointer("/ipam/mode").and_then(Value::as_str).unwrap_or("cluster-pool");
    let pool = values.pointer("/ipam/operator/clusterPoolIPv4PodCIDRList");
    let own_pool = pool.is_some_and(|pool| !matches!(pool, Value::Null) && *pool != Value::Array(Vec::new()));
    (mode == "cluster-pool" && !own_pool).then(|| {
        Finding::warning(RULE.id, "Cilium's default address pool overlaps the k3s networks")
            .with("release", release.id())
            .with("key", "ipam.mode")
            .with("pool", "10.0.0.0/8")
            .fix("ipam:\n  mode: kubernetes")
    })
}

fn replacement(release: &Release, values: &Value, version: Option<&Version>) -> Option<Finding> {
    let value = match values.get("kubeProxyReplacement")? {
        Value::Bool(_) | Value::Null => return None,
        Value::String(text) if matches!(text.as_str(), "true" | "false" | "") => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let message = "Cilium's kubeProxyReplacement is neither true nor false";
    let finding = if version.is_some_and(|version| *version >= FAILS_SINCE) {
        Finding::error(RULE.id, message)
    } else {
        Finding::warning(RULE.id, message)
    };
    Some(
        finding
            .with("release", release.id())
            .with("key", "kubeProxyReplacement")
            .with("value", value)
            .fix("kubeProxyReplacement: true"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::distribution::Distribution;
    use crate::check::fixture::{World, signs};

    const POOL: &str = "warning Cilium's default address pool overlaps the k3s networks";

    #[test]
    fn the_address_pool() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `cilium`"]);
        for (values, expected) in [
            ("{}", &[POOL] as &[&str]),
            ("{ipam: {mode: cluster-pool}}", &[POOL]),
            ("{ipam: {mode: kubernetes}}", &[]),
            ("{ipam: {mode: multi-pool}}", &[]),
            ("{ipam: {operator: {clusterPoolIPv4PodCIDRList: ['10.42.0.0/16']}}}", &[]),
            ("{ipam: {operator: {clusterPoolIPv4PodCIDRList: []}}}", &[POOL]),
        ] {
            World::with_values("cilium", "1.18.6", values).assert_found(&RULE, expected);
        }
    }

    #[test]
    fn the_pool_is_only_compared_with_the_networks_of_k3s() {
        let mut world = World::with_values("cilium", "1.18.6", "{ipam: {mode: cluster-pool}}");
        world.desired.signs = signs(Distribution::Talos);
        world.assert_found(&RULE, &[]);
        world.desired.signs.clear();
        world.assert_found(&RULE, &[]);
    }

    #[test]
    fn the_replacement_of_kube_proxy() {
        let message = "Cilium's kubeProxyReplacement is neither true nor false";
        let world = |version: &str, value: &str| {
            World::with_values(
                "cilium",
                version,
                &format!("{{ipam: {{mode: kubernetes}}, kubeProxyReplacement: {value}}}"),
            )
        };
        for value in ["true", "false", "'true'", "null"] {
            world("1.18.6", value).assert_found(&RULE, &[]);
        }
        let open = "unknown a variable that the values use is not set";
        world("1.18.6", "stand-in.invalid").assert_found(&RULE, &[open]);
        for value in ["strict", "partial", "1", "'True'"] {
            world("1.18.6", value).assert_found(&RULE, &[&format!("error {message}")]);
        }
        world("1.14.0", "strict").assert_found(&RULE, &[&format!("warning {message}")]);
        world(">=1", "strict").assert_found(&RULE, &[&format!("warning {message}")]);
    }
}
