//! Reads what values may depend on: Flux's variable substitution.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::builds::Build;
use crate::base::fact::Fact;
use crate::base::files::{self, Entry};
use crate::base::finding::Finding;
use crate::desired::stand_in_for;
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
pub(super) fn missing(builds: &[Build], substitutions: &Substitutions) -> Option<Finding> {
    let names: BTreeSet<_> = builds.iter().flat_map(|build| &build.missing).map(String::as_str).collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<_> = names.into_iter().collect();
    let needed_by = needed_by(builds, &names);
    let finding = missing_env(&names);
    let finding = if needed_by.is_empty() { finding } else { finding.with("needed_by", needed_by) };
    let export = finding.fix.clone().unwrap_or_default();
    Some(match substitutions.environment_lines(names) {
        Some(lines) => finding.fix(format!("{export}  # or add to k3s-boot.yaml:\n{lines}")),
        None => finding,
    })
}

/// The releases whose values contain the placeholders of these variables.
fn needed_by(builds: &[Build], names: &[&str]) -> String {
    let releases: Vec<_> = builds.iter().flat_map(|build| &build.helmfile.releases).collect();
    let values: Vec<_> = releases.iter().map(|release| release.merged().to_string()).collect();
    let of_variable = |name: &&str| {
        let placeholder = stand_in_for(name);
        let needing = releases.iter().zip(&values).filter(|(_, values)| values.contains(&placeholder));
        let needing: Vec<_> = needing.map(|(release, _)| release.id().to_string()).collect();
        let variable = if names.len() > 1 { format!(" ({name})") } else { String::new() };
        (!needing.is_empty()).then(|| needing.join(", ") + &variable)
    };
    names.iter().filter_map(of_variable).collect::<Vec<_>>().join(", ")
}
