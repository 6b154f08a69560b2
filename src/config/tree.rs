//! YAML as a tree of limited size, with the locations of its parts.

use std::cell::Cell;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The maximum number of values: a configuration has some dozen, but a few bytes of aliases can expand to billions.
const MAX_VALUES: usize = 1024;

const TOO_MANY: &str = "too many values";

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    /// Only non-negative integers have a value: no other number is valid in a configuration.
    Number(Option<u64>),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// A step in the path to a part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list.
    Index(usize),
    /// To a key itself.
    Name(String),
}

/// Why a text is not a valid document, without its content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) line: Option<usize>,
    pub(super) reason: String,
}

/// A location in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In bytes, from 0.
    pub(super) index: usize,
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
}

/// Reads the one document of a text.
pub(super) fn parse(text: &str) -> Result<Tree, Broken> {
    // The parser visits all open brackets for each token: thousands of them would take minutes.
    if text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > MAX_VALUES {
        return Err(Broken { line: None, reason: TOO_MANY.to_owned() });
    }
    let walk = Walk { target: None, state: &State::default() };
    let result = walk.deserialize(serde_yaml::Deserializer::from_str(text));
    result.map_err(|error| Broken {
        line: error.location().map(|place| place.line()),
        reason: walk.state.refused.get().map_or_else(|| error.to_string(), ToOwned::to_owned),
    })
}

/// Locates a part of a valid document.
pub(super) fn place(text: &str, path: &[Step]) -> Option<Place> {
    // The parser reports locations only in errors, so the walk fails at the target.
    let walk = Walk { target: Some(path), state: &State::default() };
    let error = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    let place = error.location()?;
    Some(Place { index: place.index(), line: place.line(), column: place.column() })
}

struct State {
    left: Cell<usize>,
    /// Why the walk failed: the parser's own message would contain keys.
    refused: Cell<Option<&'static str>>,
}

impl Default for State {
    fn default() -> Self {
        Self { left: Cell::new(MAX_VALUES), refused: Cell::new(None) }
    }
}

impl State {
    fn refuse<E: de::Error>(&self, reason: &'static str) -> E {
        self.refused.set(Some(reason));
        E::custom(reason)
    }
}

/// Reads a value; fails at the target.
#[derive(Clone, Copy)]
struct Walk<'a> {
    target: Option<&'a [Step]>,
    state: &'a State,
}

