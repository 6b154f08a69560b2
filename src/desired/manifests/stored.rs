//! Reads manifests as helm stores them: as a JSON string. Most documents have a simple layout, so that the names of ten
//! objects can be read without unescaping and parsing four megabytes of CRDs.

use serde_json::Value;

use crate::base::fact::Fact;
use crate::desired::manifests;
use crate::desired::objects::ObjectId;

/// An object of a manifest.
pub(crate) struct Made<'a> {
    /// The identity of the object in the manifest.
    pub id: ObjectId,
    body: Body<'a>,
}

enum Body<'a> {
    /// The document, escaped as in JSON.
    Document(&'a str),
    /// The object, if the document had to be parsed already.
    Parsed(Value),
}

impl Made<'_> {
    /// Parses the whole object; `None` if it cannot be parsed.
    pub(crate) fn object(&self) -> Option<Value> {
        match &self.body {
            Body::Document(document) => manifests::parse(&unescaped(document)?).ok()?.into_iter().next(),
            Body::Parsed(object) => Some(object.clone()),
        }
    }
}

/// Finds the objects of a manifest in their order. The manifest is escaped as in JSON, without the quotes. Only documents
/// without a simple layout are parsed.
///
/// # Errors
///
/// The manifest cannot be read.
pub(crate) fn objects(manifest: &str) -> Fact<Vec<Made<'_>>> {
    let mut found = Vec::new();
    for document in documents(manifest) {
        if let Some(id) = simple_id(document) {
            found.push(Made { id, body: Body::Document(document) });
            continue;
        }
        let text = unescaped(document).ok_or("its manifest is not text")?;
        let objects = manifests::parse(&text)?.into_iter();
        found.extend(
            objects
                .filter_map(|object| Some(Made { id: ObjectId::of(&object)?, body: Body::Parsed(object) })),
        );
    }
    Ok(found)
}

fn unescaped(document: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{document}\"")).ok()
}

/// The lines of a text that is escaped as in JSON, each with its start.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let begin = start?;
        let mut at = begin;
        while let Some(found) = text[at..].find('\\') {
            let escape = at + found;
            if text[escape..].starts_with("\\n") {
                start = Some(escape + 2);
                return Some((begin, &text[begin..escape]));
            }
            // Skip the escaped character, which may be a backslash.
            at = text.len().min(text.ceil_char_boundary(escape + 2));
        }
        start = None;
        Some((begin, &text[begin..]))
    })
}

fn documents(manifest: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut has_content) = (0, false);
    for (at, line) in lines(manifest) {
        if line.starts_with("---") {
            documents.extend(Some(&manifest[start..at]).filter(|_| has_content));
            (start, has_content) = (at, false);
        } else {
            has_content |= !line.trim().is_empty() && !line.starts_with('#');
        }
    }
    documents.extend(Some(&manifest[start..]).filter(|_| has_content));
    documents
}

/// Reads `apiVersion`, `kind` and `metadata` of a document with a simple layout, as most Helm charts have it.
fn simple_id(document: &str) -> Option<ObjectId> {
    let mut id = ObjectId::default();
    let mut in_metadata = false;
    for (_, line) in lines(document) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if line.starts_with([' ', '\t', '#', '-']) {
            if in_metadata {
                let indent = line.len() - line.trim_start().len();
                match key.trim() {
                    "name" if indent == 2 => id.name = scalar(value)?,
                    "namespace" if indent == 2 => id.namespace = Some(scalar(value)?),
                    _ => {}
                }
            }
            continue;
        }
        in_metadata = key == "metadata" && value.is_empty();
        match key {
            "apiVersion" => id.api_version = scalar(value)?,
            "kind" => id.kind = scalar(value)?,
            "items" => return None,
            _ => {}
        }
    }
    let is_complete = !id.api_version.is_empty() && !id.kind.is_empty() && !id.name.is_empty();
    is_complete.then_some(id)
}

/// A plain scalar, or a quoted one.
fn scalar(value: &str) -> Option<String> {
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = quoted("\\\"").or_else(|| quoted("'")).unwrap_or(value);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:".contains(c);
    (!value.is_empty() && value.chars().all(plain)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        text[1..text.len() - 1].to_owned()
    }

    #[test]
    fn finds_objects_in_simple_and_other_documents() {
        let manifest = "---\n# Source: a\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  labels:\n    name: no\n  name: \"d\"\n  namespace: n\nspec:\n  metadata:\n    name: x\n  text: \"a\\\\\\n---\\n\"\n\
            ---\n# only a comment\n---\n{apiVersion: v1, kind: Service, metadata: {name: s}}\n---\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n---\nkind: X\napiVersion: v1\nmetadata:\n  name: 'q'\n  annotations: {ü: \"\u{1f600}\"}\n";
        let text = escaped(manifest);
        let found = objects(&text).unwrap();
        let shown: Vec<_> = found.iter().map(|one| one.id.words()).collect();
        assert_eq!(shown, ["Deployment n/d", "Service s", "ConfigMap c", "X q"]);
        let whole: Vec<_> = found.iter().map(|one| one.object().unwrap()).collect();
        let names: Vec<_> = whole.iter().map(|object| object["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["d", "s", "c", "q"]);
        assert_eq!(whole[0]["spec"]["text"], "a\\\n---\n");
        assert_eq!(whole[3]["metadata"]["annotations"]["ü"], "\u{1f600}");
    }

    proptest::proptest! {
        #[test]
        fn splits_escaped_lines(text in "(a|\\\\|\n|-|ü)*") {
            let escaped = escaped(&text);
            let lines: Vec<_> = lines(&escaped).map(|(_, line)| unescaped(line).unwrap()).collect();
            proptest::prop_assert_eq!(lines, text.split('\n').collect::<Vec<_>>());
        }

        #[test]
        fn parsing_never_panics(text: String, near in crate::base::mutate::text(&[
            "---\n# Source: a/templates/x.yaml\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: \"d\"\n  namespace: n\n  annotations: {a: 'b'}\nspec:\n  \
             template:\n    spec:\n      containers:\n      - args: [\"-x\"]\n        command: |\n          ---\n          end\n---\n---\nkind: List\nitems:\n- kind: Job\n  spec: {template: {spec: {y: 2}}}\n",
            "{apiVersion: v1, kind: Service, metadata: {name: s}}\n---\n# only a comment\n---\nkind: ConfigMap\napiVersion: v1\nmetadata: &m {name: c}\ndata: *m\n",
        ])) {
            for text in [escaped(&text), text, escaped(&near), near] {
                for found in objects(&text).into_iter().flatten() {
                    _ = found.object();
                }
            }
        }
    }
}
