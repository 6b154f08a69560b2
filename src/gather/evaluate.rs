//! Resolves values that `helmfile build` leaves as references: `ref+…` in the helmfile itself, and files in `secrets`. Only
//! `helmfile write-values` resolves them, into files in the run's temporary folder.

use serde_yaml::Value;

use super::builds::{Build, Place, build_finding};
use super::builds::{NO_PLUGIN, SECRETS_FIX};
use crate::base::error::Error;
use crate::base::files;
use crate::base::finding::Finding;
use crate::base::yaml::{self, PRINTED};
use crate::desired::releases::Release;
use crate::desired::state_file::StateFile;
use crate::tools::helmfile::{BuildError, written_to};

impl Place<'_> {
    /// Replaces the values of releases with references by the resolved ones, as Helm gets them.
    pub(super) async fn evaluate(&self, state: &StateFile, build: &mut Build) -> Result<(), Error> {
        if !build.missing.is_empty() {
            return Ok(());
        }
        let Err(error) = self.write_values(state, build, has_references).await? else { return Ok(()) };
        if !matches!(&error, BuildError::Other(reason) if reason.contains(NO_PLUGIN)) {
            build.problems.push(build_finding(state, error));
            return Ok(());
        }
        let with_files = build
            .helmfile
            .releases
            .iter()
            .filter(|release| release.installed && release.has_encrypted_files());
        build.problems.extend(with_files.map(without_plugin));
        // Without encrypted files, no plugin is needed.
        let is_resolvable = |release: &Release| has_references(release) && !release.has_encrypted_files();
        let written = self.write_values(state, build, is_resolvable).await?;
        build.problems.extend(written.err().map(|error| build_finding(state, error)));
        Ok(())
    }

    /// Replaces the values of the releases that `is_selected` picks by the resolved ones.
    async fn write_values(
        &self,
        state: &StateFile,
        build: &mut Build,
        is_selected: impl Fn(&Release) -> bool,
    ) -> Result<Result<(), BuildError>, Error> {
        let releases = &build.helmfile.releases;
        let selected: Vec<_> =
            releases.iter().filter(|release| release.installed && is_selected(release)).collect();
        if selected.is_empty() {
            return Ok(Ok(()));
        }
        let selectors: Vec<_> = selected.iter().map(|release| build.helmfile.selector(release)).collect();
        let folder = self.context.scratch.subfolder(&format!("values-{}", state.kind.stage().name()))?;
        let charts = self.staging.subfolder(state.kind.stage().name())?;
        let written =
            self.context.tools.helmfile_write_values(&state.path, &charts, &selectors, &folder).await?;
        if written.is_ok() {
            for release in &mut build.helmfile.releases {
                let text = files::text(
                    &written_to(&folder, release.named_namespace(), &release.name),
                    files::LARGEST,
                );
                // Releases that were not selected have no file.
                if let Ok(values) =
                    text.map_err(drop).and_then(|text| yaml::parse::<Value>(&text, PRINTED).map_err(drop))
                {
                    release.set_resolved_values(values);
                }
            }
        }
        // The files contain secrets and are no longer needed.
        _ = std::fs::remove_dir_all(&folder);
        Ok(written)
    }
}

fn without_plugin(release: &Release) -> Finding {
    Finding::error("helm-features", "Helm plugin for encrypted values is missing")
        .with("release", release.id())
        .with("key", "secrets")
        .with("plugin", "secrets")
        .fix(SECRETS_FIX)
}

/// Whether `helmfile build` left references in a release's values.
fn has_references(release: &Release) -> bool {
    release.has_encrypted_files() || release.values.iter().any(contains_reference)
}

fn contains_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("ref+"),
        Value::Sequence(items) => items.iter().any(contains_reference),
        Value::Mapping(map) => map.values().any(contains_reference),
        _ => false,
    }
}
