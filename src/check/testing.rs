//! Test fixture: a healthy cluster that waits for the shipped bootstrap, to be broken by each test.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answer, Facts, Rule};
use crate::base::distribution::Distribution;
use crate::base::finding::Severity;
use crate::base::mutate;
use crate::check::options::CheckOptions;
use crate::desired::manifests::Manifests;
use crate::desired::releases::{Release, parse};
use crate::desired::{Desired, Helmfile, Kind};
use crate::observed::claims::Claims;
use crate::observed::cluster::Service;
use crate::observed::helm::Stored;
use crate::observed::k3s::NODE_ARGS;
use crate::observed::node::{Address, Info, Node, Taint};
use crate::observed::workloads::Workload;
use crate::observed::{Kubelet, Live, Observed};

/// The k3s settings that the shipped bootstrap expects.
pub(crate) const SERVER_ARGS: [&str; 9] = [
    "server",
    "--flannel-backend",
    "none",
    "--disable-network-policy",
    "true",
    "--disable-kube-proxy",
    "true",
    "--disable",
    "coredns,servicelb,traefik",
];

/// The message of the kubelet without a CNI.
const NO_CNI: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                      message:Network plugin returns error: cni plugin not initialized";

/// The input of all rules.
pub(crate) struct World {
    pub(crate) options: CheckOptions,
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) manifests: Manifests,
}

impl World {
    /// A fresh cluster with one server, and the shipped bootstrap.
    pub(crate) fn healthy() -> Self {
        let helmfiles = [
            (Kind::Crds, "00-crds.yaml", include_str!("../../bootstrap/helmfile.d/00-crds.yaml")),
            (Kind::Apps, "01-apps.yaml", include_str!("../../bootstrap/helmfile.d/01-apps.yaml")),
        ];
        let helmfiles = helmfiles.map(|(kind, name, text)| Helmfile {
            kind,
            path: format!("/repository/bootstrap/helmfile.d/{name}").into(),
            releases: parse(text.as_bytes(), "default")
                .unwrap()
                .releases
                .into_iter()
                .map(with_shipped_values)
                .collect(),
            needs_identities: false,
        });
        let mut world = Self {
            options: CheckOptions { nodes: 1, ..CheckOptions::default() },
            desired: Desired {
                helmfiles: helmfiles.into(),
                signs: super::fixture::signs(Distribution::K3s),
                ..Desired::default()
            },
            observed: Observed { live: Some(live()), ..Observed::default() },
            manifests: Manifests::default(),
        };
        world.observed.now = humantime::parse_rfc3339("2026-11-23T08:10:00Z").unwrap();
        world.server("a", &SERVER_ARGS);
        for (release, objects) in shipped_manifests() {
            world.manifests.objects.insert(release.into(), Ok(objects));
        }
        world
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        let Self { options, desired, observed, manifests } = self;
        Facts { options, desired, observed, manifests }
    }

    pub(crate) fn live(&self) -> &Live {
        self.observed.live.as_ref().unwrap()
    }

    pub(crate) fn live_mut(&mut self) -> &mut Live {
        self.observed.live.as_mut().unwrap()
    }

    pub(crate) fn ask(&self, rule: &Rule) -> Answer {
        rule.ask(&self.facts())
    }

    pub(crate) fn is_not_applicable(&self, rule: &Rule) -> bool {
        matches!(self.ask(rule), Answer::NotApplicable(_))
    }

    /// The severity and message of each finding of a rule.
    pub(crate) fn found(&self, rule: &Rule) -> Vec<(Severity, String)> {
        match self.ask(rule) {
            Answer::Found(found) => found.into_iter().map(|one| (one.severity, one.summary)).collect(),
            answer => panic!("{} found nothing: {answer:?}", rule.id),
        }
    }

    /// A detail of the first finding of a rule.
    #[track_caller]
    pub(crate) fn detail(&self, rule: &Rule, key: &str) -> String {
        let Answer::Found(found) = self.ask(rule) else { panic!("{} found nothing", rule.id) };
        found[0].detail(key).unwrap_or_else(|| panic!("no {key} in {found:?}")).to_owned()
    }

    /// The fix of the first finding of a rule.
    #[track_caller]
    pub(crate) fn fix(&self, rule: &Rule) -> String {
        let Answer::Found(found) = self.ask(rule) else { panic!("{} found nothing", rule.id) };
        found[0].fix.clone().unwrap_or_else(|| panic!("no fix in {found:?}"))
    }

    /// Adds or replaces a server that waits for a CNI.
    pub(crate) fn server(&mut self, name: &str, args: &[&str]) -> &mut Node {
        let node = self.agent(name);
        node.labels.insert("node-role.kubernetes.io/control-plane".to_owned(), "true".to_owned());
        node.annotations.insert(NODE_ARGS.to_owned(), serde_json::to_string(args).unwrap());
        node
    }

    /// Adds or replaces an agent that waits for a CNI.
    pub(crate) fn agent(&mut self, name: &str) -> &mut Node {
        let nodes = &mut self.live_mut().cluster.nodes;
        nodes.retain(|node| node.name != name);
        nodes.push(node(name, nodes.len()));
        nodes.last_mut().unwrap()
    }

