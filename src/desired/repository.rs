//! The known layouts of repositories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Kind;
use crate::base::files;
use crate::base::finding::Finding;

/// The helmfiles that the user named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HelmfilePaths {
    /// The one for custom resource definitions.
    pub crds: Option<PathBuf>,
    /// The one for everything else.
    pub apps: Option<PathBuf>,
}

/// The namespaces of a repository that has no `kubernetes/apps`.
const NAMESPACES: [&str; 5] = ["kube-system", "cert-manager", "flux-system", "network", "monitoring"];

/// The namespace of Flux, and of secrets without a namespace.
pub(crate) const FLUX_NAMESPACE: &str = "flux-system";

/// Secrets for Flux's variable substitution, in the layout of onedr0p/cluster-template.
const CLUSTER_SECRETS: &str = "kubernetes/components/sops/cluster-secrets.sops.yaml";

/// The folders in which helmfiles are searched, for messages.
pub(crate) const FOLDERS: &str = "bootstrap/helmfile.d and bootstrap/helmfile";

/// The paths of helmfiles below `bootstrap/`.
const LAYOUTS: [[(Kind, &str); 2]; 2] = [
    [(Kind::Crds, "helmfile.d/00-crds.yaml"), (Kind::Apps, "helmfile.d/01-apps.yaml")],
    [(Kind::Crds, "helmfile/crds.yaml"), (Kind::Apps, "helmfile/apps.yaml")],
];

/// The helmfile of a layout, or its template.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let names = [name.to_owned(), format!("{name}.gotmpl")];
    names.map(|name| root.join("bootstrap").join(name)).into_iter().find(|path| path.is_file())
}

/// Whether a folder has a helmfile at one of the known paths.
pub(crate) fn has_helmfile(folder: &Path) -> bool {
    LAYOUTS.iter().flatten().any(|(_, name)| find(folder, name).is_some())
}

/// Finds the two helmfiles, unless the user has named them.
///
/// # Errors
///
/// One or both do not exist.
pub(crate) fn helmfiles(root: &Path, named: &HelmfilePaths) -> Result<[(Kind, PathBuf); 2], Vec<Finding>> {
    let bootstrap = root.join("bootstrap");
    let find = |name: &str| find(root, name);
    let layout = LAYOUTS
        .iter()
        .find(|layout| layout.iter().any(|(_, name)| find(name).is_some()))
        .unwrap_or(&LAYOUTS[0]);
    let found = layout.map(|(kind, name)| {
        let named = match kind {
            Kind::Crds => &named.crds,
            Kind::Apps => &named.apps,
        };
        (kind, name, named.clone().or_else(|| find(name)))
    });
    if let [(crds, _, Some(first)), (apps, _, Some(second))] = found {
        return Ok([(crds, first), (apps, second)]);
    }
    let missing = found.into_iter().filter(|(_, _, path)| path.is_none());
    Err(missing
        .map(|(kind, name, _)| {
            let fix = "run k3s-boot in your repository, or pass its root with --root";
            Finding::error("helmfile", "Helmfile not found").with("file", bootstrap.join(name).display()).fix(
                format!("{fix}, or set the file in k3s-boot.yaml with `helmfiles.{}`", kind.stage().name()),
            )
        })
        .collect())
}

/// The encrypted files whose objects go into the cluster, sorted.
pub(crate) fn encrypted_files(root: &Path) -> Vec<PathBuf> {
    let files = files::read_folder(&root.join("bootstrap")).map(|entry| entry.path);
    let mut files: Vec<_> = files.filter(|path| is_encrypted_name(path)).collect();
    files.sort();
    files.extend(Some(root.join(CLUSTER_SECRETS)).filter(|path| path.is_file()));
    files
}

/// Whether a file is named as encrypted. `.sops.yaml` is the configuration of sops.
pub(crate) fn is_encrypted_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && (name.ends_with(".sops.yaml") || name.ends_with(".sops.yml"))
}

/// The namespaces to create: those that the user named, else the folders in `kubernetes/apps` if it exists, else the five
/// of the original `bootstrap-apps.sh`; then those of Flux and of the releases.
pub(crate) fn namespaces<'a>(
    root: &Path,
    named: Option<&[String]>,
    releases: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let first = named.map_or_else(|| found_namespaces(root), <[String]>::to_vec);
    let rest = std::iter::once(FLUX_NAMESPACE).chain(releases).map(ToOwned::to_owned);
    let mut seen = BTreeSet::new();
    first.into_iter().chain(rest).filter(|name| seen.insert(name.clone())).collect()
}

