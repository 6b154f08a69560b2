//! `k3s-boot init`: writes a repository for a cluster. It changes nothing but files that do not exist yet.

mod choices;
mod deploy_key;
mod existing;
mod files;
mod git;
mod questions;
mod server_config;
mod templates;

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use self::choices::{Choice, Pins};
use self::git::GitSource;
use self::questions::Question;
use self::templates::File;
use super::Session;
use crate::base::distribution::Distribution;
use crate::base::error::Error;
use crate::base::fact::known;
use crate::base::finding::Finding;
use crate::base::scratch::Scratch;
use crate::base::url::Url;
use crate::check::cluster_identity::{self, Verdict};
use crate::desired::{Desired, age};
use crate::gather::{self, Named};
use crate::observed::Live;
use crate::process::find_program;
use crate::report;
use crate::report::init::{ChoiceReport, FileReport, FileState, InitReport};
use crate::settings::Settings;
use crate::settings::cli::{Init, Layout};
use crate::tools::Toolbox;

/// The problems of `init` are not those of a check.
const COMMAND: &str = "init";

const SOPS_CONFIG: &str = ".sops.yaml";

/// The permissions of files, before the umask.
const PUBLIC: u32 = 0o666;
const PRIVATE: u32 = 0o600;

/// Flags that are required without a terminal.
pub(crate) struct Missing(pub Vec<&'static str>);

/// Why nothing, or not all, was written.
enum Failure {
    Missing(Missing),
    Other(Error),
}

impl<T: Into<Error>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self::Other(error.into())
    }
}

/// Writes the repository and prints what was written; returns the exit code, or the flags that are missing.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn init(session: &Session<'_>, flags: &Init) -> std::io::Result<Result<u8, Missing>> {
    let settings = session.settings;
    let report = match Box::pin(run(session, flags)).await {
        Ok(report) => report,
        Err(Failure::Missing(missing)) => return Ok(Err(missing)),
        Err(Failure::Other(error)) => {
            session.log_failure(&error, None);
            return Ok(Ok(error.exit_code(false)));
        }
    };
    if settings.json {
        report::print(&report, settings.guard)?;
    } else {
        report::print_text(report.text(), settings.guard)?;
    }
    Ok(Ok(0))
}

