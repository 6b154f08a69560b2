//! Commands in the configuration.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::{self, Unexpected};
use serde::{Deserialize, Deserializer};

use super::{File, Secrets, Text, Timeout};
use crate::desired::commands::SecretsCommand;

/// A command whose output is manifests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping with the key `command`")]
pub(crate) struct Command {
    /// The program and its arguments; no shell reads them.
    #[serde(rename = "command")]
    pub first: Words,
    /// More programs with their arguments; each reads the output of the one before.
    #[serde(default)]
    pub pipe: Vec<Words>,
    /// The working folder. Default: the root of the repository.
    pub directory: Option<Text<File>>,
    /// Timeout. Default: 1m; 5m on a terminal.
    pub timeout: Option<Text<Timeout>>,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Words(#[schemars(length(min = 1))] Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> de::Visitor<'de> for List {
            type Value = Words;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of words, the program first, such as `[op, inject, --in-file, FILE]`")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut words: Vec<String> = Vec::new();
                while let Some(word) = items.next_element()? {
                    words.push(word);
                }
                let is_program = words.first().is_some_and(|program| !program.trim().is_empty());
                if is_program && !words.iter().any(|word| word.contains('\0')) {
                    Ok(Words(words))
                } else {
                    Err(de::Error::invalid_value(Unexpected::Other("a list without a program"), &self))
                }
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl Secrets {
    /// The commands, with absolute paths.
    pub(crate) fn commands(&self, root: &Path) -> Vec<SecretsCommand> {
        let commands = self.commands.iter().flatten();
        let resolve = |command: &Command| {
            let directory = command.directory.as_ref().map(|Text(File(path))| root.join(path));
            SecretsCommand {
                pipeline: std::iter::once(&command.first)
                    .chain(&command.pipe)
                    .map(|Words(words)| words.clone())
                    .collect(),
                directory: directory.unwrap_or_else(|| root.to_owned()),
                timeout: command.timeout.as_ref().map(|Text(Timeout(time))| *time),
            }
        };
        commands.map(resolve).collect()
    }
}
