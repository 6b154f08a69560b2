//! The configuration file of a repository, for what cannot be detected.

mod pin;
mod read;
mod tree;

use std::fmt::Write as _;
use std::io::Read as _;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

pub use self::pin::{Pinned, pin};
use self::read::{Fault, What};
use self::tree::{Broken, Step, Tree};
use crate::check::{Finding, rules};
use crate::cli::parse_duration;
use crate::desired::repository::{is_namespace, is_subdomain};

/// The file name in the root of a repository.
pub const FILE: &str = "k3s-boot.yaml";

/// Similar names, whose files are ignored.
const WRONG_NAMES: [&str; 3] = ["k3s-boot.yml", ".k3s-boot.yaml", ".k3s-boot.yml"];

/// The size limit; a configuration has some hundred bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// Longer words are not repeated in errors: they may be a misplaced secret.
const MAX_WORD_LENGTH: usize = 40;

/// Configuration of k3s-boot for this repository. All keys are optional; paths are relative to the repository's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
#[schemars(title = "k3s-boot.yaml")]
pub struct Config {
    /// The cluster that belongs to this repository.
    #[schemars(with = "Option<Cluster>")]
    pub cluster: Cluster,
    /// Number of nodes that must have registered before anything is installed; they need not be Ready. Default: 1.
    pub nodes: Option<Count>,
    /// Namespaces to create instead of those found in `kubernetes/apps`; those of Flux and of the releases are always created.
    pub namespaces: Option<Vec<Text<Namespace>>>,
    /// The age key and the encrypted files.
    #[schemars(with = "Option<Secrets>")]
    pub secrets: Secrets,
    /// The helmfiles, instead of those found in `bootstrap/`.
    #[schemars(with = "Option<Helmfiles>")]
    pub helmfiles: Helmfiles,
    /// Timeouts, as durations such as `90s`, `15m` or `1h30m`.
    #[schemars(with = "Option<Timeouts>")]
    pub timeouts: Timeouts,
    /// Releases to skip, as `name` or `namespace/name`, such as `coredns` to keep the bundled CoreDNS of k3s.
    pub skip_releases: Option<Vec<Text<ReleaseName>>>,
    /// Checks to skip; `k3s-boot check` shows their names.
    pub skip_checks: Option<Vec<Text<SkippedCheck>>>,
}

/// The cluster that belongs to a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub struct Cluster {
    /// UID of the namespace kube-system in the only cluster that may be bootstrapped from this repository. Set by
    /// `k3s-boot check --pin`.
    pub uid: Option<Text<Uid>>,
}

/// The age key and the encrypted files.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub struct Secrets {
    /// File with the age key that goes into the cluster as `flux-system/sops-age`. Default: `age.key`.
    pub age_key: Option<Text<File>>,
    /// Encrypted files whose objects go into the cluster, instead of those found in `bootstrap/`.
    pub files: Option<Vec<Text<File>>>,
}

/// The helmfiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub struct Helmfiles {
    /// The helmfile with custom resource definitions.
    pub crds: Option<Text<File>>,
    /// The helmfile with everything else.
    pub apps: Option<Text<File>>,
}

/// Timeouts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase", expecting = "a mapping")]
pub struct Timeouts {
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

/// A number of at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

/// A value that is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

/// A type of text.
pub trait Word: Sized {
    /// The accepted values, for error messages.
    const ACCEPTED: &'static str;

    /// Parses the text.
    ///
    /// # Errors
    ///
    /// The text is invalid; the error contains the accepted values.
    fn parse<E: de::Error>(text: &str) -> Result<Self, E>;

    /// The accepted values, for editors.
    fn schema() -> Schema;
}

/// The UID of a cluster's namespace kube-system, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uid(pub String);

/// The name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(pub String);

/// The name of a release, with or without its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseName(pub String);

/// A path, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File(pub PathBuf);

/// A duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

/// The name of a check that can be skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedCheck(pub &'static str);

impl Word for Uid {
    const ACCEPTED: &'static str =
        "a UUID as `kubectl get namespace kube-system --output jsonpath={.metadata.uid}` prints it";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        let parts: Vec<_> = text.split('-').collect();
        let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        let form = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
        if digits && form { Ok(Self(text.to_ascii_lowercase())) } else { Err(E::custom(Self::ACCEPTED)) }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "format": "uuid"})
    }
}

