//! Values that `helmfile build` leaves as references: `ref+…` in the helmfile itself, and the files below `secrets`. Only
//! `helmfile write-values` resolves them, into files of the run's own folder.

use serde_yaml::Value;

use super::builds::{Build, Place, build_finding};
use crate::desired::releases::Release;
use crate::desired::state_file::StateFile;
use crate::error::Error;
use crate::files;
use crate::tools::helmfile::written_to;
use crate::yaml::{self, PRINTED};

/// The key of a release with files that the plugin helm-secrets decrypts.
const SECRETS: &str = "secrets";

impl Place<'_> {
    /// Replaces the values of releases that have references by those that Helm gets.
    pub(super) async fn evaluate(&self, state: &StateFile, build: &mut Build) -> Result<(), Error> {
        let open: Vec<_> =
            build.helmfile.releases.iter().filter(|release| release.installed && is_open(release)).collect();
        if open.is_empty() || !build.missing.is_empty() {
            return Ok(());
        }
        let selectors: Vec<_> = open.iter().map(|release| build.helmfile.selector(release)).collect();
        let folder = self.scratch.subfolder(&format!("values-{}", state.kind.stage().name()))?;
        let charts = self.staging.subfolder(state.kind.stage().name())?;
        let written = self.tools.helmfile_write_values(&state.path, &charts, &selectors, &folder).await?;
        let result = written.map_err(|error| build_finding(state, error)).map(|()| {
            for release in &mut build.helmfile.releases {
                let text = files::text(&written_to(&folder, release), files::LARGEST);
                // Those that are not open have no file.
                if let Ok(values) =
                    text.map_err(drop).and_then(|text| yaml::parse::<Value>(&text, PRINTED).map_err(drop))
                {
                    release.set_values(vec![values]);
                    release.unsafe_features.retain(|feature| feature != SECRETS);
                }
            }
        });
        // They hold secrets, and nobody needs the files any more.
        _ = std::fs::remove_dir_all(&folder);
        build.problems.extend(result.err());
        Ok(())
    }
}

/// Whether `helmfile build` has left references in a release's values.
fn is_open(release: &Release) -> bool {
    release.unsafe_features.iter().any(|feature| feature == SECRETS)
        || release.values.iter().any(has_reference)
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("ref+"),
        Value::Sequence(items) => items.iter().any(has_reference),
        Value::Mapping(map) => map.values().any(has_reference),
        _ => false,
    }
}
