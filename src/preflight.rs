//! Everything that can be found out before the first change is found out here, in one pass.
//!
//! What is independent runs side by side, and charts are fetched while nodes are waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use secrecy::ExposeSecret;
use tokio::sync::Notify;

use crate::charts::ChartStore;
use crate::check::{Finding, Findings, versions};
use crate::desired::objects::{self, Object};
use crate::desired::releases::{self, Release};
use crate::desired::state_file::{self, StateFile};
use crate::desired::{Desired, Helmfile, repository};
use crate::error::Error;
use crate::fingerprint::HashKey;
use crate::observed::Observed;
use crate::observed::cluster::Cluster;
use crate::observed::objects::LiveObject;
use crate::plan::{Plan, plan};
use crate::process::{ProcessError, find_program};
use crate::redact::Redactor;
use crate::run::nodes;
use crate::scratch::Scratch;
use crate::settings::{PROGRAMS, Settings, missing_env};
use crate::tools::helmfile::BuildError;
use crate::tools::kubectl::{Unanswered, UnansweredKind};
use crate::tools::{Programs, Toolbox};
use crate::{age, kubeconfig};

/// A template that demands more variables than this is in a loop.
const MOST_VARIABLES: usize = 64;

/// What the files say, before any program runs.
pub struct Files {
    /// The programs.
    pub programs: Programs,
    /// The cluster that is meant.
    pub target: kubeconfig::Target,
    helmfiles: Vec<StateFile>,
    encrypted: Vec<PathBuf>,
    age_key: Option<age::Selection>,
    checks: usize,
    warnings: usize,
}

/// Checks all that can be checked without starting a program.
///
/// # Errors
///
/// All problems that stop the run. A missing program is told alone: nothing else matters before it is there.
pub fn files(settings: &Settings, redactor: &Redactor) -> Result<Files, Vec<Finding>> {
    let programs = programs(settings).map_err(|finding| vec![finding])?;
    let mut findings = Findings::default();
    let target = findings.keep(kubeconfig::load(&settings.kubeconfig, settings.context.as_deref()));
    let helmfiles = helmfiles(settings, &mut findings);
    let age_key = age_key(settings, redactor, &mut findings);
    let encrypted = repository::encrypted_files(&settings.root);
    for path in &encrypted {
        findings.keep(read(path).and_then(|text| objects::check_encrypted(path, &text)));
    }
    if let Some((_, missing)) = &target {
        findings.0.extend(missing.iter().map(|file| {
            Finding::warning("kubeconfig", "Kubeconfig file of the list not found")
                .with("file", file.display())
        }));
    }
    let warnings = findings.warnings();
    match target {
        Some((target, _)) if !findings.stop() => {
            findings.0.iter().for_each(Finding::log);
            // Four programs, the kubeconfig, and a file each.
            let checks =
                PROGRAMS.len() + 1 + helmfiles.len() + encrypted.len() + usize::from(age_key.is_some());
            Ok(Files { programs, target, helmfiles, encrypted, age_key, checks, warnings })
        }
        _ => Err(findings.0),
    }
}

fn programs(settings: &Settings) -> Result<Programs, Finding> {
    let find = |name| find_program(name, settings.path.as_deref(), &settings.cwd);
    match PROGRAMS.map(find) {
        [Some(helmfile), Some(kubectl), Some(sops), Some(helm)] => {
            Ok(Programs { helmfile, kubectl, sops, helm })
        }
        found => {
            let missing =
                PROGRAMS.iter().zip(found).filter(|(_, path)| path.is_none()).map(|(name, _)| *name);
            let missing: Vec<_> = missing.collect();
            Err(Finding::error("deps", "Missing required deps").with("deps", missing.join(" ")))
        }
    }
}

fn read(path: &Path) -> Result<String, Finding> {
    std::fs::read_to_string(path).map_err(|error| {
        Finding::error("files", "File cannot be read").with("file", path.display()).with("reason", error)
    })
}

