//! Which nodes accept a pod: taints and tolerations, labels and selectors, as the scheduler evaluates them.
//!
//! Unknown conditions count as met: they must not stop a bootstrap.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Facts, Inspection, k3s};
use crate::base::release_id::ReleaseId;
use crate::desired::Desired;
use crate::observed::Live;
use crate::observed::node::{Node, Taint};

/// Prefixes of taints that come and go by themselves: with readiness, Cilium's agent or the cloud provider.
const TRANSIENT: [&str; 3] = ["node.kubernetes.io/", "node.cilium.io/", "node.cloudprovider.kubernetes.io/"];

/// Hooks that run when a release is installed or upgraded.
const HOOKS: [&str; 5] = ["pre-install", "post-install", "pre-upgrade", "post-upgrade", "crd-install"];

/// The fix if the nodes wait for a CNI, and no release installs a known one.
pub(super) fn missing_cni_fix(is_k3s: bool) -> &'static str {
    if is_k3s { "add a CNI to the helmfile, or enable flannel in k3s" } else { "add a CNI to the helmfile" }
}

/// The fix if all nodes wait for a CNI, and certainly no release installs a known one.
pub(crate) fn missing_cni(desired: &Desired, live: &Live) -> Option<&'static str> {
    let nodes = &live.cluster.nodes;
    let all_wait = !nodes.is_empty() && nodes.iter().all(|node| !node.ready && node.waits_for_cni());
    let is_missing = all_wait && desired.cni().is_none() && desired.unread().is_none();
    is_missing.then(|| missing_cni_fix(k3s::is_k3s(live).is_ok()))
}

/// The workloads of the desired releases, each with its release and pod specification, without those that have no
/// replicas or run only later.
pub(super) fn workloads<'a>(
    facts: &Facts<'a>,
) -> impl Iterator<Item = (&'a ReleaseId, &'a Value, &'a Value)> + use<'a> {
    facts.manifests.objects().filter_map(|(release, object)| {
        let pod = crate::desired::manifests::pod_spec(object)?;
        let placed = pod.get("nodeName").is_some_and(|name| !name.is_null());
        let none = object.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0);
        (!placed && !none && runs_now(object)).then_some((release, object, pod))
    })
}

/// An inspection of rendered releases, in which those that could not be rendered are missing.
pub(super) fn inspect(facts: &Facts<'_>) -> Inspection {
    let mut inspection = facts.inspect_releases();
    let mut releases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (release, objects) in &facts.manifests.objects {
        if let Err(reason) = objects {
            releases.entry(reason).or_default().push(release.to_string());
        }
    }
    for (reason, releases) in releases {
        inspection.miss(format!("{} cannot be rendered: {reason}", releases.join(", ")));
    }
    inspection
}

/// `Kind/name`.
pub(super) fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}

/// Whether it runs on install or upgrade: tests run on request, and cleanup hooks on uninstall.
fn runs_now(object: &Value) -> bool {
    let hook = object.pointer("/metadata/annotations").and_then(|all| all.get("helm.sh/hook"));
    let hook = hook.and_then(Value::as_str);
    hook.is_none_or(|hooks| hooks.split(',').any(|hook| HOOKS.contains(&hook.trim())))
}

/// The taints of a node that the pod does not tolerate.
pub(super) fn untolerated<'n>(node: &'n Node, pod: &Value) -> Vec<&'n Taint> {
    let tolerations = || pod.get("tolerations").and_then(Value::as_array).into_iter().flatten();
    node.taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .filter(|taint| !TRANSIENT.iter().any(|start| taint.key.starts_with(start)))
        .filter(|taint| !tolerations().any(|toleration| tolerates(toleration, taint)))
        .collect()
}

fn tolerates(toleration: &Value, taint: &Taint) -> bool {
    let text = |key: &str| toleration.get(key).and_then(Value::as_str).unwrap_or_default();
    let (key, effect) = (text("key"), text("effect"));
    let applies = (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key);
    applies
        && match text("operator") {
            "" | "Equal" => !key.is_empty() && text("value") == taint.value,
            _ => true,
        }
}

/// Whether a node matches the node selector and node affinity of a pod.
pub(super) fn has_labels(node: &Node, pod: &Value) -> bool {
    let selector = pod.get("nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let selected =
        selector.into_iter().all(|(key, value)| node.labels.get(key).map(String::as_str) == value.as_str());
    let terms = pod
        .pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms")
        .and_then(Value::as_array);
    selected && terms.is_none_or(|terms| terms.iter().any(|term| matches_term(node, term)))
}

fn matches_term(node: &Node, term: &Value) -> bool {
    let list = |key: &str| term.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut conditions = 0;
    let labels = list("matchExpressions").map(|condition| holds(condition, &node.labels));
    let fields = list("matchFields").map(|condition| {
        let fields = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
        holds(condition, &fields)
    });
    let all = labels.chain(fields).inspect(|_| conditions += 1).all(|one| one);
    // An empty term matches no node.
    all && conditions > 0
}

/// Whether a label selector matches these labels.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let conditions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    // No selector matches nothing, an empty one everything.
    selector.is_object()
        && wanted.into_iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
        && conditions.into_iter().all(|condition| holds(condition, labels))
}

