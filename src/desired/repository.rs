//! The known layouts of repositories.

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

/// The namespace of Flux, and of secrets without a namespace.
pub(crate) const FLUX_NAMESPACE: &str = "flux-system";

/// Secrets for Flux's variable substitution, in the layout of onedr0p/cluster-template.
const CLUSTER_SECRETS: &str = "kubernetes/components/sops/cluster-secrets.sops.yaml";

/// The names of the file that makes a folder a kustomization, in the order of kustomize (`api/konfig`).
pub(crate) const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Where the helmfiles of a layout are, without `.yaml` or `.yaml.gotmpl`.
struct Layout {
    /// The helmfile for custom resource definitions; layouts with one helmfile have none.
    crds: Option<&'static str>,
    apps: &'static str,
}

/// The layouts of public repositories with a bootstrap helmfile.
const LAYOUTS: [Layout; 10] = [
    Layout { crds: Some("bootstrap/helmfile/crds"), apps: "bootstrap/helmfile/apps" },
    Layout { crds: Some("bootstrap/helmfile.d/00-crds"), apps: "bootstrap/helmfile.d/01-apps" },
    Layout { crds: Some("bootstrap/helmfile.d/crds"), apps: "bootstrap/helmfile.d/apps" },
    Layout { crds: Some("kubernetes/bootstrap/helmfile/crds"), apps: "kubernetes/bootstrap/helmfile/apps" },
    Layout {
        crds: Some("kubernetes/bootstrap/helmfile.d/00-crds"),
        apps: "kubernetes/bootstrap/helmfile.d/01-apps",
    },
    Layout {
        crds: Some("kubernetes/bootstrap/helmfile.d/crds"),
        apps: "kubernetes/bootstrap/helmfile.d/apps",
    },
    Layout { crds: Some("bootstrap/crds/helmfile"), apps: "bootstrap/helmfile" },
    Layout { crds: None, apps: "bootstrap/apps/helmfile" },
    Layout { crds: None, apps: "kubernetes/bootstrap/helmfile" },
    Layout { crds: None, apps: "kubernetes/bootstrap/apps/helmfile" },
];

/// The files of a layout that exist.
struct Found {
    crds: Vec<PathBuf>,
    apps: Vec<PathBuf>,
}

impl Layout {
    fn find(&self, root: &Path) -> Option<Found> {
        let files = |name: &str| {
            let names = [format!("{name}.yaml"), format!("{name}.yaml.gotmpl")];
            names.into_iter().map(|name| root.join(name)).filter(|path| path.is_file()).collect::<Vec<_>>()
        };
        let found = Found { crds: self.crds.map_or_else(Vec::new, files), apps: files(self.apps) };
        (!found.crds.is_empty() || !found.apps.is_empty()).then_some(found)
    }
}

/// The fix for a helmfile that is no YAML because it is a template which helmfile does not render: its name does not end in `.gotmpl`.
pub(crate) fn unrendered_fix(path: &Path, text: &str) -> Option<String> {
    let is_named = path.extension().is_some_and(|extension| extension == "gotmpl");
    // In quotes, a template may be one of a release, which helmfile renders later.
    let is_template = |line: &str| {
        let line = line.trim_start();
        !line.starts_with('#') && (line.starts_with("{{") || line.contains("- {{") || line.contains(": {{"))
    };
    let path = path.display();
    (!is_named && text.lines().any(is_template)).then(|| {
        format!(
            "git mv {path} {path}.gotmpl  # helmfile renders templates only in files that end in `.gotmpl`"
        )
    })
}

/// Whether a folder has a helmfile at one of the known paths.
pub(crate) fn has_helmfile(folder: &Path) -> bool {
    LAYOUTS.iter().any(|layout| layout.find(folder).is_some())
}