fn helmfiles(settings: &Settings, findings: &mut Findings) -> Vec<StateFile> {
    let found = match repository::helmfiles(&settings.root) {
        Ok(found) => found,
        Err(missing) => {
            findings.0.extend(missing);
            return Vec::new();
        }
    };
    let read = |(kind, path): (_, PathBuf)| state_file::read(kind, &path, settings.allow_hooks);
    let mut states = Vec::new();
    for state in found.into_iter().map(read) {
        match state {
            Ok(state) => states.push(state),
            Err(problems) => findings.0.extend(problems),
        }
    }
    states
}

fn age_key(settings: &Settings, redactor: &Redactor, findings: &mut Findings) -> Option<age::Selection> {
    let path = &settings.age_key;
    if !path.exists() && !settings.age_key_named {
        return None;
    }
    let parsed = read(path).and_then(|text| {
        redactor.add([text.as_str()]);
        age::parse(&text).map_err(|error| {
            Finding::error("age-key", "Age key cannot be used")
                .with("file", path.display())
                .with("reason", error)
                .fix("write one with `age-keygen -o age.key`; lines are identities, or comments that start with `#`")
        })
    });
    let key = findings.keep(parsed)?;
    // Reading all files of a repository is worth it only when there is something to choose.
    let recipients = if key.identities.len() > 1 { age::recipients(&settings.root) } else { BTreeSet::new() };
    let selection = age::select(&key, &recipients);
    if !selection.left_out.is_empty() {
        tracing::info!(
            file = %path.display(),
            left_out = %selection.left_out.join(" "),
            reason = "no recipient in this repository",
            "Age identities left out"
        );
    }
    Some(selection)
}

/// What a preflight that passed has found out.
pub struct Ready {
    /// What is wanted.
    pub desired: Desired,
    /// What stands.
    pub observed: Observed,
    /// What has to be done.
    pub plan: Plan,
    /// The charts that were fetched.
    pub charts: ChartStore,
    /// How long nodes were waited for, while other things were checked.
    pub waited_for_nodes: Duration,
    /// How many things were checked.
    pub checks: usize,
    /// How many of them deserve a look.
    pub warnings: usize,
}

/// Checks all that takes programs, the cluster and the registries.
///
/// # Errors
///
/// All problems that stop the run; or k3s-boot was told to stop, or too few nodes came.
pub async fn cluster(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    scratch: &Scratch,
    redactor: &Redactor,
) -> Result<Ready, Error> {
    let cache = settings.cache.clone().map_or_else(|| scratch.subfolder("cache"), Ok)?;
    let charts = ChartStore::new(cache.join("charts"));
    let staging = Scratch::new(&cache.join("staging"))?;
    let key = HashKey::default();

    // With a problem in what is there already, waiting for nodes helps nobody.
    let hopeless = Notify::new();
    let api = Box::pin(api(tools, settings, &hopeless));
    let work = Box::pin(async {
        let states = &files.helmfiles;
        let builds = async {
            let build = |state| build(tools, state, &charts, &staging, scratch);
            match states.as_slice() {
                [first, second] => {
                    let (first, second) = tokio::join!(build(first), build(second));
                    Ok(vec![first?, second?])
                }
                _ => Ok::<_, Error>(Vec::new()),
            }
        };
        let (versions, builds, secrets) = tokio::join!(
            tools.versions(settings.cache.as_deref()),
            builds,
            secrets(tools, settings, files, &key, redactor)
        );
        let good = versions.as_ref().is_ok_and(|versions| {
            versions.iter().all(|(name, version)| versions::check(name, version.as_ref()).is_ok())
        }) && builds.as_ref().is_ok_and(|builds| {
            builds.iter().all(|build| build.problems.is_empty() && build.missing.is_empty())
        }) && secrets.as_ref().is_ok_and(Result::is_ok);
        if !good {
            hopeless.notify_one();
        }
        (versions, builds, secrets)
    });
    let ((versions, builds, secrets), api) = tokio::join!(work, api);

    let mut findings = Findings::default();
    let mut checks = files.checks + PROGRAMS.len();
    let mut old = false;
    for (name, version) in versions? {
        old |= findings.keep(versions::check(name, version.as_ref())).is_none();
    }
    let helmfiles = if old { Vec::new() } else { keep_builds(builds?, &mut findings, &mut checks) };
    let ((cluster, waited_for_nodes), answers) = match api? {
        Ok(found) => (found, true),
        Err(problems) => {
            findings.0.extend(problems);
            (Default::default(), false)
        }
    };
    let (wanted, live) = keep_secrets(secrets?, answers, &mut findings);
    checks += files.encrypted.len() + wanted.len();
    if findings.stop() {
        return Err(Error::Preflight(findings.0));
    }

    let namespaces =
        repository::namespaces(&settings.root, helmfiles.iter().flat_map(namespaces_of).map(String::as_str));
    checks += namespaces.len();
    let desired = Desired { namespaces, objects: wanted, helmfiles };
    let unwanted_releases =
        tools.existing_releases(desired.releases().filter(|release| !release.installed)).await?;
    let observed = Observed { cluster, objects: live, unwanted_releases };
    let plan = plan(&desired, &observed, settings.rotate_age_key).map_err(Error::Preflight)?;
    Ok(Ready {
        desired,
        observed,
        plan,
        charts,
        waited_for_nodes,
        checks,
        warnings: files.warnings + findings.warnings(),
    })
}

