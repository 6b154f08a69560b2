//! Finds the values that helmfile decrypted, or that a program printed.
//!
//! helmfile's output does not show where a value came from. But what is in plain text in Git or in the environment is not
//! secret, and a decrypted value is in neither. So if a helmfile decrypts anything, every value that no plain text contains
//! counts as secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use serde_yaml::Value;

use super::builds::Build;
use super::commands::CommandOutput;
use crate::base::fact::Fact;
use crate::base::files::{self, Entry, LARGEST};
use crate::base::redact::Redactor;
use crate::base::url::Url;
use crate::base::yaml;

/// The texts that are known not to be secret.
pub(super) struct PlainTexts<'a> {
    pub(super) root: &'a Path,
    /// The files that Git tracks, relative to the root.
    pub(super) tracked: &'a Fact<BTreeSet<PathBuf>>,
    pub(super) age_key: &'a Path,
    /// The values of environment variables.
    pub(super) variables: &'a [String],
}

/// Registers all secret values of releases and of the output of commands with the redactor, and marks the releases that have
/// some.
pub(super) fn mark(
    builds: &mut [Build],
    outputs: &CommandOutput,
    plain: &PlainTexts<'_>,
    redactor: &Redactor,
) {
    let secret = builds.iter_mut().filter(|build| build.has_secret_values).collect::<Vec<_>>();
    let mut lines = BTreeSet::new();
    for build in &secret {
        let values = build.helmfile.releases.iter().flat_map(|release| &release.values);
        values.chain(&build.environments).for_each(|value| add_lines(&mut lines, value));
        // They are shown while they run, and when they fail.
        let hooks = build.helmfile.releases.iter().flat_map(|release| &release.hooks);
        hooks.flat_map(|hook| &hook.args).for_each(|arg| add_text(&mut lines, arg));
    }
    add_outputs(&mut lines, outputs);
    let undisclosed = plain.undisclosed(lines);
    redactor.add(undisclosed.iter().map(String::as_str));
    for build in secret {
        for release in &mut build.helmfile.releases {
            let mut lines = BTreeSet::new();
            release.values.iter().for_each(|value| add_lines(&mut lines, value));
            release.has_secret_values = !lines.is_disjoint(&undisclosed);
        }
    }
}

/// The lines of the values in the output of commands, except those that identify objects.
fn add_outputs(lines: &mut BTreeSet<String>, outputs: &CommandOutput) {
    for text in outputs.iter().filter_map(|(_, output)| output.as_ref().ok()) {
        for mut object in yaml::documents::<Value>(text.expose_secret(), yaml::PRINTED).flatten() {
            without_identity(&mut object);
            if let Some(items) = object.get_mut("items").and_then(Value::as_sequence_mut) {
                items.iter_mut().for_each(without_identity);
            }
            add_lines(lines, &object);
        }
    }
}

fn without_identity(object: &mut Value) {
    let Some(object) = object.as_mapping_mut() else { return };
    for key in ["apiVersion", "kind", "type"] {
        object.remove(key);
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_mapping_mut) {
        for key in ["name", "namespace"] {
            metadata.remove(key);
        }
    }
}