async fn run(session: &Session<'_>, flags: &Init) -> Result<InitReport, Failure> {
    let settings = session.settings;
    // What was decided in an earlier run is in it.
    if gather::stops(&settings.config_problems) {
        return Err(Error::Preflight(settings.config_problems.clone()).into());
    }
    if flags.layout == Layout::Helmfile {
        let files = write(session, flags, templates::bootstrap())?;
        return Ok(InitReport::new(&settings.root, flags.dry_run, files));
    }
    let mut found = gather::files_for_versions(settings);
    let looked = gather::files_for_looking(settings, session.redactor);
    let is_read = is_read(session);
    if is_read && gather::stops(&looked.problems) {
        return Err(Error::Preflight(looked.problems).into());
    }
    let scratch = Scratch::new(&settings.temp)?;
    found.target = looked.target;
    let tools = session.toolbox(&found, &scratch)?;
    let pins = templates::pins();
    let live = if is_read { Some(read_cluster(&tools, &pins).await?) } else { None };
    let remote = Remote::read(session, &tools).await?;
    let has_deploy_key = settings.root.join(deploy_key::FILE).exists();
    let has_nodes = live.as_ref().is_some_and(|live| !live.cluster.nodes.is_empty());
    let mut flags = existing::fill(flags, settings, has_nodes);
    flags.init = answer(session, flags.init, live.as_ref(), &remote).await?;
    let source = source(&flags, &remote)?;
    let makes_deploy_key = flags.deploy_key && !has_deploy_key;
    if makes_deploy_key && tools.programs.sops.as_os_str().is_empty() {
        return Err(Error::Preflight(vec![missing_sops()]).into());
    }
    let key = AgeKey::read_or_generate(session)?;
    let mut choices = choices::choose(
        &flags,
        live.as_ref(),
        existing::server_args(&settings.root),
        &source,
        &key.public,
        &pins,
    )
    .map_err(|error| refused(&error.0))?;
    match (&live, &settings.cluster_uid) {
        (_, Some(uid)) => choices.pin(uid, "the files of the repository"),
        (Some(live), None) if !settings.config_found && is_used(settings, live) => {
            choices.pin(&live.cluster.uid, "something runs in the cluster already");
        }
        _ => {}
    }
    for Choice { name, value, reason } in &choices.made {
        tracing::info!(choice = name, value, reason, "Decided");
    }
    let files = templates::repository(&choices).map_err(|error| refused(&error.to_string()))?;
    let deploy_key = if makes_deploy_key && !flags.dry_run {
        Some(deploy_key::create(&tools, settings, session.redactor, &source.url).await?)
    } else {
        None
    };
    // The key before what is encrypted for it, and after what makes Git ignore it: the next run must find it after a failed write.
    let (ignored, files): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.path == Path::new(".gitignore"));
    let mut written = write(session, &flags, ignored)?;
    let state = key.write(session, flags.dry_run)?;
    written.push(FileReport::new(settings.relative(&settings.age_key), state));
    written.extend(write(session, &flags, files)?);
    if flags.deploy_key {
        let state = if has_deploy_key { FileState::Unchanged } else { FileState::Created };
        written.push(FileReport::new(deploy_key::FILE.as_ref(), state));
    }
    let mut report = InitReport::new(&settings.root, flags.dry_run, written);
    if let Some(key) = deploy_key {
        let encrypted = key.encrypted(&tools, &settings.root).await?;
        files::create(&settings.root, deploy_key::FILE.as_ref(), &encrypted, PUBLIC)?;
        report.deploy_key = Some(key.report);
    }
    report.choices = choices.made.iter().map(ChoiceReport::from).collect();
    report.age_public_key = Some(key.public);
    report.next = next(session, &remote, live.is_some(), &source);
    Ok(report)
}

/// Whether there is a cluster to read: a kubeconfig is selected, and exists.
fn is_read(session: &Session<'_>) -> bool {
    let settings = session.settings;
    if settings.offline || settings.kubeconfig.is_empty() {
        return false;
    }
    // `mise.toml` of a new repository selects the kubeconfig before there is one.
    let exists = settings.kubeconfig.iter().any(|file| file.exists());
    if !exists {
        let files: Vec<_> = settings.kubeconfig.iter().map(|file| file.display().to_string()).collect();
        tracing::info!(kubeconfig = files.join(":"), "No kubeconfig yet, no cluster is read");
    }
    exists
}

/// Reads the cluster, and the records of the releases that the templates have.
async fn read_cluster(tools: &Toolbox, pins: &Pins) -> Result<Live, Error> {
    let releases = pins.keys().cloned().collect();
    let live = gather::standing(tools, &Named { releases, unknown: None }).await?.live;
    let distribution = live.distribution();
    if !distribution.is_k3s() && distribution != Distribution::Unknown {
        let finding = Finding::error(COMMAND, "Cluster does not run k3s");
        let finding = finding.with("distribution", distribution.name());
        let fix = "k3s-boot init --layout helmfile    # and adapt bootstrap/templates/values.yaml.gotmpl";
        return Err(Error::Preflight(vec![finding.fix(fix)]));
    }
    tracing::info!(version = live.version, nodes = live.cluster.nodes.len(), "Read the cluster");
    Ok(live)
}

/// Whether something runs in the cluster, so that `apps` would ask whether it is the right one.
fn is_used(settings: &Settings, live: &Live) -> bool {
    let verdict = cluster_identity::judge(&settings.check_options(), &Desired::default(), live);
    matches!(verdict, Verdict::Unknown(_))
}

