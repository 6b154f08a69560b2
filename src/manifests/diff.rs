//! What the API server would make of a manifest, against what stands.

use serde_json::Value;

use crate::plan::releases::{ValueChange, changes};

/// An object that would be made or changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectDiff {
    /// The release that makes it.
    pub release: String,
    /// `Kind namespace/name`.
    pub object: String,
    /// Whether its fields may be secret.
    pub secret: bool,
    /// What would become of it.
    pub change: ObjectChange,
}

/// What would become of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectChange {
    /// It would be made.
    Create,
    /// These of its fields would differ.
    Change(Vec<ValueChange>),
    /// The API server would refuse it, or could not be asked, for this reason.
    Unknown(String),
}

/// What the API server changes with every write, or writes itself.
const OWN: [&str; 5] = ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"];

/// The fields that would differ: `applied` is what the server would make of the object.
#[must_use]
pub fn fields(live: &Value, applied: &Value) -> Vec<ValueChange> {
    let mut changes = changes(&without_own(live), &without_own(applied));
    // In an object, null is as good as nothing.
    let is_null = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_null);
    changes.retain(|change| !is_null(&change.old) || !is_null(&change.new));
    changes
}

fn without_own(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !OWN.contains(&key.as_str()));
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_manifest_would_change_is_told() {
        let live = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 1, "labels": {"x": "1"}}, "spec": {"replicas": 1}, "status": {"x": 1}});
        let same = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 2, "labels": {"x": "1"}}, "spec": {"replicas": 1, "selector": null}});
        assert!(fields(&live, &same).is_empty());
        let other = json!({"metadata": {"name": "a", "labels": {"x": "2"}}, "spec": {"replicas": 2}});
        let paths: Vec<_> = fields(&live, &other).into_iter().map(|change| change.path).collect();
        assert_eq!(paths, ["metadata.labels.x", "spec.replicas"]);
    }
}
