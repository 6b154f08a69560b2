//! The values that keys of the configuration take, each with what is accepted.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use crate::check::rules;
use crate::desired::repository::{is_namespace, is_subdomain};
use crate::settings::cli::parse_duration;

/// A number of at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub u32);

/// A value that is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub T);

/// A type of text.
pub(crate) trait Word: Sized {
    /// The accepted values, for error messages.
    const ACCEPTED: &'static str;

    /// Parses the text.
    ///
    /// # Errors
    ///
    /// The text is none of its kind; the error says what was found and what is accepted.
    fn parse<E: de::Error>(text: &str) -> Result<Self, E>;

    /// The accepted values, for editors.
    fn schema() -> Schema;
}

/// The UID of a cluster's namespace kube-system, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uid(pub String);

/// The name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(pub String);

/// The name of a release, with or without its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReleaseName(pub String);

/// A path, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File(pub PathBuf);

/// A duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub Duration);

/// The name of a check that can be skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SkippedCheck(pub &'static str);

impl Word for Uid {
    const ACCEPTED: &'static str =
        "a UUID as `kubectl get namespace kube-system --output jsonpath={.metadata.uid}` prints it";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        let parts: Vec<_> = text.split('-').collect();
        let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        let form = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
        if digits && form { Ok(Self(text.to_ascii_lowercase())) } else { Err(invalid::<Self, E>(text)) }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "format": "uuid"})
    }
}

impl Word for Namespace {
    const ACCEPTED: &'static str = "a name of lower-case letters, digits and `-` that begins and ends with a letter or digit, at most 63 characters";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        if is_namespace(text) { Ok(Self(text.to_owned())) } else { Err(invalid::<Self, E>(text)) }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
    }
}

impl Word for ReleaseName {
    const ACCEPTED: &'static str = "the name of a release, as `name` or `namespace/name`";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        let (namespace, name) =
            text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
        if namespace.is_none_or(is_namespace) && name.len() <= 53 && is_subdomain(name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid::<Self, E>(text))
        }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"})
    }
}

impl Word for File {
    const ACCEPTED: &'static str = "the path of a file";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        // Otherwise the error for a missing file would show the key.
        if ["AGE-SECRET-KEY-", "AGE-PLUGIN-"].iter().any(|key| text.contains(key)) {
            return Err(E::invalid_value(
                Unexpected::Other("an age key"),
                &"the path of a file with the age key, never the key itself",
            ));
        }
        if text.is_empty() || text.contains(char::is_control) {
            return Err(invalid::<Self, E>(text));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

impl Word for Timeout {
    const ACCEPTED: &'static str = "a duration such as `90s`, `15m` or `1h30m`, from 1s to 7days";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        parse_duration(text).map(Self).map_err(|_| invalid::<Self, E>(text))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+ *[a-z]+ *)+$", "examples": ["90s", "15m", "1h30m"]})
    }
}

static SKIPPABLE: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| rules::skippable().map(|rule| rule.id).collect());

impl Word for SkippedCheck {
    const ACCEPTED: &'static str = "the name of a check, as `k3s-boot check` shows it";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        match rules::ALL.iter().find(|rule| rule.id == text) {
            Some(rule) if rule.essential => Err(E::invalid_value(
                Unexpected::Str(text),
                &"a check that is not essential: nothing can run without this one",
            )),
            Some(rule) => Ok(Self(rule.id)),
            None => Err(E::unknown_variant(text, &SKIPPABLE)),
        }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "enum": *SKIPPABLE})
    }
}

impl<'de, T: Word> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words<T>(PhantomData<T>);
        impl<T: Word> Visitor<'_> for Words<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(T::ACCEPTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                T::parse(text).map(Text)
            }
        }
        deserializer.deserialize_str(Words(PhantomData))
    }
}

impl<T: Word> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const ACCEPTED: &str = "a whole number of at least 1";
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(ACCEPTED)
            }

            fn visit_u64<E: de::Error>(self, found: u64) -> Result<Count, E> {
                let number = u32::try_from(found).ok().filter(|number| *number > 0);
                number.map(Count).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(found), &ACCEPTED))
            }
        }
        deserializer.deserialize_u32(Number)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
    }
}

pub(super) fn invalid<W: Word, E: de::Error>(text: &str) -> E {
    E::invalid_value(Unexpected::Str(text), &W::ACCEPTED)
}
