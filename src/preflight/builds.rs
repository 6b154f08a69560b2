//! Reading the helmfiles with all their values, and fetching their charts.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::charts::ChartStore;
use crate::check::{self, Finding, Findings};
use crate::desired::Helmfile;
use crate::desired::releases::{self, Release};
use crate::desired::state_file::{self, StateFile};
use crate::error::Error;
use crate::scratch::Scratch;
use crate::settings::missing_env;
use crate::tools::Toolbox;
use crate::tools::helmfile::BuildError;

/// A template that demands more variables than this is in a loop.
const MOST_VARIABLES: usize = 64;

/// What became of reading a helmfile.
pub(super) struct Build {
    pub(super) helmfile: Helmfile,
    pub(super) charts: usize,
    /// Variables that its templates demand and that are not set.
    pub(super) missing: Vec<String>,
    pub(super) problems: Vec<Finding>,
}

/// Reads a helmfile with all its values and fetches its charts, which is one process when nothing is missing.
pub(super) async fn build(
    tools: &Toolbox,
    state: &StateFile,
    charts: &ChartStore,
    staging: &Scratch,
    scratch: &Scratch,
) -> Result<Build, Error> {
    let staging = staging.subfolder(state.kind.stage())?;
    charts.seed(&staging, &state.charts)?;
    let mut stand_ins = BTreeMap::new();
    let mut problems = Vec::new();
    let mut releases = Vec::new();
    let mut render_only = false;
    // helmfile stops at the first thing that is missing. To find all, each gets a stand-in and it runs again.
    while stand_ins.len() < MOST_VARIABLES {
        let result = if render_only {
            // A chart is missing: the values are still to be looked at, which needs none.
            let folder = scratch.subfolder("values")?;
            let written =
                tools.helmfile_write_values(&state.path, &folder, state.needs_identities, &stand_ins).await?;
            written.map(|()| Vec::new())
        } else {
            tools.helmfile_build(&state.path, &staging, state.needs_identities, &stand_ins).await?
        };
        match result {
            Err(BuildError::MissingVariable(name)) => {
                if stand_ins.insert(name, "1".to_owned()).is_some() {
                    break;
                }
            }
            Err(error @ BuildError::Chart { .. }) if !render_only => {
                problems.push(build_finding(state, error));
                render_only = true;
            }
            // With stand-ins in it, what else it says may be about them.
            Err(_) if !stand_ins.is_empty() => break,
            Err(error) => {
                problems.push(build_finding(state, error));
                break;
            }
            Ok(output) => {
                if !render_only && stand_ins.is_empty() {
                    charts.publish(&staging)?;
                    match releases::parse(&output) {
                        Ok(parsed) => releases = parsed,
                        Err(place) => problems.push(
                            Finding::error("helmfile", "Helmfile's state cannot be read")
                                .with("file", state.path.display())
                                .with("place", place),
                        ),
                    }
                }
                break;
            }
        }
    }
    problems.extend(missing_charts(tools, state, &releases).await?);
    problems.extend(releases.iter().filter_map(|release| other_context(release, &tools.target.context)));
    let helmfile = Helmfile {
        kind: state.kind,
        path: state.path.clone(),
        releases,
        needs_identities: state.needs_identities,
    };
    Ok(Build { helmfile, charts: state.charts.len(), missing: stand_ins.into_keys().collect(), problems })
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

pub(super) fn keep(builds: Vec<Build>, findings: &mut Findings, checks: &mut usize) -> Vec<Helmfile> {
    let mut missing: Vec<String> = Vec::new();
    for name in builds.iter().flat_map(|build| &build.missing) {
        if !missing.contains(name) {
            missing.push(name.clone());
        }
    }
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(String::as_str).collect();
        findings.0.push(missing_env(&names));
    }
    builds
        .into_iter()
        .map(|build| {
            findings.0.extend(build.problems);
            findings.0.extend(check::releases::check(&build.helmfile));
            *checks += build.charts + build.helmfile.releases.len();
            build.helmfile
        })
        .collect()
}
