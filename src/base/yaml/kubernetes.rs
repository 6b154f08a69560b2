//! YAML as Helm and kubectl parse it: with `sigs.k8s.io/yaml`, by the rules of YAML 1.1, where `0400` is 256 and `yes` is
//! true, unless they are quoted.
//!
//! The parser reads YAML 1.2 and does not report the style of a scalar. But it borrows unchanged scalars from the text: the
//! character before shows whether it is quoted. A scalar with several lines or escapes is not borrowed, and is a string in
//! both versions.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{YamlError, read_documents};

/// Reads the documents of a text of at most `largest` bytes as JSON, up to the first error. As in Helm, the last of two
/// equal keys wins, and `<<` merges the keys of other maps.
pub(crate) fn documents(text: &str, largest: usize) -> impl Iterator<Item = Result<Value, YamlError>> {
    read_documents(text, largest, move |document| Node(text).deserialize(document))
}

/// Deserializes a value of a document; with the whole text.
#[derive(Clone, Copy)]
struct Node<'t>(&'t str);

impl<'t> DeserializeSeed<'t> for Node<'t> {
    type Value = Value;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Node<'t> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    #[expect(clippy::cast_precision_loss, reason = "Go reads what is beyond 64 bits as a float")]
    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "Go reads what is beyond 64 bits as a float")]
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        number(value).ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'t str) -> Result<Value, E> {
        Ok(resolve(text).filter(|_| self.is_plain(text)).unwrap_or_else(|| text.into()))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key_seed(Key(self))? {
            let value = map.next_value_seed(self)?;
            match key {
                Some(key) => _ = fields.insert(key, value),
                None => merge(&mut fields, value).map_err(A::Error::custom)?,
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_enum<A: de::EnumAccess<'t>>(self, tagged: A) -> Result<Value, A::Error> {
        // Helm ignores custom tags.
        let (de::IgnoredAny, contents) = tagged.variant()?;
        de::VariantAccess::newtype_variant_seed(contents, self)
    }
}

impl<'t> Node<'t> {
    /// Whether a scalar that was borrowed from the text has neither quotes nor a tag.
    fn is_plain(self, scalar: &'t str) -> bool {
        let start = scalar.as_ptr().addr().checked_sub(self.0.as_ptr().addr());
        let Some(before) = start.and_then(|start| self.0.get(..start)) else { return false };
        if before.ends_with(['"', '\'']) {
            return false;
        }
        // There may be a tag and an anchor before it, in either order.
        let words = before.split_whitespace().rev().map(|word| word.trim_start_matches(['[', '{', ',']));
        let mut marks = words.take_while(|word| word.starts_with(['!', '&']));
        !marks.any(|word| word.starts_with('!'))
    }
}

/// A key of a map as JSON text; none for `<<`.
struct Key<'t>(Node<'t>);

impl<'t> DeserializeSeed<'t> for Key<'t> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'t> for Key<'t> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'t str) -> Result<Option<String>, E> {
        if text == "<<" && self.0.is_plain(text) {
            return Ok(None);
        }
        match resolve(text).filter(|_| self.0.is_plain(text)) {
            None => self.visit_str(text),
            Some(Value::Null) => Err(E::custom("a key is null")),
            Some(key) => Ok(Some(key.to_string())),
        }
    }
}

/// Merges the keys of other maps like `gopkg.in/yaml.v2`: the first of several maps wins.
fn merge(fields: &mut Map<String, Value>, other: Value) -> Result<(), &'static str> {
    match other {
        Value::Object(other) => fields.extend(other),
        Value::Array(others) => {
            for other in others.into_iter().rev() {
                let Value::Object(other) = other else { return Err("`<<` takes maps") };
                fields.extend(other);
            }
        }
        _ => return Err("`<<` takes maps"),
    }
    Ok(())
}

/// A number as Go writes it in JSON: `1.0` is 1. `None` for infinity and NaN.
#[expect(clippy::cast_possible_truncation, reason = "only numbers that fit are cast")]
fn number(value: f64) -> Option<Value> {
    /// A float represents every integer up to this.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= WHOLE {
        return Some((value as i64).into());
    }
    Number::from_f64(value).map(Value::Number)
}

