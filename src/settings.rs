//! The settings of a run, resolved once from flags, environment and configuration, with absolute paths.
//!
//! No other module reads the environment or the command line.

pub(crate) mod cli;
pub(crate) mod config;
mod nodes;
pub(crate) mod private_files;
mod root;
pub(crate) mod shell;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Semaphore;

use self::config::{Config, Text, Timeout};
use crate::base::distribution::Distribution;
use crate::base::env::Env;
use crate::base::finding::Finding;
use crate::base::github::CommandEscape;
use crate::base::logger::{Level, LogFormat, LogSettings};
use crate::check::options::CheckOptions;
pub(crate) use crate::check::options::NodesFrom;
use crate::desired::commands::SecretsCommand;
use crate::desired::object_source::ManifestSource;
use crate::desired::repository::HelmfilePaths;
use crate::plan::options::PlanOptions;
use crate::settings::cli::{Apps, Check, Checks, Color, Diff, Global, Init, OutputFormat, Recover};
use crate::settings::private_files::AgeKeyFrom;
use crate::tools::mirror::ChartMirrors;

/// The required programs, in the order in which the original `bootstrap-apps.sh` checked them, and `helm`.
pub(crate) const PROGRAMS: [&str; 4] = ["helmfile", "kubectl", "sops", "helm"];

/// The default timeout for the whole run.
const TIMEOUT: Duration = Duration::from_mins(30);

/// The default timeout for each release.
const RELEASE_TIMEOUT: Duration = Duration::from_mins(15);

/// The default timeout for each request to the API server, which normally responds in milliseconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The default timeout for nodes: a node takes a minute or two to boot and join.
const NODES_TIMEOUT: Duration = Duration::from_mins(10);

/// The default timeout for Flux: it fetches and applies a repository within seconds, but pulling its images over a slow
/// connection takes minutes.
const VERIFY_TIMEOUT: Duration = Duration::from_mins(10);

/// The settings of a run.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the command line, each independent of the others"
)]
pub(crate) struct Settings {
    /// The root of the repository.
    pub root: PathBuf,
    /// Whether the root is only the working folder, because no folder above it looks like a repository.
    pub root_is_guessed: bool,
    /// The configuration file, which may not exist.
    pub config_file: PathBuf,
    /// Whether the configuration file exists.
    pub config_found: bool,
    /// The problem of the configuration, if it has one; nothing of it is used then.
    pub config_problems: Vec<Finding>,
    /// The UID of the only cluster that may be bootstrapped, if the configuration names one.
    pub cluster_uid: Option<String>,
    /// The distribution of the cluster, if the configuration names one.
    pub distribution: Option<Distribution>,
    /// The kubeconfig files, in the order in which kubectl merges them.
    pub kubeconfig: Vec<PathBuf>,
    /// The kubeconfig that kubectl uses without KUBECONFIG.
    pub default_kubeconfig: Option<PathBuf>,
    /// Whether the target is the cluster in whose pod k3s-boot runs.
    pub in_cluster: bool,
    /// The context; the current one if absent.
    pub context: Option<String>,
    /// The age key to store in the cluster.
    pub age_key: PathBuf,
    /// Where the key comes from, if not from a file of the user.
    pub age_key_from: Option<AgeKeyFrom>,
    /// Whether that file must exist, because the user named it.
    pub age_key_named: bool,
    /// The file with identities for decryption, if the user named one.
    pub sops_age_key_file: Option<PathBuf>,
    /// The expected number of nodes.
    pub nodes: usize,
    /// Where that number comes from.
    pub nodes_from: NodesFrom,
    /// The namespaces to create instead of those found.
    pub namespaces: Option<Vec<String>>,
    /// The encrypted files to apply instead of those found.
    pub secret_files: Option<Vec<PathBuf>>,
    /// The commands whose output is manifests with secrets.
    pub secret_commands: Vec<SecretsCommand>,
    /// The manifests to apply before the CRDs.
    pub manifests: Vec<ManifestSource>,
    /// The helmfiles instead of those found.
    pub helmfiles: HelmfilePaths,
    /// The files with variables for templates.
    pub environment_files: Vec<PathBuf>,
    /// Files with variables for templates that take precedence over those of the configuration.
    pub env_files: Vec<PathBuf>,
    /// Further variables for templates.
    pub environment_variables: BTreeMap<String, String>,
    /// The mirrors of the registries.
    pub chart_mirrors: ChartMirrors,
    /// How many charts are fetched at the same time.
    pub chart_pulls: usize,
    /// The timeout for the whole run.
    pub timeout: Duration,
    /// The timeout for each release.
    pub release_timeout: Duration,
    /// The timeout for each request to the API server.
    pub request_timeout: Duration,
    pub nodes_timeout: Duration,
    /// The timeout for Flux.
    pub verify_timeout: Duration,
    /// What the user explicitly allows or selects.
    pub plan_options: PlanOptions,
    /// Whether to stop at problems that rarely resolve themselves.
    pub fail_fast: bool,
    /// Whether helmfiles may run commands while rendering.
    pub allow_hooks: bool,
    /// The rules to skip.
    pub skip_checks: Vec<String>,
    /// Whether warnings count as errors.
    pub strict: bool,
    /// How long to wait for another run, at least.
    pub wait_lock: Duration,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The value of `--cluster`.
    pub cluster_flag: Option<String>,
    /// The values of `--moved-from`.
    pub moved_from: Vec<String>,
    /// Whether questions can be asked: stdin and stderr are a terminal.
    pub can_ask: bool,
    /// Whether the report goes to stdout as JSON.
    pub json: bool,
    /// The file that gets the JSON report too.
    pub report: Option<PathBuf>,
    /// Whether to draw the progress display on stderr.
    pub live: bool,
    /// Whether text on stdout may be coloured.
    pub colour: bool,
    /// Whether a GitHub Actions runner reads the output.
    pub guard: CommandEscape,
    /// Whether commands for that runner are printed: only if the log is text.
    pub actions: bool,
    /// The file to which the summary of the step is appended.
    pub step_summary: Option<PathBuf>,
    /// The arguments of the command line, for messages.
    pub command: Vec<String>,
    /// The program search path.
    pub path: Option<OsString>,
    /// The working folder at the start.
    pub cwd: PathBuf,
    /// The cache folder for charts and tool versions; without one, nothing is cached.
    pub cache: Option<PathBuf>,
    /// The folder for logs of failed runs.
    pub state: Option<PathBuf>,
    /// The parent of the folder for temporary files.
    pub temp: PathBuf,
}

