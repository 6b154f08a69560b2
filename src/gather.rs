//! Reads everything that can be known before the first change, in one pass: the desired and the current state.
//!
//! Independent reads run concurrently. Nothing is judged here: a failed read becomes a problem that a rule reports, or
//! an unknown.

mod builds;
mod cluster;
mod commands;
mod crds;
mod environment;
mod evaluate;
mod features;
mod files;
mod fixup;
mod git;
mod helm_repositories;
mod manifests;
mod no_answer;
mod outage;
mod pipeline;
mod renders;
mod repository_files;
mod secret_values;
mod secrets;
mod standing;
mod substitutions;
mod unfetched;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::ExposeSecret as _;

pub(crate) use self::commands::CommandOutputs;
pub(crate) use self::files::{Files, files, files_for_looking, files_for_versions};
use self::secret_values::PlainTexts;
pub(crate) use self::standing::{Named, Snapshot, locks, standing};
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::files::LARGEST;
use crate::base::finding::{Finding, Findings, Severity};
use crate::base::fingerprint::HashKey;
use crate::base::redact::Redactor;
use crate::base::scratch::Scratch;
use crate::check::Facts;
use crate::check::options::CheckOptions;
use crate::desired::crds::Crds;
use crate::desired::manifests::Manifests;
use crate::desired::namespaces::{self, Declared, Namespace};
use crate::desired::objects::{Object, sops_age};
use crate::desired::releases::Release;
use crate::desired::secret_keys::SecretKeys;
use crate::desired::sync;
use crate::desired::synced::{self, Synced};
use crate::desired::{Coverage, Desired, Helmfile, STAND_IN, encrypted, repository};
use crate::observed::cluster::Cluster;
use crate::observed::{Live, Observed, Program};
use crate::plan::{needs_rendering, plan};
use crate::settings::Settings;
use crate::tools::charts::ChartStore;
use crate::tools::{Toolbox, requirements};

/// What the gathered state is used for; decides how much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Making a plan and checking whether it can be carried out; less is read when there is nothing to do.
    Plan,
    /// Running all checks, whatever there is to do.
    Check,
    /// Making a plan and comparing every object.
    Everything,
}

/// Receives results while the rest is still being read.
pub(crate) trait Listener {
    /// Called when the cluster has answered, with its version and state.
    fn cluster(&mut self, _version: &str, _cluster: &Cluster) {}

    /// Called when everything is known except what needs rendering (see [`crate::check::rules::is_settled`]).
    ///
    /// # Errors
    ///
    /// Why reading the rest makes no sense; it ends [`gather`].
    fn facts(&mut self, _facts: &Facts<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl Listener for () {}

/// Everything that was read.
pub(crate) struct Gathered {
    /// The desired state.
    pub desired: Desired,
    /// The current state.
    pub observed: Observed,
    /// The manifests of releases that are not up to date.
    pub manifests: Manifests,
    /// The charts that were fetched.
    pub charts: ChartStore,
    /// The options that checks depend on.
    pub options: CheckOptions,
}

impl Gathered {
    /// The input of the rules.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            options: &self.options,
            desired: &self.desired,
            observed: &self.observed,
            manifests: &self.manifests,
        }
    }
}

/// What every step of a command uses; made once.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub settings: &'a Settings,
    pub tools: &'a Toolbox,
    /// For temporary files, which are deleted in the end.
    pub scratch: &'a Scratch,
    pub redactor: &'a Redactor,
    /// The output of the repository's commands.
    pub outputs: &'a CommandOutputs,
}