/// The value of a plain scalar that is not a string (`resolve.go` of `go.yaml.in/yaml/v2` 2.4.2, which `sigs.k8s.io/yaml` 1.6.0
/// uses). Of values, the parser knows most of them.
fn resolve(scalar: &str) -> Option<Value> {
    let Some(first) = scalar.as_bytes().first() else { return Some(Value::Null) };
    match first {
        b'0'..=b'9' | b'+' | b'-' => {
            let digits = scalar.replace('_', "");
            whole(&digits).or_else(|| float(&digits))
        }
        b'.' => float(scalar),
        _ => match scalar {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Some(true.into())
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Some(false.into())
            }
            "~" | "null" | "Null" | "NULL" => Some(Value::Null),
            _ => None,
        },
    }
}

/// Like Go's `strconv.ParseInt` with base 0, and `ParseUint`, which accepts no sign.
fn whole(digits: &str) -> Option<Value> {
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let radix = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| unsigned.strip_prefix(prefix));
    let (radix, unsigned) = if let Some(rest) = radix(["0x", "0X"]) {
        (16, rest)
    } else if let Some(rest) = radix(["0o", "0O"]) {
        (8, rest)
    } else if let Some(rest) = radix(["0b", "0B"]) {
        (2, rest)
    } else if unsigned.starts_with('0') {
        (8, unsigned)
    } else {
        (10, unsigned)
    };
    // One sign was removed.
    let value = u64::from_str_radix(unsigned, radix).ok().filter(|_| !unsigned.starts_with('+'))?;
    match digits.as_bytes().first()? {
        b'-' => 0_i64.checked_sub_unsigned(value).map(Value::from),
        b'+' => i64::try_from(value).ok().map(Value::from),
        _ => Some(value.into()),
    }
}

