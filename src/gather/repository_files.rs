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
    let enters = |entry: &Entry| {
        let name = entry.name();
        name != "node_modules" && (!name.starts_with('.') || TASKS.contains(&name.as_str()))
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
        let file = settings.config_file.strip_prefix(root).unwrap_or(&settings.config_file);
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