    /// Makes all nodes, and the cluster, run Talos.
    pub(crate) fn talos(&mut self) {
        let live = self.live_mut();
        "v1.34.1".clone_into(&mut live.version);
        for node in &mut live.cluster.nodes {
            "Talos (v1.11.2)".clone_into(&mut node.info.os_image);
            "v1.34.1".clone_into(&mut node.info.kubelet_version);
            node.annotations.clear();
        }
        self.desired.signs = super::fixture::signs(Distribution::Talos);
    }

    /// Appends values to a release.
    pub(crate) fn values(&mut self, release: &str, values: &str) {
        self.release(release).values.push(serde_yaml::from_str(values).unwrap());
    }

    pub(crate) fn release(&mut self, name: &str) -> &mut Release {
        let mut releases = self.desired.helmfiles.iter_mut().flat_map(|helmfile| &mut helmfile.releases);
        releases.find(|release| release.name == name).unwrap()
    }

    /// Sets `installed: false` on a release.
    pub(crate) fn without(&mut self, release: &str) {
        self.release(release).installed = false;
    }

    /// Marks a release as deployed.
    pub(crate) fn deployed(&mut self, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let stored = Stored { namespace, name, status: "deployed".to_owned(), ..Stored::default() };
        self.manifests.objects.remove(&stored.id());
        self.live_mut().releases.as_mut().unwrap().push(stored);
    }

    /// Adds a workload of the user.
    pub(crate) fn user(&mut self, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let workload = Workload { kind: "Deployment".to_owned(), namespace, name, ..Workload::default() };
        self.live_mut().cluster.workloads.push(workload);
    }

    pub(crate) fn service(&mut self, namespace: &str, name: &str, address: &str) -> &mut Service {
        let services = &mut self.live_mut().cluster.services;
        services.push(Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            cluster_ip: Some(address.to_owned()),
            ..Service::default()
        });
        services.last_mut().unwrap()
    }

    /// Adds the bundled CoreDNS of k3s.
    pub(crate) fn bundled_coredns(&mut self) {
        let label = || super::k3s::BUNDLED_COREDNS;
        let labels = || [(label().0.to_owned(), label().1.to_owned())].into();
        self.service("kube-system", "kube-dns", "10.43.0.10").labels = labels();
        self.user("kube-system", "coredns");
        let deployment = self.live_mut().cluster.workloads.last_mut().unwrap();
        deployment.labels = labels();
        deployment.labels.insert("k8s-app".to_owned(), "kube-dns".to_owned());
    }

    /// Makes a Helm release adopt the last Service and the last workload.
    pub(crate) fn adopt_by(&mut self, namespace: &str, release: &str) {
        let annotations = [("name", release), ("namespace", namespace)]
            .map(|(key, value)| (format!("meta.helm.sh/release-{key}"), value.to_owned()));
        let cluster = &mut self.live_mut().cluster;
        cluster.services.last_mut().unwrap().annotations = annotations.clone().into();
        cluster.workloads.last_mut().unwrap().annotations = annotations.into();
    }
}

pub(crate) fn taint(key: &str, value: &str, effect: &str) -> Taint {
    Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
}

fn live() -> Live {
    let mut live = Live {
        version: "v1.33.6+k3s1".to_owned(),
        releases: Ok(Vec::new()),
        records: Ok(BTreeMap::new()),
        objects: Ok(BTreeMap::new()),
        owners: Ok(Vec::new()),
        claims: Ok(Claims::default()),
        may_everything: Ok(true),
        not_ready: Ok(None),
        api_host_refused: Ok(None),
        kubelet: Ok(Kubelet { node: "a".to_owned(), cluster_dns: vec!["10.43.0.10".to_owned()] }),
        ..Live::default()
    };
    live.cluster.services.push(Service {
        namespace: "default".to_owned(),
        name: "kubernetes".to_owned(),
        cluster_ip: Some("10.43.0.1".to_owned()),
        ..Service::default()
    });
    live
}

