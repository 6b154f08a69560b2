//! Values use keys that their charts know.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::charts;
use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::chart::comments::{self, Commented};
use crate::desired::chart::reads::Reads;
use crate::desired::chart::{Chart, schema};
use crate::desired::releases::Release;

/// The number of known keys that are listed.
const MAX_LISTED: usize = 12;

pub(super) const RULE: Rule = Rule {
    id: "values-keys",
    group: Group::Repository,
    title: "values use keys that their charts know",
    why: "Helm accepts any key, and a key that no template reads has no effect: cilium reads `cgroup.autoMount` and \
          not `cgroup.automount`, flux-operator `serviceMonitor.create` and not `serviceMonitor.enabled`, coredns \
          `service.clusterIP` and not `service.clusterIp`. A chart with a closed schema rejects unknown keys.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let mut inspection = facts.inspect_releases();
    let mut absent = Vec::new();
    for release in facts.desired.releases().filter(|release| release.is_wanted()) {
        let Value::Object(values) = release.merged() else { continue };
        match facts.desired.charts.get(&release.id()) {
            _ if values.is_empty() => {}
            None => absent.push(release),
            // It is unknown what a library or a missing subchart reads.
            Some(chart) if chart.read_by_others || !chart.is_whole() => {}
            Some(chart) => match chart.defaults() {
                Ok(Value::Object(defaults)) => {
                    inspection.look(of_release(release, chart, &values, &defaults));
                }
                Ok(_) => {}
                Err(reason) => inspection.miss(reason),
            },
        }
    }
    if !absent.is_empty() {
        inspection.miss(charts::not_downloaded(&absent));
    }
    inspection.answer("no release has values for a chart whose keys are known")
}

/// A key for which the chart has no default.
struct Extra<'a> {
    parent: Vec<String>,
    key: &'a str,
    /// The chart's defaults beside it.
    siblings: &'a Map<String, Value>,
}

fn of_release(
    release: &Release,
    chart: &Chart,
    values: &Map<String, Value>,
    defaults: &Map<String, Value>,
) -> Vec<Finding> {
    let mut extras = Vec::new();
    collect(values, defaults, &mut Vec::new(), &mut extras);
    extras.retain(|extra| !extra.parent.is_empty() || !is_reserved(chart, extra.key));
    if extras.is_empty() {
        // The usual case: then templates and schema need not be parsed.
        return Vec::new();
    }
    let schema =
        chart.schema.as_ref().and_then(|schema| serde_json::from_str(schema).ok()).unwrap_or_default();
    // Values may be templates themselves, which read other values.
    let mut templates = chart.templates.clone();
    add_templates(&Value::Object(values.clone()), &mut templates);
    let known = ChartKeys { schema, reads: Reads::of(&templates), commented: comments::read(&chart.values) };
    extras.iter().filter_map(|extra| known.judge(release, extra)).collect()
}

/// Collects the keys that the chart's defaults do not have. Where the default is an empty map or not a map, any key is
/// accepted; a null removes a default.
fn collect<'a>(
    values: &'a Map<String, Value>,
    defaults: &'a Map<String, Value>,
    path: &mut Vec<String>,
    extras: &mut Vec<Extra<'a>>,
) {
    for (key, value) in values.iter().filter(|(_, value)| !value.is_null()) {
        match (value, defaults.get(key)) {
            (_, None) => extras.push(Extra { parent: path.clone(), key, siblings: defaults }),
            (Value::Object(values), Some(Value::Object(defaults))) if !defaults.is_empty() => {
                path.push(key.clone());
                collect(values, defaults, path, extras);
                path.pop();
            }
            _ => {}
        }
    }
}

/// Top-level keys for other purposes: for all charts, for a subchart, or for YAML anchors.
fn is_reserved(chart: &Chart, key: &str) -> bool {
    key == "global"
        || key == chart.name
        || chart.subcharts.iter().any(|subchart| subchart == key)
        || key.starts_with("x-")
        || key.starts_with(['_', '.'])
}

fn add_templates(value: &Value, templates: &mut String) {
    match value {
        Value::String(text) if text.contains("{{") => {
            templates.push('\n');
            templates.push_str(text);
        }
        Value::Array(list) => list.iter().for_each(|value| add_templates(value, templates)),
        Value::Object(map) => map.values().for_each(|value| add_templates(value, templates)),
        _ => {}
    }
}

