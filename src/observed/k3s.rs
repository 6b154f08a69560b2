//! The command line of k3s on a node, from the annotation that k3s sets.
//!
//! The annotation contains the whole command line, merged with the keys of the configuration file (k3s-io/k3s,
//! `pkg/nodeconfig`): `["server","--flannel-backend","none","--disable","coredns"]`. The keys of the file come first, so the
//! last value of a repeated flag counts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Live;
use super::node::Node;
use crate::base::distribution::Distribution;

/// The annotation with the command line of k3s, as JSON.
pub(crate) const NODE_ARGS: &str = "k3s.io/node-args";

/// The network of pods: the flag, and its default.
pub(crate) const CLUSTER_CIDR: (&str, &str) = ("cluster-cidr", "10.42.0.0/16");

/// The network of Services: the flag, and its default.
pub(crate) const SERVICE_CIDR: (&str, &str) = ("service-cidr", "10.43.0.0/16");

/// The DNS domain of the cluster: the flag, and its default.
pub(crate) const CLUSTER_DOMAIN: (&str, &str) = ("cluster-domain", "cluster.local");

/// Flags that must be equal on all servers, with their defaults (docs.k3s.io, `k3s server`, critical configuration values).
pub(crate) const CRITICAL_VALUES: [(&str, &str); 5] = [
    CLUSTER_CIDR,
    SERVICE_CIDR,
    ("cluster-dns", "the default"),
    CLUSTER_DOMAIN,
    ("egress-selector-mode", "agent"),
];

/// Switches that must be equal on all servers.
pub(crate) const CRITICAL_SWITCHES: [&str; 3] =
    ["disable-network-policy", "disable-helm-controller", "disable-cloud-controller"];

/// The command line of k3s on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeArgs {
    /// Whether k3s runs as a server.
    pub server: bool,
    /// The values of each flag in their order, by its name without dashes; none for a flag without a value.
    flags: BTreeMap<String, Vec<Option<String>>>,
}

impl NodeArgs {
    /// Parses the annotation; `None` if it is not a list of strings.
    pub(crate) fn parse(annotation: &str) -> Option<Self> {
        let words: Vec<String> = serde_json::from_str(annotation).ok()?;
        let mut args = Self { server: words.first().is_some_and(|word| word == "server"), ..Self::default() };
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            // Words that are neither flags nor their values are commands, such as `server`.
            let Some(flag) = word.strip_prefix('-').map(|rest| rest.trim_start_matches('-')) else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, words.next_if(|next| !next.starts_with('-'))),
            };
            args.flags.entry(name.to_owned()).or_default().push(value);
        }
        Some(args)
    }

    /// The same as the keys of a configuration file of a server (docs.k3s.io, "Configuration File").
    pub(crate) fn from_config<'a>(keys: impl Iterator<Item = (&'a String, &'a Value)>) -> Self {
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let values = |value: &Value| match value {
            Value::Array(items) => items.iter().map(|item| Some(word(item))).collect(),
            value => vec![Some(word(value))],
        };
        let flags = keys.map(|(key, value)| (key.trim_end_matches('+').to_owned(), values(value))).collect();
        Self { server: true, flags }
    }

    /// Whether a boolean flag is set to true.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        // The values that Go parses as true.
        let yes = |value: &String| matches!(value.to_lowercase().as_str(), "" | "1" | "t" | "true");
        self.last(name).is_some_and(|value| value.as_ref().is_none_or(yes))
    }

    /// The value of a flag, if it has one.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.last(name)?.as_deref().map(str::trim).filter(|value| !value.is_empty())
    }

    /// All values of a list flag, repeated or separated by commas.
    pub(crate) fn list(&self, name: &str) -> BTreeSet<String> {
        let values = self.flags.get(name).into_iter().flatten().flatten();
        let items = values.flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty());
        items.map(ToOwned::to_owned).collect()
    }

    /// The bundled components that are disabled.
    pub(crate) fn disabled(&self) -> BTreeSet<String> {
        // `--no-deploy` is the old name of the flag.
        self.list("disable").into_iter().chain(self.list("no-deploy")).collect()
    }

    /// The backend of flannel; `none` if flannel is disabled.
    pub(crate) fn flannel_backend(&self) -> &str {
        if self.is_on("no-flannel") { "none" } else { self.flag("flannel-backend").unwrap_or("vxlan") }
    }

    fn last(&self, name: &str) -> Option<&Option<String>> {
        self.flags.get(name)?.last()
    }
}

impl Node {
    /// The command line of k3s on this node; none if there is no valid annotation.
    pub(crate) fn k3s(&self) -> Option<NodeArgs> {
        NodeArgs::parse(self.annotations.get(NODE_ARGS)?)
    }
}

/// The annotation of kubeadm on its nodes.
const KUBEADM: &str = "kubeadm.alpha.kubernetes.io/cri-socket";

