//! The command line of k3s on a node, from the annotation that k3s sets.
//!
//! The annotation contains the whole command line, merged with the keys of the configuration file (k3s-io/k3s,
//! `pkg/nodeconfig`): `["server","--flannel-backend","none","--disable","coredns"]`. The keys of the file come first, so the
//! last value of a repeated flag counts.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;

/// The annotation with the command line of k3s, as JSON.
pub(crate) const NODE_ARGS: &str = "k3s.io/node-args";

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
