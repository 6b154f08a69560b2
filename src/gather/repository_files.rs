//! Reads the files of the repository that show what Flux will install, and on which distribution.

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::distribution::Distribution;
use crate::base::files::{self, Entry};
use crate::desired::distribution::{self, Sign};
use crate::desired::flux_releases::{FluxObjects, FluxRelease};
use crate::desired::synced::is_yaml;
use crate::settings::Settings;

/// The size limit; HelmReleases and tasks are far smaller.
const MAX_SIZE: u64 = 1024 * 1024;

/// Hidden folders with tasks.
const TASKS: [&str; 3] = [".taskfiles", ".mise", ".just"];

/// Folders that are read as a whole. Of others, which may hold anything, only the upper levels show something.
const WHOLE: [&str; 3] = ["ansible", "bootstrap", "kubernetes"];

/// What the files show.
#[derive(Default)]
pub(super) struct RepositoryFiles {
    pub(super) flux_releases: Vec<FluxRelease>,
    /// Which distribution the repository is for; only the configuration if that names one.
    pub(super) signs: Vec<Sign>,
}

/// Reads the tasks, the templates of the bootstrap and the YAML files below `kubernetes/`.
pub(super) fn read(settings: &Settings) -> RepositoryFiles {
    let root = &settings.root;
    let top = root.clone();
    let enters = move |entry: &Entry| {
        let (name, folder) = (entry.name(), entry.path.strip_prefix(&top).unwrap_or(&entry.path));
        let first = folder.iter().next().and_then(|first| first.to_str()).unwrap_or_default();
        let is_task = TASKS.contains(&first);
        name != "node_modules"
            && (is_task || !name.starts_with('.'))
            && (is_task
                || WHOLE.contains(&first)
                || folder.iter().count() < distribution::MAX_DEPTH
                || distribution::is_word(&name))
    };
    let files = files::walk(root, enters).filter(|entry| entry.kind.is_file()).map(|entry| entry.path);
    // In a fixed order, because names may stand for several objects.
    let files: BTreeSet<_> =
        files.filter_map(|path| Some(path.strip_prefix(root).ok()?.to_owned())).collect();
    let mut signs: BTreeSet<Sign> =
        files.iter().filter_map(|file| distribution::sign_of_path(file)).collect();
    let mut objects = FluxObjects::default();
    let text = |file: &Path| files::text(&root.join(file), MAX_SIZE).ok();
    for file in &files {
        if distribution::has_words(file) {
            signs.extend(text(file).iter().flat_map(|text| distribution::signs_of_words(file, text)));
        } else if file.starts_with("kubernetes")
            && is_yaml(file)
            && let Some(text) = text(file)
        {
            signs.extend(distribution::signs_of_manifest(file, &text));
            objects.add(file, &text);
        }
    }
    let named = settings.distribution.map(|distribution| {
        let file = settings.relative(&settings.config_file);
        Sign { distribution, file: file.to_owned() }
    });
    RepositoryFiles {
        flux_releases: objects.releases(text),
        signs: named.map_or_else(|| signs.into_iter().collect(), |named| vec![named]),
    }
}

/// The distribution that the repository is for.
pub(super) fn distribution(settings: &Settings) -> Distribution {
    settings.distribution.unwrap_or_else(|| distribution::decide(&read(settings).signs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(files: &[(&str, &str)]) -> (tempfile::TempDir, Settings) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = folder.path().to_owned();
        let settings = Settings { config_file: root.join("k3s-boot.yaml"), root, ..Settings::default() };
        (folder, settings)
    }

    #[test]
    fn signs_are_found_where_repositories_have_them() {
        let found = |files: &[(&str, &str)]| {
            let (_folder, settings) = settings(files);
            let signs = read(&settings).signs;
            let shown =
                signs.iter().map(|sign| format!("{} {}", sign.distribution.key(), sign.file.display()));
            shown.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(found(&[("infra/main/talos/a.yaml", ""), ("README.md", "k3s")]), "talos infra/main/talos");
        assert_eq!(found(&[(".taskfiles/talos/Taskfile.yaml", "")]), "talos .taskfiles/talos");
        assert_eq!(
            found(&[("bootstrap/templates/v.gotmpl", "K3S_API_HOST")]),
            "k3s bootstrap/templates/v.gotmpl"
        );
        let plan = "kind: Plan\nspec: {upgrade: {image: rancher/k3s-upgrade}}\n";
        let file = "kubernetes/apps/system-upgrade/k3s/plans/agent.yaml";
        assert_eq!(found(&[(file, plan)]), format!("k3s {file}"));
        let deep = [
            ("a/b/c/talconfig.yaml", ""),
            (".git/talos/x", ""),
            ("docs/a.md", "talos"),
            ("target/k3s/x", ""),
        ];
        assert_eq!(found(&deep), "k3s target/k3s");
    }

    #[test]
    fn the_configuration_replaces_the_signs() {
        let (_folder, mut settings) = settings(&[("talos/a.yaml", "")]);
        assert_eq!(distribution(&settings), Distribution::Talos);
        settings.distribution = Some(Distribution::K3s);
        assert_eq!(distribution(&settings), Distribution::K3s);
        assert_eq!(
            read(&settings).signs,
            [Sign { distribution: Distribution::K3s, file: "k3s-boot.yaml".into() }]
        );
    }
}
