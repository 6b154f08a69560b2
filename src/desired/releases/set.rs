//! Values of `set` and `setString`, which helmfile passes to helm as `--set` and `--set-string`.

use serde::Deserialize;
use serde_json::{Map, Value};

/// An entry of `set` or `setString`, as `helmfile build` prints it (helmfile 1.7.4, `SetValue` in `pkg/state/state.go`).
/// Has no `Debug`: it may contain secrets.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SetValue {
    name: String,
    value: String,
    values: Vec<String>,
    file: String,
}

/// Sets values as helm does; `None` if the result is unknown: a file, a reference to a secret, or text that helm parses as
/// more than one value.
pub(super) fn apply(values: &mut Value, set: &[SetValue], set_string: &[SetValue]) -> Option<()> {
    for (entries, is_string) in [(set, false), (set_string, true)] {
        for entry in entries {
            entry.apply(values, is_string)?;
        }
    }
    Some(())
}

impl SetValue {
    fn apply(&self, values: &mut Value, is_string: bool) -> Option<()> {
        if self.value.contains("ref+") || self.values.iter().any(|value| value.contains("ref+")) {
            return None;
        }
        let value = if !self.value.is_empty() {
            typed(&literal(&self.value)?, is_string)
        } else if !self.file.is_empty() {
            return None;
        } else if self.values.is_empty() {
            // helmfile passes no flag for it.
            return Some(());
        } else {
            self.values.iter().map(|value| Some(typed(&literal(value)?, is_string))).collect::<Option<_>>()?
        };
        *path(&self.name)?.iter().try_fold(values, step)? = value;
        Some(())
    }
}

/// The text that helm reads after helmfile has escaped braces and commas (`escape` in helmfile's `pkg/state/state.go`,
/// `runesUntil` in helm's `pkg/strvals/parser.go`): helm removes the backslashes. `None` for backslashes that would escape
/// that of helmfile.
fn literal(text: &str) -> Option<String> {
    let mut found = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => found.push(rest.next().filter(|escaped| !matches!(escaped, '{' | '}' | ','))?),
            other => found.push(other),
        }
    }
    Some(found)
}

/// A value as helm parses it (`typedVal` in `pkg/strvals/parser.go`).
fn typed(text: &str, is_string: bool) -> Value {
    if is_string {
        return text.into();
    }
    match text.to_lowercase().as_str() {
        "true" => true.into(),
        "false" => false.into(),
        "null" => Value::Null,
        "0" => 0.into(),
        _ if text.starts_with('0') => text.into(),
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
    }
}

/// A part of the path of a value.
#[derive(Debug, PartialEq)]
enum Part {
    Key(String),
    Index(usize),
}

/// The largest index that helm accepts (`MaxIndex` in `pkg/strvals/parser.go`).
const MAX_INDEX: usize = 65536;

/// The parts of a path such as `a.b\.c[0].d`; `None` if helm would parse it differently.
fn path(name: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = name.chars().peekable();
    loop {
        let mut key = String::new();
        while let Some(next) = rest.next_if(|next| !matches!(next, '.' | '[')) {
            match next {
                '\\' => key.push(rest.next().filter(|escaped| !matches!(escaped, '{' | '}' | ','))?),
                '=' => return None,
                other => key.push(other),
            }
        }
        if key.is_empty() {
            return None;
        }
        parts.push(Part::Key(key));
        while rest.next_if_eq(&'[').is_some() {
            let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
            rest.next_if_eq(&']')?;
            parts.push(Part::Index(digits.parse().ok().filter(|index| *index <= MAX_INDEX)?));
        }
        match rest.next() {
            None => return Some(parts),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}

/// The value at a part of its path, created if it is missing; `None` if the parent has another type.
fn step<'a>(values: &'a mut Value, part: &Part) -> Option<&'a mut Value> {
    match part {
        Part::Key(key) => {
            if values.is_null() {
                *values = Value::Object(Map::new());
            }
            Some(values.as_object_mut()?.entry(key.as_str()).or_insert(Value::Null))
        }
        Part::Index(index) => {
            if values.is_null() {
                *values = Value::Array(Vec::new());
            }
            let items = values.as_array_mut()?;
            if items.len() <= *index {
                items.resize(index + 1, Value::Null);
            }
            items.get_mut(*index)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(name: &str, value: &str) -> SetValue {
        SetValue { name: name.to_owned(), value: value.to_owned(), ..SetValue::default() }
    }

    /// Expected values are those of `helm template --set` with helm 4.2.4.
    #[test]
    fn values_are_set_as_helm_sets_them() {
        for (name, value, expected) in [
            ("a.b", "1", json!({"a": {"b": 1, "k": "old"}, "l": [1, {"x": 2}]})),
            ("a.k", "TRUE", json!({"a": {"k": true}, "l": [1, {"x": 2}]})),
            ("a", "null", json!({"a": null, "l": [1, {"x": 2}]})),
            (r"a.k\.8s", "007", json!({"a": {"k": "old", "k.8s": "007"}, "l": [1, {"x": 2}]})),
            ("l[1].x", "0", json!({"a": {"k": "old"}, "l": [1, {"x": 0}]})),
            ("l[3]", "0.5", json!({"a": {"k": "old"}, "l": [1, {"x": 2}, null, "0.5"]})),
            (
                "m[0].n[1]",
                "{x,y}",
                json!({"a": {"k": "old"}, "l": [1, {"x": 2}], "m": [{"n": [null, "{x,y}"]}]}),
            ),
            ("a.k", r"C:\\x\y", json!({"a": {"k": r"C:\xy"}, "l": [1, {"x": 2}]})),
            ("a.k", "", json!({"a": {"k": "old"}, "l": [1, {"x": 2}]})),
        ] {
            let mut values = json!({"a": {"k": "old"}, "l": [1, {"x": 2}]});
            assert_eq!(apply(&mut values, &[set(name, value)], &[]), Some(()), "{name}");
            assert_eq!(values, expected, "{name}={value}");
        }
        let mut values = json!({});
        let list =
            SetValue { name: "v".to_owned(), values: vec!["1".into(), "a,b".into()], ..SetValue::default() };
        apply(&mut values, &[list, set("s", "1")], &[set("s", "2")]).unwrap();
        assert_eq!(values, json!({"v": [1, "a,b"], "s": "2"}), "strings come last");
    }

    #[test]
    fn values_that_helm_may_parse_differently_are_not_set() {
        let file = SetValue { name: "a".to_owned(), file: "x".to_owned(), ..SetValue::default() };
        let others = ["a=b", "a..b", ".a", "", "a[x]", "a[1", "a[1]b", "a[99999999]", "k.x", "l.x", r"a\,b"];
        let others = others.map(|name| set(name, "1"));
        let values = [r"a\,b", "ref+sops://x#/y", r"a\"].map(|value| set("a", value));
        for entry in others.into_iter().chain(values).chain([file]) {
            let mut values = json!({"k": "v", "l": []});
            assert_eq!(apply(&mut values, &[entry], &[]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_entry_makes_it_panic(name: String, near in r"[a\[\]0-9.\\=,]{0,9}", value: String) {
            for name in [name, near] {
                _ = apply(&mut serde_json::json!({"a": [{}]}), &[set(&name, &value)], &[]);
            }
        }
    }
}