/// What Git knows about the repository.
#[derive(Default)]
struct Remote {
    is_repository: bool,
    url: Option<String>,
    branch: Option<String>,
}

impl Remote {
    async fn read(session: &Session<'_>, tools: &Toolbox) -> Result<Self, Error> {
        let Session { settings, redactor, .. } = session;
        let program = find_program("git", settings.path.as_deref(), &settings.cwd);
        let is_repository = settings.root.join(".git").exists();
        let Some(program) = program.filter(|_| is_repository) else {
            return Ok(Self { is_repository, ..Self::default() });
        };
        let (url, branch) = tokio::join!(
            tools.git_origin(&program, &settings.root),
            tools.git_branch(&program, &settings.root)
        );
        let url = known(url)?.ok();
        if let Some(secret) = url.as_deref().and_then(Url::parse).and_then(Url::secret) {
            redactor.add([secret]);
        }
        Ok(Self { is_repository, url, branch: known(branch)?.ok() })
    }
}

/// Asks for what is neither in the flags nor in the cluster.
async fn answer(
    session: &Session<'_>,
    mut flags: Init,
    live: Option<&Live>,
    remote: &Remote,
) -> Result<Init, Failure> {
    let mut questions = Vec::new();
    if flags.nodes.is_none() && live.is_none_or(|live| live.cluster.nodes.is_empty()) {
        questions.push(Question::Nodes);
    }
    if flags.cni.is_none() && live.is_none() {
        questions.push(Question::Cni);
    }
    if flags.dns.is_none() && live.is_none() {
        questions.push(Question::Dns);
    }
    if flags.git_url.is_none() && remote.url.is_none() {
        questions.push(Question::GitUrl);
    }
    if !session.settings.can_ask {
        let missing: Vec<_> = questions.into_iter().filter_map(Question::flag).collect();
        return if missing.is_empty() { Ok(flags) } else { Err(Failure::Missing(Missing(missing))) };
    }
    for question in questions {
        flags = question.ask(flags, &session.stop).await?;
    }
    let url = flags.git_url.as_ref().or(remote.url.as_ref());
    let is_ssh = url.is_some_and(|url| git::normalized(url).is_ok_and(|url| git::is_ssh(&url)));
    if is_ssh && !flags.deploy_key {
        flags = Question::Private.ask(flags, &session.stop).await?;
    }
    Ok(flags)
}

/// What Flux syncs.
fn source(flags: &Init, remote: &Remote) -> Result<GitSource, Error> {
    let (url, reason) = match (&flags.git_url, &remote.url) {
        (Some(url), _) => (url, "named by the user"),
        (None, Some(url)) => (url, "the remote `origin`"),
        (None, None) => return Err(refused("the repository has no URL")),
    };
    let url = git::normalized(url).map_err(|reason| refused(&reason))?;
    let (url, reason) = if flags.deploy_key {
        (git::over_ssh(&url), reason)
    } else if git::is_ssh(&url) {
        let Some(url) = git::over_https(&url) else {
            let finding = Finding::error(COMMAND, "Flux needs a deploy key for this URL").with("url", url);
            return Err(Error::Preflight(vec![finding.fix("k3s-boot init --deploy-key")]));
        };
        (url, "a public repository needs no credentials over HTTPS; for a private one: --deploy-key")
    } else {
        (url, reason)
    };
    let branch = flags.git_branch.as_deref().or(remote.branch.as_deref()).unwrap_or("main");
    let reference = format!("refs/heads/{branch}");
    Ok(GitSource { url, reference, has_deploy_key: flags.deploy_key, reason })
}

fn refused(reason: &str) -> Error {
    Error::Preflight(vec![Finding::error(COMMAND, "Repository cannot be written").with("reason", reason)])
}

