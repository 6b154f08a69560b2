//! Looks up a map of values in a chart's `values.schema.json`.

use std::collections::BTreeSet;

use serde_json::Value;

/// The schema of a map.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// The listed keys.
    pub keys: BTreeSet<&'a str>,
    /// Whether it has a schema for other keys, so that any key is valid.
    pub free: bool,
    /// Whether it rejects all other keys.
    pub closed: bool,
}

/// Looks up a map.
pub(crate) fn look<'a>(schema: &'a Value, path: &[String]) -> Place<'a> {
    let mut nodes = alternatives(schema, [schema]);
    for key in path {
        nodes = alternatives(schema, nodes.iter().filter_map(|node| node.get("properties")?.get(key)));
    }
    let properties = nodes.iter().filter_map(|node| node.get("properties")?.as_object());
    let is_schema = |value: &Value| value.as_object().is_some_and(|schema| !schema.is_empty());
    let free = nodes.iter().any(|node| {
        node.get("patternProperties").is_some_and(is_schema)
            || node.get("additionalProperties").is_some_and(is_schema)
    });
    // With alternatives it is unknown what is rejected.
    let closed = match nodes.as_slice() {
        [node] => !free && node.get("additionalProperties") == Some(&Value::Bool(false)),
        _ => false,
    };
    Place {
        keys: properties.flat_map(|properties| properties.keys().map(String::as_str)).collect(),
        free,
        closed,
    }
}

/// The schemas behind references and combinations, each once: a schema may refer to itself in many ways.
fn alternatives<'a>(root: &'a Value, nodes: impl IntoIterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut left: Vec<_> = nodes.into_iter().collect();
    left.reverse();
    while let Some(node) = left.pop() {
        if !seen.insert(std::ptr::from_ref(node)) {
            continue;
        }
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            left.extend(reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)));
            continue;
        }
        found.push(node);
        let combined = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| node.get(key)?.as_array());
        left.extend(combined.flatten().rev());
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_are_looked_up() {
        let schema = json!({
            "$ref": "#/$defs/values",
            "$defs": {
                "values": {"properties": {
                    "closed": {"additionalProperties": false, "properties": {"a": {}, "b": {}}},
                    "open": {"properties": {"a": {}}},
                    "free": {"additionalProperties": {"type": "string"}},
                    "either": {"oneOf": [{"additionalProperties": false, "properties": {"x": {}}}, {"type": "null"}]},
                    "loop": {"$ref": "#/$defs/loop"},
                    "else": {"$ref": "other.json"},
                }},
                "loop": {"allOf": [{"$ref": "#/$defs/loop"}, {"$ref": "#/$defs/loop"}]},
            },
        });
        let place = |name: &str| look(&schema, &[name.to_owned()]);
        assert_eq!(place("closed"), Place { keys: ["a", "b"].into(), free: false, closed: true });
        assert_eq!(place("open"), Place { keys: ["a"].into(), ..Place::default() });
        assert_eq!(place("free"), Place { free: true, ..Place::default() });
        assert_eq!(place("either"), Place { keys: ["x"].into(), ..Place::default() });
        for name in ["loop", "else", "gone"] {
            assert_eq!(place(name), Place::default(), "{name}");
        }
        assert_eq!(look(&schema, &[]).keys.len(), 6);
        // Without the set of seen schemas, this would take more than 30^8 steps.
        let many = vec![json!({"$ref": "#"}); 30];
        let knot = json!({"allOf": many, "anyOf": many, "properties": {"a": {"oneOf": many}}});
        assert_eq!(look(&knot, &vec!["a".to_owned(); 30]).keys, ["a"].into());
    }

    proptest::proptest! {
        #[test]
        fn no_schema_makes_it_panic(schema in crate::base::mutate::json(r##"{"$ref": "#/$defs/v", "$defs": {"v": {"properties": {
            "a": {"additionalProperties": false, "properties": {"a": {"$ref": "#/$defs/w/0"}}}, "b": {"patternProperties": {"x": {"type": "null"}}}}},
            "w": [{"allOf": [{"$ref": "#"}, {"anyOf": [{"$ref": "#/$defs/v"}]}]}, {"oneOf": [{}]}]}}"##),
            path in proptest::collection::vec("[ab]?", 0..6)) {
            _ = look(&schema, &path);
        }
    }
}