impl Settings {
    /// The part of the settings that checks use.
    pub(crate) fn check_options(&self) -> CheckOptions {
        CheckOptions {
            root: self.root.clone(),
            config_file: self.config_file.clone(),
            config_found: self.config_found,
            kubeconfig: self.kubeconfig.clone(),
            offline: self.offline,
            strict: self.strict,
            skip_checks: self.skip_checks.clone(),
            allow_hooks: self.allow_hooks,
            namespaces: self.namespaces.clone(),
            environment_files: self.environment_files.len() + self.env_files.len(),
            nodes: self.nodes,
            nodes_from: self.nodes_from,
            plan_options: self.plan_options.clone(),
            cluster_uid: self.cluster_uid.clone(),
            cluster_flag: self.cluster_flag.clone(),
            moved_from: self.moved_from.clone(),
        }
    }

    /// What messages call the age key's file.
    pub(crate) fn age_key_name(&self) -> PathBuf {
        self.age_key_from.as_ref().map_or_else(|| self.age_key.clone(), AgeKeyFrom::name)
    }

    /// A path relative to the root of the repository, if it lies there.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// Resolves the settings that all commands share.
    pub(crate) fn resolve(global: &Global, checks: &Checks, env: &Env) -> Self {
        let kubeconfig = match (&global.kubeconfig, env.get("KUBECONFIG")) {
            (Some(file), _) => vec![env.cwd.join(file)],
            // kubectl skips empty parts of the list.
            (None, Some(list)) => std::env::split_paths(list)
                .filter(|path| !path.as_os_str().is_empty())
                .map(|path| env.cwd.join(path))
                .collect(),
            (None, None) => Vec::new(),
        };
        let found = match (&global.root, env.path("ROOT_DIR")) {
            (Some(root), _) => Some(env.cwd.join(root)),
            (None, Some(root)) => Some(root),
            (None, None) => root::find(&env.cwd),
        };
        let root_is_guessed = found.is_none();
        let root = found.unwrap_or_else(|| env.cwd.clone());
        let config_file =
            global.config.as_ref().map_or_else(|| root.join(config::FILE), |file| env.cwd.join(file));
        let (config, config_problems) = config::load(&config_file, global.config.is_some());
        let below = |Text(config::File(path)): &Text<config::File>| root.join(path);
        let age_key_from = checks.age_key.as_deref().and_then(AgeKeyFrom::parse);
        let age_key = checks.age_key.as_ref().map(|file| env.cwd.join(file));
        let age_key = age_key.or_else(|| config.secrets.age_key.as_ref().map(below));
        let time = |configured: &Option<Text<Timeout>>| configured.as_ref().map(|Text(Timeout(time))| *time);
        let (json, log_is_text) = (global.output == OutputFormat::Json, global.log_format == LogFormat::Text);
        let (nodes, nodes_from) = nodes::expected(checks.nodes, config.nodes.map(|nodes| nodes.0));
        Self {
            root_is_guessed,
            config_found: !config::is_absent(&config_file),
            config_file,
            config_problems,
            cluster_uid: config.cluster.uid.as_ref().map(|Text(uid)| uid.0.clone()),
            distribution: config.cluster.distribution,
            kubeconfig,
            default_kubeconfig: env.path("HOME").map(|home| home.join(".kube/config")),
            context: global.context.clone(),
            in_cluster: global.in_cluster,
            age_key_from,
            age_key_named: age_key.is_some(),
            age_key: age_key.unwrap_or_else(|| root.join("age.key")),
            sops_age_key_file: env.path("SOPS_AGE_KEY_FILE"),
            nodes,
            nodes_from,
            namespaces: namespaces(&config),
            secret_files: config.secrets.files.as_ref().map(|files| dedup(files.iter().map(below))),
            secret_commands: config.secrets.commands(&root),
            manifests: config.manifests(&root),
            helmfiles: HelmfilePaths {
                crds: config.helmfiles.crds.as_ref().map(below),
                apps: config.helmfiles.apps.as_ref().map(below),
            },
            environment_files: dedup(config.environment.files.iter().flatten().map(below)),
            env_files: checks.env_file.iter().map(|file| env.cwd.join(file)).collect(),
            chart_mirrors: ChartMirrors(checks.chart_mirror.clone()),
            chart_pulls: checks.chart_pulls.map_or(Semaphore::MAX_PERMITS, usize::from),
            environment_variables: config.environment.variables.clone().unwrap_or_default().0,
            timeout: checks.timeout.or(time(&config.timeouts.total)).unwrap_or(TIMEOUT),
            release_timeout: time(&config.timeouts.release).unwrap_or(RELEASE_TIMEOUT),
            request_timeout: checks
                .request_timeout
                .or(time(&config.timeouts.request))
                .unwrap_or(REQUEST_TIMEOUT),
            nodes_timeout: time(&config.timeouts.nodes).unwrap_or(NODES_TIMEOUT),
            verify_timeout: time(&config.timeouts.verify).unwrap_or(VERIFY_TIMEOUT),
            plan_options: PlanOptions {
                skip_releases: config.skip_releases(),
                helm_driver: helm_driver(env),
                ..PlanOptions::default()
            },
            fail_fast: false,
            allow_hooks: checks.allow_hooks,
            skip_checks: skip_checks(checks, &config),
            strict: checks.strict,
            wait_lock: Duration::ZERO,
            offline: false,
            cluster_flag: None,
            moved_from: Vec::new(),
            // A question would break a JSON log.
            can_ask: env.stdin_is_terminal && env.stderr_is_terminal && log_is_text,
            json,
            report: checks.report.as_ref().map(|file| env.cwd.join(file)),
            live: live(global, env),
            colour: colour(global.color, env, env.stdout_is_terminal),
            guard: guard(env),
            actions: guard(env) == CommandEscape::On && log_is_text,
            step_summary: env.path("GITHUB_STEP_SUMMARY"),
            command: env.args.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            path: env.get("PATH").map(ToOwned::to_owned),
            cwd: env.cwd.clone(),
            cache: env.cache_dir(),
            state: env.state_dir(),
            temp: env.temp_dir(),
            root,
        }
    }

