//! Answers that are nearly as a program gives them, for tests: random bytes end in the first parser that they meet.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A good answer with some of its parts replaced by something else.
pub(crate) fn odd(answer: &str) -> impl Strategy<Value = Value> + use<> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let part = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(u64::MAX)),
        Just(json!(1e300)),
        any::<String>().prop_map(Value::from),
        "[-/.:=,v0-9 a\u{e4}]{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, {"": [""]}])),
    ];
    proptest::collection::vec((any::<proptest::sample::Index>(), part), 1..5).prop_map(move |changes| {
        let mut changed = answer.clone();
        for (index, part) in changes {
            let at = index.index(count(&changed));
            replace(&mut changed, &mut { at }, &part);
        }
        changed
    })
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the value at this number, counted from the outside in.
fn replace(value: &mut Value, left: &mut usize, part: &Value) {
    if *left == 0 {
        *value = part.clone();
    }
    // Nothing is replaced twice.
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, left, part)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, left, part)),
        _ => {}
    }
}