fn namespaces_of(helmfile: &Helmfile) -> impl Iterator<Item = &String> {
    helmfile.releases.iter().filter(|release| release.installed).map(|release| &release.namespace)
}

fn cannot_read(error: &Error) -> Finding {
    Finding::error("api", "Cluster cannot be read").with("reason", error)
}

/// Asks the API server who it is, and waits for nodes unless that is known to be `hopeless`.
async fn api(
    tools: &Toolbox,
    settings: &Settings,
    hopeless: &Notify,
) -> Result<Result<(Cluster, Duration), Vec<Finding>>, Error> {
    let (versions, cluster) = tokio::join!(tools.kubectl_version(), tools.observe_cluster());
    let versions = versions?;
    let mut problems = Findings::default();
    problems.keep(versions::check("kubectl", versions.client.as_ref()));
    let version = problems.keep(versions.server.map_err(|unanswered| no_answer(tools, &unanswered)));
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(error @ (Error::Interrupted(_) | Error::Process(ProcessError::Interrupted { .. }))) => {
            return Err(error);
        }
        Err(error) => {
            if version.is_some() {
                let unanswered = Unanswered::from_words(&error.to_string());
                problems.0.push(match unanswered.kind {
                    UnansweredKind::Other => cannot_read(&error),
                    _ => no_answer(tools, &unanswered),
                });
            }
            Cluster::default()
        }
    };
    let Some(version) = version.filter(|_| !problems.stop()) else {
        return Ok(Err(problems.0));
    };
    tracing::info!(
        context = %tools.target.context,
        server = %tools.target.server,
        version = %version,
        nodes = %cluster.nodes.len(),
        uid = %cluster.uid,
        "Target cluster"
    );
    let start = Instant::now();
    let cluster = tokio::select! {
        nodes = nodes::wait(tools, cluster, settings.nodes) => nodes?,
        // The run ends with the problem that made it so; nobody asks for the nodes then.
        () = hopeless.notified() => Cluster::default(),
    };
    Ok(Ok((cluster, start.elapsed())))
}