fn float(digits: &str) -> Option<Value> {
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    // Rust also parses `inf` and `nan`.
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    digits.parse().ok().filter(|value: &f64| is_number && value.is_finite()).and_then(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::yaml::PRINTED;

    #[track_caller]
    fn read(text: &str) -> Value {
        let mut all = documents(text, PRINTED);
        let (one, more) = (all.next().unwrap().unwrap(), all.count());
        assert_eq!(more, 0, "{text}");
        one
    }

    /// Expected values are those of kubectl 1.36.3 and helm 4.2.4 (`tests/real/manifests.rs` asks kubectl).
    #[test]
    fn plain_scalars_are_those_of_yaml_1_1() {
        let cases = [
            ("0400", json!(256)),
            ("-0644", json!(-420)),
            ("00", json!(0)),
            ("08", json!(8)),
            ("09.5", json!(9.5)),
            ("0o17", json!(15)),
            ("0O17", json!(15)),
            ("0X1f", json!(31)),
            ("0x_1F", json!(31)),
            ("0b101", json!(5)),
            ("-0B11", json!(-3)),
            ("1_000", json!(1000)),
            ("1_000.5", json!(1000.5)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("-.5", json!(-0.5)),
            ("+1", json!(1)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("y", json!(true)),
            ("Yes", json!(true)),
            ("ON", json!(true)),
            ("n", json!(false)),
            ("No", json!(false)),
            ("off", json!(false)),
            ("True", json!(true)),
            ("~", json!(null)),
            ("", json!(null)),
        ];
        for (scalar, expected) in cases {
            assert_eq!(read(&format!("a: {scalar}")), json!({"a": expected}), "{scalar}");
            assert_eq!(read(&format!("- {scalar} # b")), json!([expected]), "{scalar}");
            let flow = format!("{{a: [{scalar} ], b: {scalar}}}\n");
            let list = if scalar.is_empty() { json!([]) } else { json!([expected]) };
            assert_eq!(read(&flow), json!({"a": list, "b": expected}), "{scalar}");
            for quoted in [format!("'{scalar}'"), format!("\"{scalar}\""), format!("|-\n  {scalar}")] {
                assert_eq!(read(&format!("- {quoted}")), json!([scalar]), "{quoted}");
            }
        }
    }

    #[test]
    fn other_plain_scalars_are_strings() {
        let strings = "yEs oN tRUE _1 ++1 +-1 - 0x 0b2 0o8 0x+1 1,000 1k 100m 0.5Gi 1.1.1 1-2 12:30 2020-01-01 ._5 1._5e inf nan 3e";
        for scalar in strings.split(' ').filter(|scalar| *scalar != "-") {
            assert_eq!(read(&format!("a: {scalar}")), json!({"a": scalar}));
        }
        assert!(documents("a: .inf", PRINTED).next().unwrap().is_err(), "JSON has no such number");
    }

    #[test]
    fn quotes_and_tags_decide() {
        let cases = [
            ("ä: ü\nb: yes\n", json!({"ä": "ü", "b": true})),
            ("a: \"\\x79es\"\n", json!({"a": "yes"})),
            ("a: yes\n  no\n", json!({"a": "yes no"})),
            ("a: &x yes\nb: *x\nc: &y 'yes'\nd: *y\n", json!({"a": true, "b": true, "c": "yes", "d": "yes"})),
            (
                "a: !!str yes\nb: [!!str &x 0400]\nc: &y !!str no\n",
                json!({"a": "yes", "b": ["0400"], "c": "no"}),
            ),
            ("a: !mine yes\nb: !mine {c: yes}\n", json!({"a": "yes", "b": {"c": true}})),
            ("a: !!int \"12\"\nb: !!bool 'true'\n", json!({"a": 12, "b": true})),
            ("yes: 1\n0400: 2\n'no': 3\n1.5: 4\nTrue: 5\n", json!({"true": 5, "256": 2, "no": 3, "1.5": 4})),
            ("a: 1\na: yes\n", json!({"a": true})),
            ("{\"a\":yes,'b':\"no\"}", json!({"a": true, "b": "no"})),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
        for key in ["~", "[1]"] {
            assert!(
                documents(&format!("{key}: 1"), PRINTED).next().unwrap().is_err(),
                "Helm rejects such keys"
            );
        }
        let all: Vec<_> = documents("a: on\n---\n- 010\n", PRINTED).map(Result::unwrap).collect();
        assert_eq!(all, [json!({"a": true}), json!([8])]);
    }

    #[test]
    fn keys_of_other_maps_are_merged() {
        let text = "a: &a {x: 1, y_: 2}\nb: {<<: *a, x: 3}\nc: {x: 3, <<: *a}\nd: {<<: [{x: 4}, *a]}\ne: {'<<': 1}\n";
        let expected = json!({"a": {"x": 1, "y_": 2}, "b": {"x": 3, "y_": 2}, "c": {"x": 1, "y_": 2},
            "d": {"x": 4, "y_": 2}, "e": {"<<": 1}});
        assert_eq!(read(text), expected);
        assert!(documents("a: {<<: 1}", PRINTED).next().unwrap().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, scalar in "[-+]?(0[xXoObB]?)?[0-9a-fA-F_.eE+-]{0,40}", near in crate::base::mutate::text(&[
            "---\nkind: a\nmode: 0400\non: yes\nb: [!!str &x 0400, 'no', \"1_0\"]\nc: {<<: *x}\nd: &m {a: 1}\ne: {<<: [*m], 0x1: 1e3}\n",
        ])) {
            for text in [&text, &scalar, &near, &format!("{scalar}: {scalar}")] {
                _ = documents(text, PRINTED).count();
            }
        }

        #[test]
        fn quoted_texts_stay_strings(text in "[0-9a-zA-Z_.:+~<-]{0,12}") {
            let quoted = format!("- '{text}'\n- \"{text}\"\n- {{'{text}': \"{text}\"}}\n");
            let all = documents(&quoted, PRINTED).next().and_then(Result::ok);
            let expected = json!([text, text, {text.clone(): text}]);
            proptest::prop_assert_eq!(all, Some(expected));
        }
    }
}
