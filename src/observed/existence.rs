//! Which objects of a manifest exist: a table of names is a hundredth of the objects themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::{Known, Live};
use crate::error::Error;
use crate::manifests;
use crate::tools::Toolbox;

/// An object of a manifest: as much of it as its name takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, if it names one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Named {
    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// `deployment.apps`, as kubectl takes and prints it.
    fn resource(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group().is_empty() { kind } else { format!("{kind}.{}", self.group()) }
    }

    /// `Deployment namespace/name`.
    fn words(&self, namespace: &str) -> String {
        match self.namespace.as_deref() {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Reads the names of a manifest's objects. Helm's own are laid out plainly, and four megabytes of definitions need
/// not be parsed for ten names; what is laid out otherwise is parsed.
///
/// # Errors
///
/// The manifest cannot be read.
pub fn names(manifest: &str) -> Known<Vec<Named>> {
    let mut found = Vec::new();
    for document in documents(manifest) {
        match plain(document) {
            Some(named) => found.push(named),
            None => {
                for object in manifests::parse(document)? {
                    let text = |pointer: &str| {
                        object.pointer(pointer).and_then(|value| value.as_str()).map(ToOwned::to_owned)
                    };
                    found.push(Named {
                        api_version: text("/apiVersion").unwrap_or_default(),
                        kind: text("/kind").unwrap_or_default(),
                        namespace: text("/metadata/namespace"),
                        name: text("/metadata/name").unwrap_or_default(),
                    });
                }
            }
        }
    }
    Ok(found)
}

fn documents(manifest: &str) -> impl Iterator<Item = &str> {
    let mut starts = vec![0];
    starts.extend(manifest.match_indices("\n---").map(|(at, _)| at + 1));
    starts.push(manifest.len());
    let spans: Vec<_> = starts.windows(2).map(|span| (span[0], span[1])).collect();
    spans.into_iter().map(|(start, end)| &manifest[start..end]).filter(|document| {
        document
            .lines()
            .any(|line| !line.trim().is_empty() && !line.starts_with('#') && !line.starts_with("---"))
    })
}

/// Reads `apiVersion`, `kind` and the two lines of `metadata` where they stand as Helm charts have them.
fn plain(document: &str) -> Option<Named> {
    let mut named = Named::default();
    let mut in_metadata = false;
    for line in document.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if line.starts_with([' ', '\t', '#', '-']) {
            if in_metadata {
                let indent = line.len() - line.trim_start().len();
                match key.trim() {
                    "name" if indent == 2 => named.name = word(value)?,
                    "namespace" if indent == 2 => named.namespace = Some(word(value)?),
                    _ => {}
                }
            }
            continue;
        }
        in_metadata = key == "metadata" && value.is_empty();
        match key {
            "apiVersion" => named.api_version = word(value)?,
            "kind" => named.kind = word(value)?,
            "items" => return None,
            _ => {}
        }
    }
    let whole = !named.api_version.is_empty() && !named.kind.is_empty() && !named.name.is_empty();
    whole.then_some(named)
}

/// A plain scalar, or a quoted one.
fn word(value: &str) -> Option<String> {
    let value = value.trim_matches(|quote| quote == '"' || quote == '\'');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:".contains(c);
    (!value.is_empty() && value.chars().all(plain)).then(|| value.to_owned())
}

/// Reads what `kubectl get KIND,KIND --all-namespaces --no-headers` prints: each object with its namespace, if it has
/// one, as `kind.group/name`.
#[must_use]
pub fn parse_table(table: &str) -> BTreeSet<(Option<String>, String)> {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let first = words.next()?;
            if first.contains('/') {
                return Some((None, first.to_owned()));
            }
            Some((Some(first.to_owned()), words.next()?.to_owned()))
        })
        .collect()
}

impl Toolbox {
    /// Which objects of the records' manifests are not there, by the `namespace/name` of their releases.
    ///
    /// # Errors
    ///
    /// k3s-boot was told to stop, or kubectl failed.
    pub async fn observe_missing(
        &self,
        live: &Live,
        releases: &[String],
    ) -> Result<BTreeMap<String, Known<Vec<String>>>, Error> {
        let records = live.records.as_ref().ok();
        let records = releases.iter().filter_map(|id| Some((id.clone(), records?.get(id)?)));
        let wanted: BTreeMap<_, _> = records.map(|(id, record)| (id, names(&record.manifest))).collect();
        let known = |named: &Named| {
            let built_in = !named.group().contains('.') || named.group().ends_with(".k8s.io");
            built_in || live.knows(&named.kind, &named.api_version)
        };
        let kinds: BTreeSet<_> =
            wanted.values().flatten().flatten().filter(|named| known(named)).map(Named::resource).collect();
        if kinds.is_empty() {
            return Ok(wanted.into_iter().map(|(id, names)| (id, names.map(|_| Vec::new()))).collect());
        }
        // kubectl prints the kind only when it is asked for several.
        let kinds: Vec<_> = kinds.into_iter().chain(["namespaces".to_owned()]).collect();
        let table = self.kubectl_get_table(&[&kinds.join(","), "--all-namespaces", "--no-headers"]).await?;
        let there = parse_table(&table);
        let missing = |id: &str, names: Vec<Named>| {
            let namespace = id.split_once('/').map_or("", |(namespace, _)| namespace).to_owned();
            let is_there = |named: &Named| {
                let own = named.namespace.clone().unwrap_or_else(|| namespace.clone());
                let name = format!("{}/{}", named.resource(), named.name);
                there.contains(&(Some(own), name.clone())) || there.contains(&(None, name))
            };
            names.iter().filter(|named| !is_there(named)).map(|named| named.words(&namespace)).collect()
        };
        Ok(wanted
            .into_iter()
            .map(|(id, names)| {
                let names = names.map(|names| missing(&id, names));
                (id, names)
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_plain_and_other_documents() {
        let manifest = "---\n# Source: a\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  labels:\n    name: no\n  name: \"d\"\n  namespace: n\nspec:\n  metadata:\n    name: x\n\
            ---\n# only a comment\n---\n{apiVersion: v1, kind: Service, metadata: {name: s}}\n---\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
        let found = names(manifest).unwrap();
        let shown: Vec<_> = found.iter().map(|named| (named.resource(), named.words("r"))).collect();
        let expected = [
            ("deployment.apps", "Deployment n/d"),
            ("service", "Service r/s"),
            ("configmap", "ConfigMap r/c"),
        ];
        assert_eq!(shown, expected.map(|(resource, words)| (resource.to_owned(), words.to_owned())));
    }

    #[test]
    fn a_table_tells_what_is_there() {
        let table = "kube-system   deployment.apps/coredns   1/1   1   1   2d\nclusterrole.rbac.authorization.k8s.io/x   2026\n\nnamespace/a   Active   1d\n";
        let there = parse_table(table);
        assert!(there.contains(&(Some("kube-system".to_owned()), "deployment.apps/coredns".to_owned())));
        assert!(there.contains(&(None, "namespace/a".to_owned())));
        assert_eq!(there.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            _ = names(&text);
            _ = parse_table(&text);
        }
    }
}