fn node(name: &str, number: usize) -> Node {
    let address =
        |kind: &str, address: &str| Address { r#type: kind.to_owned(), address: address.to_owned() };
    let labels = [("kubernetes.io/hostname", name), ("kubernetes.io/os", "linux")];
    Node {
        name: name.to_owned(),
        reason: "KubeletNotReady".to_owned(),
        message: NO_CNI.to_owned(),
        created: "2026-11-23T08:00:00Z".to_owned(),
        changed: "2026-11-23T08:00:00Z".to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        taints: vec![taint("node.kubernetes.io/not-ready", "", "NoSchedule")],
        pod_cidrs: vec![format!("10.42.{number}.0/24")],
        addresses: vec![address("InternalIP", &format!("10.0.0.{}", 10 + number)), address("Hostname", name)],
        info: Info { kubelet_version: "v1.33.6+k3s1".to_owned(), ..Info::default() },
        ..Node::default()
    }
}

/// The values of a release in the shipped template, with template expressions replaced.
fn with_shipped_values(mut release: Release) -> Release {
    let template = include_str!("../../bootstrap/templates/values.yaml.gotmpl");
    let start = format!("if eq $release \"{}\" }}}}", release.name);
    let section = template.split_once(&start).map_or("", |(_, rest)| rest);
    let section = section.split("{{- else").next().unwrap_or_default();
    let lines = section.lines().filter(|line| !line.trim_start().starts_with("{{"));
    let text: String = lines
        .map(|line| match line.split_once("{{") {
            Some((before, expression)) if expression.contains("$host | quote") => {
                format!("{before}10.0.0.10\n")
            }
            Some((before, expression)) if expression.contains("6444") => format!("{before}6443\n"),
            Some((before, _)) => format!("{before}replaced\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let values = serde_yaml::from_str(&text).unwrap();
    release.values = vec![values];
    release
}

/// A workload with a pod specification.
pub(crate) fn workload(kind: &str, name: &str, spec: &Value, pod: &Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    object["spec"]["template"] = json!({"metadata": {"labels": {"name": name}}, "spec": pod});
    object
}

/// The scheduling-relevant manifests of the shipped charts with the shipped values.
fn shipped_manifests() -> Vec<(&'static str, Vec<Value>)> {
    let control_plane =
        json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"});
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"name": "cilium-operator"}}, "topologyKey": "kubernetes.io/hostname"}]}});
    let linux = json!({"kubernetes.io/os": "linux"});
    let plain =
        |name: &str| workload("Deployment", name, &json!({"replicas": 1}), &json!({"nodeSelector": linux}));
    let mut check =
        workload("Job", "cert-manager-startupapicheck", &json!({}), &json!({"nodeSelector": linux}));
    check["metadata"]["annotations"] = json!({"helm.sh/hook": "post-install"});
    vec![
        (
            "kube-system/cilium",
            vec![
                workload(
                    "DaemonSet",
                    "cilium",
                    &json!({}),
                    &json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": linux}),
                ),
                workload(
                    "Deployment",
                    "cilium-operator",
                    &json!({"replicas": 1}),
                    &json!({"tolerations": [control_plane], "affinity": apart, "nodeSelector": linux}),
                ),
            ],
        ),
        (
            "kube-system/coredns",
            vec![
                workload(
                    "Deployment",
                    "coredns",
                    &json!({}),
                    &json!({"tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}, control_plane]}),
                ),
                json!({"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {"clusterIP": "10.43.0.10"}}),
            ],
        ),
        ("cert-manager/cert-manager", vec![plain("cert-manager"), plain("cert-manager-webhook"), check]),
        ("flux-system/flux-operator", vec![plain("flux-operator")]),
        ("flux-system/flux-instance", vec![json!({"kind": "FluxInstance", "metadata": {"name": "flux"}})]),
    ]
}

#[test]
fn the_shipped_values_are_read() {
    let world = World::healthy();
    let value = |release: &str, path: &[&str]| world.desired.release(release).unwrap().text(path);
    assert_eq!(value("cilium", &["k8sServiceHost"]).as_deref(), Some("10.0.0.10"));
    assert_eq!(value("cilium", &["k8sServicePort"]).as_deref(), Some("6443"));
    assert_eq!(value("coredns", &["service", "clusterIP"]).as_deref(), Some("10.43.0.10"));
    assert!(value("flux-instance", &["instance", "sync", "url"]).is_some());
}

#[test]
fn the_shipped_bootstrap_passes_on_a_healthy_cluster() {
    let mut world = World::healthy();
    // Several servers and an agent, behind a virtual address.
    world.values("cilium", "k8sServiceHost: api.home.lan");
    world.server("b", &SERVER_ARGS);
    world.server("c", &SERVER_ARGS);
    world.agent("d");
    for rule in super::rules::ALL {
        if rule.needs_cluster() || rule.group == super::Group::Dns {
            assert!(!matches!(world.ask(rule), Answer::Found(_)), "{}", rule.id);
        }
    }
}

/// Mutated values and objects of a shipped release.
fn odd_release() -> impl Strategy<Value = (String, Value, Value)> {
    let mut world = World::healthy();
    let mut releases = Vec::new();
    for (id, objects) in std::mem::take(&mut world.manifests.objects) {
        let name = id.name.as_str();
        let values = serde_json::to_string(&world.release(name).values[0]).unwrap();
        let objects = Value::Array(objects.unwrap()).to_string();
        releases.push((Just(name.to_owned()), mutate::json(&values), mutate::json(&objects)).boxed());
    }
    proptest::strategy::Union::new(releases)
}

proptest! {
    #![proptest_config(mutate::slow_config())]

    #[test]
    fn no_values_and_no_objects_make_a_rule_panic((name, values, objects) in odd_release(), version in mutate::text(&["v1.33.6+k3s1"])) {
        let mut world = World::healthy();
        let release = world.release(&name);
        release.values = vec![serde_yaml::to_value(values).unwrap()];
        let id = release.id();
        let objects = objects.as_array().cloned();
        world.manifests.objects.insert(id, objects.ok_or_else(|| "no list".to_owned()));
        world.live_mut().version = version;
        for rule in super::rules::ALL {
            _ = world.ask(rule);
        }
    }
}
