//! The rendered manifests of releases. They are rendered lazily: rendering takes a second, and most runs need none.

pub(crate) mod diff;
pub(crate) mod drift;
pub(crate) mod stored;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::base::fact::Fact;
use crate::base::release_id::ReleaseId;
use crate::base::yaml::{PRINTED, kubernetes};

/// The results of rendering releases. No `Debug`, because objects may contain secrets.
#[derive(Default)]
pub(crate) struct Manifests {
    /// The objects of each release; unknown if they could not be rendered.
    pub objects: BTreeMap<ReleaseId, Fact<Vec<Value>>>,
    /// Why helm could not render the chart of a release.
    pub failures: BTreeMap<ReleaseId, RenderFailure>,
}

/// Why helm could not render the chart of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenderFailure {
    /// helm's error.
    pub reason: String,
    /// Whether the failing template uses something that only a cluster knows (`lookup`, `.Capabilities`), so that it may
    /// succeed when the release is installed.
    pub depends_on_cluster: bool,
}

impl Manifests {
    /// The objects of a release; `None` if it was not rendered.
    pub(crate) fn of(&self, release: &ReleaseId) -> Option<&Fact<Vec<Value>>> {
        self.objects.get(release)
    }

    /// All rendered objects, each with its release.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&ReleaseId, &Value)> {
        self.objects
            .iter()
            .filter_map(|(release, objects)| Some((release, objects.as_ref().ok()?)))
            .flat_map(|(release, objects)| objects.iter().map(move |object| (release, object)))
    }
}

/// Parses the documents of a manifest, as Helm and kubectl do.
///
/// # Errors
///
/// A document is not YAML. The error never contains its content.
pub(crate) fn parse(manifest: &str) -> Fact<Vec<Value>> {
    let mut objects = Vec::new();
    for (index, document) in kubernetes::documents(manifest, PRINTED).enumerate() {
        let object = document.map_err(|error| {
            let reason = if error.is_refused() { error.without_content("") } else { "not YAML".to_owned() };
            format!("document {} is {reason}", index + 1)
        })?;
        match object.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().cloned()),
            None if object.get("kind").is_some() => objects.push(object),
            None => {}
        }
    }
    Ok(objects)
}

/// The pod specification of a workload; none for other objects.
pub(crate) fn pod_spec(object: &Value) -> Option<&Value> {
    match object.get("kind")?.as_str()? {
        "Deployment" | "DaemonSet" | "StatefulSet" | "Job" | "ReplicaSet" => {
            object.pointer("/spec/template/spec")
        }
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template/spec"),
        "Pod" => object.get("spec"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_documents_and_lists() {
        let text = "---\n# Source: a\nkind: Pod\nspec: {x: 1}\n---\n---\nkind: List\nitems:\n- kind: Job\n  spec: {template: {spec: {z: 2}}}\n---\nfree: text\n";
        let objects = parse(text).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(pod_spec(&objects[0]).unwrap()["x"], 1);
        assert_eq!(pod_spec(&objects[1]).unwrap()["z"], 2);
        assert_eq!(parse("a: 1\n---\na: [CANARY\n").unwrap_err(), "document 2 is not YAML");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String, near in crate::base::mutate::text(&[
            "---\n# Source: a/templates/x.yaml\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: \"d\"\n  namespace: n\n  annotations: {a: 'b'}\nspec:\n  \
             template:\n    spec:\n      containers:\n      - args: [\"-x\"]\n        command: |\n          ---\n          end\n---\n---\nkind: List\nitems:\n- kind: Job\n  spec: {template: {spec: {y: 2}}}\n",
            "{apiVersion: v1, kind: Service, metadata: {name: s}}\n---\n# only a comment\n---\nkind: ConfigMap\napiVersion: v1\nmetadata: &m {name: c}\ndata: *m\n",
        ])) {
            for text in [text, near] {
                let objects = parse(&text).unwrap_or_default();
                _ = objects.iter().filter_map(pod_spec).count();
            }
        }
    }
}
