//! Finds the root of the repository, unless the user names it.

use std::path::{Path, PathBuf};

use crate::desired::repository;
use crate::settings::config;

/// The Git top level above `from`: the nearest folder with a `.git` (a file in a worktree). Without Git, the nearest folder
/// with a configuration or with helmfiles in the usual places. `kubernetes/bootstrap` looks like `bootstrap` from the folder
/// `kubernetes`, so a folder above that has the helmfiles too comes first.
pub(super) fn find(from: &Path) -> Option<PathBuf> {
    let git = from.ancestors().find(|folder| folder.join(".git").exists());
    let looks_like_root =
        |folder: &&Path| folder.join(config::FILE).is_file() || repository::has_helmfile(folder);
    let by_layout = || {
        let nearest = from.ancestors().find(looks_like_root)?;
        let above = nearest.parent().filter(|above| repository::has_helmfile(above));
        Some(above.unwrap_or(nearest))
    };
    git.or_else(by_layout).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_a_subfolder_and_in_a_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("repo/bootstrap/helmfile.d");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir(folder.path().join("repo/.git")).unwrap();
        // Git comes first, also before helmfiles that are nearer.
        std::fs::create_dir_all(deep.join("bootstrap/helmfile.d")).unwrap();
        std::fs::write(deep.join("bootstrap/helmfile.d/01-apps.yaml"), "").unwrap();
        assert_eq!(find(&deep), Some(folder.path().join("repo")));
        let worktree = folder.path().join("worktree");
        std::fs::create_dir_all(worktree.join("sub")).unwrap();
        std::fs::write(worktree.join(".git"), "gitdir: ../repo/.git/worktrees/worktree\n").unwrap();
        assert_eq!(find(&worktree.join("sub")), Some(worktree));
    }

    #[test]
    fn without_git_the_root_has_helmfiles_or_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "bootstrap/helmfile.d/01-apps.yaml.gotmpl",
            "bootstrap/helmfile/crds.yaml",
            "kubernetes/bootstrap/helmfile.yaml",
            config::FILE,
        ] {
            let root = folder.path().join(name.replace('/', "-"));
            let deep = root.join("kubernetes/bootstrap/templates/deep");
            std::fs::create_dir_all(&deep).unwrap();
            assert_eq!(find(&deep), None, "{name}");
            let file = root.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            for from in [&deep, &root.join("kubernetes/bootstrap"), &root.join("kubernetes"), &root] {
                assert_eq!(find(from), Some(root.clone()), "{name}");
            }
        }
    }
}