    /// The settings of `apps`.
    pub(crate) fn of_apps(global: &Global, apps: &Apps, env: &Env) -> Self {
        let settings = Self::resolve(global, &apps.checks, env);
        Self {
            release_timeout: apps.release_timeout.unwrap_or(settings.release_timeout),
            plan_options: PlanOptions {
                stages: apps.stages.skipped(),
                ..apps.plan_options.of(settings.plan_options)
            },
            nodes_timeout: apps.nodes_timeout.unwrap_or(settings.nodes_timeout),
            verify_timeout: apps.verify_timeout.unwrap_or(settings.verify_timeout),
            fail_fast: apps.fail_fast,
            wait_lock: apps.wait_lock.unwrap_or_default(),
            cluster_flag: apps.identity.cluster.clone(),
            moved_from: apps.identity.moved_from.clone(),
            ..settings
        }
    }

    /// The settings of `diff`.
    pub(crate) fn of_diff(global: &Global, diff: &Diff, env: &Env) -> Self {
        let settings = Self::resolve(global, &diff.checks, env);
        Self {
            plan_options: diff.plan_options.of(settings.plan_options),
            cluster_flag: diff.identity.cluster.clone(),
            moved_from: diff.identity.moved_from.clone(),
            ..settings
        }
    }

    /// The settings of `recover`.
    pub(crate) fn of_recover(global: &Global, recover: &Recover, env: &Env) -> Self {
        Self {
            cluster_flag: recover.cluster.clone(),
            report: recover.report.as_ref().map(|file| env.cwd.join(file)),
            wait_lock: recover.wait_lock.unwrap_or_default(),
            ..Self::resolve(global, &Checks::default(), env)
        }
    }

