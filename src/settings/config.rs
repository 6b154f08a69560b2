//! The configuration file of a repository, for what cannot be detected.

mod command;
mod environment;
mod manifest;
mod pin;
mod words;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

pub(crate) use self::command::Command;
use self::environment::Environment;
pub(crate) use self::manifest::Manifest;
pub(crate) use self::pin::{Pinned, pin};
use self::words::invalid;
pub(crate) use self::words::{Count, File, Namespace, ReleaseName, SkippedCheck, Text, Timeout, Uid, Word};
use crate::base::distribution::Distribution;
use crate::base::finding::Finding;
use crate::base::yaml;

/// The file name in the root of a repository.
pub(crate) const FILE: &str = "k3s-boot.yaml";

/// Similar names, whose files are ignored.
const WRONG_NAMES: [&str; 3] = ["k3s-boot.yml", ".k3s-boot.yaml", ".k3s-boot.yml"];

/// The size limit; a configuration has some hundred bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// Longer words are not repeated in errors: they may be a misplaced secret.
const MAX_WORD_LENGTH: usize = 40;

/// Configuration of k3s-boot for this repository. All keys are optional; paths are relative to the repository's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
#[schemars(title = "k3s-boot.yaml")]
pub(crate) struct Config {
    /// The cluster that belongs to this repository.
    #[schemars(with = "Option<Cluster>")]
    #[serde(deserialize_with = "or_default")]
    pub cluster: Cluster,
    /// Number of nodes that must have registered before anything is installed; they need not be Ready. Default: 1.
    pub nodes: Option<Count>,
    /// Namespaces to create instead of those found in `kubernetes/apps`; those of Flux and of the releases are always created.
    pub namespaces: Option<Vec<Text<Namespace>>>,
    /// The age key and the encrypted files.
    #[schemars(with = "Option<Secrets>")]
    #[serde(deserialize_with = "or_default")]
    pub secrets: Secrets,
    /// Manifests to apply after the secrets and before the helmfiles, such as the CRDs of the Gateway API.
    pub manifests: Option<Vec<Manifest>>,
    /// The helmfiles, instead of those found in `bootstrap/`.
    #[schemars(with = "Option<Helmfiles>")]
    #[serde(deserialize_with = "or_default")]
    pub helmfiles: Helmfiles,
    /// Variables for the templates of helmfile.
    #[schemars(with = "Option<Environment>")]
    #[serde(deserialize_with = "or_default")]
    pub environment: Environment,
    /// Timeouts, as durations such as `90s`, `15m` or `1h30m`.
    #[schemars(with = "Option<Timeouts>")]
    #[serde(deserialize_with = "or_default")]
    pub timeouts: Timeouts,
    /// Releases to skip, as `name` or `namespace/name`, such as `coredns` to keep the bundled CoreDNS of k3s.
    pub skip_releases: Option<Vec<Text<ReleaseName>>>,
    /// Checks to skip; `k3s-boot check` shows their names.
    pub skip_checks: Option<Vec<Text<SkippedCheck>>>,
}

/// The cluster that belongs to a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(crate) struct Cluster {
    /// UID of the namespace kube-system in the only cluster that may be bootstrapped from this repository. Set by
    /// `k3s-boot check --pin`.
    pub uid: Option<Text<Uid>>,
    /// The Kubernetes distribution of the cluster. Default: found in the files of the repository; a cluster that answers shows
    /// it itself.
    pub distribution: Option<Distribution>,
}

/// The age key and the encrypted files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(crate) struct Secrets {
    /// File with the age key that goes into the cluster as `flux-system/sops-age`. Default: `age.key`.
    pub age_key: Option<Text<File>>,
    /// Encrypted files whose objects go into the cluster, instead of those found in `bootstrap/`.
    pub files: Option<Vec<Text<File>>>,
    /// Commands whose output is manifests that go into the cluster, such as `op inject`. They run once, before anything is
    /// changed.
    pub commands: Option<Vec<Command>>,
}

/// The helmfiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(crate) struct Helmfiles {
    /// The helmfile with custom resource definitions.
    pub crds: Option<Text<File>>,
    /// The helmfile with everything else.
    pub apps: Option<Text<File>>,
}

/// Timeouts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub(crate) struct Timeouts {
    /// Timeout for the whole run. Default: 30m.
    pub total: Option<Text<Timeout>>,
    /// Timeout for each release, unless the helmfile sets a shorter one. Default: 15m.
    pub release: Option<Text<Timeout>>,
    /// Timeout for each request to the API server. Default: 10s.
    pub request: Option<Text<Timeout>>,
    /// How long to wait for nodes to register. Default: 10m.
    pub nodes: Option<Text<Timeout>>,
    /// How long to wait for Flux to sync. Default: 10m.
    pub verify: Option<Text<Timeout>>,
}