impl Walk<'_> {
    /// Counts a value; called at the start of every visit.
    fn enter<E: de::Error>(self) -> Result<(), E> {
        let left = self.state.left.get().checked_sub(1);
        self.state.left.set(left.ok_or_else(|| self.state.refuse(TOO_MANY))?);
        if self.target == Some(&[]) { Err(self.state.refuse("here")) } else { Ok(()) }
    }

    fn below(self, step: &Step) -> Self {
        let rest = self.target.and_then(<[Step]>::split_first).filter(|(first, _)| *first == step);
        Self { target: rest.map(|(_, rest)| rest), ..self }
    }

    fn leaf<E: de::Error>(self, leaf: Tree) -> Result<Tree, E> {
        self.enter().map(|()| leaf)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        self.leaf(Tree::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        self.leaf(Tree::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        self.leaf(Tree::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        self.leaf(Tree::Number(Some(value)))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Tree, E> {
        self.leaf(Tree::Number(None))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Tree, E> {
        self.leaf(Tree::Number(None))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Tree, E> {
        self.leaf(Tree::Number(None))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Tree, E> {
        self.leaf(Tree::Number(None))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
        self.leaf(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        self.enter()?;
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(self.below(&Step::Index(elements.len())))? {
            elements.push(element);
        }
        Ok(Tree::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        self.enter()?;
        let mut entries = Vec::new();
        while let Some(name) = map.next_key_seed(Name { walk: self, taken: &entries })? {
            let value = map.next_value_seed(self.below(&Step::Key(name.clone())))?;
            entries.push((name, value));
        }
        Ok(Tree::Map(entries))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Tree, A::Error> {
        Err(self.state.refuse("tags such as `!x` are not supported"))
    }
}

/// Reads a key of a mapping.
struct Name<'a> {
    walk: Walk<'a>,
    /// The previous entries of the mapping.
    taken: &'a [(String, Tree)],
}

impl Name<'_> {
    fn keep<E: de::Error>(self, name: String) -> Result<String, E> {
        let state = self.walk.state;
        if self.taken.iter().any(|(taken, _)| *taken == name) {
            return Err(state.refuse("duplicate key"));
        }
        self.walk.below(&Step::Name(name.clone())).enter().map(|()| name)
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        self.keep(text.to_owned())
    }

    // Keys are never of these types, so they are reported as unknown keys.

    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        self.keep("null".to_owned())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
        self.keep(value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
        self.keep(value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<String, E> {
        self.keep(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<String, E> {
        self.keep(value.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.walk.state.refuse("a sequence cannot be a key"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.walk.state.refuse("a mapping cannot be a key"))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.walk.state.refuse("tags such as `!x` are not supported"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> (Option<usize>, String) {
        let Broken { line, reason } = parse(text).unwrap_err();
        (line, reason)
    }

    #[test]
    fn documents_become_trees() {
        let word = |text: &str| Tree::Text(text.to_owned());
        let map = |entries: &[(&str, Tree)]| {
            Tree::Map(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
        };
        for text in ["", "# only comments\n", "---\n", "~", "\n\n"] {
            assert_eq!(parse(text).unwrap(), Tree::Null, "{text:?}");
        }
        let text = "a: [x, 1, -1, 1.5, true, ~]\nb: {c: 'd'}\n1: *x\n".replace("*x", "&x y");
        let list = vec![
            word("x"),
            Tree::Number(Some(1)),
            Tree::Number(None),
            Tree::Number(None),
            Tree::Bool(true),
            Tree::Null,
        ];
        let expected = [("a", Tree::List(list)), ("b", map(&[("c", word("d"))])), ("1", word("y"))];
        assert_eq!(parse(&text).unwrap(), map(&expected));
        assert_eq!(parse("\u{feff}a: 1\n").unwrap(), map(&[("a", Tree::Number(Some(1)))]));
        let shared = map(&[("a", word("x")), ("b", word("x"))]);
        assert_eq!(parse("a: &x x\nb: *x\n").unwrap(), shared);
    }

    #[test]
    fn invalid_documents_are_refused_with_the_line() {
        let cases = [
            ("a: 1\nb: 2\na: 3\n", Some(3), "duplicate key"),
            ("a:\n  b: 1\n  b: 1\n", Some(3), "duplicate key"),
            ("a: 1\nb: !x y\n", Some(2), "tags such as `!x` are not supported"),
            ("a: 1\n? [x]\n: y\n", Some(2), "a sequence cannot be a key"),
            ("a: 1\nb: *nowhere\n", Some(2), "unknown anchor at line 2 column 4"),
            (
                "a: 1\n---\nb: 1\n",
                None,
                "deserializing from YAML containing more than one document is not supported",
            ),
            (
                "a: [\n",
                Some(2),
                "did not find expected node content at line 2 column 1, while parsing a flow node",
            ),
            ("a: \u{1}\n", Some(1), "control characters are not allowed at position 3"),
        ];
        for (text, line, reason) in cases {
            assert_eq!(broken(text), (line, reason.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn yaml_bombs_fail_quickly() {
        let start = std::time::Instant::now();
        let most = usize::try_from(super::super::MAX_SIZE).unwrap();
        let line = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
        let laughs = format!("a0: &a0 [x, x]\n{}", (1..30).map(line).collect::<String>());
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(900), "*a,".repeat(most / 4));
        let open = format!("{}{}", "[".repeat(MAX_VALUES), "x,".repeat((most - MAX_VALUES) / 2));
        let many = (0..most / 16).map(|n| format!("a{n}: 1")).collect::<Vec<_>>().join("\n");
        for text in [&laughs, &wide, &open, &many, &"[".repeat(most), &"{a: ".repeat(most / 4)] {
            let (_, reason) = broken(text);
            assert!(reason == TOO_MANY || reason.starts_with("recursion limit"), "{reason}");
        }
        assert_eq!(broken("a: &a [*a]\n").1, "recursion limit exceeded at line 1 column 4");
        for text in ["- ", "? ", "[[]", "\"", "'", "&a ", "!", "a:\n", "*a ", "|\n", "\u{0}", "%"] {
            _ = parse(&text.repeat(most / text.len()));
        }
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }

    #[test]
    fn locations_are_those_in_the_text() {
        let text = "# äöü\ncluster:\n  uid: 'x'\nlist: [a, {b: c}]\n";
        let key = |name: &str| Step::Key(name.to_owned());
        let at = |path: &[Step]| {
            let Place { index, line, column } = place(text, path).unwrap();
            (&text[index..=index], line, column)
        };
        assert_eq!(at(&[]), ("c", 2, 1));
        assert_eq!(at(&[key("cluster")]), ("u", 3, 3));
        assert_eq!(at(&[key("cluster"), Step::Name("uid".to_owned())]), ("u", 3, 3));
        assert_eq!(at(&[key("cluster"), key("uid")]), ("'", 3, 8));
        assert_eq!(at(&[key("list"), Step::Index(1), key("b")]), ("c", 4, 15));
        assert_eq!(at(&[Step::Name("list".to_owned())]), ("l", 4, 1));
        assert_eq!(place(text, &[key("nothing")]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*|[\\[\\]{}:,&*!|>'\"%@`#?a \n-]*", near in crate::observed::odd::near(&[
            "a: &x [1, {b: 2}]\nc: *x\nd: |\n  text\n? e\n: !!str f\n", "%YAML 1.2\n---\n- {a: 1, b: [2, 3]}\n- 'x'\n...\n",
        ])) {
            _ = parse(&near);
            _ = place(&near, &[Step::Key("a".to_owned()), Step::Index(0)]);
            _ = parse(&text);
            _ = place(&text, &[Step::Key("a".to_owned()), Step::Index(0)]);
        }
    }
}