fn holds(condition: &Value, labels: &BTreeMap<String, String>) -> bool {
    let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    let values = || condition.get("values").and_then(Value::as_array).into_iter().flatten();
    let value = labels.get(text("key"));
    let is_listed = |value: &String| values().any(|listed| listed.as_str() == Some(value.as_str()));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || {
        let wanted = values().next().and_then(Value::as_str).and_then(number)?;
        Some(value.and_then(|value| number(value))?.cmp(&wanted))
    };
    match text("operator") {
        "In" => value.is_some_and(is_listed),
        "NotIn" => !value.is_some_and(is_listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::testing::taint;

    fn node(labels: &[(&str, &str)], taints: Vec<Taint>) -> Node {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Node { name: "a".to_owned(), labels, taints, ..Node::default() }
    }

    #[test]
    fn tolerations_work_as_in_the_scheduler() {
        let tainted = node(&[], vec![taint("k", "v", "NoSchedule")]);
        let cases = [
            (json!([]), false),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "k", "operator": "Exists"}]), true),
            (json!([{"key": "k", "value": "v"}]), true),
            (json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]), true),
            (json!([{"key": "k", "operator": "Equal", "value": "w"}]), false),
            (json!([{"key": "k", "value": "v", "effect": "NoExecute"}]), false),
            (json!([{"key": "other", "operator": "Exists"}]), false),
            (json!([{"value": "v"}]), false),
            (json!([{"key": "k", "operator": "Later"}]), true),
        ];
        for (tolerations, expected) in cases {
            let pod = json!({"tolerations": tolerations});
            assert_eq!(untolerated(&tainted, &pod).is_empty(), expected, "{pod}");
        }
        let transient = [
            taint("node.kubernetes.io/not-ready", "", "NoSchedule"),
            taint("node.cilium.io/agent-not-ready", "", "NoExecute"),
            taint("node.cloudprovider.kubernetes.io/uninitialized", "true", "NoSchedule"),
            taint("k", "v", "PreferNoSchedule"),
        ];
        assert!(untolerated(&node(&[], transient.into()), &json!({})).is_empty());
    }

    #[test]
    fn selectors_work_as_in_the_scheduler() {
        let node = node(&[("os", "linux"), ("size", "4")], Vec::new());
        let term = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!([term("os", "In", &["linux", "x"])]), true),
            (json!([term("os", "NotIn", &["linux"])]), false),
            (json!([term("gpu", "NotIn", &["x"])]), true),
            (json!([term("gpu", "Exists", &[]), term("os", "Exists", &[])]), true),
            (json!([term("os", "DoesNotExist", &[])]), false),
            (json!([term("size", "Gt", &["3"])]), true),
            (json!([term("size", "Lt", &["3"])]), false),
            (json!([term("size", "Later", &["3"])]), true),
            (json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]), true),
            (json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]), false),
            (json!([{}]), false),
        ];
        for (terms, expected) in cases {
            let pod = json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
            assert_eq!(has_labels(&node, &pod), expected, "{pod}");
        }
        assert!(has_labels(&node, &json!({"nodeSelector": {"os": "linux"}})));
        assert!(!has_labels(&node, &json!({"nodeSelector": {"os": "linux", "gpu": "yes"}})));
        assert!(has_labels(&node, &json!({"nodeSelector": null, "affinity": null})));
        assert!(selects(&json!({}), &node.labels) && !selects(&Value::Null, &node.labels));
        assert!(!selects(&json!({"matchLabels": {"os": "x"}}), &node.labels));
    }

    #[test]
    fn only_install_and_upgrade_hooks_run_now() {
        let with = |hook: &str| json!({"metadata": {"annotations": {"helm.sh/hook": hook}}});
        assert!(runs_now(&json!({})) && runs_now(&with("post-install, post-upgrade")));
        assert!(!runs_now(&with("test")) && !runs_now(&with("pre-delete")));
    }

    proptest::proptest! {
        #[test]
        fn no_object_makes_it_panic(odd in crate::base::mutate::json(r#"{"kind":"Deployment","metadata":{"name":"a","annotations":{"helm.sh/hook":"post-install, test"}},
            "spec":{"replicas":1,"selector":{"matchLabels":{"os":"linux"},"matchExpressions":[{"key":"size","operator":"Gt","values":["3"]}]},"template":{"spec":{
                "tolerations":[{"key":"k","operator":"Equal","value":"v","effect":"NoSchedule"}],"nodeSelector":{"os":"linux"},
                "affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
                    {"matchExpressions":[{"key":"os","operator":"In","values":["linux"]}],"matchFields":[{"key":"metadata.name","operator":"NotIn","values":["b"]}]}]}}}}}}}"#)) {
            let node = node(&[("os", "linux"), ("size", "4")], vec![taint("k", "v", "NoSchedule")]);
            _ = (name(&odd), runs_now(&odd));
            let Some(pod) = crate::desired::manifests::pod_spec(&odd) else { return Ok(()) };
            _ = (untolerated(&node, pod), has_labels(&node, pod));
            _ = odd.pointer("/spec/selector").map(|selector| selects(selector, &node.labels));
        }
    }
}
