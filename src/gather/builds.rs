//! Renders the helmfiles with all their values, and fetches their charts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde_yaml::Value;

use super::fixup;
use super::helm_repositories::HelmRepositories;
use super::unfetched::{host, is_about_one, is_denied, log_missing, missing_chart};
use super::{Context, Files};
use crate::base::error::Error;
use crate::base::finding::Finding;
use crate::base::known_failures::Origin;
use crate::base::release_id::ReleaseId;
use crate::base::scratch::Scratch;
use crate::base::waiting::Waiting;
use crate::desired::chart::Chart;
use crate::desired::flux_releases::{ChartVersion, FluxChart, FluxRelease};
use crate::desired::releases::{self, Built, Release};
use crate::desired::repository::unrendered_fix;
use crate::desired::state_file::{self, StateFile};
use crate::desired::{Helmfile, Kind, STAND_IN, stand_in_for};
use crate::settings::missing_env;
use crate::tools::charts::{self, ChartRef, ChartStore};
use crate::tools::helmfile::BuildError;
use crate::tools::retry::Retry;

/// helmfile's error when a release has `secrets` and the helm plugin for them is missing (helmfile 1.7.4).
pub(super) const NO_PLUGIN: &str = "plugin secrets not installed";

pub(super) const SECRETS_FIX: &str = "install the plugin helm-secrets (https://github.com/jkroepke/helm-secrets), or refer to the files as `ref+sops://FILE` in `values`";

/// How often a helmfile is rendered again with one more missing variable or chart replaced by a placeholder.
const MAX_ROUNDS: usize = 64;

/// How often a chart is fetched again when the registry returned a transient error.
const MAX_FETCH_RETRIES: usize = 3;

/// How often the list of pending charts is refreshed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The result of rendering a helmfile.
pub(super) struct Build {
    pub(super) helmfile: Helmfile,
    /// Whether helmfile rendered it, so that its releases are known.
    pub(super) is_read: bool,
    /// Variables that its templates require and that are not set.
    pub(super) missing: Vec<String>,
    /// Whether its releases are only rendered, and not synced.
    pub(super) is_only_rendered: bool,
    /// Whether its values may be secret (see [`super::secret_values`]).
    pub(super) has_secret_values: bool,
    pub(super) environments: Vec<Value>,
    pub(super) problems: Vec<Finding>,
}

/// What rendering helmfiles needs, and where charts are stored.
pub(super) struct Place<'a> {
    pub(super) context: Context<'a>,
    pub(super) charts: &'a ChartStore,
    pub(super) staging: &'a Scratch,
    /// The charts of the HelmReleases in the repository, which templates of a helmfile may read.
    flux_charts: Vec<(ReleaseId, ChartRef)>,
    /// How many retries of a chart were logged.
    retries_logged: Cell<usize>,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        context: Context<'a>,
        files: &Files,
        charts: &'a ChartStore,
        staging: &'a Scratch,
    ) -> Self {
        let chart = |flux: &FluxRelease| match flux.chart.as_ref().ok()? {
            FluxChart { url, version: ChartVersion::Exact(version), .. } if url.starts_with("oci://") => {
                Some((flux.release.clone(), ChartRef::new(url, version)))
            }
            _ => None,
        };
        let flux_charts = files.repository.flux_releases.iter().filter_map(chart).collect();
        Self { context, charts, staging, flux_charts, retries_logged: Cell::new(0) }
    }
}

