//! Flux's variable substitution in a repository: which variables it knows, where they are defined, and which values of
//! HelmReleases use them.

mod placeholder;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

pub(crate) use self::placeholder::{Placeholder, split};
use super::releases::Release;
use super::synced::is_yaml;
use crate::base::{files, yaml};

/// The size limit; such files are far smaller.
const MAX_SIZE: u64 = 1024 * 1024;

/// How deep patches, which are text in YAML, are searched.
const MAX_PATCH_DEPTH: usize = 3;

/// The objects with variables in the layout of onedr0p/cluster-template.
const USUAL_NAMES: [&str; 2] = ["cluster-secrets", "cluster-settings"];

/// The label or annotation of an object in which Flux replaces nothing (`fluxcd/pkg/kustomize`).
const EXCLUDED: (&str, &str) = ("kustomize.toolkit.fluxcd.io/substitute", "disabled");

/// Longer values are not shown.
const MAX_SHOWN: usize = 60;

/// Flux's variable substitution in a repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Substitutions {
    /// Whether a Kustomization of Flux substitutes variables.
    pub is_used: bool,
    /// Where the variables are defined.
    definitions: BTreeMap<String, Vec<Definition>>,
    /// The HelmReleases with placeholders.
    helm_releases: Vec<HelmRelease>,
    /// The variables that templates find a value for.
    pub set: BTreeSet<String>,
    /// The variables that the configuration sets for templates.
    pub configured: BTreeSet<String>,
    /// The files with variables for templates that the configuration lists, relative to the root.
    pub environment_files: Vec<String>,
}

/// Where a variable is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Definition {
    /// In a Secret or `ConfigMap`, in this file.
    Object(PathBuf),
    /// In a Kustomization of Flux.
    Inline {
        file: PathBuf,
        value: String,
        /// The folder that it applies; a patch may be for any.
        folder: Option<PathBuf>,
    },
}

impl Definition {
    /// The file, relative to the root.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Object(file) | Self::Inline { file, .. } => file,
        }
    }

    /// The value, if it is in a Kustomization.
    pub(crate) fn inline(&self) -> Option<&str> {
        match self {
            Self::Object(_) => None,
            Self::Inline { value, .. } => Some(value),
        }
    }

    /// Whether Flux may replace the variable in a file by this value.
    fn applies_to(&self, manifest: Option<&Path>) -> bool {
        match self {
            Self::Object(_) | Self::Inline { folder: None, .. } => true,
            Self::Inline { folder: Some(folder), .. } => {
                manifest.is_some_and(|file| file.starts_with(folder))
            }
        }
    }
}

/// A HelmRelease with placeholders.
#[derive(Clone, Debug)]
pub(crate) struct HelmRelease {
    name: String,
    namespace: Option<String>,
    /// Relative to the root.
    pub file: PathBuf,
    /// Whether Flux replaces nothing in it.
    pub is_excluded: bool,
    pub values: serde_json::Value,
}

/// The parts of files that are needed to find out more.
#[derive(Default)]
struct Scan {
    found: Substitutions,
    /// The names of the objects that Kustomizations refer to.
    names: BTreeSet<String>,
    /// The name of each Secret and `ConfigMap`, with a key and its file.
    keys: Vec<(String, String, PathBuf)>,
}

/// Reads the files of a repository, whose paths are relative to the root.
pub(crate) fn read<'a>(root: &Path, paths: impl Iterator<Item = &'a PathBuf>) -> Substitutions {
    let mut scan = Scan { names: USUAL_NAMES.map(ToOwned::to_owned).into(), ..Scan::default() };
    for path in paths.filter(|path| is_yaml(path)) {
        let place = root.join(path);
        let is_file = std::fs::symlink_metadata(&place).is_ok_and(|file| file.is_file());
        if let Some(text) = is_file.then(|| files::text(&place, MAX_SIZE).ok()).flatten() {
            scan.file(path, &text);
        }
    }
    let Scan { mut found, names, keys } = scan;
    for (object, key, file) in keys {
        if names.contains(&object) {
            // Those of Kustomizations take precedence.
            found.definitions.entry(key).or_default().push(Definition::Object(file));
        }
    }
    found
}

