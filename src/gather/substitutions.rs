//! Reads what values may depend on: Flux's variable substitution.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::builds::Build;
use super::renders::has_stand_in;
use crate::base::fact::Fact;
use crate::base::files::{self, Entry};
use crate::base::finding::Finding;
use crate::desired::releases::Release;
use crate::desired::state_file::StateFile;
use crate::desired::substitutions::{self, Substitutions};
use crate::settings::{Settings, missing_env};
use crate::tools::Toolbox;

/// Flux's variable substitution in this repository. Reading all its YAML files is only worth it if values may depend on it.
pub(super) fn look(
    settings: &Settings,
    tools: &Toolbox,
    states: &[StateFile],
    builds: &[Build],
    tracked: &Fact<BTreeSet<PathBuf>>,
) -> Substitutions {
    let releases = || builds.iter().flat_map(|build| &build.helmfile.releases);
    let matters = states.iter().any(|state| state.sources.files)
        || builds.iter().any(|build| !build.missing.is_empty())
        || releases().any(|release| release.merged().to_string().contains("${"));
    if !matters {
        return Substitutions::default();
    }
    let mut found = if let Ok(tracked) = tracked {
        substitutions::read(&settings.root, tracked.iter())
    } else {
        let is_shown = |entry: &Entry| !entry.name().starts_with('.');
        let entries = files::walk(&settings.root, is_shown).filter(|entry| entry.kind.is_file());
        let mut paths: Vec<_> = entries
            .filter_map(|entry| entry.path.strip_prefix(&settings.root).map(ToOwned::to_owned).ok())
            .collect();
        paths.sort();
        substitutions::read(&settings.root, paths.iter())
    };
    let relative = |path: &PathBuf| settings.relative(path).display().to_string();
    found.environment_files = settings.environment_files.iter().map(relative).collect();
    found.set = tools.variables.names();
    found.configured = tools.variables.configured();
    found
}

/// The finding for the variables that templates require and that are not set, if there are some.
pub(super) fn missing(tools: &Toolbox, builds: &[Build], substitutions: &Substitutions) -> Option<Finding> {
    let names: BTreeSet<_> = builds.iter().flat_map(|build| &build.missing).map(String::as_str).collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<_> = names.into_iter().collect();
    let mut finding = missing_env(&names);
    let releases = builds.iter().flat_map(|build| &build.helmfile.releases);
    let releases: Vec<_> = releases.filter(|release| has_stand_in(release)).map(Release::id).collect();
    // Values of files that are not decrypted have placeholders too.
    if !releases.is_empty() && tools.variables.stand_ins().is_empty() {
        finding =
            finding.with("releases", releases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    let export = finding.fix.clone().unwrap_or_default();
    Some(match substitutions.environment_lines(names) {
        Some(lines) => finding.fix(format!("{export}  # or add to k3s-boot.yaml:\n{lines}")),
        None => finding,
    })
}
