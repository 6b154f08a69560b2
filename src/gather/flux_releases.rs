//! Reads the Helm releases that the repository defines for Flux.

use std::path::{Path, PathBuf};

use crate::base::files::{self, Entry};
use crate::desired::flux_releases::{FluxObjects, FluxRelease};
use crate::desired::synced::is_yaml;

/// The size limit; HelmReleases are far smaller.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads the YAML files below `kubernetes/`.
pub(super) fn read(root: &Path) -> Vec<FluxRelease> {
    let enters = |entry: &Entry| !entry.name().starts_with('.');
    let files = files::walk(&root.join("kubernetes"), enters).filter(|entry| entry.kind.is_file());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path).filter(|path| is_yaml(path)).collect();
    files.sort();
    let mut objects = FluxObjects::default();
    for path in &files {
        if let (Ok(file), Ok(text)) = (path.strip_prefix(root), files::text(path, MAX_SIZE)) {
            objects.add(file, &text);
        }
    }
    objects.releases(|file| files::text(&root.join(file), MAX_SIZE).ok())
}