/// Finds the helmfiles, unless the user has named them. The one for custom resource definitions comes first, if there is one.
///
/// # Errors
///
/// There is none, or more than one layout.
pub(crate) fn helmfiles(root: &Path, named: &HelmfilePaths) -> Result<Vec<(Kind, PathBuf)>, Finding> {
    let mut found: Vec<_> = LAYOUTS.iter().filter_map(|layout| layout.find(root)).collect();
    if let Some(apps) = &named.apps {
        // Another layout is not meant if the file belongs to one.
        if let Some(at) = found.iter().position(|layout| layout.apps.contains(apps)) {
            found = vec![found.swap_remove(at)];
        }
    }
    let choose = |named: &Option<PathBuf>, of: fn(&Found) -> &Vec<PathBuf>| match named {
        Some(path) => vec![path.clone()],
        None => found.iter().flat_map(of).cloned().collect(),
    };
    let crds = choose(&named.crds, |layout| &layout.crds);
    let apps = choose(&named.apps, |layout| &layout.apps);
    let is_mixed = named.apps.is_none() && found.len() > 1;
    match (&crds[..], &apps[..]) {
        (_, []) => {
            let searched = LAYOUTS.map(|layout| format!("{}.yaml", layout.apps)).join(", ");
            let usual = root.join("bootstrap/helmfile.d/01-apps.yaml");
            let finding = Finding::error("helmfile", "Helmfile not found").with("file", usual.display());
            Err(finding.with("searched", searched).fix(
                "run k3s-boot in your repository, or pass its root with --root, or set the file in k3s-boot.yaml with `helmfiles.apps`",
            ))
        }
        ([], [apps]) if !is_mixed => Ok(vec![(Kind::Apps, apps.clone())]),
        ([crds], [apps]) if !is_mixed => Ok(vec![(Kind::Crds, crds.clone()), (Kind::Apps, apps.clone())]),
        _ => Err(several(root, &crds, &apps)),
    }
}

/// The finding for more than one layout.
fn several(root: &Path, crds: &[PathBuf], apps: &[PathBuf]) -> Finding {
    let shown = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let line = |key: &str, paths: &[PathBuf]| {
        let paths: Vec<_> = paths.iter().map(shown).collect();
        (!paths.is_empty()).then(|| format!("  {key}: {}", paths.join(" # or ")))
    };
    let lines: Vec<_> = std::iter::once("helmfiles:".to_owned())
        .chain(line("crds", crds))
        .chain(line("apps", apps))
        .collect();
    let all: Vec<_> = crds.iter().chain(apps).map(shown).collect();
    Finding::error("helmfile", "Several layouts of helmfiles found")
        .with("files", all.join(", "))
        .fix(format!("name the files to use in k3s-boot.yaml:\n{}", lines.join("\n")))
}

/// The folders with encrypted files for the bootstrap.
const ENCRYPTED: [&str; 7] = [
    "bootstrap",
    "bootstrap/secrets",
    "bootstrap/helmfile.d/secrets",
    "kubernetes/bootstrap",
    "kubernetes/bootstrap/secrets",
    "kubernetes/components/common",
    "kubernetes/components/common/sops",
];

/// The encrypted files whose objects go into the cluster, sorted in each folder.
pub(crate) fn encrypted_files(root: &Path) -> Vec<PathBuf> {
    let of_folder = |folder: &&str| {
        let files = files::read_folder(&root.join(folder)).map(|entry| entry.path);
        let mut files: Vec<_> = files.filter(|path| is_encrypted_name(path)).collect();
        files.sort();
        files
    };
    let files = ENCRYPTED.iter().flat_map(of_folder);
    files.chain(Some(root.join(CLUSTER_SECRETS)).filter(|path| path.is_file())).collect()
}

