//! helm: looking at charts of repositories that are no registries.

use std::path::Path;
use std::time::Duration;

use super::{Toolbox, last_words};
use crate::child_env::AGE_IDENTITIES;
use crate::error::Error;
use crate::process::Invocation;

/// The index of a large repository has many megabytes.
const SHOW: Duration = Duration::from_mins(2);

impl Toolbox {
    /// Whether a chart is in a repository at this version. `helmfile build` fetches charts from OCI registries only; those
    /// of other repositories come when they are synced, which is late to learn that one is not there.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helm's reason; `Err(_)` when helm could not be run to its end.
    pub async fn helm_show_chart(
        &self,
        repository: &str,
        chart: &str,
        version: &str,
    ) -> Result<Result<(), String>, Error> {
        let mut args = vec!["show", "chart", chart, "--repo", repository];
        if !version.is_empty() {
            args.extend(["--version", version]);
        }
        self.helm_show(Invocation::new("helm", &self.programs.helm, args)).await
    }

    /// Whether a chart is in its registry for somebody without any login; `nobody` is an empty folder.
    ///
    /// # Errors
    ///
    /// As [`Self::helm_show_chart`].
    pub async fn helm_show_chart_as_nobody(
        &self,
        chart: &str,
        version: &str,
        nobody: &Path,
    ) -> Result<Result<(), String>, Error> {
        let mut args = vec!["show", "chart", chart];
        if !version.is_empty() {
            args.extend(["--version", version]);
        }
        let invocation = Invocation::new("helm", &self.programs.helm, args)
            .env("HELM_REGISTRY_CONFIG", nobody.join("registry.json"))
            .env("DOCKER_CONFIG", nobody);
        self.helm_show(invocation).await
    }

    async fn helm_show(&self, invocation: Invocation) -> Result<Result<(), String>, Error> {
        let invocation = invocation.deadline(self.clock.cap(SHOW)).without(&AGE_IDENTITIES);
        let output = self.runner.run(invocation).await?;
        let words = last_words(&output);
        Ok(if output.success() { Ok(()) } else { Err(words.trim_start_matches("Error: ").to_owned()) })
    }
}
