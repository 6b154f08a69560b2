//! Which objects of a manifest exist.

use std::collections::BTreeMap;

use super::inventory::Which;
use super::{Known, Live};
use crate::desired::objects::ObjectId;
use crate::error::Error;
use crate::manifests;
use crate::tools::Toolbox;

/// Reads the names of a manifest's objects; those that name no namespace get that of the release. Helm's own are laid out plainly, and four megabytes of definitions need
/// not be parsed for ten names; what is laid out otherwise is parsed.
///
/// # Errors
///
/// The manifest cannot be read.
pub fn names(manifest: &str, namespace: &str) -> Known<Vec<ObjectId>> {
    let mut found = Vec::new();
    for document in documents(manifest) {
        match plain(document) {
            Some(id) => found.push(id),
            None => found.extend(manifests::parse(document)?.iter().filter_map(ObjectId::of)),
        }
    }
    let of_release = |id: ObjectId| ObjectId { namespace: id.namespace.or(Some(namespace.to_owned())), ..id };
    Ok(found.into_iter().map(of_release).collect())
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
fn plain(document: &str) -> Option<ObjectId> {
    let mut named = ObjectId::default();
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

impl Toolbox {
    /// Which objects of the records' manifests are not there, by the `namespace/name` of their releases.
    ///
    /// # Errors
    ///
    /// k3s-boot was told to stop, or the API server does not answer.
    pub async fn observe_missing(
        &self,
        live: &Live,
        releases: &[String],
    ) -> Result<BTreeMap<String, Known<Vec<String>>>, Error> {
        let (Ok(records), Ok(kinds)) = (&live.records, &live.kinds) else { return Ok(BTreeMap::new()) };
        let wanted: BTreeMap<_, _> = releases
            .iter()
            .filter_map(|id| {
                let namespace = id.split_once('/').map_or("", |(namespace, _)| namespace);
                Some((id, names(&records.get(id)?.manifest, namespace)))
            })
            .collect();
        let all = wanted.values().flatten().flatten();
        let there = self.observe_inventory(kinds, all, Which::All).await?;
        let missing = |names: Vec<ObjectId>| {
            names.iter().filter(|id| there.find(id).is_none()).map(ObjectId::words).collect()
        };
        Ok(wanted.into_iter().map(|(id, names)| (id.clone(), names.map(missing))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_plain_and_other_documents() {
        let manifest = "---\n# Source: a\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  labels:\n    name: no\n  name: \"d\"\n  namespace: n\nspec:\n  metadata:\n    name: x\n\
            ---\n# only a comment\n---\n{apiVersion: v1, kind: Service, metadata: {name: s}}\n---\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
        let found = names(manifest, "r").unwrap();
        let shown: Vec<_> = found.iter().map(ObjectId::words).collect();
        assert_eq!(shown, ["Deployment n/d", "Service r/s", "ConfigMap r/c"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            _ = names(&text, "n");
        }
    }
}