/// Reads everything that needs programs, the cluster or the registries.
///
/// # Errors
///
/// k3s-boot was interrupted, a working folder cannot be created, or `listener` ends it. Any other failure becomes part of the
/// result.
pub(crate) async fn gather(
    context: Context<'_>,
    files: Files,
    purpose: Purpose,
    listener: &mut impl Listener,
) -> Result<Gathered, Error> {
    let Context { settings, tools, scratch, redactor, outputs } = context;
    let cache = settings.cache.clone().map_or_else(|| scratch.subfolder("cache"), Ok)?;
    let charts = ChartStore::new(cache.join("charts"));
    let staging = Scratch::new(&cache.join("staging"))?;
    let key = HashKey::default();
    let options = settings.check_options();

    // First and alone: they may ask on the terminal.
    Box::pin(ask(context, &files)).await?;
    let outputs = outputs.get(context).await?;
    let place = builds::Place::new(context, &files, &charts, &staging);
    let (versions, builds, secrets, git, api) = Box::pin(async {
        tokio::join!(
            tools.versions(settings.cache.as_deref(), settings.offline),
            Box::pin(build(&place, &files)),
            secrets::decrypt(context, &files, outputs, &key),
            git::ask(tools, settings),
            Box::pin(cluster::ask(tools, settings, &files, listener)),
        )
    })
    .await;
    let (versions, (mut builds, mut environment), secrets, git, mut api) =
        (versions?, builds?, secrets?, git?, api?);
    let plain = PlainTexts {
        root: &settings.root,
        tracked: &git.tracked,
        age_key: &settings.age_key,
        variables: &tools.variables.public_values(),
    };
    // Must happen before any of the values can be printed.
    secret_values::mark(&mut builds, outputs, &plain, redactor);
    environment::mark(&mut builds, tools);

    let coverage = coverage(context, &files, &builds);
    let mut problems = Findings(files.problems);
    problems.0.append(&mut environment);
    problems.0.append(&mut api.problems);
    let (objects, live_objects) = secrets::keep(secrets, &tools.runner, &mut problems);
    let age_key = sops_age::age_key(&objects, files.age_key.map(|(facts, _)| facts));
    problems.0.extend(files.no_age_key.filter(|_| age_key.is_none()));
    let substitutions = substitutions::look(settings, tools, &files.helmfiles, &builds, &git.tracked);
    problems.0.extend(substitutions::missing(&builds, &substitutions));
    let (helmfiles, rendered) = split(builds, has_unsupported_version(settings, &versions), &mut problems);
    problems.0 = outage::join(unfetched::merge(problems.0), tools.target.proxy.is_some());
    let synced = sync_path(&helmfiles).and_then(|path| match &git.tracked {
        Ok(tracked) => Ok(synced::read(&settings.root, &path, tracked)),
        Err(reason) => Err(reason.clone()),
    });
    let namespaces = namespaces_of(settings, files.declared, &synced, &helmfiles, &objects);
    let mut desired = Desired {
        namespaces,
        secrets: secret_keys(&objects, &files.encrypted),
        objects,
        charts: place.charts_of(&helmfiles),
        helmfiles,
        crds: Crds::default(),
        age_key,
        encrypted: encrypted_files(settings, &files.encrypted, &git.tracked),
        sops_config: crate::base::files::text(&settings.root.join(".sops.yaml"), LARGEST).ok(),
        tracked: git.tracked,
        origin: git.origin,
        adds_age_key: git.adds_age_key,
        synced,
        substitutions,
        flux_releases: files.repository.flux_releases,
        signs: files.repository.signs,
        coverage,
        problems: problems.0,
    };

    let mut observed = Observed {
        now: api.now,
        programs: programs(files.programs, &versions),
        target: files.target,
        ..Observed::default()
    };
    features::look(tools, settings, &desired.helmfiles, &mut observed).await?;
    let mut manifests = Manifests::default();
    if let Some(mut live) = api.live {
        live.objects = live_objects;
        cluster::other_records(tools, &desired, &mut live).await?;
        let (pull_secret, networks) =
            tokio::join!(pull_secret(tools, &desired), tools.observe_service_networks(&live.kinds));
        (live.pull_secret, live.service_networks) = (pull_secret?, known(networks)?);
        observed.live = Some(live);
        listener.facts(&Facts {
            options: &options,
            desired: &desired,
            observed: &observed,
            manifests: &manifests,
        })?;
    }
    if let Some(helmfile) = &rendered {
        let version = observed.live.as_ref().map(|live| live.version.as_str());
        let helm = observed.version_of("helm").map(ToString::to_string).unwrap_or_default();
        desired.crds = Box::pin(crds::render(&place, helmfile, version, &helm)).await?;
    }
    if let Some(live) = &mut observed.live {
        live.crds = crds::observe(tools, &desired.crds, live).await?;
        let (now, missing) = (observed.now, &observed.missing_commands);
        manifests = Box::pin(render_and_inspect(&place, &desired, live, missing, now, purpose)).await?;
    }
    Ok(Gathered { desired, observed, manifests, charts, options })
}

/// Lets the credential plugin of the kubeconfig and sops ask on the terminal.
async fn ask(Context { settings, tools, .. }: Context<'_>, files: &Files) -> Result<(), Error> {
    if cluster::is_asked(settings, files) {
        // The cluster does not answer then, which is reported.
        _ = known(tools.log_in().await)?;
    }
    if settings.offline {
        return Ok(());
    }
    let encrypted = files.encrypted.iter().chain(&settings.environment_files);
    tools.sops_ask(encrypted.filter(|file| repository::is_encrypted_name(file)).map(PathBuf::as_path)).await
}