fn no_answer(tools: &Toolbox, unanswered: &Unanswered) -> Finding {
    let (message, fix) = match unanswered.kind {
        UnansweredKind::Unreachable => (
            "Cluster unreachable",
            "see that the server runs, and that the kubeconfig has its address and not 127.0.0.1",
        ),
        UnansweredKind::Unauthorized => (
            "Cluster does not accept the credentials",
            "copy the kubeconfig from the server again: it may be that of an earlier installation",
        ),
        UnansweredKind::Forbidden => (
            "Cluster does not allow this",
            "use the kubeconfig of /etc/rancher/k3s/k3s.yaml, which is an administrator's",
        ),
        UnansweredKind::Untrusted => (
            "Cluster's certificate is not trusted",
            "copy the kubeconfig from the server again; if it was reached by another name, add that with --tls-san",
        ),
        UnansweredKind::Other => ("Cluster does not answer as it should", "see the server's log"),
    };
    Finding::error("api", message)
        .with("server", &tools.target.server)
        .with("context", &tools.target.context)
        .with("reason", &unanswered.reason)
        .fix(fix)
}

/// What became of reading a helmfile.
struct Build {
    helmfile: Helmfile,
    charts: usize,
    /// Variables that its templates demand and that are not set.
    missing: Vec<String>,
    problems: Vec<Finding>,
}

/// Reads a helmfile with all its values and fetches its charts, which is one process when nothing is missing.
async fn build(
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
    problems.extend(releases.iter().filter_map(|release| other_context(release, &tools.target.context)));
    let helmfile = Helmfile {
        kind: state.kind,
        path: state.path.clone(),
        releases,
        needs_identities: state.needs_identities,
    };
    Ok(Build { helmfile, charts: state.charts.len(), missing: stand_ins.into_keys().collect(), problems })
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

fn keep_builds(builds: Vec<Build>, findings: &mut Findings, checks: &mut usize) -> Vec<Helmfile> {
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
            *checks += build.charts + build.helmfile.releases.len();
            build.helmfile
        })
        .collect()
}

/// A cluster that does not answer is told once, by what asked for its version.
fn keep_secrets(
    secrets: Result<Secrets, Vec<Finding>>,
    answers: bool,
    findings: &mut Findings,
) -> (Vec<Object>, BTreeMap<objects::ObjectId, LiveObject>) {
    match secrets {
        Ok(Secrets { objects, observed: Ok(live) }) => (objects, live),
        Ok(Secrets { objects, observed: Err(error) }) => {
            findings.0.extend(answers.then(|| cannot_read(&error)));
            (objects, BTreeMap::new())
        }
        Err(problems) => {
            findings.0.extend(problems);
            (Vec::new(), BTreeMap::new())
        }
    }
}

struct Secrets {
    objects: Vec<Object>,
    observed: Result<BTreeMap<objects::ObjectId, LiveObject>, Error>,
}

/// Decrypts what goes into the cluster, in memory, and looks at what of it is there.
async fn secrets(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    key: &HashKey,
    redactor: &Redactor,
) -> Result<Result<Secrets, Vec<Finding>>, Error> {
    let mut objects = Vec::new();
    let mut findings = Findings::default();
    if let Some(selection) = &files.age_key {
        redactor.add(selection.identities.iter().map(ExposeSecret::expose_secret));
        objects.extend(Object::sops_age(selection, &settings.age_key, key, redactor));
    }
    let decrypting = files.encrypted.iter().map(|path| tools.sops_decrypt(path));
    for (path, decrypted) in files.encrypted.iter().zip(join_all(decrypting).await) {
        let parsed = decrypted?.and_then(|text| objects::parse(path, &text, key, redactor));
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    if findings.stop() {
        return Ok(Err(findings.0));
    }
    match objects::merge(objects) {
        Err(problems) => Ok(Err(problems)),
        Ok(objects) => {
            let observed = match tools.observe_objects(&objects, key).await {
                Err(error @ Error::Process(ProcessError::Interrupted { .. })) => return Err(error),
                other => other,
            };
            Ok(Ok(Secrets { objects, observed }))
        }
    }
}