/// The sources of keys that a chart knows besides those with a default.
struct ChartKeys<'a> {
    schema: Value,
    reads: Reads<'a>,
    commented: Commented,
}

impl ChartKeys<'_> {
    fn judge(&self, release: &Release, extra: &Extra<'_>) -> Option<Finding> {
        let Extra { parent, key, siblings } = extra;
        let place = schema::look(&self.schema, parent);
        let commented = self.commented.get(parent);
        if place.free || place.keys.contains(key) {
            return None;
        }
        if !place.closed
            && (commented.is_some_and(|keys| keys.contains(*key)) || self.reads.may_read(parent, key))
        {
            return None;
        }
        let finding = if place.closed {
            Finding::error(RULE.id, "Chart rejects a values key")
        } else {
            Finding::warning(RULE.id, "Values key has no effect")
        };
        let path = |key: &str| [parent.as_slice(), &[key.to_owned()]].concat().join(".");
        let finding = finding.with("release", release.id()).with("key", path(key));
        let mut known: BTreeSet<&str> = siblings.keys().map(String::as_str).collect();
        known.extend(&place.keys);
        known.extend(self.reads.keys(parent));
        let with_comments = known.iter().copied().chain(commented.into_iter().flatten().map(String::as_str));
        Some(match suggest(key, with_comments, siblings) {
            Some(suggestion) => finding
                .with("suggestion", path(suggestion))
                .fix(format!("write `{suggestion}` instead of `{key}`")),
            None => finding.with("known_keys", listed(&known)).fix("remove it"),
        })
    }
}

fn listed(known: &BTreeSet<&str>) -> String {
    let mut names: Vec<_> = known.iter().take(MAX_LISTED).copied().collect();
    if known.len() > MAX_LISTED {
        names.push("…");
    }
    names.join(" ")
}

