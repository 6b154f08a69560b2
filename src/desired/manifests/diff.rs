//! Compares what the API server would make of a manifest with the current object.

use serde_json::{Value, json};

use crate::base::release_id::ReleaseId;
use crate::desired::objects::ObjectId;
use crate::desired::values::{ValueChange, changes};

/// An object that would be created or changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ObjectDiff {
    /// The release of the object.
    pub release: ReleaseId,
    /// `Kind namespace/name`.
    pub object: String,
    /// Whether its fields may be secret.
    pub secret: bool,
    pub change: ObjectChange,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ObjectChange {
    /// It would be created.
    Create,
    /// These fields would change.
    Change(Vec<ValueChange>),
    /// The API server would reject it, or could not be asked, for this reason.
    Unknown(String),
}

/// Metadata that the API server sets itself.
const SERVER_FIELDS: [&str; 5] =
    ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"];

/// The fields that would change: `applied` is the object that the server would store.
pub(crate) fn fields(live: &Value, applied: &Value) -> Vec<ValueChange> {
    let mut changes = changes(&without_server_fields(live), &without_server_fields(applied));
    // In an object, null is the same as an absent field.
    let is_null = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_null);
    changes.retain(|change| !is_null(&change.old) || !is_null(&change.new));
    changes
}

fn without_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !SERVER_FIELDS.contains(&key.as_str()));
        }
    }
    object
}

/// Adds Helm's label and annotations to an object; without them, the dry run would report that they are removed.
pub(crate) fn as_helm_applies(id: &ObjectId, release: &ReleaseId, object: &Value, live: &Value) -> Value {
    let mut object = object.clone();
    if live.pointer("/metadata/namespace").is_some() {
        object["metadata"]["namespace"] = json!(id.namespace);
    }
    let ReleaseId { namespace, name } = release;
    let helm_metadata = [
        ("labels", "app.kubernetes.io/managed-by", "Helm"),
        ("annotations", "meta.helm.sh/release-name", name),
        ("annotations", "meta.helm.sh/release-namespace", namespace),
    ];
    for (field, key, value) in helm_metadata {
        let metadata = &mut object["metadata"][field];
        // A template may render either as null.
        if !metadata.is_object() {
            *metadata = json!({});
        }
        metadata[key] = value.into();
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_only_changes_by_the_manifest() {
        let live = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 1, "labels": {"x": "1"}}, "spec": {"replicas": 1}, "status": {"x": 1}});
        let same = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 2, "labels": {"x": "1"}}, "spec": {"replicas": 1, "selector": null}});
        assert!(fields(&live, &same).is_empty());
        let other = json!({"metadata": {"name": "a", "labels": {"x": "2"}}, "spec": {"replicas": 2}});
        let paths: Vec<_> = fields(&live, &other).into_iter().map(|change| change.path).collect();
        assert_eq!(paths, ["metadata.labels.x", "spec.replicas"]);
    }

    proptest::proptest! {
        #[test]
        fn comparing_never_panics(odd in crate::base::mutate::json(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","namespace":"b","labels":{"c":"d"}},"spec":{"ports":[{"port":1}]}}"#)) {
            if let Some(id) = ObjectId::of(&odd) {
                let applied = as_helm_applies(&id, &"b/r".into(), &odd, &json!({"metadata": {"namespace": "b"}}));
                assert_eq!(applied["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
                _ = fields(&odd, &applied);
            }
        }
    }

    #[test]
    fn adds_metadata_of_helm() {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": null}});
        let id = ObjectId { namespace: Some("n".to_owned()), ..ObjectId::of(&object).unwrap() };
        let live = json!({"metadata": {"namespace": "n"}});
        let metadata = as_helm_applies(&id, &"n/r".into(), &object, &live)["metadata"].clone();
        let expected = json!({"name": "c", "namespace": "n", "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "r", "meta.helm.sh/release-namespace": "n"}});
        assert_eq!(metadata, expected);
        let cluster_wide = as_helm_applies(&id, &"n/r".into(), &object, &json!({"metadata": {}}));
        assert!(cluster_wide["metadata"].get("namespace").is_none());
    }
}
