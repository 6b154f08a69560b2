//! Answers that are nearly as a program gives them, for tests: random bytes end in the first parser that they meet.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// For what takes long: a quarter of the cases.
pub(crate) fn fewer() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), ..usual }
}

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

/// Texts that are nearly as a program or a person writes them: parts of good ones taken away, doubled, exchanged, and
/// mixed with what parsers stumble over.
pub(crate) fn near(good: &'static [&'static str]) -> impl Strategy<Value = String> {
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
    /// Takes a part away.
    Cut(Part),
    /// Writes a part once more, somewhere, a few times.
    Repeat(Part, Index, usize),
    /// Puts a part of a good text somewhere.
    Mix(Index, Part, Index),
    Insert(Index, String),
    Replace(Part, String),
    /// Nothing follows.
    End(Index),
    /// The same for lines, of which most texts consist.
    CutLine(Index),
    MoveLine(Index, Index),
}

/// A part of a text: where it begins, and how many characters it has at most.
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
        index().prop_map(Edit::End),
        index().prop_map(Edit::CutLine),
        (index(), index()).prop_map(|(from, to)| Edit::MoveLine(from, to)),
    ]
}

/// What parsers stumble over: what opens and closes, ends and separates, numbers at borders, characters of several bytes.
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
            Self::Cut(part) => _ = text.drain(part.of(text)),
            Self::Repeat(part, at, times) => {
                let part = text[part.of(text)].repeat(times);
                text.insert_str(border(text, at), &part);
            }
            Self::Mix(other, part, at) => {
                let other = *other.get(good);
                text.insert_str(border(text, at), &other[part.of(other)]);
            }
            Self::Insert(at, piece) => text.insert_str(border(text, at), &piece),
            Self::Replace(part, piece) => text.replace_range(part.of(text), &piece),
            Self::End(at) => text.truncate(border(text, at)),
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
    fn of(&self, text: &str) -> Range<usize> {
        let from = border(text, self.0);
        from..text.ceil_char_boundary((from + self.1).min(text.len()))
    }
}

/// A place between two characters.
fn border(text: &str, at: Index) -> usize {
    text.ceil_char_boundary(at.index(text.len() + 1))
}