/// The lines of all texts in a value.
fn add_lines(lines: &mut BTreeSet<String>, value: &Value) {
    match value {
        Value::String(text) => add_text(lines, text),
        Value::Sequence(items) => items.iter().for_each(|item| add_lines(lines, item)),
        Value::Mapping(map) => map.values().for_each(|value| add_lines(lines, value)),
        Value::Tagged(tagged) => add_lines(lines, &tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn add_text(lines: &mut BTreeSet<String>, text: &str) {
    let text = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.extend(text.map(ToOwned::to_owned));
}

impl PlainTexts<'_> {
    /// The lines that no plain text contains.
    fn undisclosed(&self, lines: BTreeSet<String>) -> BTreeSet<String> {
        if lines.is_empty() {
            return lines;
        }
        // A URL is often composed by a template: `https://{{ env "HOST" }}/path`.
        let parts = lines.iter().flat_map(|line| address_parts(line)).map(ToOwned::to_owned);
        let mut left: BTreeSet<String> = lines.iter().cloned().chain(parts).collect();
        let variables = self.variables.iter().cloned();
        for text in variables.chain(self.files().filter_map(|path| files::text(&path, LARGEST).ok())) {
            left.retain(|line| !text.contains(line.as_str()));
            if left.is_empty() {
                break;
            }
        }
        let is_composed = |line: &String| {
            let mut parts = address_parts(line).into_iter().peekable();
            parts.peek().is_some() && parts.all(|part| !left.contains(part))
        };
        lines.into_iter().filter(|line| left.contains(line) && !is_composed(line)).collect()
    }

    /// The files of the repository: the tracked ones, or without Git all but hidden ones; never the age key.
    fn files(&self) -> Box<dyn Iterator<Item = PathBuf> + '_> {
        let is_public = |path: &PathBuf| path != self.age_key;
        if let Ok(tracked) = self.tracked {
            return Box::new(tracked.iter().map(|path| self.root.join(path)).filter(is_public));
        }
        let is_shown = |entry: &Entry| !entry.name().starts_with('.');
        let files = files::walk(self.root, is_shown).filter(|entry| entry.kind.is_file());
        Box::new(files.filter(is_shown).map(|entry| entry.path).filter(is_public))
    }
}

/// The host labels and path segments of a URL without credentials; none for any other text.
fn address_parts(text: &str) -> Vec<&str> {
    let Some(url) = Url::parse(text).filter(|url| !url.has_user()) else { return Vec::new() };
    url.rest.split(['/', '.', ':', '?', '#', '&', '=']).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_the_repository_is_not_secret() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "values.yaml.gotmpl",
            "a: hello\nurl: https://{{ env \"HOST\" }}/home\nmulti: |\n  one line\n  two lines\n",
        );
        write("untracked.env", "PASSWORD=CANARY-untracked\n");
        write("age.key", "CANARY-age\n");
        let tracked = ["values.yaml.gotmpl", "age.key"].map(PathBuf::from);
        let age_key = folder.path().join("age.key");
        let undisclosed = |tracked: Fact<BTreeSet<PathBuf>>, lines: &[&str]| {
            let variables = ["git.example.org".to_owned()];
            let plain = PlainTexts {
                root: folder.path(),
                tracked: &tracked,
                age_key: &age_key,
                variables: &variables,
            };
            let found = plain.undisclosed(lines.iter().map(|line| (*line).to_owned()).collect());
            found.into_iter().collect::<Vec<_>>()
        };
        let lines = [
            "hello",
            "git.example.org",
            "https://git.example.org/home",
            "https://git.example.org/CANARY-path",
            "https://CANARY-token@git.example.org/home",
            "two lines",
            "CANARY-decrypted",
            "CANARY-untracked",
            "CANARY-age",
        ];
        let secret = [
            "CANARY-age",
            "CANARY-decrypted",
            "CANARY-untracked",
            "https://CANARY-token@git.example.org/home",
            "https://git.example.org/CANARY-path",
        ];
        assert_eq!(undisclosed(Ok(BTreeSet::from(tracked)), &lines), secret);
        // Without Git it is unknown what is public; every plain text file counts as public.
        let without_git = undisclosed(Err("no Git".to_owned()), &lines);
        assert_eq!(without_git, ["CANARY-age", "CANARY-decrypted", secret[3], secret[4]]);
    }

    #[test]
    fn finds_texts_at_any_depth() {
        let value: Value = serde_yaml::from_str(
            "a: [one, {b: 'two', c: 3}]\nd: |\n  three\n\n    four\ne: !x five\nf: null\n",
        )
        .unwrap();
        let mut lines = BTreeSet::new();
        add_lines(&mut lines, &value);
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), ["five", "four", "one", "three", "two"]);
    }
}