/// Whether a file is named as encrypted. `.sops.yaml` is the configuration of sops.
pub(crate) fn is_encrypted_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && (name.ends_with(".sops.yaml") || name.ends_with(".sops.yml"))
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

    /// The names of the helmfiles that are found, or the summary and the details of the finding.
    fn found(root: &Path, named: &HelmfilePaths) -> Result<Vec<String>, String> {
        let shown = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
        helmfiles(root, named)
            .map(|found| found.iter().map(|(_, path)| shown(path)).collect())
            .map_err(|finding| format!("{}: {:?} {:?}", finding.summary, finding.details, finding.fix))
    }

    #[test]
    fn helmfiles_of_every_layout_are_found() {
        let cases: &[&[&str]] = &[
            &["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"],
            &["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml.gotmpl"],
            &["bootstrap/helmfile/crds.yaml", "bootstrap/helmfile/apps.yaml"],
            &["kubernetes/bootstrap/helmfile/crds.yaml.gotmpl", "kubernetes/bootstrap/helmfile/apps.yaml"],
            &["kubernetes/bootstrap/helmfile.d/00-crds.yaml", "kubernetes/bootstrap/helmfile.d/01-apps.yaml"],
            &["bootstrap/helmfile/apps.yaml"],
            &["bootstrap/helmfile.yaml"],
            &["bootstrap/helmfile.yaml.gotmpl"],
            &["kubernetes/bootstrap/helmfile.yaml"],
            &["kubernetes/bootstrap/apps/helmfile.yaml"],
        ];
        for files in cases {
            let root = tree(files);
            let found = found(root.path(), &HelmfilePaths::default()).unwrap();
            assert_eq!(found, *files);
            assert!(has_helmfile(root.path()));
        }
        for files in [&[][..], &["bootstrap/helmfile/crds.yaml"], &["bootstrap/helmfile.d/other.yaml"]] {
            let missing = found(tree(files).path(), &HelmfilePaths::default()).unwrap_err();
            assert!(missing.starts_with("Helmfile not found: "), "{missing}");
        }
    }

    #[test]
    fn two_layouts_are_an_error_until_one_is_named() {
        let (old, new) = ("kubernetes/bootstrap/helmfile.yaml", "bootstrap/helmfile.d/01-apps.yaml");
        let crds = "bootstrap/helmfile.d/00-crds.yaml";
        let root = tree(&[old, new, crds]);
        let none = HelmfilePaths::default();
        let error = found(root.path(), &none).unwrap_err();
        assert!(error.starts_with("Several layouts of helmfiles found"), "{error}");
        let lines = format!("helmfiles:\\n  crds: {crds}\\n  apps: {new} # or {old}");
        assert!(error.contains(&lines), "{error}");
        let named = |file: &str| HelmfilePaths { apps: Some(root.path().join(file)), crds: None };
        assert_eq!(found(root.path(), &named(old)).unwrap(), [old]);
        assert_eq!(found(root.path(), &named(new)).unwrap(), [crds, new]);
        // It is unknown which of them is synced.
        let both = ["bootstrap/helmfile.yaml", "bootstrap/helmfile.yaml.gotmpl"];
        assert!(found(tree(&both).path(), &none).is_err());
        // CRDs of another layout are not taken without being asked for.
        assert!(found(tree(&[old, crds]).path(), &none).is_err());
    }

    #[test]
    fn pairs_of_helmfiles_are_found() {
        let none = HelmfilePaths::default();
        for pair in [
            ["bootstrap/helmfile.d/crds.yaml", "bootstrap/helmfile.d/apps.yaml"],
            ["bootstrap/crds/helmfile.yaml", "bootstrap/helmfile.yaml"],
            ["kubernetes/bootstrap/helmfile.d/crds.yaml", "kubernetes/bootstrap/helmfile.d/apps.yaml.gotmpl"],
        ] {
            assert_eq!(found(tree(&pair).path(), &none).unwrap(), pair);
            assert_eq!(found(tree(&pair[1..]).path(), &none).unwrap(), pair[1..]);
        }
    }

    #[test]
    fn a_named_helmfile_takes_precedence() {
        let root = tree(&["bootstrap/helmfile/apps.yaml"]);
        let (crds, apps) = (root.path().join("x/crds.yaml"), root.path().join("y.yaml"));
        let mut paths = HelmfilePaths { crds: Some(crds), apps: None };
        assert_eq!(found(root.path(), &paths).unwrap(), ["x/crds.yaml", "bootstrap/helmfile/apps.yaml"]);
        paths.apps = Some(apps);
        assert_eq!(found(root.path(), &paths).unwrap(), ["x/crds.yaml", "y.yaml"]);
        paths.crds = None;
        assert_eq!(found(root.path(), &paths).unwrap(), ["y.yaml"]);
    }

    #[test]
    fn encrypted_files_are_those_of_bootstrap() {
        let files = [
            "bootstrap/b.sops.yaml",
            "bootstrap/a.sops.yml",
            "bootstrap/secrets/c.sops.yaml",
            CLUSTER_SECRETS,
        ];
        let others = [
            "bootstrap/.sops.yaml",
            "bootstrap/plain.yaml",
            "kubernetes/x.sops.yaml",
            "bootstrap/other/d.sops.yaml",
        ];
        let root = tree(&[files, others].concat());
        let found = encrypted_files(root.path());
        assert_eq!(found, [files[1], files[0], files[2], files[3]].map(|file| root.path().join(file)));
    }
}