impl Place<'_> {
    /// Renders the helmfiles concurrently.
    pub(super) async fn builds(&self, states: &[StateFile]) -> Result<Vec<Build>, Error> {
        join_all(states.iter().map(|state| self.build(state))).await.into_iter().collect()
    }

    /// The staging folder with all charts of a helmfile, stored or not.
    pub(super) fn charts_for(&self, helmfile: &Helmfile) -> Result<PathBuf, Error> {
        let staging = self.staging.subfolder(helmfile.kind.stage().name())?;
        // Publishing moves charts out of the staging folder.
        let refs = helmfile.releases.iter().map(named_chart);
        self.charts
            .seed(&staging, &refs.filter(|chart| !chart.folder(&staging).exists()).collect::<Vec<_>>())?;
        Ok(staging)
    }

    /// Renders a helmfile with all its values and fetches its charts: one process when nothing is missing.
    async fn build(&self, state: &StateFile) -> Result<Build, Error> {
        let mut build = Build {
            helmfile: Helmfile {
                kind: state.kind,
                path: state.path.clone(),
                releases: Vec::new(),
                needs_identities: state.sources.identities,
            },
            is_read: false,
            is_only_rendered: false,
            missing: Vec::new(),
            has_secret_values: state.sources.secrets || !self.context.tools.variables.secrets().is_empty(),
            environments: Vec::new(),
            problems: Vec::new(),
        };
        if state.broken {
            return Ok(build);
        }
        let fixed = if state.path_fixes.is_empty() {
            state.path.clone()
        } else {
            match fixup::copy(state, &self.context.settings.root, self.context.scratch)? {
                Some(copy) => copy,
                // helmfile would only report the wrong paths again.
                None => return Ok(build),
            }
        };
        let path = fixed.as_path();
        let staging = self.staging.subfolder(state.kind.stage().name())?;
        // A chart that only a template names is unknown until helmfile has rendered it, and helmfile would fetch it each time.
        let is_in_state = |id: &ReleaseId| {
            state.releases.iter().any(|(namespace, name)| (namespace, name) == (&id.namespace, &id.name))
        };
        let of_flux = self.flux_charts.iter().filter(|(id, _)| is_in_state(id)).map(|(_, chart)| chart);
        let likely: BTreeSet<_> = state.charts.iter().chain(of_flux).cloned().collect();
        self.charts.seed(&staging, &likely.into_iter().collect::<Vec<_>>())?;
        let offline = self.context.settings.offline;
        let plain = state.charts.iter().filter(|chart| offline || chart.is_exact());
        let absent: BTreeSet<_> = plain.filter(|chart| !chart.folder(&staging).exists()).cloned().collect();
        let absent: Vec<_> = absent.into_iter().collect();
        // helmfile renders without the charts, and would fetch only two at a time.
        ChartStore::stand_in(&staging, &absent)?;
        let fetched = self.staging.subfolder(&format!("{}-fetched", state.kind.stage().name()))?;
        let fetch = self.fetch_all(if offline { &[] } else { &absent }, &state.optional, &fetched);
        let read = self.read(state, path, &staging, &mut build);
        let (results, read) = tokio::join!(Box::pin(fetch), Box::pin(read));
        let mut unfetched = Vec::new();
        for (chart, result) in absent.iter().zip(results) {
            match result? {
                Ok(()) => ChartStore::replace_stand_in(&staging, chart, &fetched)?,
                Err(reason) => unfetched.push((chart.clone(), reason)),
            }
        }
        let mut all_charts = false;
        if let Some((output, whole)) = read? {
            all_charts = whole;
            match releases::parse(&output, &self.context.tools.target.namespace) {
                Ok(Built { mut releases, environments, is_only_rendered }) => {
                    build.is_only_rendered = is_only_rendered;
                    if is_only_rendered && state.kind == Kind::Apps {
                        build.problems.push(super::crds::only_for_crds(&state.path));
                    }
                    for release in &mut releases {
                        release.skipped =
                            release.id().is_among(&self.context.settings.plan_options.skip_releases);
                    }
                    build.helmfile.releases = releases;
                    build.environments = environments;
                    build.is_read = true;
                    if state.sources.secrets {
                        self.evaluate(state, &mut build).await?;
                    }
                }
                Err(place) => build.problems.push(
                    Finding::error("helmfile", "Output of helmfile cannot be parsed")
                        .with("file", state.path.display())
                        .with("place", place),
                ),
            }
        }
        let context = &self.context.tools.target.context;
        let releases = &build.helmfile.releases;
        let mut problems: Vec<_> =
            releases.iter().filter_map(|release| other_context(release, context)).collect();
        problems.extend(HelmRepositories::undefined(&build.helmfile, || {
            HelmRepositories::of_user(&self.context.tools.runner)
        }));
        let mut missing = self.classic_charts(state, releases, &staging).await?;
        if all_charts && missing.is_empty() && !offline {
            self.charts.publish(&staging)?;
        }
        missing.extend(self.unfetched(state, releases, unfetched).await?);
        problems.extend(missing);
        build.problems.extend(problems);
        Ok(build)
    }

    /// Fetches charts concurrently, and logs which ones are pending when that takes long. A missing chart is logged at
    /// once, because the other charts may take minutes.
    async fn fetch_all(
        &self,
        charts: &[ChartRef],
        optional: &BTreeSet<ChartRef>,
        folder: &Path,
    ) -> Vec<Result<Result<(), String>, Error>> {
        let left = RefCell::new(charts.iter().collect::<BTreeSet<_>>());
        let fetches = charts.iter().map(async |chart| {
            let result = self.fetch(chart, folder).await;
            left.borrow_mut().remove(chart);
            if let Ok(Err(reason)) = &result
                && is_about_one(reason)
                && !optional.contains(chart)
            {
                log_missing(chart, reason);
            }
            result
        });
        let fetching = join_all(fetches);
        tokio::pin!(fetching);
        let mut waiting = Waiting::new("Waiting for charts");
        loop {
            tokio::select! {
                results = &mut fetching => return results,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let names: Vec<_> = left.borrow().iter().map(|chart| chart.chart.clone()).collect();
                    waiting.say(&[("waiting_for", names.join(", "))]);
                }
            }
        }
    }

    /// Fetches a chart from a registry into a folder with the layout of helmfile's cache; returns helm's reason on failure.
    async fn fetch(&self, chart: &ChartRef, folder: &Path) -> Result<Result<(), String>, Error> {
        let into = chart.folder(folder);
        let into = into.parent().unwrap_or(folder);
        self.fetch_by(chart, async || self.context.tools.helm_pull_oci(chart, into).await).await
    }

    /// Fetches a chart and retries transient errors; returns helm's reason on failure.
    async fn fetch_by(
        &self,
        chart: &ChartRef,
        pull: impl AsyncFn() -> Result<Result<(), String>, Error>,
    ) -> Result<Result<(), String>, Error> {
        let mut again = Retry::times(MAX_FETCH_RETRIES);
        let mut tries = 0;
        loop {
            // Closed never: the semaphore lives as long as the toolbox.
            let permit = self.context.tools.pulls.acquire().await;
            let pulled = pull().await?;
            drop(permit);
            let Err(reason) = pulled else { return Ok(Ok(())) };
            let pairs = [("chart", chart.chart.clone()), ("version", chart.version.clone())];
            let stop = self.context.tools.runner.stop();
            // Once for all charts: the cause is most likely the same.
            tries += 1;
            let is_first = self.retries_logged.get() < tries;
            self.retries_logged.set(self.retries_logged.get().max(tries));
            let message = is_first.then_some("Chart cannot be fetched, retrying");
            if !again.after(stop, message, &pairs, (Origin::Chart, &reason)).await? {
                return Ok(Err(reason));
            }
        }
    }

    /// The findings for charts that could not be fetched, except those that no release needs.
    async fn unfetched(
        &self,
        state: &StateFile,
        releases: &[Release],
        unfetched: Vec<(ChartRef, String)>,
    ) -> Result<Vec<Finding>, Error> {
        let mut errors = Vec::new();
        for (chart, reason) in unfetched {
            let needs = |release: &&Release| release.installed && named_chart(release) == chart;
            let release = releases.iter().find(needs).map(|release| release.name.clone());
            if release.is_none() && !releases.is_empty() {
                continue;
            }
            let release = release.unwrap_or_default();
            let (chart, version) = (self.context.tools.mirrors.address(&chart), chart.version);
            errors.push(BuildError::Chart { release, chart, version, reason });
        }
        let findings = errors.into_iter().map(|error| self.chart_finding(state, error));
        join_all(findings).await.into_iter().collect()
    }

    /// helmfile's output, and whether it found every chart. helmfile stops at the first variable or chart that is
    /// missing: to find all of them, each gets a placeholder and helmfile runs again.
    async fn read(
        &self,
        state: &StateFile,
        path: &Path,
        staging: &Path,
        build: &mut Build,
    ) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let mut variables = BTreeMap::new();
        let mut charts: BTreeSet<ChartRef> = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let identities = state.sources.identities;
            let offline = self.context.settings.offline;
            match self.context.tools.helmfile_build(path, staging, identities, &variables, offline).await? {
                Ok(output) => {
                    build.missing.extend(variables.into_keys());
                    return Ok(Some((output, charts.is_empty())));
                }
                Err(BuildError::MissingVariable(name)) => {
                    let value = stand_in_for(&name);
                    if variables.insert(name, value).is_some() {
                        break;
                    }
                }
                Err(BuildError::Chart { release, chart, version, reason }) => {
                    let missing = ChartRef::new(&chart, &version);
                    if !charts.insert(missing.clone()) {
                        break;
                    }
                    let everywhere = !is_about_one(&reason) && !is_denied(&reason);
                    if !offline {
                        let error = BuildError::Chart { release, chart, version, reason };
                        build.problems.push(self.chart_finding(state, error).await?);
                    }
                    ChartStore::stand_in(staging, &[missing])?;
                    if everywhere {
                        // The registry is unreachable: helmfile would wait for each chart in turn.
                        ChartStore::stand_in(staging, &state.charts)?;
                    }
                }
                // With placeholders, any other error may be caused by them.
                Err(_) if !variables.is_empty() => break,
                Err(error) => {
                    build.problems.push(build_finding(state, error));
                    break;
                }
            }
        }
        build.missing.extend(variables.into_keys());
        Ok(None)
    }

    /// Fetches charts from classic (HTTP) repositories. helmfile fetches those only when it syncs, too late to learn that
    /// one is missing.
    async fn classic_charts(
        &self,
        state: &StateFile,
        releases: &[Release],
        staging: &Path,
    ) -> Result<Vec<Finding>, Error> {
        let desired = releases.iter().filter(|release| release.installed);
        let classic =
            desired.filter_map(|release| Some((release, release.repository.as_deref()?, chart_of(release)?)));
        let classic: Vec<_> = classic.collect();
        let refs: Vec<_> = classic.iter().map(|(_, _, chart)| chart.clone()).collect();
        self.charts.seed(staging, &refs)?;
        let missing = classic.into_iter().filter(|(_, _, chart)| !chart.folder(staging).is_dir());
        if self.context.settings.offline {
            return Ok(Vec::new());
        }
        let fetched = missing.map(async |(release, repository, chart)| {
            let folder = chart.folder(staging);
            let into = folder.parent().unwrap_or(staging);
            let version = &release.version;
            let pull =
                async || self.context.tools.helm_pull(repository, release.chart_name(), version, into).await;
            Ok(self.fetch_by(&chart, pull).await?.err().map(|reason| {
                let show = format!("{} --repo {repository}", release.chart_name());
                missing_chart(state, &release.name, &release.chart, version, &reason, &show)
            }))
        });
        let findings: Result<Vec<_>, Error> = join_all(fetched).await.into_iter().collect();
        Ok(findings?.into_iter().flatten().collect())
    }

    /// The finding for a failed fetch. If the registry denies a public chart, an expired login is the cause.
    async fn chart_finding(&self, state: &StateFile, error: BuildError) -> Result<Finding, Error> {
        if let BuildError::Chart { release, chart, version, reason } = &error
            && is_denied(reason)
        {
            let anonymous = self.context.scratch.subfolder("anonymous")?;
            let asked = ChartRef::new(chart, version);
            if self.context.tools.helm_show_chart_anonymously(&asked, &anonymous).await?.is_ok() {
                let host = host(chart);
                return Ok(Finding::error("chart-login", "Expired registry login blocks a public chart")
                    .with("chart", chart)
                    .with("version", version)
                    .with("release", release)
                    .with("reason", reason)
                    .fix(format!("helm registry logout {host}; docker logout {host}")));
            }
        }
        Ok(build_finding(state, error))
    }

    /// The locally available charts of the releases.
    pub(super) fn charts_of(&self, helmfiles: &[Helmfile]) -> BTreeMap<ReleaseId, Chart> {
        let mut charts = BTreeMap::new();
        for helmfile in helmfiles {
            let below = helmfile.path.parent().unwrap_or(&helmfile.path);
            for release in helmfile.releases.iter().filter(|release| release.installed) {
                let chart = chart_of(release);
                let folder = match &chart {
                    Some(chart) => {
                        let staging = self.staging.path().join(helmfile.kind.stage().name());
                        let mut roots = [self.charts.path(), &staging];
                        if !chart.is_exact() {
                            // The stored chart may be outdated or have another digest.
                            roots.reverse();
                        }
                        roots
                            .map(|root| chart.folder(root))
                            .into_iter()
                            .find(|folder| folder.is_dir() && !ChartStore::is_stand_in(folder))
                    }
                    None => Some(below.join(&release.chart)),
                };
                let Some(folder) = folder else { continue };
                let Some(read) = Chart::read(&folder) else { continue };
                // The digest of a stored chart was computed when it was fetched.
                let stored = chart.filter(|_| folder.starts_with(self.charts.path()));
                let digest = match stored.and_then(|chart| self.charts.digest(&chart)) {
                    None => charts::digest(&folder).ok(),
                    stored => stored,
                };
                charts.insert(release.id(), Chart { digest, ..read });
            }
        }
        charts
    }
}