    /// The settings of `status`.
    pub(crate) fn of_status(global: &Global, env: &Env) -> Self {
        Self::resolve(global, &Checks::default(), env)
    }

    /// The settings of `init`. The folder of the command line is the root of the repository.
    pub(crate) fn of_init(global: &Global, init: &Init, env: &Env) -> Self {
        let global = Global { root: init.dir.clone().or_else(|| global.root.clone()), ..global.clone() };
        Self { offline: init.offline, ..Self::resolve(&global, &Checks::default(), env) }
    }

    /// The settings of `check`.
    pub(crate) fn of_check(global: &Global, check: &Check, env: &Env) -> Self {
        let settings = Self::resolve(global, &check.checks, env);
        // CI has no age key, even if the configuration names its file.
        let age_key_named = settings.age_key_named && (!check.offline || check.checks.age_key.is_some());
        // The UID of another cluster will be replaced, so it is ignored.
        let cluster_uid = settings.cluster_uid.clone().filter(|_| !(check.pin && check.yes));
        Self { offline: check.offline, age_key_named, cluster_uid, ..settings }
    }
}

fn namespaces(config: &Config) -> Option<Vec<String>> {
    let names = config.namespaces.as_ref()?;
    Some(dedup(names.iter().map(|Text(name)| name.0.clone())))
}

/// The storage driver of helm, if it is not Secrets (helm's `docs/topics/advanced.md`).
fn helm_driver(env: &Env) -> Option<String> {
    let driver = env.get("HELM_DRIVER")?.to_string_lossy().into_owned();
    (!["", "secret", "secrets"].contains(&driver.as_str())).then_some(driver)
}

fn skip_checks(checks: &Checks, config: &Config) -> Vec<String> {
    let configured = config.skip_checks.iter().flatten().map(|Text(check)| check.0.to_owned());
    dedup(checks.skip_check.iter().cloned().chain(configured))
}

/// Removes duplicates, keeping the order.
fn dedup<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// The finding for required variables that are not set, with the message of the original `bootstrap-apps.sh`.
pub(crate) fn missing_env(names: &[&str]) -> Finding {
    let values: Vec<_> = names.iter().map(|name| format!("{name}=...")).collect();
    Finding::error("env", "Missing required env variables")
        .with("envs", names.join(" "))
        .fix(format!("export {}", values.join(" ")))
}

/// Whether a GitHub Actions runner reads the output (see its default environment variables).
fn guard(env: &Env) -> CommandEscape {
    if env.text("GITHUB_ACTIONS") == Some("true") { CommandEscape::On } else { CommandEscape::Off }
}

/// Whether to draw the progress display: only on a terminal, with a text log at level info.
fn live(global: &Global, env: &Env) -> bool {
    let (log, _) = log_settings(global, false, env);
    let terminal = env.stderr_is_terminal && (env.stdout_is_terminal || log.stdout_is_data) && !is_dumb(env);
    terminal && log.format == LogFormat::Text && log.level == Level::Info && log.guard == CommandEscape::Off
}

fn is_dumb(env: &Env) -> bool {
    matches!(env.text("TERM"), None | Some("" | "dumb"))
}

/// The settings of the log, and an invalid `LOG_LEVEL` to warn of.
pub(crate) fn log_settings(
    global: &Global,
    data_on_stdout: bool,
    env: &Env,
) -> (LogSettings, Option<String>) {
    let flag = if global.verbose > 0 { Some(Level::Debug) } else { global.log_level };
    let (level, unknown) = match (flag, env.get("LOG_LEVEL")) {
        (Some(level), _) => (level, None),
        (None, None) => (Level::Info, None),
        (None, Some(text)) => match text.to_str().and_then(Level::parse) {
            Some(level) => (level, None),
            None => (Level::Info, Some(text.to_string_lossy().into_owned())),
        },
    };
    let settings = LogSettings {
        level,
        format: global.log_format,
        colour_stdout: colour(global.color, env, env.stdout_is_terminal),
        colour_stderr: colour(global.color, env, env.stderr_is_terminal),
        stdout_is_data: data_on_stdout || global.output == OutputFormat::Json,
        guard: guard(env),
    };
    (settings, unknown)
}

/// Follows no-color.org and bixense.com/clicolors; the flag comes first.
fn colour(flag: Color, env: &Env, terminal: bool) -> bool {
    let forced = |name| env.get(name).is_some_and(|value| value != "0");
    match flag {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if env.get("NO_COLOR").is_some() => false,
        Color::Auto if forced("CLICOLOR_FORCE") || forced("FORCE_COLOR") => true,
        Color::Auto if env.text("CLICOLOR") == Some("0") || env.text("TERM") == Some("dumb") => false,
        Color::Auto => terminal,
    }
}

#[cfg(test)]
mod tests;