/// A new key could not decrypt what is encrypted already.
fn missing_key(settings: &Settings) -> Finding {
    Finding::error(COMMAND, "Repository has a SOPS configuration, but no age key")
        .with("file", SOPS_CONFIG)
        .fix(format!(
            "cp FILE {}    # the age key of the repository",
            settings.relative(&settings.age_key).display()
        ))
}

fn missing_sops() -> Finding {
    Finding::error("programs", "Missing required deps").with("deps", "sops").with("needed_by", "--deploy-key")
}

/// The age key of the repository.
struct AgeKey {
    /// The text to write; none if the file exists.
    new: Option<SecretString>,
    /// The public key.
    public: String,
}

impl AgeKey {
    fn read_or_generate(session: &Session<'_>) -> Result<Self, Error> {
        let path = &session.settings.age_key;
        let Some(text) = files::read(path, age::LARGEST)? else {
            if session.settings.root.join(SOPS_CONFIG).exists() {
                return Err(Error::Preflight(vec![missing_key(session.settings)]));
            }
            let (text, public) = age::generate().map_err(|error| refused(&error.to_string()))?;
            session.redactor.add([text.expose_secret()]);
            return Ok(Self { new: Some(text), public });
        };
        session.redactor.add([text.as_str()]);
        let key = age::parse(&text).map_err(|error| refused(&format!("`{}`: {error}", path.display())))?;
        let public = key.identities.iter().find_map(|identity| identity.public.clone());
        let public =
            public.ok_or_else(|| refused(&format!("`{}` has no X25519 identity", path.display())))?;
        Ok(Self { new: None, public })
    }

    fn write(&self, session: &Session<'_>, dry_run: bool) -> Result<FileState, Error> {
        let Some(text) = &self.new else { return Ok(FileState::Unchanged) };
        if !dry_run {
            let text = text.expose_secret().as_bytes();
            files::create(&session.settings.root, &session.settings.age_key, text, PRIVATE)?;
        }
        Ok(FileState::Created)
    }
}

/// Writes the files that do not exist.
fn write(session: &Session<'_>, flags: &Init, files: Vec<File>) -> Result<Vec<FileReport>, Error> {
    let root = &session.settings.root;
    let mut reports = Vec::new();
    for file in files {
        if let Some(cause) = session.stop.cause() {
            return Err(Error::Interrupted(cause));
        }
        let (state, diff) = files::state(root, &file)?;
        if state == FileState::Created && !flags.dry_run {
            files::create(root, &file.path, file.text.as_bytes(), PUBLIC)?;
        }
        if state == FileState::Kept {
            tracing::warn!(file = %file.path.display(), "File exists with other content, and stays");
        }
        reports.push(FileReport { diff, ..FileReport::new(&file.path, state) });
    }
    Ok(reports)
}

/// The commands to run next.
fn next(session: &Session<'_>, remote: &Remote, has_cluster: bool, source: &GitSource) -> Vec<String> {
    let mut commands = Vec::new();
    if session.settings.root != session.settings.cwd {
        commands.push(format!(
            "cd {}",
            shlex::try_quote(&session.settings.root.to_string_lossy()).unwrap_or_default()
        ));
    }
    if !remote.is_repository {
        let branch = source.reference.trim_start_matches("refs/heads/");
        commands.push(format!("git init --initial-branch {branch}"));
    }
    if remote.url.is_none() {
        commands.push(format!("git remote add origin {}", source.url));
    }
    commands.push("git add . && git commit --message 'Add the cluster'".to_owned());
    commands.push("git push --set-upstream origin HEAD".to_owned());
    if !has_cluster {
        commands.push("# install k3s with k3s/config.yaml, and copy its k3s.yaml to ./kubeconfig".to_owned());
    }
    commands.push("k3s-boot apps".to_owned());
    commands
}

impl From<&Choice> for ChoiceReport {
    fn from(choice: &Choice) -> Self {
        let Choice { name, value, reason } = choice;
        Self { name: (*name).to_owned(), value: value.clone(), reason: reason.clone() }
    }
}