/// The chart of a release, unless it is a local folder or comes from a source that k3s-boot cannot fetch from.
fn chart_of(release: &Release) -> Option<ChartRef> {
    match &release.repository {
        Some(repository) => {
            let chart = format!("{}/{}", repository.trim_end_matches('/'), release.chart_name());
            Some(ChartRef { chart, version: release.version.clone(), digest: None })
        }
        None => Some(named_chart(release)).filter(|_| release.is_in_registry),
    }
}

/// The chart exactly as the release refers to it.
fn named_chart(release: &Release) -> ChartRef {
    let Release { chart, version, digest, .. } = release;
    ChartRef { chart: chart.clone(), version: version.clone(), digest: digest.clone() }
}

fn other_context(release: &Release, context: &str) -> Option<Finding> {
    // Without a kubeconfig, any context may be right; so may one that a missing variable decides.
    let asked =
        release.kube_context.as_ref().filter(|asked| *asked != context && !asked.contains(STAND_IN))?;
    if context.is_empty() {
        return None;
    }
    let finding = Finding::error("helmfile", "Release sets a different context");
    Some(finding.with("release", release.id()).with("kubeContext", asked).with("context", context))
}

pub(super) fn build_finding(state: &StateFile, error: BuildError) -> Finding {
    let folder = state.path.parent().unwrap_or(&state.path);
    match error {
        BuildError::MissingVariable(name) => missing_env(&[&name]),
        BuildError::MissingValues { file } => state_file::missing_values(&state.path, None, &file, folder),
        BuildError::Chart { release, chart, version, reason } => {
            missing_chart(state, &release, &chart, &version, &reason, &chart)
        }
        BuildError::Unrendered { file, reason } => {
            let path = folder.join(&file);
            let finding = Finding::error("helmfile", "Helmfile cannot be rendered")
                .with("file", path.display())
                .with("reason", reason);
            let fix = std::fs::read_to_string(&path).ok().and_then(|text| unrendered_fix(&path, &text));
            Finding { fix, ..finding }
        }
        BuildError::Other(reason) => {
            // The helmfile itself was parsed before, unless it is a template.
            let is_yaml_error = reason.starts_with("yaml: ") || reason.contains(": yaml: ");
            let needs_release = reason.contains("can't evaluate field Release in type");
            let needs_plugin = reason.contains(NO_PLUGIN);
            let finding = Finding::error("helmfile", "Helmfile cannot be rendered")
                .with("file", state.path.display())
                .with("reason", reason);
            if is_yaml_error {
                finding.fix("fix the values file that this helmfile uses; the line number is that of its rendered output")
            } else if needs_release {
                finding.fix("write {{`{{ .Release.Name }}`}}, so that helmfile renders it for each release")
            } else if needs_plugin {
                finding.fix(SECRETS_FIX)
            } else {
                finding
            }
        }
    }
}
