//! The part of the repository that Flux applies: the folder of its own Kustomization, and what that refers to.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_yaml::Value;

use crate::base::{files, yaml};

/// The size limit; Kustomizations are far smaller.
const MAX_SIZE: u64 = 1024 * 1024;

/// The part of the repository that Flux applies. Paths are relative to its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    /// The folder of Flux's own Kustomization.
    pub path: PathBuf,
    /// Folders and files that are referenced: by the path of Flux Kustomizations, and in the lists of kustomize files.
    pub further: BTreeSet<PathBuf>,
    /// Whether one of these Flux Kustomizations decrypts what it applies.
    pub decrypts: bool,
}

impl Synced {
    /// Whether Flux applies the file, judging by paths.
    pub(crate) fn has(&self, file: &Path) -> bool {
        file.starts_with(&self.path) || file.ancestors().any(|place| self.further.contains(place))
    }
}

/// Follows the references in tracked files, starting in Flux's own folder.
pub(crate) fn read(root: &Path, path: &str, tracked: &BTreeSet<PathBuf>) -> Synced {
    let mut synced = Synced { path: below(Path::new(""), path).unwrap_or_default(), ..Synced::default() };
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    let mut places = vec![synced.path.clone()];
    while let Some(place) = places.pop() {
        // Paths are sorted by component, so those below a folder are adjacent.
        let below = tracked.range(place.clone()..).take_while(|file| file.starts_with(&place));
        let files = below.map(PathBuf::as_path).filter(|file| is_yaml(file));
        for file in files.filter(|file| seen.insert(file)).collect::<Vec<_>>() {
            for document in documents(&root.join(file)) {
                synced.decrypts |= is_flux(&document) && decrypts(&document);
                let found = references(file, &document).into_iter().filter(|place| !synced.has(place));
                for place in found.collect::<Vec<_>>() {
                    places.push(place.clone());
                    synced.further.insert(place);
                }
            }
        }
    }
    synced
}

/// The references of a Kustomization: the path of one of Flux, the folders and files in one of kustomize.
fn references(file: &Path, document: &Value) -> Vec<PathBuf> {
    if is_flux(document) {
        let path = document.get("spec").and_then(|spec| spec.get("path")?.as_str());
        // Without a path it is the whole repository, which may contain other clusters too.
        return path.and_then(|path| below(Path::new(""), path)).into_iter().collect();
    }
    let is_kustomize = file.file_stem().is_some_and(|name| name == "kustomization");
    let lists = ["resources", "components"].into_iter().filter(|_| is_kustomize);
    let entries =
        lists.filter_map(|key| document.get(key)?.as_sequence()).flatten().filter_map(Value::as_str);
    let folder = file.parent().unwrap_or(file);
    entries.filter(|entry| !entry.contains("://")).filter_map(|entry| below(folder, entry)).collect()
}

/// A normalized path in the repository; none for the root itself and for paths outside.
pub(crate) fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut found = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => found.push(part),
            Component::ParentDir if !found.pop() => return None,
            // Flux treats `/a` as `./a`.
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(found).filter(|found| !found.as_os_str().is_empty())
}

pub(crate) fn is_yaml(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

fn is_flux(document: &Value) -> bool {
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version.starts_with("kustomize.toolkit.fluxcd.io/")
        && document.get("kind").is_some_and(|kind| kind == "Kustomization")
}

fn decrypts(document: &Value) -> bool {
    document.get("spec").and_then(|spec| spec.get("decryption")?.get("provider")).is_some()
}

/// The documents of a file that may have references.
fn documents(path: &Path) -> Vec<Value> {
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
    let text = is_file.then(|| files::text(path, MAX_SIZE).ok()).flatten().unwrap_or_default();
    // Parsing all files would take longer than everything else.
    if !text.contains("kustomize.toolkit.fluxcd.io/")
        && !text.contains("resources:")
        && !text.contains("components:")
    {
        return Vec::new();
    }
    yaml::documents(&text, yaml::WRITTEN).map_while(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let flux = |path: &str, more: &str| {
            format!(
                "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {{path: {path}{more}}}\n"
            )
        };
        let files = [
            ("kubernetes/flux/cluster/ks.yaml", flux("./kubernetes/apps", ", decryption: {provider: sops}")),
            (
                "kubernetes/apps/default/kustomization.yaml",
                "components: [../../components/sops]\nresources: ['https://x/y', ./ks.yaml]\n".to_owned(),
            ),
            ("kubernetes/apps/default/ks.yaml", flux("./kubernetes/apps/default/echo/app", "")),
            ("kubernetes/other/ks.yaml", flux("./elsewhere", "")),
            ("kubernetes/apps/broken.yaml", "resources: [\n".to_owned()),
            (
                "kubernetes/apps/loop/kustomization.yaml",
                "resources: [., ../loop, ../../../../x]\n".to_owned(),
            ),
        ];
        for (name, text) in &files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tracked: BTreeSet<PathBuf> = files.iter().map(|(name, _)| PathBuf::from(name)).collect();
        let synced = read(folder.path(), "./kubernetes/flux/cluster", &tracked);
        assert_eq!(synced.path, Path::new("kubernetes/flux/cluster"));
        assert!(synced.decrypts);
        let further: Vec<_> = synced.further.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(further, ["kubernetes/apps", "kubernetes/components/sops"]);
        assert!(synced.has(Path::new("kubernetes/components/sops/a.sops.yaml")));
        assert!(!synced.has(Path::new("kubernetes/other/a.sops.yaml")));
        assert!(!read(folder.path(), "kubernetes/other", &tracked).decrypts);
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_it_panic(path: String, near in crate::base::mutate::text(&["./kubernetes/apps/../flux", "/a//b/."])) {
            _ = below(Path::new("a/b"), &path);
            _ = below(Path::new("a/b"), &near);
        }

        #[test]
        fn no_kustomization_makes_it_panic(text in crate::base::mutate::text(&[
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec:\n  path: ./kubernetes/apps\n  \
             decryption: {provider: sops, secretRef: {name: sops-age}}\n",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\ncomponents: [../../components/sops]\nresources:\n- https://x/y\n- ./ks.yaml\n",
        ])) {
            for document in yaml::documents(&text, yaml::WRITTEN).map_while(Result::ok) {
                _ = (is_flux(&document), decrypts(&document));
                _ = references(Path::new("kubernetes/kustomization.yaml"), &document);
            }
        }
    }
}