/// Renders the helmfiles with the variables of the configuration, and returns the problems of those.
async fn build(
    place: &builds::Place<'_>,
    files: &Files,
) -> Result<(Vec<builds::Build>, Vec<Finding>), Error> {
    let Context { settings, tools, redactor, .. } = place.context;
    // Templates need the variables, and their values must be redacted in what helmfile prints.
    let problems = environment::read(tools, settings, files, redactor).await?;
    Ok((place.builds(&files.helmfiles).await?, problems))
}

/// The Secrets that the bootstrap applies. Those that were decrypted come first: their values show more.
fn secret_keys(objects: &[Object], encrypted: &[PathBuf]) -> Vec<SecretKeys> {
    let decrypted = objects
        .iter()
        .filter_map(|object| SecretKeys::of(&serde_json::from_str(object.manifest.expose_secret()).ok()?));
    let texts = encrypted.iter().filter_map(|path| crate::base::files::text(path, LARGEST).ok());
    decrypted.chain(texts.flat_map(|text| SecretKeys::in_text(&text).collect::<Vec<_>>())).collect()
}

/// The pull secret of Flux in the cluster, unless the bootstrap applies it.
async fn pull_secret(tools: &Toolbox, desired: &Desired) -> Result<Fact<Option<SecretKeys>>, Error> {
    let named = desired.release_of_chart("flux-instance").and_then(|release| {
        let source = desired.sync_objects(release).source?;
        Some((&release.namespace, source.pointer("/spec/secretRef/name")?.as_str()?.to_owned()))
    });
    let Some((namespace, name)) = named.filter(|(_, name)| !name.contains(STAND_IN)) else {
        return Ok(Err("no release names a pull secret".to_owned()));
    };
    if desired.secrets.iter().any(|secret| secret.namespace == *namespace && secret.name == name) {
        return Ok(Err("the bootstrap applies it".to_owned()));
    }
    known(tools.observe_secret_keys(namespace, &name).await)
}

/// How much there was to read.
fn coverage(
    Context { settings, tools, .. }: Context<'_>,
    files: &Files,
    builds: &[builds::Build],
) -> Coverage {
    let stand_ins = tools.variables.stand_ins();
    Coverage {
        unread: unread(settings, builds),
        missing_variables: builds
            .iter()
            .map(|build| (build.helmfile.path.clone(), [build.missing.as_slice(), &stand_ins].concat()))
            .filter(|(_, missing)| !missing.is_empty())
            .collect(),
        undecrypted_variables: !stand_ins.is_empty(),
        requires_variables: files.helmfiles.iter().any(|state| state.sources.required_variables),
        app_folders: repository::app_folders(&settings.root).count(),
        commands: settings.secret_commands.len(),
        manifests: settings.manifests.len(),
        scripts: files.scripts,
    }
}

/// The helmfiles to sync, and the one whose charts are only rendered for their CRDs. The problems of all go to `problems`, unless
/// a tool is `unsupported`.
fn split(
    builds: Vec<builds::Build>,
    unsupported: bool,
    problems: &mut Findings,
) -> (Vec<Helmfile>, Option<Helmfile>) {
    let mut rendered = None;
    let mut helmfiles = Vec::new();
    for mut build in builds {
        if !unsupported {
            problems.0.extend(build.problems);
        }
        if build.is_only_rendered {
            let releases = std::mem::take(&mut build.helmfile.releases);
            rendered = Some(Helmfile { releases, path: build.helmfile.path.clone(), ..build.helmfile });
        }
        helmfiles.push(build.helmfile);
    }
    (helmfiles, rendered)
}

