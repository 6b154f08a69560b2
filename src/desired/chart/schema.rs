//! What a chart's `values.schema.json` says of a map in the values.

use std::collections::BTreeSet;

use serde_json::Value;

/// A reference that leads to references without end is cut off here.
const DEEPEST: usize = 16;

/// What the schema says of a map.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The keys that it names.
    pub keys: BTreeSet<&'a str>,
    /// Whether it says what keys it does not name shall hold: then any may stand there.
    pub free: bool,
    /// Whether it refuses all others.
    pub closed: bool,
}

/// Looks up a map.
#[must_use]
pub fn look<'a>(schema: &'a Value, path: &[String]) -> Place<'a> {
    let mut nodes = alternatives(schema, schema, DEEPEST);
    for key in path {
        let next = nodes.iter().filter_map(|node| node.get("properties")?.get(key));
        nodes = next.flat_map(|node| alternatives(schema, node, DEEPEST)).collect();
    }
    let properties = nodes.iter().filter_map(|node| node.get("properties")?.as_object());
    let is_schema = |value: &Value| value.as_object().is_some_and(|schema| !schema.is_empty());
    let free = nodes.iter().any(|node| {
        node.get("patternProperties").is_some_and(is_schema)
            || node.get("additionalProperties").is_some_and(is_schema)
    });
    // With alternatives it takes more than this to tell what is refused.
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

/// The schema behind a reference, and those that it combines.
fn alternatives<'a>(root: &'a Value, node: &'a Value, depth: usize) -> Vec<&'a Value> {
    let Some(depth) = depth.checked_sub(1) else {
        return Vec::new();
    };
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map(|target| alternatives(root, target, depth)).unwrap_or_default();
    }
    let combined = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| node.get(key)?.as_array()).flatten();
    std::iter::once(node).chain(combined.flat_map(|node| alternatives(root, node, depth))).collect()
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
    }
}
