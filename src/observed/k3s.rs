//! How k3s was started on a node, as the annotation that it puts there tells.
//!
//! The annotation holds the whole command line with the configuration file's keys merged in (k3s-io/k3s,
//! `pkg/nodeconfig`): `["server","--flannel-backend","none","--disable","coredns"]`. What the file says comes first, so
//! that of a flag given twice the last one counts.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;

/// The annotation with the command line of k3s, as JSON.
pub const NODE_ARGS: &str = "k3s.io/node-args";

/// How k3s was started on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeArgs {
    /// Whether as a server.
    pub server: bool,
    /// Every flag by its name without dashes, with its values in their order; none where it stands alone.
    flags: BTreeMap<String, Vec<Option<String>>>,
}

impl NodeArgs {
    /// Reads the annotation; `None` when it is no list of words.
    #[must_use]
    pub fn parse(annotation: &str) -> Option<Self> {
        let words: Vec<String> = serde_json::from_str(annotation).ok()?;
        let mut args = Self { server: words.first().is_some_and(|word| word == "server"), ..Self::default() };
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            // Words between flags and their values are commands, such as `server`.
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

    /// Whether a switch is on; a switch that is not there is off.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        // Go's words for yes.
        let yes = |value: &String| matches!(value.to_lowercase().as_str(), "" | "1" | "t" | "true");
        self.last(name).is_some_and(|value| value.as_ref().is_none_or(yes))
    }

    /// The value of a flag, if it is there and has one.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.last(name)?.as_deref().map(str::trim).filter(|value| !value.is_empty())
    }

    /// All values of a flag that is a list, be it repeated or separated by commas.
    #[must_use]
    pub fn list(&self, name: &str) -> BTreeSet<String> {
        let values = self.flags.get(name).into_iter().flatten().flatten();
        let items = values.flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty());
        items.map(ToOwned::to_owned).collect()
    }

    /// The bundled components that are switched off.
    #[must_use]
    pub fn disabled(&self) -> BTreeSet<String> {
        // The old name of the flag.
        self.list("disable").into_iter().chain(self.list("no-deploy")).collect()
    }

    /// What flannel uses between nodes; `none` when it is switched off.
    #[must_use]
    pub fn flannel_backend(&self) -> &str {
        if self.is_on("no-flannel") { "none" } else { self.flag("flannel-backend").unwrap_or("vxlan") }
    }

    fn last(&self, name: &str) -> Option<&Option<String>> {
        self.flags.get(name)?.last()
    }
}

impl Node {
    /// How k3s was started here; unknown where k3s does not tell.
    #[must_use]
    pub fn k3s(&self) -> Option<NodeArgs> {
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
    fn switches_have_a_value_or_none() {
        for words in [&["server", "--x", "true", "--y"][..], &["server", "--x", "--y"], &["server", "-x=1"]] {
            assert!(parse(words).is_on("x"), "{words:?}");
        }
        for words in [&["server"][..], &["server", "--x", "false"], &["server", "--x", "--x", "False"]] {
            assert!(!parse(words).is_on("x"), "{words:?}");
        }
    }

    #[test]
    fn lists_are_repeated_or_separated_by_commas() {
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
    fn of_a_flag_given_twice_the_last_one_counts() {
        let args = parse(&["server", "--flannel-backend", "host-gw", "--flannel-backend", "none"]);
        assert_eq!(args.flannel_backend(), "none");
        assert_eq!(args.flag("cluster-cidr"), None);
        assert_eq!(parse(&["server", "--flannel-backend", ""]).flannel_backend(), "vxlan");
        assert_eq!(parse(&["server", "--no-flannel"]).flannel_backend(), "none");
        assert!(args.server && !parse(&["agent", "--x"]).server && !parse(&[]).server);
    }

    #[test]
    fn nodes_that_do_not_tell_are_unknown() {
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
        fn no_annotation_makes_it_panic(text: String, words: Vec<String>, near in crate::base::odd::near(&[
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
