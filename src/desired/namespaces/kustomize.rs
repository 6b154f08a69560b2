//! The Namespaces in a folder, as `kustomize build` prints them. Patches and generators are not followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::{Namespace, Source};
use crate::base::files::{self, Unreadable};
use crate::base::finding::Finding;
use crate::base::yaml::{self, PRINTED, WRITTEN, YamlError};
use crate::desired::repository::{KUSTOMIZATIONS, is_subdomain};
use crate::desired::synced::{below, is_yaml};

/// The size limit of a file.
const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// How many files are read. Folders that include each other could be read any number of times.
const MAX_READS: usize = 10_000;

/// How deep folders include each other.
const MAX_DEPTH: usize = 16;

/// A label that the API server sets itself.
const OWN_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels or annotations. A value that Flux substitutes is `None`: it is not known before.
type Texts = BTreeMap<String, Option<String>>;

/// A Namespace, or a namespace that a kustomization sets.
struct Item {
    /// `None` if Flux substitutes it.
    name: Option<String>,
    labels: Texts,
    annotations: Texts,
    source: PathBuf,
    /// Whether it is a Namespace.
    is_object: bool,
}

/// Reads the folders of a repository. All paths are relative to its root.
pub(super) struct Reader<'a> {
    root: &'a Path,
    reads: usize,
    /// The folders that include each other, from the outermost one.
    open: Vec<PathBuf>,
    problems: Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root, reads: 0, open: Vec::new(), problems: Vec::new() }
    }

    /// What could not be read.
    pub(super) fn problems(self) -> Vec<Finding> {
        self.problems
    }

    /// The kustomization of a folder, readable or not.
    pub(super) fn kustomization(&self, folder: &Path) -> Option<PathBuf> {
        let exists = |file: &PathBuf| std::fs::symlink_metadata(self.root.join(file)).is_ok();
        KUSTOMIZATIONS.iter().map(|name| folder.join(name)).find(exists)
    }

    /// The namespaces that a folder contains or sets.
    pub(super) fn namespaces(&mut self, folder: &Path) -> Vec<Namespace> {
        let mut items = Vec::new();
        if self.kustomization(folder).is_some() {
            self.add_folder(folder, &mut items);
        } else {
            let mut files: Vec<_> = files::read_folder(&self.root.join(folder))
                .map(|entry| folder.join(entry.name()))
                .filter(|path| is_yaml(path) && !self.root.join(path).is_dir())
                .collect();
            files.sort();
            for file in files {
                self.add_file(&file, &mut items);
            }
        }
        // A Namespace says more than the setting of its name.
        items.sort_by_key(|item| !item.is_object);
        let known = |texts: Texts| texts.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
        let namespace = |item: Item| {
            let Item { name, labels, annotations, source, .. } = item;
            let source = Source::Path(source);
            Some(Namespace { name: name?, labels: known(labels), annotations: known(annotations), source })
        };
        items.into_iter().filter_map(namespace).collect()
    }

    /// Adds what the kustomization of a folder includes, and changes `items` as it does. The `items` of a component are those of
    /// the kustomization that includes it.
    fn add_folder(&mut self, folder: &Path, items: &mut Vec<Item>) {
        if self.open.len() < MAX_DEPTH && !self.open.iter().any(|open| open == folder) {
            self.open.push(folder.to_owned());
            self.add_kustomization(folder, items);
            self.open.pop();
        }
    }

    fn add_kustomization(&mut self, folder: &Path, items: &mut Vec<Item>) {
        let Some(file) = self.kustomization(folder) else { return };
        let Some(text) = self.read(&file) else { return };
        let kustomization = match yaml::parse::<Value>(&text, WRITTEN) {
            Ok(kustomization) => kustomization,
            Err(error) => return self.is_not_yaml(&file, &error),
        };
        for entry in ["resources", "bases"].iter().flat_map(|key| strings(&kustomization, key)) {
            match below(folder, entry).filter(|_| !is_remote(entry)) {
                Some(path) if self.root.join(&path).is_dir() => {
                    // What a folder changes are only its own resources.
                    let mut own = Vec::new();
                    self.add_folder(&path, &mut own);
                    items.append(&mut own);
                }
                Some(path) if is_yaml(&path) => self.add_file(&path, items),
                _ => {}
            }
        }
        for entry in strings(&kustomization, "components") {
            if let Some(path) = below(folder, entry).filter(|_| !is_remote(entry)) {
                self.add_folder(&path, items);
            }
        }
        if let Some(name) = kustomization.get("namespace").and_then(Value::as_str) {
            let name = Some(name.to_owned()).filter(|name| !is_substituted(name));
            for item in &mut *items {
                item.name.clone_from(&name);
            }
            if items.is_empty() {
                let (labels, annotations) = (Texts::new(), Texts::new());
                items.push(Item { name, labels, annotations, source: file.clone(), is_object: false });
            }
        }
        let labels = kustomization.get("labels").and_then(Value::as_sequence);
        let labels = labels.into_iter().flatten().filter_map(|label| label.get("pairs"));
        let labels: Texts = labels
            .chain(kustomization.get("commonLabels"))
            .flat_map(|labels| self.texts(&file, Some(labels), Kind::Labels))
            .collect();
        let annotations = self.texts(&file, kustomization.get("commonAnnotations"), Kind::Annotations);
        for item in items.iter_mut().filter(|item| item.is_object) {
            item.labels.extend(labels.clone());
            item.annotations.extend(annotations.clone());
        }
    }

    /// Adds the Namespaces in a file.
    fn add_file(&mut self, file: &Path, items: &mut Vec<Item>) {
        let Some(text) = self.read(file) else { return };
        // Parsing all files would take longer than everything else.
        if !text.contains("Namespace") {
            return;
        }
        for document in yaml::documents::<Value>(&text, PRINTED) {
            let object = match document {
                Ok(object) => object,
                Err(error) => return self.is_not_yaml(file, &error),
            };
            let is = |key: &str, value: &str| object.get(key).is_some_and(|found| found == value);
            let metadata =
                object.get("metadata").filter(|_| is("apiVersion", "v1") && is("kind", "Namespace"));
            let Some(name) = metadata.and_then(|metadata| metadata.get("name")?.as_str()) else { continue };
            let texts = |key: &str| metadata.and_then(|metadata| metadata.get(key));
            items.push(Item {
                name: Some(name.to_owned()).filter(|name| !is_substituted(name)),
                labels: self.texts(file, texts("labels"), Kind::Labels),
                annotations: self.texts(file, texts("annotations"), Kind::Annotations),
                source: file.to_owned(),
                is_object: true,
            });
        }
    }

    /// Reads labels or annotations. Those that the API server would reject are reported and skipped.
    fn texts(&mut self, file: &Path, map: Option<&Value>, kind: Kind) -> Texts {
        let map = map.and_then(Value::as_mapping);
        let mut texts = Texts::new();
        for (key, value) in map.into_iter().flatten() {
            let shown = key.as_str().unwrap_or_default();
            let fault = match (key.as_str(), value.as_str()) {
                (Some(OWN_LABEL), _) => continue,
                (Some(key), _) if is_substituted(key) => continue,
                (Some(key), Some(text)) if is_substituted(text) => {
                    texts.insert(key.to_owned(), None);
                    continue;
                }
                (Some(key), _) if !kind.allows(key) => "has an invalid key",
                (Some(_), Some(text)) if kind == Kind::Labels && !is_label_value(text) => {
                    "has an invalid value"
                }
                (Some(key), Some(text)) => {
                    texts.insert(key.to_owned(), Some(text.to_owned()));
                    continue;
                }
                (Some(_), None) => "has a value other than text; put it in quotes",
                (None, _) => "has a key other than text",
            };
            let finding = Finding::warning("namespaces", "Label or annotation of a namespace is invalid")
                .with("file", self.root.join(file).display())
                .with("reason", format!("`{}.{shown}` {fault}", kind.name()))
                .fix("correct it: the API server rejects this Namespace");
            self.problems.push(finding);
        }
        texts
    }

    fn read(&mut self, file: &Path) -> Option<String> {
        self.reads += 1;
        if self.reads > MAX_READS {
            self.problem(file, &format!("more than {MAX_READS} files"));
            return None;
        }
        let text = files::text(&self.root.join(file), MAX_SIZE);
        text.map_err(|error: Unreadable| self.problem(file, &error.to_string())).ok()
    }

    fn is_not_yaml(&mut self, file: &Path, error: &YamlError) {
        self.problem(file, &format!("not valid YAML: {}", error.without_content("unknown location")));
    }

    fn problem(&mut self, file: &Path, reason: &str) {
        let finding = Finding::warning("namespaces", "File that may declare a namespace cannot be read")
            .with("file", self.root.join(file).display())
            .with("reason", reason)
            .fix("correct it: Flux cannot build this folder either");
        self.problems.push(finding);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Labels,
    Annotations,
}

impl Kind {
    /// Whether this can be a key. Kubernetes ignores the case of an annotation's.
    fn allows(self, key: &str) -> bool {
        match self {
            Self::Labels => is_qualified_name(key),
            Self::Annotations => is_qualified_name(&key.to_lowercase()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }
}

fn strings<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    value.get(key).and_then(Value::as_sequence).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether an entry is a URL or a Git repository, as `https://…`, `git@…` and `github.com/a/b//c?ref=d`.
fn is_remote(entry: &str) -> bool {
    ["://", "?", "git@", "//"].iter().any(|sign| entry.contains(sign))
}

/// Whether Flux may substitute a variable in it.
fn is_substituted(text: &str) -> bool {
    text.contains("${")
}

/// Whether a text can be the key of a label or annotation (`IsQualifiedName` of Kubernetes).
fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether a text can be the value of a label (`IsValidLabelValue` of Kubernetes).
fn is_label_value(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(is_inner)
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
}
