//! helm: fetches charts concurrently, including those that helmfile does not fetch when it renders a state file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretSlice;

use super::{Toolbox, last_words, public};
use crate::base::error::Error;
use crate::base::release_id::ReleaseId;
use crate::process::Invocation;
use crate::tools::charts::ChartRef;
use crate::tools::child_env::AGE_IDENTITIES;

/// Long, because the index of a large repository has many megabytes.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Parses the table of `helm plugin list` (helm 4.2.4): name, version, type and more, separated by tabs and spaces.
fn parse_post_renderers(table: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(table);
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names = rows.filter(|row| row.get(2).is_some_and(|kind| kind.starts_with("postrenderer/")));
    names.filter_map(|row| Some((*row.first()?).to_owned())).collect()
}

impl Toolbox {
    /// The names of the installed post-renderer plugins (Helm 4).
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helm's reason; `Err(_)` when helm could not be run or was interrupted.
    pub(crate) async fn helm_post_renderers(&self) -> Result<Result<BTreeSet<String>, String>, Error> {
        let invocation = Invocation::new("helm", &self.programs.helm, ["plugin", "list"].map(OsString::from));
        let output =
            self.runner.run(invocation.without(&AGE_IDENTITIES).deadline(self.clock.cap(TIMEOUT))).await?;
        Ok(if output.success() { Ok(parse_post_renderers(&output.stdout)) } else { Err(last_words(&output)) })
    }

    /// Fetches a chart from a classic (HTTP) repository, and unpacks it into a folder in `into`.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helm's reason; `Err(_)` when helm could not be run or was interrupted.
    pub(crate) async fn helm_pull(
        &self,
        repository: &str,
        chart: &str,
        version: &str,
        into: &Path,
    ) -> Result<Result<(), String>, Error> {
        let mut args: Vec<OsString> =
            ["pull", chart, "--repo", repository, "--untar", "--untardir"].map(OsString::from).to_vec();
        args.push(into.into());
        if !version.is_empty() {
            args.extend(["--version".into(), version.into()]);
        }
        self.helm_ask(Invocation::new("helm", &self.programs.helm, args)).await
    }

    /// Fetches a chart from a registry, and unpacks it into a folder in `into`, as helmfile does.
    ///
    /// # Errors
    ///
    /// As [`Self::helm_pull`].
    pub(crate) async fn helm_pull_oci(
        &self,
        chart: &ChartRef,
        into: &Path,
    ) -> Result<Result<(), String>, Error> {
        let address = self.mirrors.address(chart);
        let is_plain = self.mirrors.is_plain(&address);
        let mut args: Vec<OsString> = vec!["pull".into(), address.into()];
        args.extend(is_plain.then(|| "--plain-http".into()));
        args.extend(
            chart.asked_version().into_iter().flat_map(|version| ["--version".into(), version.into()]),
        );
        args.extend(["--untar".into(), "--destination".into(), into.into()]);
        self.helm_ask(Invocation::new("helm", &self.programs.helm, args)).await
    }

    /// Checks that a chart can be fetched anonymously; `anonymous` is an empty folder that replaces the registry configuration.
    ///
    /// # Errors
    ///
    /// As [`Self::helm_pull`].
    pub(crate) async fn helm_show_chart_anonymously(
        &self,
        chart: &ChartRef,
        anonymous: &Path,
    ) -> Result<Result<(), String>, Error> {
        let address = self.mirrors.address(chart);
        let mut args = vec!["show", "chart", &address];
        args.extend(self.mirrors.is_plain(&address).then_some("--plain-http"));
        args.extend(chart.asked_version().into_iter().flat_map(|version| ["--version", version]));
        let invocation = Invocation::new("helm", &self.programs.helm, args)
            .env("HELM_REGISTRY_CONFIG", anonymous.join("registry.json"))
            .env("DOCKER_CONFIG", anonymous);
        self.helm_ask(invocation).await
    }

    /// Renders a chart with the definitions in `crds/`, and without hooks and tests; `values` are JSON. Without a
    /// `kube_version`, helm assumes its own.
    ///
    /// # Errors
    ///
    /// As [`Self::helm_pull`].
    pub(crate) async fn helm_template(
        &self,
        release: &ReleaseId,
        chart: &Path,
        values: String,
        kube_version: Option<&str>,
    ) -> Result<Result<String, String>, Error> {
        let mut args: Vec<OsString> = vec!["template".into(), release.name.clone().into(), chart.into()];
        args.extend(["--namespace".into(), release.namespace.clone().into()]);
        args.extend(["--include-crds", "--no-hooks", "--skip-tests", "--values", "-"].map(OsString::from));
        args.extend(kube_version.into_iter().flat_map(|version| ["--kube-version".into(), version.into()]));
        let invocation = Invocation::new("helm", &self.programs.helm, args)
            .stdin(SecretSlice::from(values.into_bytes()))
            .public_part(public::helmfile_filter())
            .deadline(self.clock.cap(TIMEOUT))
            .without(&AGE_IDENTITIES);
        let output = self.runner.run(invocation).await?;
        if output.success() {
            return Ok(String::from_utf8(output.stdout).map_err(|_| "its manifests are not UTF-8".to_owned()));
        }
        let lines: Vec<_> = output.talk.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Ok(Err(lines.join("; ").trim_start_matches("Error: ").to_owned()))
    }

    async fn helm_ask(&self, invocation: Invocation) -> Result<Result<(), String>, Error> {
        let invocation = invocation.deadline(self.clock.cap(TIMEOUT)).without(&AGE_IDENTITIES);
        let output = self.runner.run(invocation.public_part(public::registry_filter())).await?;
        let words = last_words(&output);
        Ok(if output.success() { Ok(()) } else { Err(words.trim_start_matches("Error: ").to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_post_renderer_plugins() {
        let table = "NAME   \tVERSION\tTYPE           \tAPIVERSION\tPROVENANCE\tSOURCE \npr     \t0.1.0  \tpostrenderer/v1\tv1        \tunknown   \tunknown\n\
                     secrets\t4.6.0  \tcli/v1         \tlegacy    \tunknown   \tunknown\n";
        assert_eq!(parse_post_renderers(table.as_bytes()), ["pr".to_owned()].into());
        assert!(
            parse_post_renderers(b"NAME\tVERSION\tDESCRIPTION\nsecrets\t4.6.0\tdecrypts values\n").is_empty()
        );
    }
}