impl Live {
    /// The distribution of the cluster; unknown if the server does not report its version.
    pub(crate) fn distribution(&self) -> Distribution {
        let any = |is_met: fn(&Node) -> bool| self.cluster.nodes.iter().any(is_met);
        if self.version.contains("+k3s") {
            if any(|node| node.name.starts_with("k3d-")) { Distribution::K3d } else { Distribution::K3s }
        } else if self.version.contains("+rke2") {
            Distribution::Rke2
        } else if any(|node| node.info.os_image.starts_with("Talos")) {
            Distribution::Talos
        } else if any(|node| node.annotations.contains_key(KUBEADM)) {
            Distribution::Kubeadm
        } else if self.version.is_empty() {
            Distribution::Unknown
        } else {
            Distribution::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> NodeArgs {
        NodeArgs::parse(&serde_json::to_string(words).unwrap()).unwrap()
    }

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn version_and_nodes_show_the_distribution() {
        let of = |version: &str, change: &dyn Fn(&mut Node)| {
            let mut live = Live { version: version.to_owned(), ..Live::default() };
            let mut node = Node { name: "a".to_owned(), ..Node::default() };
            change(&mut node);
            live.cluster.nodes.push(node);
            live.distribution()
        };
        let none = |_: &mut Node| {};
        assert_eq!(of("v1.33.6+k3s1", &none), Distribution::K3s);
        assert_eq!(of("v1.33.6+k3s1", &|node| node.name = "k3d-home-server-0".to_owned()), Distribution::K3d);
        assert_eq!(of("v1.33.6+rke2r1", &none), Distribution::Rke2);
        let talos = |node: &mut Node| node.info.os_image = "Talos (v1.11.2)".to_owned();
        assert_eq!(of("v1.34.1", &talos), Distribution::Talos);
        let kubeadm = |node: &mut Node| {
            node.annotations.insert(KUBEADM.to_owned(), "unix:///run/containerd/containerd.sock".to_owned());
        };
        assert_eq!(of("v1.34.1", &kubeadm), Distribution::Kubeadm);
        assert_eq!((of("v1.34.1", &none), of("", &none)), (Distribution::Other, Distribution::Unknown));
    }

    #[test]
    fn boolean_flags_may_have_a_value() {
        for words in [&["server", "--x", "true", "--y"][..], &["server", "--x", "--y"], &["server", "-x=1"]] {
            assert!(parse(words).is_on("x"), "{words:?}");
        }
        for words in [&["server"][..], &["server", "--x", "false"], &["server", "--x", "--x", "False"]] {
            assert!(!parse(words).is_on("x"), "{words:?}");
        }
    }

    #[test]
    fn list_flags_are_repeated_or_separated_by_commas() {
        let args = parse(&[
            "server",
            "--disable",
            "servicelb, traefik",
            "--disable",
            "",
            "--no-deploy",
            "coredns",
            "--disable",
        ]);
        assert_eq!(args.disabled(), set(&["coredns", "servicelb", "traefik"]));
        assert_eq!(parse(&["server"]).disabled(), set(&[]));
    }

    #[test]
    fn last_value_of_a_repeated_flag_counts() {
        let args = parse(&["server", "--flannel-backend", "host-gw", "--flannel-backend", "none"]);
        assert_eq!(args.flannel_backend(), "none");
        assert_eq!(args.flag("cluster-cidr"), None);
        assert_eq!(parse(&["server", "--flannel-backend", ""]).flannel_backend(), "vxlan");
        assert_eq!(parse(&["server", "--no-flannel"]).flannel_backend(), "none");
        assert!(args.server && !parse(&["agent", "--x"]).server && !parse(&[]).server);
    }

    #[test]
    fn a_configuration_file_has_the_same_keys() {
        let config = serde_json::json!({"disable": ["coredns"], "disable-kube-proxy": true, "flannel-backend": "none"});
        let args = NodeArgs::from_config(config.as_object().unwrap().iter());
        assert_eq!((args.disabled(), args.flannel_backend()), (set(&["coredns"]), "none"));
        assert!(args.is_on("disable-kube-proxy"));
    }

    #[test]
    fn invalid_annotation_is_none() {
        let node = |annotation: &str| Node {
            annotations: BTreeMap::from([(NODE_ARGS.to_owned(), annotation.to_owned())]),
            ..Node::default()
        };
        assert!(Node::default().k3s().is_none());
        for annotation in ["", "{}", "[1]", "server --x"] {
            assert!(node(annotation).k3s().is_none(), "{annotation}");
        }
        assert!(node(r#"["server"]"#).k3s().is_some());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String, words: Vec<String>, near in crate::base::mutate::text(&[
            r#"["server","--flannel-backend","none","--disable","servicelb, traefik","--cluster-cidr=10.42.0.0/16","--tls-san","a,b","-x=1","--no-flannel"]"#,
        ])) {
            for annotation in [text, serde_json::to_string(&words).unwrap(), near] {
                if let Some(args) = NodeArgs::parse(&annotation) {
                    _ = (args.disabled(), args.is_on("disable"), args.flannel_backend().len());
                    _ = (args.list("cluster-cidr"), args.list("tls-san"));
                }
            }
        }
    }
}