impl Word for Namespace {
    const ACCEPTED: &'static str = "a name of lower-case letters, digits and `-` that begins and ends with a letter or digit, at most 63 characters";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        if is_namespace(text) { Ok(Self(text.to_owned())) } else { Err(E::custom(Self::ACCEPTED)) }
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
    }
}

impl Config {
    /// The releases to skip.
    #[must_use]
    pub fn skip_releases(&self) -> Vec<String> {
        self.skip_releases.iter().flatten().map(|Text(name)| name.0.clone()).collect()
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
            Err(E::custom(Self::ACCEPTED))
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
            return Err(E::custom("the path of a file with the age key, not the key itself"));
        }
        if text.is_empty() || text.contains(char::is_control) {
            return Err(E::custom(Self::ACCEPTED));
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
        parse_duration(text).map(Self).map_err(|_| E::custom(Self::ACCEPTED))
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
            Some(rule) if rule.essential => {
                Err(E::custom("a check that can be skipped, which this one cannot"))
            }
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

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                let number = u32::try_from(number).ok().filter(|number| *number > 0);
                number.map(Count).ok_or_else(|| E::custom(ACCEPTED))
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

/// Reads the configuration. Without a file it is empty, unless the user has `named` the file. With problems, it contains
/// the valid parts.
#[must_use]
pub fn load(path: &Path, named: bool) -> (Config, Vec<Finding>) {
    if !named && is_absent(path) {
        return (Config::default(), wrong_name(path).into_iter().collect());
    }
    match text(path) {
        Ok(text) => parse(path, &text),
        Err(problem) => (Config::default(), vec![problem]),
    }
}

/// Whether there is no such file. A broken link counts as a file: it is meant to lead to one.
#[must_use]
pub fn is_absent(path: &Path) -> bool {
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

/// Parses the text of a configuration: the valid parts, and the problems.
fn parse(path: &Path, text: &str) -> (Config, Vec<Finding>) {
    let tree = match tree::parse(text) {
        Ok(tree) => tree,
        Err(Broken { line, reason }) => {
            let mut finding =
                Finding::error("config", "Configuration is not valid YAML").with("file", path.display());
            finding.pairs.extend(line.map(|line| ("line", line.to_string())));
            return (Config::default(), vec![finding.with("reason", reason)]);
        }
    };
    let (config, faults) = read::read(&tree);
    (config, faults.iter().map(|fault| problem(path, text, fault)).collect())
}

fn problem(path: &Path, text: &str, Fault { path: steps, what }: &Fault) -> Finding {
    let message = match what {
        What::Key(_) => "Unknown key in the configuration",
        What::Word { .. } => "Unknown check in the configuration",
        What::Value { .. } => "Invalid value in the configuration",
    };
    let mut finding = Finding::error("config", message).with("file", path.display());
    let line = tree::place(text, steps).map(|place| ("line", place.line.to_string()));
    finding.pairs.extend(line);
    if !steps.is_empty() {
        finding = finding.with("field", field(steps));
    }
    match what {
        What::Key(accepted) => {
            let finding = finding.with("accepted", accepted.join(" "));
            let name = match steps.last() {
                Some(Step::Name(name)) => name.as_str(),
                _ => "",
            };
            with_nearest(finding, name, accepted)
        }
        What::Word { found, accepted } => {
            let finding = finding.with("found", short(found)).with("accepted", SkippedCheck::ACCEPTED);
            with_nearest(finding, found, accepted)
        }
        What::Value { found, accepted } => finding.with("found", words(found)).with("accepted", accepted),
    }
}

fn with_nearest(finding: Finding, word: &str, accepted: &[&str]) -> Finding {
    match nearest(word, accepted) {
        Some(near) => finding.fix(format!("did you mean `{near}`?")),
        None => finding,
    }
}

/// The accepted word that was probably meant.
fn nearest<'a>(word: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.replace(['-', '_', '.', ' '], "").to_lowercase();
    if word.len() > MAX_WORD_LENGTH {
        return None;
    }
    let word = plain(word);
    let distance = |other: &str| strsim::damerau_levenshtein(&word, &plain(other));
    let near = accepted.iter().map(|other| (distance(other), *other)).min()?;
    (near.0 <= word.chars().count().div_ceil(3)).then_some(near.1)
}

/// `timeouts.total`, `namespaces[1]`.
fn field(steps: &[Step]) -> String {
    let mut field = String::new();
    for step in steps {
        match step {
            Step::Index(index) => _ = write!(field, "[{index}]"),
            Step::Key(name) | Step::Name(name) => {
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(&short(name));
            }
        }
    }
    field
}

fn short(word: &str) -> String {
    if word.chars().count() <= MAX_WORD_LENGTH {
        word.to_owned()
    } else {
        format!("a text of {} characters", word.chars().count())
    }
}

fn words(tree: &Tree) -> String {
    match tree {
        Tree::Null => "null".to_owned(),
        Tree::Bool(value) => value.to_string(),
        Tree::Number(Some(number)) => number.to_string(),
        Tree::Number(None) => "an unsupported number".to_owned(),
        Tree::Text(text) => short(text),
        Tree::List(_) => "a sequence".to_owned(),
        Tree::Map(_) => "a mapping".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "7f0c1b2a-0000-4000-8000-00000000abcd";

    fn good(text: &str) -> Config {
        let (config, problems) = parse(Path::new("/r/k3s-boot.yaml"), text);
        assert_eq!(problems, Vec::new(), "{text}");
        config
    }

    fn line(finding: &Finding) -> String {
        assert_eq!((finding.rule, finding.severity), ("config", crate::check::Severity::Error));
        let pairs = finding.pairs.iter().map(|(key, value)| format!(" {key}={value}"));
        format!("{}{}", finding.message, pairs.collect::<String>())
    }

    fn reported(text: &str) -> Vec<String> {
        parse(Path::new("/r/k3s-boot.yaml"), text).1.iter().map(line).collect()
    }

    #[test]
    fn all_keys_are_read() {
        let text = format!(
            "cluster:\n  uid: {}\nnodes: 3\nnamespaces: [kube-system, &n media, *n]\nsecrets:\n  ageKey: ../age.key\n  \
             files: [bootstrap/x.sops.yaml]\nhelmfiles:\n  crds: a.yaml\n  apps: /b.yaml\ntimeouts:\n  total: 1h 30m\n  \
             release: 90s\n  request: 5s\n  nodes: 1m\n  verify: 7d\nskipReleases: [kube-system/coredns]\nskipChecks: [versions]\n",
            UID.to_uppercase()
        );
        let file = |path: &str| Text(File(path.into()));
        let time = |seconds| Some(Text(Timeout(Duration::from_secs(seconds))));
        let name = |name: &str| Text(Namespace(name.to_owned()));
        let expected = Config {
            cluster: Cluster { uid: Some(Text(Uid(UID.to_owned()))) },
            nodes: Some(Count(3)),
            namespaces: Some(vec![name("kube-system"), name("media"), name("media")]),
            secrets: Secrets {
                age_key: Some(file("../age.key")),
                files: Some(vec![file("bootstrap/x.sops.yaml")]),
            },
            helmfiles: Helmfiles { crds: Some(file("a.yaml")), apps: Some(file("/b.yaml")) },
            timeouts: Timeouts {
                total: time(5400),
                release: time(90),
                request: time(5),
                nodes: time(60),
                verify: time(604_800),
            },
            skip_releases: Some(vec![Text(ReleaseName("kube-system/coredns".to_owned()))]),
            skip_checks: Some(vec![Text(SkippedCheck("versions"))]),
        };
        assert_eq!(good(&text), expected);
    }

    #[test]
    fn the_example_of_the_readme_is_valid() {
        let readme = include_str!("../README.md");
        let example = readme.split("```yaml\n").find(|block| block.starts_with("cluster:\n")).unwrap();
        let config = good(example.split("```").next().unwrap());
        assert!(config.cluster.uid.is_some() && config.skip_checks.is_some());
    }

    #[test]
    fn empty_values_are_valid() {
        let empty = [
            "",
            "---\n",
            "# words\n",
            "{}",
            "cluster:\nnodes:\nnamespaces:\nsecrets:\nhelmfiles:\ntimeouts:\n  # total: 1h\nskipChecks:\n",
            "cluster: {uid: }\ntimeouts: {total: ~}\n",
        ];
        for text in empty {
            assert_eq!(good(text), Config::default(), "{text:?}");
        }
        assert_eq!(
            good("namespaces: []\n").namespaces,
            Some(Vec::new()),
            "no namespaces are not the default ones"
        );
    }

    #[test]
    fn unknown_keys_get_a_suggestion() {
        let cases = [
            (
                "node: 3\n",
                "line=1 field=node accepted=cluster nodes namespaces secrets helmfiles timeouts skipReleases skipChecks fix=did you mean `nodes`?",
            ),
            (
                "# x\nskip-checks: []\n",
                "line=2 field=skip-checks accepted=cluster nodes namespaces secrets helmfiles timeouts skipReleases skipChecks fix=did you mean `skipChecks`?",
            ),
            ("cluster:\n  uuid: x\n", "line=2 field=cluster.uuid accepted=uid fix=did you mean `uid`?"),
            (
                "secrets: {age_key: x}\n",
                "line=1 field=secrets.age_key accepted=ageKey files fix=did you mean `ageKey`?",
            ),
            (
                "helmfiles:\n  crd: x\n",
                "line=2 field=helmfiles.crd accepted=crds apps fix=did you mean `crds`?",
            ),
            (
                "timeouts:\n  total: 1h\n  whatever: 1h\n",
                "line=3 field=timeouts.whatever accepted=total release request nodes verify",
            ),
            (
                "<<: {nodes: 3}\n",
                "line=1 field=<< accepted=cluster nodes namespaces secrets helmfiles timeouts skipReleases skipChecks",
            ),
            (
                "1: 2\n",
                "line=1 field=1 accepted=cluster nodes namespaces secrets helmfiles timeouts skipReleases skipChecks",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                reported(text),
                [format!("Unknown key in the configuration file=/r/k3s-boot.yaml {expected}")]
            );
        }
    }

    #[test]
    fn invalid_values_are_reported_with_the_accepted_ones() {
        let uid = "a UUID as `kubectl get namespace kube-system --output jsonpath={.metadata.uid}` prints it";
        let duration = "a duration such as `90s`, `15m` or `1h30m`, from 1s to 7days";
        let name = "a name of lower-case letters, digits and `-` that begins and ends with a letter or digit, at most 63 characters";
        let number = "a whole number of at least 1";
        let file = "the path of a file";
        let cases = [
            ("- a\n", "line=1 found=a sequence", "a mapping"),
            ("word\n", "line=1 found=word", "a mapping"),
            ("cluster: x\n", "line=1 field=cluster found=x", "a mapping"),
            ("timeouts:\n- total: 1h\n", "line=2 field=timeouts found=a sequence", "a mapping"),
            ("cluster:\n  uid: x\n", "line=2 field=cluster.uid found=x", uid),
            ("cluster:\n  uid: 12\n", "line=2 field=cluster.uid found=12", uid),
            (
                "cluster: {uid: 7f0c1b2a-0000-4000-8000-00000000abcg}",
                "line=1 field=cluster.uid found=7f0c1b2a-0000-4000-8000-00000000abcg",
                uid,
            ),
            ("nodes: 0\n", "line=1 field=nodes found=0", number),
            ("nodes: -1\n", "line=1 field=nodes found=an unsupported number", number),
            ("nodes: 1.5\n", "line=1 field=nodes found=an unsupported number", number),
            ("nodes: '3'\n", "line=1 field=nodes found=3", number),
            ("nodes: 4294967296\n", "line=1 field=nodes found=4294967296", number),
            ("nodes: [3]\n", "line=1 field=nodes found=a sequence", number),
            ("namespaces: media\n", "line=1 field=namespaces found=media", "a sequence"),
            ("namespaces:\n- a\n- Media\n", "line=3 field=namespaces[1] found=Media", name),
            ("namespaces:\n-\n", "line=2 field=namespaces[0] found=null", name),
            ("namespaces: [a.b]\n", "line=1 field=namespaces[0] found=a.b", name),
            ("namespaces: [yes, true]\n", "line=1 field=namespaces[1] found=true", name),
            ("secrets: {ageKey: ''}\n", "line=1 field=secrets.ageKey found=", file),
            ("secrets:\n  files: [{a: b}]\n", "line=2 field=secrets.files[0] found=a mapping", file),
            ("helmfiles: {crds: \"a\\0\"}\n", "line=1 field=helmfiles.crds found=a\0", file),
            ("timeouts: {total: soon}\n", "line=1 field=timeouts.total found=soon", duration),
            ("timeouts: {total: 30}\n", "line=1 field=timeouts.total found=30", duration),
            ("timeouts: {verify: 10ms}\n", "line=1 field=timeouts.verify found=10ms", duration),
            (
                "timeouts: {nodes: 300000000000y}\n",
                "line=1 field=timeouts.nodes found=300000000000y",
                duration,
            ),
            (
                "skipChecks: [1]\n",
                "line=1 field=skipChecks[0] found=1",
                "the name of a check, as `k3s-boot check` shows it",
            ),
            (
                "skipChecks: [config]\n",
                "line=1 field=skipChecks[0] found=config",
                "a check that can be skipped, which this one cannot",
            ),
        ];
        for (text, found, accepted) in cases {
            let expected = format!(
                "Invalid value in the configuration file=/r/k3s-boot.yaml {found} accepted={accepted}"
            );
            assert_eq!(reported(text), [expected], "{text:?}");
        }
        assert_eq!(
            reported("skipChecks: [versions, version, whatever]\n"),
            [
                "Unknown check in the configuration file=/r/k3s-boot.yaml line=1 field=skipChecks[1] found=version \
                 accepted=the name of a check, as `k3s-boot check` shows it fix=did you mean `versions`?",
                "Unknown check in the configuration file=/r/k3s-boot.yaml line=1 field=skipChecks[2] found=whatever \
                 accepted=the name of a check, as `k3s-boot check` shows it",
            ]
        );
    }

    #[test]
    fn all_problems_are_reported_and_the_rest_is_used() {
        let text = "nodes: 0\ntimeouts:\n  total: x\n  relase: 1h\n  verify: 1h\nnamespaces: [A, b, C]\nwhatever: {a: [b]}\n";
        let (config, problems) = parse(Path::new("/r/k3s-boot.yaml"), text);
        let field =
            |finding: &Finding| finding.pairs.iter().find(|(key, _)| *key == "field").unwrap().1.clone();
        let fields: Vec<_> = problems.iter().map(field).collect();
        let expected =
            ["nodes", "timeouts.total", "timeouts.relase", "namespaces[0]", "namespaces[2]", "whatever"];
        assert_eq!(fields, expected);
        assert_eq!(config.timeouts.verify, Some(Text(Timeout(Duration::from_hours(1)))));
        assert_eq!(config.namespaces, Some(vec![Text(Namespace("b".to_owned()))]));
        let many: Vec<_> = (0..500).map(|n| format!("x{n}: 1")).collect();
        assert_eq!(reported(&many.join("\n")).len(), 20);
    }

    #[test]
    fn misplaced_secrets_are_not_repeated() {
        let key = "AGE-SECRET-KEY-1CANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARY";
        let texts = [
            format!("secrets: {{ageKey: {key}}}\n"),
            format!("secrets: {{{key}: x}}\n"),
            format!("{key}: x\n{key}: y\n"),
            format!("nodes: {key}\n"),
            format!("skipChecks: [{key}]\n"),
            format!("nodes: [{key}\n"),
            format!("a: {key}: x\n"),
            format!("a: *{key}\n"),
            format!("a: !{key} x\n"),
            key.to_owned(),
        ];
        for text in texts {
            let problems = reported(&text);
            assert!(
                !problems.is_empty() && problems.iter().all(|line| !line.contains("CANARY")),
                "{problems:?}"
            );
        }
        assert_eq!(
            reported(&format!("secrets: {{ageKey: {key}}}\n")),
            [
                "Invalid value in the configuration file=/r/k3s-boot.yaml line=1 field=secrets.ageKey found=a text of 70 characters \
              accepted=the path of a file with the age key, not the key itself"
            ]
        );
    }

    #[test]
    fn invalid_yaml_is_reported_with_its_line() {
        let cases = [
            ("nodes: 1\nnodes: 2\n", "line=2 reason=duplicate key"),
            (
                "nodes: 1\n---\nnodes: 2\n",
                "reason=deserializing from YAML containing more than one document is not supported",
            ),
            (
                "a:\n\tb: 1\n",
                "line=2 reason=found character that cannot start any token at line 2 column 1, while scanning for the next token",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                reported(text),
                [format!("Configuration is not valid YAML file=/r/k3s-boot.yaml {expected}")]
            );
        }
    }

    #[test]
    fn only_small_text_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let reason = |path: &Path, named| {
            let (config, problems) = load(path, named);
            assert_eq!((config, problems.len()), (Config::default(), 1), "{problems:?}");
            problems[0].pairs.iter().find(|(key, _)| *key == "reason").unwrap().1.clone()
        };
        assert_eq!(load(&path, false), (Config::default(), Vec::new()));
        assert_eq!(reason(&path, true), "No such file or directory (os error 2)");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert_eq!(reason(&path, false), "No such file or directory (os error 2)");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(FILE, &path).unwrap();
        assert!(reason(&path, false).starts_with("Too many levels of symbolic links"));
        assert_eq!(reason(folder.path(), true), "it is not a file");
        assert_eq!(reason(Path::new("/dev/zero"), true), "it is not a file");
        let path = folder.path().join("other.yaml");
        std::fs::write(&path, vec![b'#'; 64 * 1024]).unwrap();
        assert_eq!(load(&path, true), (Config::default(), Vec::new()));
        std::fs::write(&path, vec![b'#'; 10 * 1024 * 1024]).unwrap();
        assert_eq!(reason(&path, true), "it is larger than 64 KiB");
        std::fs::write(&path, b"\x7fELF\xff\xfe\x00").unwrap();
        assert_eq!(reason(&path, true), "it is not valid UTF-8");
        std::fs::write(&path, "nodes: 3\n").unwrap();
        assert_eq!(load(&path, false).0.nodes, Some(Count(3)));
    }

    #[test]
    fn a_file_with_a_wrong_name_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("k3s-boot.yml");
        std::fs::write(&other, "nodes: 3\n").unwrap();
        let path = folder.path().join(FILE);
        let (config, problems) = load(&path, false);
        assert_eq!(config, Config::default());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].severity, crate::check::Severity::Warning);
        assert_eq!(problems[0].pairs[1].1, format!("mv {} {}", other.display(), path.display()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(load(&path, false), (Config::default(), Vec::new()), "the right file exists");
    }

    #[test]
    fn the_nearest_word_is_suggested() {
        let words = ["timeouts", "nodes", "skipChecks"];
        for (word, expected) in [
            ("timeout", Some("timeouts")),
            ("TimeOuts", Some("timeouts")),
            ("ndoes", Some("nodes")),
            ("skip_checks", Some("skipChecks")),
            ("n", None),
            ("", None),
            ("cluster", None),
        ] {
            assert_eq!(nearest(word, &words), expected, "{word}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE);
            std::fs::write(&path, bytes).unwrap();
            _ = load(&path, true);
        }

        #[test]
        fn no_file_that_people_write_makes_it_panic(text in crate::observed::odd::near(&[
            "cluster:\n  uid: 7f0c1b2a-0000-4000-8000-00000000abcd\nnodes: 3\nnamespaces: [kube-system, &n media, *n]\nsecrets:\n  ageKey: ../age.key\n  \
             files: [bootstrap/x.sops.yaml]\nhelmfiles:\n  crds: a.yaml\n  apps: /b.yaml\n",
            "timeouts:\n  total: 1h 30m\n  release: 90s\n  nodes: 1m\n  verify: 7d\nskipReleases: [kube-system/coredns]\nskipChecks: [versions]\n",
        ])) {
            _ = reported(&text);
        }

        #[test]
        fn no_text_makes_it_panic(
            text in "(cluster|uid|nodes|namespaces|timeouts|total|skipChecks|secrets|files|: |\\{|\\}|\\[|\\]|\n|  |- |~|#|3|,|\\*a|&a |x)*",
        ) {
            _ = reported(&text);
        }
    }
}