impl Config {
    /// The releases to skip.
    pub(crate) fn skip_releases(&self) -> Vec<String> {
        self.skip_releases.iter().flatten().map(|Text(name)| name.0.clone()).collect()
    }
}

/// Reads a key without a value, such as one below which everything is commented out, as a missing key.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads the configuration. Without a file it is empty, unless the user has `named` the file. With a problem it
/// is empty too.
pub(crate) fn load(path: &Path, named: bool) -> (Config, Vec<Finding>) {
    if !named && is_absent(path) {
        return (Config::default(), wrong_name(path).into_iter().collect());
    }
    match text(path) {
        Ok(text) => parse(path, &text),
        Err(problem) => (Config::default(), vec![problem]),
    }
}

/// Whether there is no such file. A broken link counts as a file: it is meant to lead to one.
pub(crate) fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The finding for a file with a wrong name.
fn wrong_name(path: &Path) -> Option<Finding> {
    let found =
        WRONG_NAMES.map(|name| path.with_file_name(name)).into_iter().find(|other| other.is_file())?;
    Some(
        Finding::warning("config", "Configuration file has the wrong name and is ignored")
            .with("file", found.display())
            .fix(format!("mv {} {}", found.display(), path.display())),
    )
}

/// The text of a configuration file.
fn text(path: &Path) -> Result<String, Finding> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        Finding::error("config", "Configuration cannot be read")
            .with("file", path.display())
            .with("reason", reason)
    };
    let found = path.metadata().map_err(|error| unreadable(&error))?;
    if !found.is_file() {
        return Err(unreadable(&"it is not a file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(unreadable(&"it is larger than 64 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(&"it is not valid UTF-8"))
}

/// Reads the text of a configuration; the first problem, if there is one.
fn parse(path: &Path, text: &str) -> (Config, Vec<Finding>) {
    if let Err(error) = yaml::check_limits(text, yaml::WRITTEN) {
        let finding = Finding::error("config", "Configuration is invalid").with("file", path.display());
        return (Config::default(), vec![finding.with("reason", error)]);
    }
    let deserializer = serde_yaml::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, Option<Config>>(deserializer) {
        Ok(config) => (config.unwrap_or_default(), Vec::new()),
        Err(error) => {
            let field = error.path().to_string();
            (Config::default(), vec![problem(path, &field, error.inner())])
        }
    }
}

/// A problem that serde found, with its place. serde reports an unknown field with its name and the known ones in backticks,
/// and a wrong value with what was found, `, expected ` and what is accepted.
fn problem(path: &Path, field: &str, error: &serde_yaml::Error) -> Finding {
    let mut finding = Finding::error("config", "Configuration is invalid").with("file", path.display());
    finding.details.extend(error.location().map(|place| ("line", place.line().to_string())));
    if field != "." {
        finding = finding.with("field", without_long_words(field));
    }
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    let (reason, accepted) = words.split_once(", expected ").unwrap_or((words, ""));
    // The path, which the field shows already.
    let reason =
        reason.split_once(": ").filter(|(path, _)| field.starts_with(path)).map_or(reason, |(_, rest)| rest);
    finding = finding.with("reason", without_long_words(reason));
    let mut quoted = reason.split('`').skip(1);
    let unknown = quoted.next().filter(|_| reason.starts_with("unknown "));
    match unknown {
        Some(word) if word.len() <= MAX_WORD_LENGTH => {
            let known: Vec<_> = accepted.split('`').skip(1).step_by(2).collect();
            finding = finding.with("accepted", known.join(" "));
            match nearest(word, &known) {
                Some(near) => finding.fix(format!("did you mean `{near}`?")),
                None => finding,
            }
        }
        _ if accepted.is_empty() => finding,
        _ => finding.with("accepted", accepted),
    }
}

/// The accepted word that was probably meant.
fn nearest<'a>(word: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.replace(['-', '_', '.', ' '], "").to_lowercase();
    let word = plain(word);
    let distance = |other: &str| strsim::damerau_levenshtein(&word, &plain(other));
    let near = accepted.iter().map(|other| (distance(other), *other)).min()?;
    (near.0 <= word.chars().count().div_ceil(3)).then_some(near.1)
}

/// A text in which no word is long: whatever such a word is, it was not meant to stand in a configuration, and may be a
/// secret.
fn without_long_words(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=');
    let mut short = String::new();
    for piece in text.split_inclusive(|c: char| !is_part(c)) {
        let word = piece.trim_end_matches(|c: char| !is_part(c));
        if word.chars().count() > MAX_WORD_LENGTH {
            _ = write!(short, "(a word of {} characters){}", word.chars().count(), &piece[word.len()..]);
        } else {
            short.push_str(piece);
        }
    }
    short
}

#[cfg(test)]
mod tests;
