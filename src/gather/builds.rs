//! Reading the helmfiles with all their values, and fetching their charts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::mended;
use crate::charts::{ChartRef, ChartStore};
use crate::check::Finding;
use crate::desired::chart::Chart;
use crate::desired::releases::{self, Release};
use crate::desired::state_file::{self, StateFile};
use crate::desired::{Helmfile, STAND_IN};
use crate::error::Error;
use crate::scratch::Scratch;
use crate::settings::{Settings, missing_env};
use crate::tools::Toolbox;
use crate::tools::helmfile::BuildError;

/// A template that demands more variables, or a helmfile with more charts that are not there, is in a loop.
const MOST_ROUNDS: usize = 64;

/// What became of reading a helmfile.
pub(super) struct Build {
    pub(super) helmfile: Helmfile,
    /// Variables that its templates demand and that are not set.
    pub(super) missing: Vec<String>,
    pub(super) problems: Vec<Finding>,
}

/// Where helmfiles are read, and their charts kept.
pub(super) struct Place<'a> {
    pub(super) tools: &'a Toolbox,
    pub(super) settings: &'a Settings,
    pub(super) charts: &'a ChartStore,
    pub(super) staging: &'a Scratch,
    pub(super) scratch: &'a Scratch,
}

impl Place<'_> {
    /// Reads the helmfiles side by side.
    pub(super) async fn builds(&self, states: &[StateFile]) -> Result<Vec<Build>, Error> {
        join_all(states.iter().map(|state| self.build(state))).await.into_iter().collect()
    }

    /// The folder in which a helmfile's charts are, be they kept or not.
    pub(super) fn charts_for(&self, helmfile: &Helmfile) -> Result<PathBuf, Error> {
        let staging = self.staging.subfolder(helmfile.kind.stage())?;
        // What was published is no longer there.
        let refs = helmfile
            .releases
            .iter()
            .map(|release| ChartRef { chart: release.chart.clone(), version: release.version.clone() });
        self.charts
            .seed(&staging, &refs.filter(|chart| !chart.folder(&staging).exists()).collect::<Vec<_>>())?;
        Ok(staging)
    }

    /// Reads a helmfile with all its values and fetches its charts, which is one process when nothing is missing.
    async fn build(&self, state: &StateFile) -> Result<Build, Error> {
        let mut build = Build {
            helmfile: Helmfile {
                kind: state.kind,
                path: state.path.clone(),
                releases: Vec::new(),
                needs_identities: state.needs_identities,
            },
            missing: Vec::new(),
            problems: Vec::new(),
        };
        if state.broken {
            return Ok(build);
        }
        let mended = if state.mends.is_empty() {
            state.path.clone()
        } else {
            match mended::copy(state, &self.settings.root, self.scratch)? {
                Some(mended) => mended,
                // helmfile would only say once more which paths are wrong.
                None => return Ok(build),
            }
        };
        let path = mended.as_path();
        let staging = self.staging.subfolder(state.kind.stage())?;
        self.charts.seed(&staging, &state.charts)?;
        if self.settings.offline {
            ChartStore::stand_in(&staging, &state.charts)?;
        }
        if let Some((output, whole)) = self.read(state, path, &staging, &mut build).await? {
            if whole && !self.settings.offline {
                self.charts.publish(&staging)?;
            }
            match releases::parse(&output) {
                Ok(parsed) => build.helmfile.releases = parsed,
                Err(place) => build.problems.push(
                    Finding::error("helmfile", "Helmfile's state cannot be read")
                        .with("file", state.path.display())
                        .with("place", place),
                ),
            }
        }
        let context = &self.tools.target.context;
        let releases = &build.helmfile.releases;
        let mut problems: Vec<_> =
            releases.iter().filter_map(|release| other_context(release, context)).collect();
        if !self.settings.offline {
            problems.extend(missing_charts(self.tools, state, releases).await?);
        }
        build.problems.extend(problems);
        Ok(build)
    }

    /// What helmfile prints, and whether every chart is there. helmfile stops at the first thing that is missing: to
    /// find all, each gets a stand-in and it runs again.
    async fn read(
        &self,
        state: &StateFile,
        path: &Path,
        staging: &Path,
        build: &mut Build,
    ) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let mut variables = BTreeMap::new();
        let mut charts: BTreeSet<ChartRef> = BTreeSet::new();
        for _ in 0..MOST_ROUNDS {
            let identities = state.needs_identities;
            let offline = self.settings.offline;
            match self.tools.helmfile_build(path, staging, identities, &variables, offline).await? {
                Ok(output) => {
                    build.missing.extend(variables.into_keys());
                    return Ok(Some((output, charts.is_empty())));
                }
                Err(BuildError::MissingVariable(name)) => {
                    if variables.insert(name, STAND_IN.to_owned()).is_some() {
                        break;
                    }
                }
                Err(BuildError::Chart { release, chart, version, reason }) => {
                    let missing = ChartRef { chart: chart.clone(), version: version.clone() };
                    if !charts.insert(missing.clone()) {
                        break;
                    }
                    let everywhere = !is_about_one(&reason);
                    if !offline {
                        let error = BuildError::Chart { release, chart, version, reason };
                        build.problems.push(self.chart_finding(state, error).await?);
                    }
                    ChartStore::stand_in(staging, &[missing])?;
                    if everywhere {
                        // The registry is away, or the way to it: each chart would be waited for in turn.
                        ChartStore::stand_in(staging, &state.charts)?;
                    }
                }
                // With stand-ins in it, what else it says may be about them.
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

    /// A chart that a registry refuses although it is public: a stale login is in the way.
    async fn chart_finding(&self, state: &StateFile, error: BuildError) -> Result<Finding, Error> {
        if let BuildError::Chart { release, chart, version, reason } = &error
            && is_refused(reason)
        {
            let nobody = self.scratch.subfolder("nobody")?;
            if self.tools.helm_show_chart_as_nobody(chart, version, &nobody).await?.is_ok() {
                let host = chart.trim_start_matches("oci://").split('/').next().unwrap_or(chart);
                return Ok(Finding::error("chart-login", "Login keeps a public chart away")
                    .with("chart", chart)
                    .with("version", version)
                    .with("release", release)
                    .with("reason", reason)
                    .fix(format!("helm registry logout {host}; docker logout {host}")));
            }
        }
        Ok(build_finding(state, error))
    }

    /// The charts of the releases that are on this machine, by `namespace/name`.
    pub(super) fn charts_of(&self, helmfiles: &[Helmfile]) -> BTreeMap<String, Chart> {
        let mut charts = BTreeMap::new();
        for helmfile in helmfiles {
            let below = helmfile.path.parent().unwrap_or(&helmfile.path);
            for release in helmfile.releases.iter().filter(|release| release.installed) {
                let chart = ChartRef { chart: release.chart.clone(), version: release.version.clone() };
                let folder = if release.chart.starts_with("oci://") {
                    let staging = self.staging.path().join(helmfile.kind.stage());
                    [self.charts.path(), &staging]
                        .map(|root| chart.folder(root))
                        .into_iter()
                        .find(|folder| folder.is_dir() && !ChartStore::is_stand_in(folder))
                } else {
                    Some(below.join(&release.chart))
                };
                charts.extend(
                    folder.and_then(|folder| Chart::read(&folder)).map(|chart| (release.id(), chart)),
                );
            }
        }
        charts
    }
}

/// Whether a registry's answer is about one chart, so that others are worth asking for.
fn is_about_one(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    let words = ["not found", "manifest unknown", "manifest_unknown", "name unknown", "name_unknown"];
    is_refused(&reason) || words.iter().any(|word| reason.contains(word))
}

fn is_refused(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["401", "403", "unauthorized", "denied", "forbidden"].iter().any(|word| reason.contains(word))
}

/// Charts that are not in their repositories.
async fn missing_charts(
    tools: &Toolbox,
    state: &StateFile,
    releases: &[Release],
) -> Result<Vec<Finding>, Error> {
    let asked = releases.iter().filter(|release| release.installed).filter_map(|release| {
        let (_, name) = release.chart.split_once('/')?;
        Some((release, name, release.repository.as_deref()?))
    });
    let shown = asked.map(async |(release, name, repository)| {
        let shown = tools.helm_show_chart(repository, name, &release.version).await?;
        Ok(shown.err().map(|reason| {
            let (release, chart, version) =
                (release.name.clone(), release.chart.clone(), release.version.clone());
            build_finding(state, BuildError::Chart { release, chart, version, reason })
        }))
    });
    let findings: Result<Vec<_>, Error> = join_all(shown).await.into_iter().collect();
    Ok(findings?.into_iter().flatten().collect())
}

fn other_context(release: &Release, context: &str) -> Option<Finding> {
    let asked = release.kube_context.as_ref().filter(|asked| *asked != context)?;
    let finding = Finding::error("helmfile", "Release asks for another context");
    Some(finding.with("release", release.id()).with("kubeContext", asked).with("context", context))
}

fn build_finding(state: &StateFile, error: BuildError) -> Finding {
    let folder = state.path.parent().unwrap_or(&state.path);
    match error {
        BuildError::MissingVariable(name) => missing_env(&[&name]),
        BuildError::MissingValues { file } => state_file::missing_values(&state.path, None, &file, folder),
        BuildError::Chart { release, chart, version, reason } => {
            let fix = format!("see what `helm show chart {chart} --version {version}` says");
            Finding::error("charts", "Chart cannot be fetched")
                .with("chart", chart)
                .with("version", version)
                .with("release", release)
                .with("file", state.path.display())
                .with("reason", reason)
                .fix(fix)
        }
        BuildError::Other(reason) => Finding::error("helmfile", "Helmfile cannot be read")
            .with("file", state.path.display())
            .with("reason", reason),
    }
}
