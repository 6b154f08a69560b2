//! Compares the values of a release, and shows those that differ.

use serde_json::Value;

use crate::base::redact::{REDACTED, Redactor};
use crate::base::url::Url;

/// A value that differs. `Debug` prints only the path, because values may be secret.
#[derive(Clone, PartialEq)]
pub(crate) struct ValueChange {
    /// The path, such as `operator.replicas`.
    pub path: String,
    /// The installed value; none if it was not set.
    pub old: Option<Value>,
    /// The desired value; none if it is no longer set.
    pub new: Option<Value>,
}

impl std::fmt::Debug for ValueChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueChange").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The values that differ, in the order of their paths.
pub(crate) fn changes(old: &Value, new: &Value) -> Vec<ValueChange> {
    // The values of a release without values are null.
    let [old, new] = [old, new].map(|values| Some(values).filter(|values| !values.is_null()));
    let mut found = Vec::new();
    compare(&mut found, String::new(), old, new);
    found
}

/// The path of a key below a path. Dots in a key are escaped, as in Helm's `--set`.
pub(crate) fn path_below(path: &str, key: &str) -> String {
    let key = key.replace('.', "\\.");
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn compare<'a>(found: &mut Vec<ValueChange>, path: String, old: Option<&'a Value>, new: Option<&'a Value>) {
    // An unset value and null differ: null removes a default of the chart.
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
        // An unset map counts as an empty one, so that each key is reported with its own path.
        (old, new) if (map(old).is_some() || is_empty(old)) && (map(new).is_some() || is_empty(new)) => {
            let (old, new) = (map(old).unwrap_or(&none), map(new).unwrap_or(&none));
            let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                compare(found, path_below(&path, key), old.get(key), new.get(key));
            }
        }
        (Some(old), Some(new)) if same(old, new) => {}
        (old, new) => found.push(ValueChange { path, old: old.cloned(), new: new.cloned() }),
    }
}

/// Whether two values are equal. Helm's JSON does not preserve number formats: `1` and `1.0` are the same.
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

/// Whether the value at this path may be secret, judging by the path.
fn may_be_secret(path: &str) -> bool {
    let path = path.to_lowercase();
    let words = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "api_key",
        "privatekey",
        "private_key",
        "credential",
        "agekey",
    ];
    words.iter().any(|word| path.contains(word))
}

/// A value without secrets; maps are redacted key by key.
pub(crate) fn shown(path: &str, value: &Value, redactor: &Redactor) -> Value {
    // The name of a Secret is not secret.
    let names_one = ["secretname", "pullsecret", "existingsecret", "secretref", "secretsname"];
    let key = path.rsplit('.').next().unwrap_or(path).to_lowercase();
    if may_be_secret(path) && !names_one.iter().any(|name| key.ends_with(name)) && !value.is_boolean() {
        return REDACTED.into();
    }
    match value {
        Value::Object(map) => {
            let below = |(key, value): (&String, &Value)| {
                (key.clone(), shown(&format!("{path}.{key}"), value, redactor))
            };
            Value::Object(map.iter().map(below).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| shown(path, item, redactor)).collect()),
        Value::String(text) => {
            let clean = redactor.apply(text);
            if clean.contains(REDACTED) { REDACTED.into() } else { Value::String(without_credentials(text)) }
        }
        other => other.clone(),
    }
}

/// Replaces the credentials in a URL, so that it remains visible that there are some.
fn without_credentials(text: &str) -> String {
    match Url::parse(text) {
        Some(url) if url.secret().is_some() => format!("{}://{REDACTED}@{}", url.scheme, url.rest),
        _ => text.to_owned(),
    }
}

/// Shortens a long value.
pub(crate) fn cut(text: &str) -> String {
    const MAX_LENGTH: usize = 80;
    if text.chars().count() <= MAX_LENGTH {
        return text.to_owned();
    }
    text.chars().take(MAX_LENGTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_have_paths() {
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

    #[test]
    fn values_that_may_be_secret_are_redacted() {
        let redactor = Redactor::default();
        redactor.add(["CANARY-known"]);
        let cases = [
            ("db.password", json!("CANARY"), json!(REDACTED)),
            ("a", json!({"apiToken": "CANARY", "b": 1}), json!({"apiToken": REDACTED, "b": 1})),
            ("env", json!(["x=CANARY-known"]), json!([REDACTED])),
            ("instance.sync.pullSecret", json!("github"), json!("github")),
            ("secret.create", json!(true), json!(true)),
            ("url", json!("https://me:CANARY@host/x"), json!("https://[redacted]@host/x")),
            ("url", json!("ssh://git@host/x"), json!("ssh://git@host/x")),
            ("replicas", json!(2), json!(2)),
        ];
        for (path, value, expected) in cases {
            assert_eq!(shown(path, &value, &redactor), expected, "{path}");
        }
    }

    #[test]
    fn long_values_are_shortened() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(200)).chars().count(), 80);
    }
}
