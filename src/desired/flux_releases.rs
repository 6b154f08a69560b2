//! The Helm releases that the repository defines for Flux: its HelmReleases, with chart and values.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_yaml::Value;

pub(crate) use self::source::{ChartVersion, FluxChart};
use super::releases::merge;
use super::synced::below;
use crate::base::fact::Fact;
use crate::base::release_id::{HelmReleaseNames, ReleaseId};
use crate::base::yaml;

/// The size limit of a values file that a `configMapGenerator` reads.
const MAX_GENERATED: usize = 1024 * 1024;

/// A Helm release as Flux will install it. Has no `Debug`: its values may contain secrets.
pub(crate) struct FluxRelease {
    /// The file with the HelmRelease, relative to the root of the repository.
    pub file: PathBuf,
    pub release: ReleaseId,
    /// The chart, or why it is unknown.
    pub chart: Fact<FluxChart>,
    /// The values, merged as helm-controller does.
    pub values: serde_json::Value,
    /// Where further values come from that are not part of `values`.
    pub unread: Vec<String>,
}

/// The objects that define Helm releases, from all files of a repository. Paths are relative to its root.
#[derive(Default)]
pub(crate) struct FluxObjects {
    helm_releases: Vec<Object>,
    sources: Vec<Object>,
    /// Flux Kustomizations: the folder, and the namespace of everything in it.
    kustomizations: BTreeMap<PathBuf, BTreeSet<String>>,
    /// The kustomize files, by folder.
    kustomize: BTreeMap<PathBuf, Value>,
}

struct Object {
    file: PathBuf,
    document: Value,
}

impl Object {
    fn text(&self, path: &[&str]) -> Option<&str> {
        text(&self.document, path)
    }

    fn kind(&self) -> &str {
        self.text(&["kind"]).unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.text(&["metadata", "name"]).unwrap_or_default()
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(&self.file)
    }
}

/// A value by its path.
fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// A text that is not empty, by its path.
fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    get(value, path)?.as_str().filter(|text| !text.is_empty())
}

fn list<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> + use<'a> {
    get(value, path).and_then(Value::as_sequence).into_iter().flatten()
}

/// Whether only Flux knows a text: Flux substitutes its variables or decrypts it.
pub(crate) fn is_open(text: &str) -> bool {
    text.contains("${") || text.starts_with("ENC[")
}

impl FluxObjects {
    /// Adds the objects of a file.
    pub(crate) fn add(&mut self, file: &Path, text: &str) {
        let is_kustomize = file.file_stem().is_some_and(|name| name == "kustomization");
        // Parsing all files would take longer than everything else.
        if !is_kustomize && !text.contains("toolkit.fluxcd.io/") {
            return;
        }
        let documents = yaml::documents::<Value>(text, yaml::WRITTEN).map_while(Result::ok);
        for mut document in documents {
            _ = document.apply_merge();
            self.add_document(file, document);
        }
    }

    fn add_document(&mut self, file: &Path, document: Value) {
        let object = Object { file: file.to_owned(), document };
        let api = object.text(&["apiVersion"]).unwrap_or_default().split('/').next().unwrap_or_default();
        match (api, object.kind()) {
            ("helm.toolkit.fluxcd.io", "HelmRelease") => self.helm_releases.push(object),
            ("source.toolkit.fluxcd.io", _) => self.sources.push(object),
            ("kustomize.toolkit.fluxcd.io", "Kustomization") => {
                let path = object.text(&["spec", "path"]).and_then(|path| below(Path::new(""), path));
                let namespaces = self.kustomizations.entry(path.unwrap_or_default()).or_default();
                let target = object.text(&["spec", "targetNamespace"]).filter(|name| !is_open(name));
                namespaces.extend(target.map(ToOwned::to_owned));
            }
            // kustomize files need neither `apiVersion` nor `kind`.
            ("" | "kustomize.config.k8s.io", _)
                if file.file_stem().is_some_and(|name| name == "kustomization") =>
            {
                self.kustomize.insert(object.folder().to_owned(), object.document);
            }
            _ => {}
        }
    }

    /// The Helm releases; `read` returns the text of a file of the repository.
    pub(crate) fn releases(&self, read: impl Fn(&Path) -> Option<String>) -> Vec<FluxRelease> {
        let mut releases = Vec::new();
        for object in &self.helm_releases {
            // A HelmRelease with a kubeconfig targets another cluster.
            if get(&object.document, &["spec", "kubeConfig"]).is_some() {
                continue;
            }
            for namespace in self.namespaces(object) {
                let named = HelmReleaseNames {
                    name: object.name(),
                    namespace: &namespace,
                    release_name: object.text(&["spec", "releaseName"]),
                    target_namespace: object.text(&["spec", "targetNamespace"]),
                    storage_namespace: object.text(&["spec", "storageNamespace"]),
                };
                let (values, unread) = self.values(object, &read);
                releases.push(FluxRelease {
                    file: object.file.clone(),
                    release: named.release(),
                    chart: self.chart(object, &namespace),
                    values,
                    unread,
                });
            }
        }
        releases
    }