/// Whether helmfile, helm or kubectl has an unsupported version: what it reports about files may be wrong then.
fn has_unsupported_version(
    settings: &Settings,
    versions: &[(&'static str, Fact<Option<semver::Version>>)],
) -> bool {
    !settings.skip_checks.iter().any(|rule| rule == "versions")
        && versions.iter().any(|(name, version)| {
            let version = version.as_ref().map(Option::as_ref);
            version.is_ok_and(|version| *name != "sops" && requirements::check(name, version).is_err())
        })
}

/// Renders the releases that are not up to date, and reads everything that depends on what there is to do.
async fn render_and_inspect(
    place: &builds::Place<'_>,
    desired: &Desired,
    live: &mut Live,
    missing_commands: &BTreeSet<(PathBuf, String)>,
    now: SystemTime,
    purpose: Purpose,
) -> Result<Manifests, Error> {
    let Context { tools, settings, .. } = place.context;
    let plan_options = &settings.plan_options;
    let has_changes = purpose == Purpose::Check
        || desired.releases().any(|release| needs_rendering(release, desired, live, plan_options));
    let (rendered, standing, fitness) = tokio::join!(
        Box::pin(renders::render(place, desired, live, missing_commands, purpose == Purpose::Everything)),
        Box::pin(cluster::standing(tools, desired, live, plan_options)),
        Box::pin(cluster::fitness(tools, desired, &live.cluster, has_changes)),
    );
    let (manifests, owners) = rendered?;
    live.owners = owners;
    live.standing = standing?;
    let fitness = match fitness? {
        None if plan(desired, Some(live), plan_options, now).is_ok_and(|plan| plan.is_empty()) => None,
        None => cluster::fitness(tools, desired, &live.cluster, true).await?,
        known => known,
    };
    if let Some(fitness) = fitness {
        fitness.store_in(live);
    }
    Ok(manifests)
}

fn programs(found: Vec<Program>, versions: &[(&str, Fact<Option<semver::Version>>)]) -> Vec<Program> {
    let version =
        |name| versions.iter().find(|(known, _)| *known == name).map(|(_, version)| version.clone());
    found
        .into_iter()
        .map(|program| Program { version: version(program.name).unwrap_or(program.version), ..program })
        .collect()
}

/// Why the releases of some helmfiles are unknown.
fn unread(settings: &Settings, builds: &[builds::Build]) -> Option<String> {
    let name = |path: &Path| settings.relative(path).display().to_string();
    let unread = builds.iter().filter(|build| !build.is_read).map(|build| name(&build.helmfile.path));
    let unread: Vec<_> = unread.collect();
    let verb = if unread.len() == 1 { "was" } else { "were" };
    (!unread.is_empty()).then(|| format!("{} {verb} not read", unread.join(", ")))
}

/// The namespaces to create.
fn namespaces_of(
    settings: &Settings,
    mut declared: Declared,
    synced: &Fact<Synced>,
    helmfiles: &[Helmfile],
    objects: &[Object],
) -> Vec<Namespace> {
    if let Ok(synced) = synced {
        declared.keep_applied(synced);
    }
    let is_created =
        |name: &str| objects.iter().any(|object| object.id.kind == "Namespace" && object.id.name == name);
    let objects = objects.iter().filter_map(|object| {
        let namespace = object.id.namespace.clone().filter(|name| !is_created(name))?;
        Some((namespace, object.source.shown(&settings.root)))
    });
    let releases = helmfiles.iter().flat_map(|helmfile| &helmfile.releases);
    let releases = releases.filter(|release| release.is_wanted()).map(Release::id);
    namespaces::namespaces(&declared, settings.namespaces.as_deref(), objects, releases)
}

/// All files with an encrypted name: those of the bootstrap, and those that Git tracks.
fn encrypted_files(
    settings: &Settings,
    bootstrap: &[PathBuf],
    tracked: &Fact<BTreeSet<PathBuf>>,
) -> Vec<encrypted::EncryptedFile> {
    let relative = |path: &PathBuf| settings.relative(path).to_owned();
    let bootstrap: BTreeSet<PathBuf> = bootstrap.iter().map(relative).collect();
    let tracked = tracked.iter().flatten().filter(|path| repository::is_encrypted_name(path));
    let all: BTreeSet<_> = bootstrap.iter().chain(tracked).collect();
    all.into_iter().map(|path| encrypted::read(&settings.root, path, bootstrap.contains(path))).collect()
}

/// The folder of the repository that Flux will apply.
fn sync_path(helmfiles: &[Helmfile]) -> Fact<String> {
    let releases = helmfiles.iter().flat_map(|helmfile| &helmfile.releases);
    let mut releases =
        releases.filter(|release| release.is_wanted() && release.chart_name() == "flux-instance");
    let path = releases.find_map(|release| {
        let objects = sync::objects(&release.merged()["instance"], &release.namespace);
        // Only a source of kind GitRepository can be this repository.
        let is_git = objects.source.is_none_or(|source| source["kind"] == "GitRepository");
        objects.kustomization.filter(|_| is_git)?.pointer("/spec/path")?.as_str().map(ToOwned::to_owned)
    });
    path.ok_or_else(|| "no release sets the path that Flux applies".to_owned())
}

/// Whether any of the findings is an error, which stops a run.
pub(crate) fn stops(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}
