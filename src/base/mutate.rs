//! Test support: mutates real outputs and answers of programs. Random bytes would only reach the first parser.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// A quarter of the usual cases, for slow tests.
pub(crate) fn slow_config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), ..usual }
}

/// A valid JSON answer with some of its values replaced.
pub(crate) fn json(answer: &str) -> impl Strategy<Value = Value> + use<> {
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
    proptest::collection::vec((any::<Index>(), part), 1..5).prop_map(move |changes| {
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

/// Replaces the value with this index, in depth-first order.
fn replace(value: &mut Value, index: &mut usize, part: &Value) {
    if *index == 0 {
        *value = part.clone();
    }
    // After zero, the index wraps around, so that only one value is replaced.
    *index = index.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, index, part)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, index, part)),
        _ => {}
    }
}

/// Mutations of valid texts: parts are removed, repeated, swapped, and mixed with pieces that are hard to parse.
pub(crate) fn text(good: &'static [&'static str]) -> impl Strategy<Value = String> {
    let edits = proptest::collection::vec(edit(), 0..6);
    (any::<Index>(), edits).prop_map(move |(first, edits)| {
        let mut text = first.get(good).to_string();
        for edit in edits {
            edit.apply(&mut text, good);
        }
        text
    })
}

#[derive(Clone, Debug)]
enum Edit {
    Cut(Part),
    /// Inserts copies of a part.
    Repeat(Part, Index, usize),
    /// Inserts a part of another valid text.
    Mix(Index, Part, Index),
    Insert(Index, String),
    Replace(Part, String),
    Truncate(Index),
    CutLine(Index),
    MoveLine(Index, Index),
}

/// A part of a text: its start and its maximum length.
#[derive(Clone, Debug)]
struct Part(Index, usize);

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    let part = || (index(), 0..24_usize).prop_map(|(at, length)| Part(at, length));
    prop_oneof![
        part().prop_map(Edit::Cut),
        (part(), index(), 1..40_usize).prop_map(|(part, at, times)| Edit::Repeat(part, at, times)),
        (index(), part(), index()).prop_map(|(text, part, at)| Edit::Mix(text, part, at)),
        (index(), piece()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (part(), piece()).prop_map(|(part, piece)| Edit::Replace(part, piece)),
        index().prop_map(Edit::Truncate),
        index().prop_map(Edit::CutLine),
        (index(), index()).prop_map(|(from, to)| Edit::MoveLine(from, to)),
    ]
}

/// Pieces that are hard to parse: brackets, separators, numbers at limits, and characters of several bytes.
const PIECES: [&str; 48] = [
    "",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{a0}",
    "\u{2028}",
    "\u{85}",
    "\u{feff}",
    "\u{e4}",
    "\u{1f600}",
    "e\u{301}",
    "\\",
    "\\n",
    "\\u",
    "\"",
    "'",
    "`",
    "{",
    "}",
    "{{",
    "}}",
    "[",
    "]",
    "(",
    ")",
    ":",
    ": ",
    "://",
    "=",
    ",",
    "/",
    "..",
    "-",
    "\n- ",
    "\n---\n",
    "#",
    "%",
    "&a ",
    "*a",
    "!!binary ",
    "|",
    ">",
    "@",
    "null",
    "-1",
    "18446744073709551616",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(&PIECES[..]).prop_map(ToOwned::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[0-9]{1,20}|[a-z]{1,3}|[ \n\t]{1,9}",
    ]
}

impl Edit {
    fn apply(self, text: &mut String, good: &[&str]) {
        match self {
            Self::Cut(part) => _ = text.drain(part.range(text)),
            Self::Repeat(part, at, times) => {
                let part = text[part.range(text)].repeat(times);
                text.insert_str(char_boundary(text, at), &part);
            }
            Self::Mix(other, part, at) => {
                let other = *other.get(good);
                text.insert_str(char_boundary(text, at), &other[part.range(other)]);
            }
            Self::Insert(at, piece) => text.insert_str(char_boundary(text, at), &piece),
            Self::Replace(part, piece) => text.replace_range(part.range(text), &piece),
            Self::Truncate(at) => text.truncate(char_boundary(text, at)),
            Self::CutLine(at) => {
                let mut lines: Vec<_> = text.split_inclusive('\n').collect();
                if !lines.is_empty() {
                    lines.remove(at.index(lines.len()));
                }
                *text = lines.concat();
            }
            Self::MoveLine(from, to) => {
                let mut lines: Vec<_> = text.split_inclusive('\n').collect();
                if !lines.is_empty() {
                    let line = lines.remove(from.index(lines.len()));
                    lines.insert(to.index(lines.len() + 1), line);
                }
                *text = lines.concat();
            }
        }
    }
}

impl Part {
    fn range(&self, text: &str) -> Range<usize> {
        let from = char_boundary(text, self.0);
        from..text.ceil_char_boundary((from + self.1).min(text.len()))
    }
}

/// A position between two characters.
fn char_boundary(text: &str, at: Index) -> usize {
    text.ceil_char_boundary(at.index(text.len() + 1))
}
