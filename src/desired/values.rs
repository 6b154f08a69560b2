//! What differs between the values of a release that are installed and those that are desired.

use serde_json::Value;

/// A value that differs. Its `Debug` tells the path alone.
#[derive(Clone, PartialEq)]
pub struct ValueChange {
    /// Where, as in `operator.replicas`.
    pub path: String,
    /// What is installed; none when it is not set there.
    pub old: Option<Value>,
    /// What is wanted; none when it is no longer set.
    pub new: Option<Value>,
}

impl std::fmt::Debug for ValueChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueChange").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The values that differ, by their paths.
#[must_use]
pub fn changes(old: &Value, new: &Value) -> Vec<ValueChange> {
    // A release without values has null for all of them.
    let [old, new] = [old, new].map(|values| Some(values).filter(|values| !values.is_null()));
    let mut found = Vec::new();
    compare(&mut found, String::new(), old, new);
    found
}

fn compare<'a>(found: &mut Vec<ValueChange>, path: String, old: Option<&'a Value>, new: Option<&'a Value>) {
    // To set nothing is not to set null: that takes a default of the chart away.
    let is_empty = |value: Option<&Value>| match value {
        None => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    let none = serde_json::Map::new();
    let map = |value: Option<&'a Value>| match value {
        Some(Value::Object(map)) => Some(map),
        _ => None,
    };
    match (old, new) {
        (old, new) if is_empty(old) && is_empty(new) => {}
        // A map that is not set is one without keys; so each key is told by its own path.
        (old, new) if (map(old).is_some() || is_empty(old)) && (map(new).is_some() || is_empty(new)) => {
            let (old, new) = (map(old).unwrap_or(&none), map(new).unwrap_or(&none));
            let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                // A key that holds dots is one key: as Helm's `--set` has it.
                let key_text = key.replace('.', "\\.");
                let below = if path.is_empty() { key_text } else { format!("{path}.{key_text}") };
                compare(found, below, old.get(key), new.get(key));
            }
        }
        (Some(old), Some(new)) if same(old, new) => {}
        (old, new) => found.push(ValueChange { path, old: old.cloned(), new: new.cloned() }),
    }
}

/// Numbers come back from Helm's JSON as they can: `1` and `1.0` are the same.
fn same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(old), Value::Number(new)) => old == new || old.as_f64() == new.as_f64(),
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old, new))
        }
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len()
                && old.iter().all(|(key, old)| new.get(key).is_some_and(|new| same(old, new)))
        }
        _ => old == new,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_told_by_their_paths() {
        let old = json!({"a": {"b": 1, "gone": true}, "list": [1, {"x": 2}], "same": "s", "dotted.key": 1, "n": null});
        let new =
            json!({"a": {"b": 2}, "list": [1, {"x": 3}], "same": "s", "dotted.key": 2, "new": {"k": "v"}});
        let found = changes(&old, &new);
        let paths: Vec<_> = found.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["a.b", "a.gone", "dotted\\.key", "list", "n", "new.k"]);
        assert_eq!((found[1].old.clone(), found[1].new.clone()), (Some(json!(true)), None));
        assert!(changes(&Value::Null, &json!({"empty": {}})).is_empty());
        assert!(changes(&json!({"n": null}), &json!({"n": null})).is_empty());
    }
}
