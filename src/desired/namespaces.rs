//! The namespaces to create: their labels and annotations, and where each comes from.

mod kustomize;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use self::kustomize::Reader;
use super::repository::{FLUX_NAMESPACE, KUSTOMIZATIONS, app_folders, is_namespace};
use super::synced::Synced;
use crate::base::files;
use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;

/// How many findings of one kind are reported.
const MAX_FINDINGS: usize = 20;

/// A namespace to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub name: String,
    /// The labels that the repository declares for it.
    pub labels: BTreeMap<String, String>,
    /// The annotations that the repository declares for it.
    pub annotations: BTreeMap<String, String>,
    pub source: Source,
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `namespaces` in `k3s-boot.yaml`.
    Config,
    /// A file or folder in `kubernetes/apps`, relative to the root.
    Path(PathBuf),
    /// Flux runs in it.
    Flux,
    /// A file or command with an object in it, in a repository that has no `kubernetes/apps`.
    Object(String),
    /// A release.
    Release(ReleaseId),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("k3s-boot.yaml"),
            Self::Path(path) => path.display().fmt(f),
            Self::Flux => f.write_str("Flux"),
            Self::Object(source) => f.write_str(source),
            Self::Release(release) => write!(f, "release {release}"),
        }
    }
}

impl Namespace {
    fn new(name: &str, source: Source) -> Self {
        Self { name: name.to_owned(), labels: BTreeMap::new(), annotations: BTreeMap::new(), source }
    }
}

/// What the folders in `kubernetes/apps` declare.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// The namespaces by name; `None` if the repository has no folder in `kubernetes/apps`.
    namespaces: Option<BTreeMap<String, Found>>,
    /// What cannot be read.
    pub problems: Vec<Finding>,
    /// The names that no namespace can have.
    pub invalid_names: Vec<Finding>,
}

#[derive(Debug)]
struct Found {
    namespace: Namespace,
    /// The folder, if it lies in a folder that has no kustomization.
    nested: Option<PathBuf>,
}

impl Declared {
    /// Drops namespaces of nested folders that Flux does not apply: those folders may belong to another cluster.
    pub(crate) fn keep_applied(&mut self, synced: &Synced) {
        if !synced.has(Path::new(APPS)) && !synced.further.iter().any(|path| path.starts_with(APPS)) {
            // Nothing is known about these folders.
            return;
        }
        if let Some(namespaces) = &mut self.namespaces {
            namespaces.retain(|_, found| found.nested.as_ref().is_none_or(|folder| synced.has(folder)));
        }
    }
}

const APPS: &str = "kubernetes/apps";

/// Reads what the folders in `kubernetes/apps` declare.
///
/// A folder is a namespace if its kustomization contains or sets one. As Flux does, all files of a folder without a
/// kustomization count as its resources, and so do the folders in it. If there is no kustomization at all, every folder is a
/// namespace.
pub(crate) fn declared(root: &Path) -> Declared {
    let mut folders: Vec<_> = app_folders(root).collect();
    folders.sort();
    if folders.is_empty() {
        return Declared::default();
    }
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let mut reader = Reader::new(root);
    let mut found = Vec::new();
    if reader.kustomization(Path::new(APPS)).is_some() {
        found.extend(reader.namespaces(Path::new(APPS)).into_iter().map(|namespace| (namespace, None)));
    }
    for folder in &folders {
        let folder = relative(folder);
        found.extend(reader.namespaces(&folder).into_iter().map(|namespace| (namespace, None)));
        if reader.kustomization(&folder).is_none() {
            let nested = files::read_folder(&root.join(&folder)).map(|entry| relative(&entry.path));
            let mut nested: Vec<_> = nested.filter(|path| reader.kustomization(path).is_some()).collect();
            nested.sort();
            for folder in nested {
                let namespaces = reader.namespaces(&folder);
                found.extend(namespaces.into_iter().map(|namespace| (namespace, Some(folder.clone()))));
            }
        }
    }
    let mut invalid = Vec::new();
    if !has_kustomization(root) {
        for folder in &folders {
            match folder.file_name().and_then(|name| name.to_str()).filter(|name| is_namespace(name)) {
                Some(name) => found.push((Namespace::new(name, Source::Path(relative(folder))), None)),
                None => invalid.push(
                    Finding::warning("namespaces", "Folder name is not a valid namespace")
                        .with("folder", folder.display()),
                ),
            }
        }
    }
    let mut namespaces = BTreeMap::new();
    for (namespace, nested) in found {
        if is_namespace(&namespace.name) {
            namespaces.entry(namespace.name.clone()).or_insert(Found { namespace, nested });
        } else {
            let source = root.join(namespace.source.to_string());
            invalid.push(
                Finding::warning("namespaces", "Name is not a valid namespace")
                    .with("file", source.display())
                    .with("namespace", &namespace.name),
            );
        }
    }
    let fix = |finding: Finding| finding.fix("use lower-case letters, digits and `-`");
    Declared {
        namespaces: Some(namespaces),
        problems: limited(reader.problems()),
        invalid_names: limited(invalid).into_iter().map(fix).collect(),
    }
}

fn has_kustomization(root: &Path) -> bool {
    let apps = root.join(APPS);
    files::walk(&apps, |entry| !entry.name().starts_with('.'))
        .any(|entry| entry.path.parent() != Some(&apps) && KUSTOMIZATIONS.contains(&entry.name().as_str()))
}

/// The first of these findings, each once.
fn limited(mut all: Vec<Finding>) -> Vec<Finding> {
    let mut seen: Vec<Finding> = Vec::new();
    all.retain(|finding| {
        let is_new = !seen.contains(finding);
        seen.push(finding.clone());
        is_new
    });
    let more = all.len().saturating_sub(MAX_FINDINGS);
    all.truncate(MAX_FINDINGS);
    if more > 0 {
        all = all.into_iter().map(|finding| finding.with("and_more", more)).collect();
    }
    all
}

/// The namespaces to create: those that the user named, else those that the repository declares; then those of Flux and of
/// the releases. If neither user nor repository lists any, those of `objects`, by name and source, belong to them.
pub(crate) fn namespaces(
    declared: &Declared,
    named: Option<&[String]>,
    objects: impl Iterator<Item = (String, String)>,
    releases: impl Iterator<Item = ReleaseId>,
) -> Vec<Namespace> {
    let all = || declared.namespaces.iter().flatten().map(|(_, found)| &found.namespace);
    let first: Vec<Namespace> = match named {
        Some(own) => own.iter().map(|name| Namespace::new(name, Source::Config)).collect(),
        None => all().cloned().collect(),
    };
    let is_listed = named.is_some() || declared.namespaces.is_some();
    let flux = Namespace::new(FLUX_NAMESPACE, Source::Flux);
    let objects = objects.filter(|_| !is_listed);
    let objects = objects.map(|(name, source)| Namespace::new(&name, Source::Object(source)));
    let releases = releases.map(|id| Namespace::new(&id.namespace.clone(), Source::Release(id)));
    let mut seen = BTreeSet::new();
    let rest = std::iter::once(flux).chain(objects).chain(releases);
    let chosen = first.into_iter().chain(rest).filter(|namespace| seen.insert(namespace.name.clone()));
    chosen
        .map(|chosen| match all().find(|declared| declared.name == chosen.name) {
            Some(Namespace { labels, annotations, .. }) => {
                Namespace { labels: labels.clone(), annotations: annotations.clone(), ..chosen }
            }
            None => chosen,
        })
        .collect()
}

#[cfg(test)]
mod tests;