/// The key that was probably meant: equal but for case, similar, or, for `enabled`, the only other switch.
fn suggest<'a>(
    key: &str,
    known: impl Iterator<Item = &'a str>,
    siblings: &'a Map<String, Value>,
) -> Option<&'a str> {
    let lower = key.to_lowercase();
    let most = (key.len() / 3).min(2);
    let distance = |other: &str| strsim::osa_distance(&lower, &other.to_lowercase());
    let nearest = known.map(|other| (distance(other), other)).min();
    let nearest = nearest.filter(|(distance, _)| *distance <= most).map(|(_, other)| other);
    nearest.or_else(|| {
        let mut switches = siblings.iter().filter(|(_, value)| value.is_boolean());
        let only = switches.next().filter(|_| key == "enabled" && switches.next().is_none());
        only.map(|(name, _)| name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::mutate;
    use crate::check::fixture::World;

    const NO_EFFECT: &str = "warning Values key has no effect";

    fn world(chart: &str, values: &str) -> World {
        let mut world = World::with_values(chart, "1.0.0", values);
        world.add_charts();
        world
    }

    #[test]
    fn the_shipped_values_are_known() {
        let mut world = World::shipped();
        let known = ["cilium", "coredns", "cert-manager", "flux-operator", "flux-instance"];
        assert_eq!(
            known.map(|name| world.desired.charts.values().any(|chart| chart.name == name)),
            [true; 5]
        );
        world.assert_found(&RULE, &[]);
        world.desired.charts.clear();
        let Answer::Unknown(reason) = world.ask(&RULE) else { panic!() };
        assert!(reason.starts_with("not downloaded: cilium 1.18.6, coredns 1.45.0"), "{reason}");
    }

    #[test]
    fn keys_without_effect_get_a_suggestion() {
        let cases = [
            ("cilium", "{cgroup: {automount: {enabled: false}}}", "cgroup.automount", "cgroup.autoMount"),
            (
                "flux-operator",
                "{serviceMonitor: {enabled: true}}",
                "serviceMonitor.enabled",
                "serviceMonitor.create",
            ),
            ("coredns", "{service: {clusterIp: 10.43.0.10}}", "service.clusterIp", "service.clusterIP"),
            ("coredns", "{replicaCounts: 2}", "replicaCounts", "replicaCount"),
            ("coredns", "{k8sAppLabelOveride: kube-dns}", "k8sAppLabelOveride", "k8sAppLabelOverride"),
            ("cilium", "{operator: {replica: 1}}", "operator.replica", "operator.replicas"),
            ("flux-instance", "{instance: {sync: {urls: x}}}", "instance.sync.urls", "instance.sync.url"),
        ];
        for (chart, values, key, meant) in cases {
            let world = world(chart, values);
            println!("{chart} {key}");
            world.assert_found(&RULE, &[NO_EFFECT]);
            assert_eq!(world.detail(&RULE, "key"), key);
            assert_eq!(world.detail(&RULE, "suggestion"), meant);
        }
        let far = world("flux-operator", "{serviceMonitor: {flavour: x}}");
        far.assert_found(&RULE, &[NO_EFFECT]);
        assert_eq!(far.detail(&RULE, "known_keys"), "create interval labels scrapeTimeout");
        assert_eq!(far.fix(&RULE), "remove it");
    }

    #[test]
    fn a_closed_schema_rejects_keys() {
        let world = world("cert-manager", "{crds: {enabled: true}, installCRD: true}");
        world.assert_found(&RULE, &["error Chart rejects a values key"]);
        assert_eq!(world.detail(&RULE, "suggestion"), "installCRDs");
    }

    // Common values, on charts that know them only from comments, schema or templates.
    const CILIUM: &str = "{autoDirectNodeRoutes: true, routingMode: native, ipv4NativeRoutingCIDR: 10.42.0.0/16, \
        bpf: {masquerade: true, preallocateMaps: true, datapathMode: netkit}, bandwidthManager: {enabled: true, bbr: true}, \
        cgroup: {autoMount: {enabled: false}, hostRoot: /sys/fs/cgroup}, cluster: {id: 1, name: main}, \
        cni: {exclusive: false, binPath: /x}, devices: eth+, endpointRoutes: {enabled: true}, \
        envoy: {enabled: false, rollOutPods: true, prometheus: {serviceMonitor: {enabled: true}}}, \
        gatewayAPI: {enabled: true, gatewayClass: {create: 'true'}}, \
        hubble: {enabled: false, relay: {enabled: true, prometheus: {serviceMonitor: {enabled: true}}}, ui: {enabled: true}}, \
        ipam: {mode: kubernetes}, ipv6: {enabled: false}, k8sServiceHost: 127.0.0.1, k8sServicePort: 6444, \
        kubeProxyReplacement: true, l2announcements: {enabled: true}, bgpControlPlane: {enabled: true}, \
        loadBalancer: {algorithm: maglev, mode: dsr}, localRedirectPolicy: true, localRedirectPolicies: {enabled: true}, \
        operator: {replicas: 1, rollOutPods: true, resources: {limits: {memory: 1Gi}}, tolerations: [{operator: Exists}], \
        prometheus: {enabled: true, serviceMonitor: {enabled: true}}}, \
        prometheus: {enabled: true, serviceMonitor: {enabled: true, trustCRDsExist: true}}, rollOutCiliumPods: true, \
        resources: {requests: {cpu: 1}}, affinity: {nodeAffinity: {x: y}}, nodeSelector: {a: b}, \
        podAnnotations: {a: b}, updateStrategy: {rollingUpdate: {maxSurge: 1}}, \
        securityContext: {privileged: true, capabilities: {ciliumAgent: [CHOWN], cleanCiliumState: [NET_ADMIN]}}, \
        global: {x: y}, x-anchor: {a: b}, debug: {enabled: null, unknown: null}}";
    const COREDNS: &str = "{fullnameOverride: coredns, image: {repository: x, tag: y, digest: null}, \
        k8sAppLabelOverride: kube-dns, serviceAccount: {create: true}, service: {name: kube-dns, clusterIP: 10.43.0.10, \
        clusterIPs: [10.43.0.10], loadBalancerIP: x}, replicaCount: 2, servers: [{zones: [{zone: ., scheme: 'dns://', \
        use_tcp: true}], port: 53, unheard: of}], affinity: {nodeAffinity: {x: y}}, tolerations: [{key: x}], \
        livenessProbe: {enabled: false}, podAnnotations: {a: b}, deployment: {annotations: {a: b}, selector: {x: y}}, \
        extraConfig: {import: {parameters: x}}, resources: {limits: {ephemeral-storage: 1Gi}}, \
        securityContext: {runAsUser: 1}, prometheus: {monitor: {enabled: true, selector: {a: b}}}}";
    const FLUX_OPERATOR: &str = "{serviceMonitor: {create: true, interval: 1m, labels: {a: b}}, web: {enabled: false, \
        networkPolicy: {create: false}}, tolerations: [{key: x}], hostNetwork: true, livenessProbe: {failureThreshold: 3}, \
        resources: {requests: {memory: 1Gi}}, securityContext: {runAsUser: 1}, nodeSelector: {a: b}}";
    const FLUX_INSTANCE: &str = "{instance: {distribution: {artifact: x, variant: y, imagePullSecret: z}, components: [a], \
        cluster: {networkPolicy: false, type: kubernetes}, commonMetadata: {labels: {a: b}}, storage: {class: x, size: 1Gi}, \
        sync: {kind: GitRepository, url: x, ref: y, path: z, pullSecret: a, provider: b}, \
        kustomize: {patches: [{patch: x, target: {kind: Deployment}}]}}, healthcheck: {enabled: true, timeout: 10m}}";
    const CERT_MANAGER: &str = "{crds: {enabled: true, keep: true}, replicaCount: 1, dns01RecursiveNameservers: x, \
        dns01RecursiveNameserversOnly: true, prometheus: {enabled: true, servicemonitor: {enabled: true}}, \
        config: {enableGatewayAPI: true}, startupapicheck: {timeout: 5m}}";

    #[test]
    fn common_values_pass() {
        for (chart, values) in [
            ("cilium", CILIUM),
            ("coredns", COREDNS),
            ("flux-operator", FLUX_OPERATOR),
            ("flux-instance", FLUX_INSTANCE),
            ("cert-manager", CERT_MANAGER),
        ] {
            world(chart, values).assert_found(&RULE, &[]);
        }
    }

    #[test]
    fn keys_for_others_are_not_checked() {
        let chart = |templates: &str| Chart {
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            values: "a: {b: 1}\n".to_owned(),
            templates: templates.to_owned(),
            subcharts: vec!["redis".to_owned()],
            ..Chart::default()
        };
        let world = |values: &str, chart: Chart| {
            let mut world = World::with_values("a", "1.0.0", values);
            world.desired.charts.insert("a/a".into(), chart);
            world
        };
        world("{x: 1}", chart("")).assert_found(&RULE, &[NO_EFFECT]);
        world("{redis: {x: 1}, global: {x: 1}, a: {b: {c: 1}}}", chart("")).assert_found(&RULE, &[]);
        let none = "- no release has values for a chart whose keys are known";
        world("{controllers: {x: 1}}", Chart { read_by_others: true, ..chart("") })
            .assert_found(&RULE, &[none]);
        world("{x: 1, a: {b: '{{ .Values.x }}'}}", chart("")).assert_found(&RULE, &[]);
        world("{x: 1}", Chart { values: String::new(), ..chart("") }).assert_found(&RULE, &[none]);
        world("{x: 1}", Chart { values: "a: [".to_owned(), ..chart("") })
            .assert_found(&RULE, &["unknown values.yaml of the chart a is not valid YAML"]);
        world("{}", chart("")).assert_found(&RULE, &[none]);
        World::with_values("gone", "1.0.0", "{x: 1}")
            .assert_found(&RULE, &["unknown not downloaded: gone 1.0.0"]);
    }

    const VALUES: &str =
        r#"{"a":{"enabled":true,"b":{"c":1,"d":[]}},"e":{"f":{"g":"{{ .Values.a.b }}"}},"x-h":{},"Fe":"x"}"#;

    proptest::proptest! {
        #![proptest_config(crate::base::mutate::slow_config())]

        #[test]
        fn no_values_and_no_chart_make_it_panic(values in mutate::json(VALUES), defaults in mutate::json(VALUES), commented in mutate::text(&["# a:\n#   c: 1\ne:\n  # f: {}\n"]),
            schema in mutate::json(r##"{"properties":{"a":{"$ref":"#/$defs/0"},"e":{"additionalProperties":false,"properties":{"f":{}}}},"$defs":[{"properties":{"b":{}}}]}"##),
            templates in mutate::text(&["{{ with .Values.a }}{{ toYaml .b }}{{ end }}{{ get .Values \"e\" }}"])) {
            let (Value::Object(values), Value::Object(defaults)) = (values, defaults) else { return Ok(()) };
            let chart = Chart { schema: Some(schema.to_string()), values: commented, templates, ..Chart::default() };
            let world = World::with_values("a", "1.0.0", "{}");
            _ = of_release(world.desired.releases().next().unwrap(), &chart, &values, &defaults);
        }
    }
}