    /// The namespaces in which Flux creates an object: several if several Kustomizations apply its folder.
    fn namespaces(&self, object: &Object) -> Vec<String> {
        let folder = object.folder();
        // The Kustomization of the innermost folder applies the object; it sets the namespace last.
        let governing = folder.ancestors().find_map(|place| self.kustomizations.get_key_value(place));
        let targets = governing.map(|(_, targets)| targets.iter().cloned().collect::<Vec<_>>());
        if let Some(targets) = targets.filter(|targets| !targets.is_empty()) {
            return targets;
        }
        // Of the kustomize files of one build, the outermost sets the namespace last.
        let top = governing.map(|(path, _)| path.as_path());
        let mut set = self.kustomize_above(folder, top).filter_map(|(_, file)| text(file, &["namespace"]));
        let outermost = if top.is_some() { set.last() } else { set.next() };
        let own = object.text(&["metadata", "namespace"]);
        let found = outermost.or(own).or_else(|| app_folder(folder));
        vec![found.unwrap_or_default().to_owned()]
    }

    /// The kustomize files in a folder and the folders above, up to `top`.
    fn kustomize_above<'a>(
        &'a self,
        folder: &'a Path,
        top: Option<&'a Path>,
    ) -> impl Iterator<Item = (&'a Path, &'a Value)> {
        let places = folder.ancestors().take_while(move |place| top.is_none_or(|top| place.starts_with(top)));
        places.filter_map(|place| Some((place, self.kustomize.get(place)?)))
    }

    /// The values of a HelmRelease, and where further values come from that are not known.
    fn values(
        &self,
        object: &Object,
        read: &impl Fn(&Path) -> Option<String>,
    ) -> (serde_json::Value, Vec<String>) {
        let mut values = serde_json::Value::Object(serde_json::Map::new());
        let mut unread = Vec::new();
        for from in list(&object.document, &["spec", "valuesFrom"]) {
            if let Some(found) = self.generated(object, from, read) {
                merge(&mut values, serde_json::to_value(found).unwrap_or_default());
            } else {
                let field = |key| text(from, &[key]).unwrap_or_default();
                unread.push(format!("{} {}", field("kind"), field("name")));
            }
        }
        if list(&object.document, &["spec", "chart", "spec", "valuesFiles"]).next().is_some() {
            unread.push("valuesFiles".to_owned());
        }
        // Later sources win. Which of the known values an unknown source replaces is unknown, too.
        if !unread.is_empty() {
            values = serde_json::Value::Object(serde_json::Map::new());
        }
        if let Some(own) = get(&object.document, &["spec", "values"]).filter(|own| own.is_mapping()) {
            merge(&mut values, serde_json::to_value(own).unwrap_or_default());
        }
        (values, unread)
    }

    /// The values in a ConfigMap that a `configMapGenerator` creates from a file.
    fn generated(
        &self,
        object: &Object,
        from: &Value,
        read: &impl Fn(&Path) -> Option<String>,
    ) -> Option<Value> {
        if text(from, &["kind"])? != "ConfigMap" || from.get("targetPath").is_some() {
            return None;
        }
        let name = text(from, &["name"])?;
        let key = text(from, &["valuesKey"]).unwrap_or("values.yaml");
        let mut generators = self.kustomize_above(object.folder(), None).flat_map(|(folder, file)| {
            list(file, &["configMapGenerator"]).map(move |generator| (folder, generator))
        });
        let (folder, generator) =
            generators.find(|(_, generator)| text(generator, &["name"]) == Some(name))?;
        let path = list(generator, &["files"]).filter_map(Value::as_str).find_map(|entry| {
            let base = || Path::new(entry).file_name().and_then(|name| name.to_str());
            let (has, path) = entry.split_once('=').or_else(|| Some((base()?, entry)))?;
            (has == key).then_some(path)
        })?;
        let values = read(&below(folder, path)?)?;
        let mut values: Value = yaml::parse(&values, MAX_GENERATED).ok()?;
        _ = values.apply_merge();
        (values.is_mapping() || values.is_null()).then_some(values)
    }
}

/// The folder below `apps`, which is named after the namespace in most repositories.
fn app_folder(folder: &Path) -> Option<&str> {
    let mut parts = folder.iter().skip_while(|part| *part != "apps");
    parts.next();
    parts.next()?.to_str()
}

#[cfg(test)]
mod tests;