fn found_namespaces(root: &Path) -> Vec<String> {
    let folders = app_folders(root).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut folders: Vec<_> = folders.filter(|name| is_namespace(name)).collect();
    folders.sort();
    if folders.is_empty() { NAMESPACES.map(ToOwned::to_owned).to_vec() } else { folders }
}

/// The folders in `kubernetes/apps`, and links to folders.
pub(crate) fn app_folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = files::read_folder(&root.join("kubernetes/apps")).collect::<Vec<_>>();
    entries.into_iter().map(|entry| entry.path).filter(|path| path.is_dir())
}

/// Whether a name is valid for an object (RFC 1123 subdomain).
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_namespace)
}

/// Folders in `kubernetes/apps` with an invalid namespace name.
pub(crate) fn unusable_folders(root: &Path) -> Vec<PathBuf> {
    let usable = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_namespace);
    let mut folders: Vec<_> = app_folders(root).filter(|path| !usable(path)).collect();
    folders.sort();
    folders
}

/// Whether a name is valid for a namespace (RFC 1123 label).
pub(crate) fn is_namespace(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn both_layouts_and_templates_are_found() {
        let cases: &[&[&str; 2]] = &[
            &["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"],
            &["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml.gotmpl"],
            &["bootstrap/helmfile/crds.yaml", "bootstrap/helmfile/apps.yaml"],
        ];
        for files in cases {
            let root = tree(*files);
            let found = helmfiles(root.path(), &HelmfilePaths::default()).unwrap().map(|(_, path)| path);
            assert_eq!(found, files.map(|file| root.path().join(file)));
        }
        let root = tree(&["bootstrap/helmfile/apps.yaml"]);
        let missing = helmfiles(root.path(), &HelmfilePaths::default()).unwrap_err();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].details[0].1.ends_with("bootstrap/helmfile/crds.yaml"));
        assert_eq!(helmfiles(tree(&[]).path(), &HelmfilePaths::default()).unwrap_err().len(), 2);
    }

    #[test]
    fn a_named_helmfile_takes_precedence() {
        let root = tree(&["bootstrap/helmfile/apps.yaml"]);
        let (crds, apps) = (root.path().join("x/crds.yaml"), root.path().join("y.yaml"));
        let mut paths = HelmfilePaths { crds: Some(crds.clone()), apps: None };
        let found = helmfiles(root.path(), &paths).unwrap().map(|(_, path)| path);
        assert_eq!(found, [crds.clone(), root.path().join("bootstrap/helmfile/apps.yaml")]);
        paths.apps = Some(apps.clone());
        let found = helmfiles(tree(&[]).path(), &paths).unwrap().map(|(_, path)| path);
        assert_eq!(found, [crds, apps]);
    }

    #[test]
    fn namespaces_come_from_folders_or_from_the_original_script() {
        let releases = ["kube-system", "observability"];
        let root = tree(&[]);
        let names = namespaces(root.path(), None, releases.into_iter());
        assert_eq!(
            names,
            ["kube-system", "cert-manager", "flux-system", "network", "monitoring", "observability"]
        );
        let root = tree(&[
            "kubernetes/apps/media/x/ks.yaml",
            "kubernetes/apps/Bad_Name/x",
            "kubernetes/apps/readme.md",
        ]);
        let names = namespaces(root.path(), None, releases.into_iter());
        assert_eq!(names, ["media", "flux-system", "kube-system", "observability"]);
        let own = ["home".to_owned(), "kube-system".to_owned()];
        let names = namespaces(root.path(), Some(&own), releases.into_iter());
        assert_eq!(names, ["home", "kube-system", "flux-system", "observability"]);
    }

    #[test]
    fn encrypted_files_are_those_of_bootstrap() {
        let files = ["bootstrap/b.sops.yaml", "bootstrap/a.sops.yml", CLUSTER_SECRETS];
        let others = ["bootstrap/.sops.yaml", "bootstrap/plain.yaml", "kubernetes/x.sops.yaml"];
        let root = tree(&[files, others].concat());
        let found = encrypted_files(root.path());
        assert_eq!(found, [files[1], files[0], files[2]].map(|file| root.path().join(file)));
    }
}