impl Scan {
    fn file(&mut self, path: &Path, text: &str) {
        // Parsing all files would take longer than everything else.
        let words = ["postBuild", "kind: Secret", "kind: ConfigMap", "kind: HelmRelease"];
        if !words.iter().any(|word| text.contains(word)) {
            return;
        }
        for document in yaml::documents::<Value>(text, yaml::WRITTEN).map_while(Result::ok) {
            match document.get("kind").and_then(Value::as_str) {
                Some("Secret" | "ConfigMap") => self.object(path, &document),
                Some("HelmRelease") => self.helm_release(path, &document),
                _ => {
                    let folder = document.get("spec").and_then(|spec| spec.get("path")?.as_str());
                    let folder = folder.map(|folder| folder.trim_start_matches(['.', '/']).into());
                    self.kustomization((path, folder.as_ref()), &document, MAX_PATCH_DEPTH);
                }
            }
        }
    }

    fn object(&mut self, path: &Path, object: &Value) {
        let Some(name) = object.get("metadata").and_then(|metadata| metadata.get("name")?.as_str()) else {
            return;
        };
        for map in ["data", "stringData"] {
            let entries = object.get(map).and_then(Value::as_mapping).into_iter().flatten();
            let keys = entries.filter_map(|(key, _)| key.as_str());
            self.keys.extend(keys.map(|key| (name.to_owned(), key.to_owned(), path.to_owned())));
        }
    }

    fn helm_release(&mut self, path: &Path, object: &Value) {
        let metadata = object.get("metadata").unwrap_or(&Value::Null);
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        let is_excluded = ["labels", "annotations"].iter().any(|map| {
            let mark = metadata.get(map).and_then(|map| map.get(EXCLUDED.0)?.as_str());
            mark == Some(EXCLUDED.1)
        });
        let values = object.get("spec").and_then(|spec| spec.get("values"));
        let values = values.and_then(|values| serde_json::to_value(values).ok());
        if let (Some(name), Some(values)) = (text("name"), values)
            && values.to_string().contains("${")
        {
            let namespace = text("namespace").map(ToOwned::to_owned);
            let (name, file) = (name.to_owned(), path.to_owned());
            self.found.helm_releases.push(HelmRelease { name, namespace, file, is_excluded, values });
        }
    }

    /// Searches for `postBuild`, also in patches, which are text and may be for any Kustomization.
    fn kustomization(&mut self, place: (&Path, Option<&PathBuf>), value: &Value, depth: usize) {
        match value {
            Value::Mapping(map) => {
                for (key, value) in map {
                    if key == "postBuild" {
                        self.post_build(place, value);
                    } else {
                        self.kustomization(place, value, depth);
                    }
                }
            }
            Value::Sequence(items) => items.iter().for_each(|item| self.kustomization(place, item, depth)),
            Value::String(text) if depth > 0 && text.contains("postBuild") => {
                for document in yaml::documents::<Value>(text, yaml::WRITTEN).map_while(Result::ok) {
                    self.kustomization((place.0, None), &document, depth - 1);
                }
            }
            _ => {}
        }
    }

    fn post_build(&mut self, (file, folder): (&Path, Option<&PathBuf>), post_build: &Value) {
        let from = post_build.get("substituteFrom").and_then(Value::as_sequence).into_iter().flatten();
        for name in from.filter_map(|object| object.get("name")?.as_str()) {
            self.names.insert(name.to_owned());
            self.found.is_used = true;
        }
        let inline = post_build.get("substitute").and_then(Value::as_mapping).into_iter().flatten();
        for (name, value) in inline {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                _ => continue,
            };
            if let Some(name) = name.as_str() {
                self.found.is_used = true;
                let definition = Definition::Inline { file: file.to_owned(), value, folder: folder.cloned() };
                self.found.definitions.entry(name.to_owned()).or_default().push(definition);
            }
        }
    }
}

