use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::base::yaml;
use crate::commands::init::templates;
use crate::observed::cluster::Cluster;
use crate::observed::helm::{Record, Stored};
use crate::observed::k3s::NODE_ARGS;
use crate::observed::node::Address;
use crate::observed::workloads::Workload;
use crate::settings::cli::Init;

/// What k3s runs with when Cilium replaces its network and CoreDNS is a release.
const PREPARED: &[&str] = &[
    "server",
    "--flannel-backend",
    "none",
    "--disable-kube-proxy",
    "--disable",
    "coredns,servicelb",
    "--tls-san",
    "k3s.lan",
];

fn node(name: &str, args: &[&str]) -> Node {
    let mut node = Node { name: name.to_owned(), ..Node::default() };
    let args_text = serde_json::to_string(args).unwrap();
    node.annotations.insert(NODE_ARGS.to_owned(), args_text);
    if args[0] == "server" {
        node.labels.insert("node-role.kubernetes.io/control-plane".to_owned(), "true".to_owned());
    }
    node.addresses.push(Address { r#type: "InternalIP".to_owned(), address: "10.0.0.10".to_owned() });
    node
}

fn live(nodes: Vec<Node>) -> Live {
    Live {
        version: "v1.36.3+k3s1".to_owned(),
        cluster: Cluster { nodes, ..Cluster::default() },
        releases: Ok(Vec::new()),
        records: Ok(BTreeMap::new()),
        ..Live::default()
    }
}

fn workload(kind: &str, name: &str, labels: &[(&str, &str)]) -> Workload {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Workload {
        kind: kind.to_owned(),
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        labels: labels.collect(),
        ..Workload::default()
    }
}

fn chosen(init: Init, live: Option<&Live>) -> Choices {
    let git = GitSource {
        url: "https://example.org/home.git".to_owned(),
        reference: "refs/heads/main".to_owned(),
        has_deploy_key: false,
        reason: "named by the user",
    };
    let flags = Flags::from(init);
    choose(&flags, live, None, &git, "age1x", &templates::pins()).unwrap()
}

/// All files, each valid YAML, by path.
fn written(choices: &Choices) -> BTreeMap<String, String> {
    let files = templates::repository(choices).unwrap();
    files.into_iter().map(|file| (file.path.display().to_string(), file.text)).collect()
}

fn parsed(files: &BTreeMap<String, String>, path: &str) -> Value {
    yaml::parse(&files[path], yaml::WRITTEN).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn values(files: &BTreeMap<String, String>, app: &str) -> Value {
    parsed(files, &format!("kubernetes/apps/{app}/app/helmrelease.yaml"))["spec"]["values"].clone()
}

#[test]
fn defaults_fit_one_new_server() {
    let choices = chosen(Init::default(), None);
    assert_eq!((choices.nodes, choices.replicas), (1, 1));
    let files = written(&choices);
    let cilium = values(&files, "kube-system/cilium");
    assert_eq!((&cilium["k8sServiceHost"], &cilium["k8sServicePort"]), (&json!("127.0.0.1"), &json!(6444)));
    assert_eq!(values(&files, "kube-system/coredns")["service"]["clusterIP"], "10.43.0.10");
    let servers = parsed(&files, "k3s/config.yaml");
    let disabled = json!(["coredns", "servicelb", "traefik"]);
    let expected = json!({"flannel-backend": "none", "disable-network-policy": true, "disable-kube-proxy": true, "disable": disabled});
    assert_eq!(servers, expected);
    assert!(!files.contains_key("k3s/agent.yaml"));
}

#[test]
fn every_file_is_valid_and_no_placeholder_is_left() {
    let private = Choices { pull_secret: Some(PULL_SECRET), agents: 1, ..chosen(Init::default(), None) };
    for (path, text) in written(&private) {
        assert!(!text.contains("[[") && !text.contains("[%"), "{path}: {text}");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}");
        if Path::new(&path).extension().is_some_and(|extension| extension == "yaml") {
            yaml::parse::<Value>(&text, yaml::WRITTEN).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}

#[test]
fn three_servers_and_agents_have_two_replicas() {
    let servers = ["a", "b", "c"].map(|name| node(name, PREPARED));
    let live = live([servers.to_vec(), vec![node("d", &["agent"])]].concat());
    let choices = chosen(Init::default(), Some(&live));
    assert_eq!((choices.nodes, choices.agents), (4, 1));
    let files = written(&choices);
    assert_eq!(values(&files, "kube-system/cilium")["operator"]["replicas"], 2);
    assert_eq!(values(&files, "kube-system/coredns")["replicaCount"], 2);
    assert_eq!(parsed(&files, "k3s/agent.yaml")["server"], "https://10.0.0.10:6443");
    // The configuration of the servers is kept.
    let servers = parsed(&files, "k3s/config.yaml");
    assert_eq!(
        (&servers["disable"], &servers["tls-san"]),
        (&json!(["coredns", "servicelb"]), &json!(["k3s.lan"]))
    );
}

#[test]
fn dual_stack_has_an_address_of_each_family() {
    let networks =
        ["--cluster-cidr", "10.42.0.0/16,fd00:42::/56", "--service-cidr=10.43.0.0/16,fd00:43::/112"];
    let live = live(vec![node("a", &[PREPARED, &networks].concat())]);
    let files = written(&chosen(Init::default(), Some(&live)));
    let service = &values(&files, "kube-system/coredns")["service"];
    assert_eq!(service["clusterIPs"], json!(["10.43.0.10", "fd00:43::a"]));
    assert_eq!(service["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(values(&files, "kube-system/cilium")["ipv6"]["enabled"], true);
    assert_eq!(parsed(&files, "k3s/config.yaml")["service-cidr"], "10.43.0.0/16,fd00:43::/112");
}

#[test]
fn what_k3s_runs_is_kept() {
    let dns = ("k8s-app", "kube-dns");
    let mut live =
        live(vec![node("a", &["server", "--flannel-backend", "wireguard-native", "--disable", "traefik"])]);
    live.cluster.workloads.push(workload("Deployment", "coredns", &[dns]));
    let files = written(&chosen(Init::default(), Some(&live)));
    let apps = &files["bootstrap/helmfile.d/01-apps.yaml"];
    assert!(!apps.contains("cilium") && !apps.contains("coredns"), "{apps}");
    assert!(!files.keys().any(|path| path.contains("kube-system")));
    assert_eq!(
        parsed(&files, "k3s/config.yaml"),
        json!({"flannel-backend": "wireguard-native", "disable": ["traefik"]})
    );
    // Flags decide otherwise.
    let init = Init { cni: Some(Cni::Cilium), dns: Some(Dns::Coredns), ..Init::default() };
    let files = written(&chosen(init, Some(&live)));
    let servers = parsed(&files, "k3s/config.yaml");
    assert_eq!(
        (&servers["flannel-backend"], &servers["disable"]),
        (&json!("none"), &json!(["coredns", "traefik"]))
    );
}

#[test]
fn another_cni_plugin_is_kept() {
    let mut live = live(vec![node("a", PREPARED)]);
    live.cluster.workloads.push(workload("DaemonSet", "calico-node", &[]));
    let choices = chosen(Init::default(), Some(&live));
    assert!(!choices.cilium && choices.made.iter().any(|choice| choice.reason.starts_with("Calico")));
}

#[test]
fn installed_versions_are_not_downgraded() {
    let mut live = live(vec![node("a", PREPARED)]);
    let record = |name: &str, version: &str| {
        let id = ReleaseId::new("flux-system", name);
        (id, Record { version: version.to_owned(), stored: Stored::default(), ..Record::default() })
    };
    live.records = Ok(BTreeMap::from([record("flux-instance", "0.54.0"), record("flux-operator", "0.1.0")]));
    let files = written(&chosen(Init::default(), Some(&live)));
    let tag = |app: &str| {
        parsed(&files, &format!("kubernetes/apps/flux-system/{app}/app/ocirepository.yaml"))["spec"]["ref"]["tag"].clone()
    };
    assert_eq!((tag("flux-instance"), tag("flux-operator")), (json!("0.54.0"), json!("0.54.0")));
    let artifact = &values(&files, "flux-system/flux-instance")["instance"]["distribution"]["artifact"];
    assert!(artifact.as_str().unwrap().ends_with(":v0.54.0"), "{artifact}");
}

#[test]
fn an_agent_with_another_port_needs_an_address() {
    let live = live(vec![node("a", PREPARED), node("b", &["agent", "--lb-server-port", "7443"])]);
    let choices = chosen(Init::default(), Some(&live));
    assert_eq!((choices.api_host.as_str(), choices.api_port), ("10.0.0.10", "6443"));
}
