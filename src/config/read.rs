//! Deserializes a tree and reports all faults at once: serde stops at the first fault, so that part is skipped and
//! deserialization starts again.

use std::fmt::Display;

use serde::de::{
    self, DeserializeOwned, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Step, Tree};

/// The maximum number of reported faults.
const MAX_FAULTS: usize = 20;

/// A fault and its location.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) path: Vec<Step>,
    pub(super) what: What,
}

/// The type of a fault.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// An unknown key, with the accepted ones.
    Key(&'static [&'static str]),
    /// An unknown word, with the accepted ones.
    Word { found: String, accepted: &'static [&'static str] },
    /// An invalid value.
    Value { found: Tree, accepted: String },
}

/// Reads the valid parts of a tree, and returns the faults.
pub(super) fn read<T: DeserializeOwned + Default>(tree: &Tree) -> (T, Vec<Fault>) {
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let skip: Vec<_> = faults.iter().map(|fault| value_path(&fault.path)).collect();
        let Stop { path, what } = match T::deserialize(Node { tree, path: Vec::new(), skip: &skip }) {
            Ok(value) => return (value, faults),
            Err(stop) => stop,
        };
        let path = path.unwrap_or_default();
        let whole = path.is_empty();
        faults.push(Fault { path, what });
        if whole || faults.len() == MAX_FAULTS {
            return (T::default(), faults);
        }
    }
}

/// The path of the value of a key.
fn value_path(path: &[Step]) -> Vec<Step> {
    let value = |step: &Step| match step {
        Step::Name(name) => Step::Key(name.clone()),
        other => other.clone(),
    };
    path.iter().map(value).collect()
}

/// Why serde stopped. The location is added where it is known.
#[derive(Debug)]
struct Stop {
    path: Option<Vec<Step>>,
    what: What,
}

impl Stop {
    fn at(mut self, path: &[Step], tree: &Tree) -> Self {
        if self.path.is_none() {
            self.path = Some(path.to_vec());
            match &mut self.what {
                What::Value { found, .. } => *found = tree.clone(),
                What::Key(_) | What::Word { .. } => {}
            }
        }
        self
    }
}

impl Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("does not fit")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: Display>(accepted: T) -> Self {
        Self { path: None, what: What::Value { found: Tree::Null, accepted: accepted.to_string() } }
    }

    fn invalid_type(_: Unexpected<'_>, accepted: &dyn Expected) -> Self {
        Self::custom(accepted)
    }

    fn invalid_value(_: Unexpected<'_>, accepted: &dyn Expected) -> Self {
        Self::custom(accepted)
    }

    fn unknown_field(_: &str, accepted: &'static [&'static str]) -> Self {
        Self { path: None, what: What::Key(accepted) }
    }

    fn unknown_variant(found: &str, accepted: &'static [&'static str]) -> Self {
        Self { path: None, what: What::Word { found: found.to_owned(), accepted } }
    }
}

static EMPTY: Tree = Tree::Map(Vec::new());

/// A part of a tree with its location.
struct Node<'a> {
    tree: &'a Tree,
    path: Vec<Step>,
    /// The locations of known faults.
    skip: &'a [Vec<Step>],
}

impl<'a> Node<'a> {
    /// The node below, unless it is skipped.
    fn below(&self, step: Step, tree: &'a Tree) -> Option<Self> {
        let path = [self.path.as_slice(), &[step]].concat();
        (!self.skip.contains(&path)).then_some(Self { tree, path, skip: self.skip })
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let result = match self.tree {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(*value),
            Tree::Number(Some(value)) => visitor.visit_u64(*value),
            Tree::Number(None) => Err(Stop::invalid_type(Unexpected::Other("number"), &visitor)),
            Tree::Text(text) => visitor.visit_str(text),
            Tree::List(elements) => {
                let nodes = elements.iter().enumerate();
                let nodes = nodes.filter_map(|(index, tree)| self.below(Step::Index(index), tree));
                visitor.visit_seq(Elements(nodes))
            }
            Tree::Map(entries) => {
                let nodes = entries.iter();
                let nodes = nodes.filter_map(|(name, tree)| {
                    Some((name.as_str(), self.below(Step::Key(name.clone()), tree)?))
                });
                visitor.visit_map(Entries { nodes, value: None, path: &self.path })
            }
        };
        result.map_err(|stop| stop.at(&self.path, self.tree))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.tree {
            Tree::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match self.tree {
            Tree::Map(_) => self.deserialize_any(visitor),
            // A key whose content is commented out.
            Tree::Null => Node { tree: &EMPTY, ..self }.deserialize_any(visitor),
            // serde would accept a list of values.
            _ => Err(Stop::invalid_type(Unexpected::Other("value"), &visitor).at(&self.path, self.tree)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Elements<I>(I);

impl<'de, 'a, I: Iterator<Item = Node<'a>>> SeqAccess<'de> for Elements<I> {
    type Error = Stop;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'a, I> {
    nodes: I,
    /// The node of the last key.
    value: Option<Node<'a>>,
    path: &'a [Step],
}

impl<'de, 'a, I: Iterator<Item = (&'a str, Node<'a>)>> MapAccess<'de> for Entries<'a, I> {
    type Error = Stop;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some((name, node)) = self.nodes.next() else { return Ok(None) };
        let result = seed.deserialize(de::value::StrDeserializer::new(name));
        let path = || [self.path, &[Step::Name(name.to_owned())]].concat();
        let key = result.map_err(|stop: Stop| stop.at(&path(), node.tree))?;
        self.value = Some(node);
        Ok(Some(key))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let node = self.value.take().ok_or_else(|| Stop::custom("a key before its value"))?;
        seed.deserialize(node)
    }
}