impl Substitutions {
    /// Where a variable is defined that Flux may replace in a manifest, a path relative to the root.
    pub(crate) fn definition(&self, name: &str, manifest: Option<&Path>) -> Option<&Definition> {
        self.definitions.get(name)?.iter().find(|definition| definition.applies_to(manifest))
    }

    /// Whether Kustomizations set a variable to different values, as in `APP: grafana` for each application.
    pub(crate) fn has_several_values(&self, name: &str) -> bool {
        let mut values = self.definitions.get(name).into_iter().flatten().filter_map(Definition::inline);
        values.next().is_some_and(|first| values.any(|other| other != first))
    }

    /// The HelmRelease with the name of a release, if its values have placeholders.
    pub(crate) fn helm_release(&self, release: &Release) -> Option<&HelmRelease> {
        let candidates = || self.helm_releases.iter().filter(|one| one.name == release.name);
        let is_in_folder = |one: &HelmRelease| one.file.iter().any(|part| part == release.namespace.as_str());
        let named = candidates().find(|one| one.namespace.as_ref() == Some(&release.namespace));
        let unnamed = || candidates().find(|one| one.namespace.is_none() && is_in_folder(one));
        named.or_else(unnamed)
    }

    /// The lines of `k3s-boot.yaml` that give templates these variables; none unless the repository defines all of them, each
    /// with one value.
    pub(crate) fn environment_lines<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let mut files = self.environment_files.clone();
        let mut variables = BTreeMap::new();
        for name in names {
            match self.definitions.get(name)?.first()? {
                _ if self.has_several_values(name) => return None,
                Definition::Object(file) => {
                    let file = file.display().to_string();
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
                Definition::Inline { value, .. } => {
                    let is_shown = value.len() <= MAX_SHOWN && !value.contains(['\n', '$']);
                    let value = if is_shown {
                        serde_json::Value::from(value.as_str()).to_string()
                    } else {
                        "...".to_owned()
                    };
                    variables.insert(name, value);
                }
            }
        }
        let mut lines = String::new();
        if files != self.environment_files {
            _ = write!(lines, "\n  files: [{}]", files.join(", "));
        }
        if !variables.is_empty() {
            lines += "\n  variables:";
            lines.extend(variables.iter().map(|(name, value)| format!("\n    {name}: {value}")));
        }
        (!lines.is_empty()).then(|| format!("environment:{lines}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &[(&str, &str)]) -> Substitutions {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let paths: Vec<_> = files.iter().map(|(name, _)| PathBuf::from(name)).collect();
        read(root.path(), paths.iter())
    }

    #[test]
    fn definitions_are_found() {
        let found = repository(&[
            (
                "flux/ks.yaml",
                "kind: Kustomization\nspec:\n  patches:\n  - patch: |\n      kind: Kustomization\n      spec:\n        postBuild:\n          substituteFrom: [{kind: Secret, name: own}]\n",
            ),
            (
                "apps/ks.yaml",
                "kind: Kustomization\nspec: {postBuild: {substitute: {INLINE: one, PORT: 80}}}\n",
            ),
            (
                "a.sops.yaml",
                "kind: Secret\nmetadata: {name: cluster-secrets}\nstringData: {DOMAIN: 'ENC[x]'}\n",
            ),
            (
                "b.yaml",
                "kind: ConfigMap\nmetadata: {name: own}\ndata: {OWN: x}\n---\nkind: Secret\nmetadata: {name: other}\ndata: {OTHER: x}\n",
            ),
            ("c.txt", "kind: Secret\nmetadata: {name: own}\ndata: {TEXT: x}\n"),
        ]);
        assert!(found.is_used);
        let names: Vec<_> = found.definitions.keys().collect();
        assert_eq!(names, ["DOMAIN", "INLINE", "OWN", "PORT"]);
        assert_eq!(found.definition("OWN", None).unwrap().file(), Path::new("b.yaml"));
        let lines = found.environment_lines(["DOMAIN", "OWN", "INLINE"]).unwrap();
        assert_eq!(lines, "environment:\n  files: [a.sops.yaml, b.yaml]\n  variables:\n    INLINE: \"one\"");
        assert_eq!(found.environment_lines(["DOMAIN", "OTHER"]), None);
        assert!(
            !repository(&[("a.yaml", "kind: ConfigMap\nmetadata: {name: cluster-settings}\ndata: {A: b}\n")])
                .is_used
        );
    }

    #[test]
    fn variable_of_one_application_is_not_that_of_others() {
        let kustomization = |app: &str| {
            format!(
                "kind: Kustomization\nspec:\n  path: ./apps/{app}/app\n  postBuild: {{substitute: {{APP: {app}, SAME: x, OF_{app}: y}}}}\n"
            )
        };
        let found =
            repository(&[("apps/a/ks.yaml", &kustomization("a")), ("apps/b/ks.yaml", &kustomization("b"))]);
        let value = |name: &str, file: Option<&str>| {
            found.definition(name, file.map(Path::new)).and_then(Definition::inline)
        };
        assert_eq!(value("APP", Some("apps/b/app/helmrelease.yaml")), Some("b"));
        assert_eq!(value("OF_a", Some("apps/b/app/helmrelease.yaml")), None);
        assert_eq!(value("APP", None), None);
        assert!(found.has_several_values("APP") && !found.has_several_values("SAME"));
        assert_eq!(found.environment_lines(["APP"]), None);
        let lines = found.environment_lines(["SAME", "OF_b"]).unwrap();
        assert_eq!(lines, "environment:\n  variables:\n    OF_b: \"y\"\n    SAME: \"x\"");
    }

    #[test]
    fn helm_release_is_that_of_the_namespace() {
        let release = |namespace: &str, text: &str| {
            format!(
                "kind: HelmRelease\nmetadata: {{name: a{namespace}}}\nspec: {{values: {{k: '{text} ${{X}}'}}}}\n"
            )
        };
        let found = repository(&[
            ("kubernetes/apps/media/a/helmrelease.yaml", &release("", "by folder")),
            ("kubernetes/apps/x.yaml", &release(", namespace: other", "by name")),
            (
                "kubernetes/apps/y/a.yaml",
                "kind: HelmRelease\nmetadata: {name: b}\nspec: {values: {k: none}}\n",
            ),
        ]);
        let of = |namespace: &str, name: &str| {
            let text = format!("releases: [{{name: {name}, namespace: {namespace}, chart: c}}]\n");
            let releases = crate::desired::releases::parse(text.as_bytes(), "default").unwrap().releases;
            found.helm_release(&releases[0]).map(|found| found.values["k"].as_str().unwrap().to_owned())
        };
        assert_eq!(of("media", "a").as_deref(), Some("by folder ${X}"));
        assert_eq!(of("other", "a").as_deref(), Some("by name ${X}"));
        assert_eq!((of("third", "a"), of("y", "b")), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text: String, near in crate::base::mutate::text(&[
            "kind: Kustomization\nspec:\n  postBuild: {substitute: {A: b}, substituteFrom: [{kind: Secret, name: own}]}\n  patches:\n  - patch: |\n      spec: {postBuild: {substitute: {C: d}}}\n",
            "kind: Secret\nmetadata: {name: cluster-secrets}\nstringData: {A: 'ENC[x]'}\n---\nkind: HelmRelease\nmetadata: {name: a}\nspec: {values: {k: '${X}'}}\n",
        ])) {
            for text in [text, near] {
                let mut scan = Scan::default();
                scan.file(Path::new("a.yaml"), &text);
                _ = scan.found.environment_lines(["A"]);
            }
        }
    }
}
