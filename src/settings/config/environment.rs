//! The key `environment`: variables for the templates of helmfile.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

use super::words::{File, Text, Word};
use crate::desired::variables::{MAX_VALUE_SIZE, is_name};
use crate::tools::child_env;

/// Variables for the templates of helmfile. Only helmfile gets them; a variable that is exported in the shell takes precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(crate) struct Environment {
    /// Secret and ConfigMap manifests (`.yaml`), and dotenv files (`.env`), both also encrypted with SOPS.
    pub files: Option<Vec<Text<File>>>,
    /// Variables that are not secret.
    pub variables: Option<Variables>,
}

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(pub BTreeMap<String, String>);

/// The name of a variable that templates may read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name(String);

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Literal(String);

impl Word for Name {
    const ACCEPTED: &'static str = "a name of letters, digits and `_` that does not begin with a digit";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        let found = Unexpected::Str(text);
        if !is_name(text) {
            Err(E::invalid_value(found, &Self::ACCEPTED))
        } else if child_env::is_reserved(text) {
            Err(E::invalid_value(
                found,
                &"a variable that cannot select another cluster or change how programs run; export this one in your shell",
            ))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
    }
}

impl Word for Literal {
    const ACCEPTED: &'static str = "text";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        if text.contains('\0') || text.len() > MAX_VALUE_SIZE {
            return Err(E::invalid_value(
                Unexpected::Other("a text that no variable can hold"),
                &"text without NUL characters, of at most 100 KiB",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Schema {
        // A number is taken as it is written.
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Variables;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping of names to text")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
                let mut variables = BTreeMap::new();
                while let Some((Text(Name(name)), Text(Literal(value)))) = map.next_entry()? {
                    if variables.get(&name).is_some_and(|known| *known != value) {
                        return Err(de::Error::custom(format!(
                            "`{name}` is set twice, with different values"
                        )));
                    }
                    variables.insert(name, value);
                }
                Ok(Variables(variables))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl JsonSchema for Variables {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Variables".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "propertyNames": Name::schema(), "additionalProperties": Literal::schema()})
    }
}
