//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::logger::{Level, LogFormat};
use crate::base::stages::{LeftOut, Stage};
use crate::check::{Rule, rules};
use crate::plan::wishes::Wishes;

/// Takes a fresh k3s cluster to the point where Flux syncs its Git repository.
#[derive(Debug, Parser)]
#[command(name = "k3s-boot", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bootstrap the cluster: preflight, nodes, namespaces, secrets, CRDs, apps, verify, summary
    ///
    /// Safe to run again at any time. Nothing is changed before everything that can be checked was checked.
    Apps(Apps),
    /// Tell every problem that a bootstrap would have, each with what mends it; changes nothing
    Check(Check),
    /// Show what `apps` would do: namespaces, secrets by name, releases with versions and values; changes nothing
    Diff(Diff),
    /// Tell what stands: nodes, releases, Flux's objects, what is not ready and why; changes nothing
    ///
    /// It takes kubectl and a kubeconfig, and nothing else. What is not ready is no error: the exit code is 1 only when
    /// the cluster does not answer or cannot be asked.
    Status {
        /// Look again every two seconds until interrupted; with `json`, a line for each change
        #[arg(long)]
        watch: bool,
    },
    /// Unlock releases that an operation of Helm left `pending-*`; asks first
    ///
    /// helm refuses every operation on a release while its newest revision is pending. That revision is taken away and
    /// nothing else: what it has made stays, and the next `apps` syncs it. What a run of `apps` that has ended left locked is
    /// unlocked by the next one without this. It takes kubectl and a kubeconfig, and nothing else.
    Recover(Recover),
    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Kubeconfig file [env: KUBECONFIG, which may be a list]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig context [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Root of the repository [env: ROOT_DIR] [default: the Git top level]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Configuration file [default: ROOT/k3s-boot.yaml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Least important level to log [env: LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<Level>,
    /// How log lines look; with `json`, each is an object (docs/log.schema.json) without colours
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// When to colour log lines
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// What to print on stdout; with `json`, the log goes to stderr
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// When log lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, as `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` allow
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What stands on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// One JSON document; one a line with `status --watch`
    Json,
}

/// What is looked at, and how strictly: options of every command that checks.
#[derive(Args, Debug, Default)]
pub struct Checks {
    /// Nodes to expect; they need not be Ready [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: Option<u32>,
    /// Deadline of the whole run, such as `30m` [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Deadline of one request to the API server [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub request_timeout: Option<Duration>,
    /// Age key that goes into the cluster as `flux-system/sops-age` [default: ROOT/age.key]
    #[arg(long, value_name = "FILE")]
    pub age_key: Option<PathBuf>,
    /// Allow helmfiles with `prepare` hooks or `exec`, which run even when they are only read
    #[arg(long)]
    pub allow_hooks: bool,
    /// Leave a check out; docs/checks.md has their names
    #[arg(long, value_name = "ID", value_parser = rule_id(rules::skippable()))]
    pub skip_check: Vec<String>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// What is asked for by name, and what is left out: options of every command that makes a plan. A release is named as
/// NAME or NAMESPACE/NAME.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Releases and secrets")]
pub struct Asked {
    /// Sync this release (NAME or NAMESPACE/NAME; more than once for more) and what it needs that is not installed, and no other
    #[arg(long, value_name = "NAME")]
    pub release: Vec<String>,
    /// Leave this release out; what needs it is synced all the same
    #[arg(long, value_name = "NAME")]
    pub skip_release: Vec<String>,
    /// Sync releases that are as wanted, too; never those that Flux or k3s owns
    #[arg(long)]
    pub force: bool,
    /// With --force, sync this release although Flux or k3s owns it
    #[arg(long, value_name = "NAME", requires = "force")]
    pub take: Vec<String>,
    /// Lower this release to the version of the helmfile, although a newer one is installed
    #[arg(long, value_name = "NAME")]
    pub downgrade: Vec<String>,
    /// Set fields of this release back that somebody has changed in the cluster
    #[arg(long, value_name = "NAME")]
    pub fix_drift: Vec<String>,
    /// Remove this release, for which the helmfile says `installed: false`
    #[arg(long, value_name = "NAME")]
    pub uninstall: Vec<String>,
    /// Replace the age key in the cluster, although the key file does not hold it
    #[arg(long)]
    pub rotate_age_key: bool,
}

impl Asked {
    /// The same on top of what the configuration says.
    #[must_use]
    pub fn of(&self, configured: Wishes) -> Wishes {
        Wishes {
            rotate_age_key: self.rotate_age_key,
            force: self.force,
            take: self.take.clone(),
            downgrade: self.downgrade.clone(),
            fix_drift: self.fix_drift.clone(),
            uninstall: self.uninstall.clone(),
            releases: self.release.clone(),
            skip_releases: [configured.skip_releases.as_slice(), &self.skip_release].concat(),
            ..configured
        }
    }
}

/// What identifies the cluster where the repository and the cluster do not say enough.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Cluster identity")]
pub struct Identity {
    /// UID of the namespace kube-system of the target cluster, if nothing else identifies it
    #[arg(long, value_name = "UID")]
    pub cluster: Option<String>,
    /// Former address of this repository: accept a cluster that was bootstrapped or is synced from it (repeatable)
    #[arg(long, value_name = "URL")]
    pub moved_from: Vec<String>,
}

/// Options of `k3s-boot apps`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags that have nothing to do with each other")]
pub struct Apps {
    /// What is looked at.
    #[command(flatten)]
    pub checks: Checks,
    /// Deadline of one release, unless the helmfile sets a shorter one [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub release_timeout: Option<Duration>,
    /// Deadline of waiting for nodes to register [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub nodes_timeout: Option<Duration>,
    /// Deadline of waiting for Flux to sync [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub verify_timeout: Option<Duration>,
    /// End as soon as a pod cannot be placed, an image not be pulled, or a container crashes again and again; such things often
    /// mend by themselves while a cluster comes up, so that they are only warned of otherwise
    #[arg(long)]
    pub fail_fast: bool,
    /// How long to wait for another run to end; at least until it is seen that it lives [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait_lock: Option<Duration>,
    /// Answer yes to questions; but whether this is the right cluster is answered with --cluster alone
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be done, as `k3s-boot diff` does, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// List the stages and the releases of each, without asking the cluster, and do nothing
    #[arg(long)]
    pub list: bool,
    // Groups with a heading come last: clap puts what follows one under it.
    /// Which stages are done.
    #[command(flatten)]
    pub stages: Stages,
    /// What is done that would not be done without being asked.
    #[command(flatten)]
    pub wishes: Asked,
    /// Which cluster is meant.
    #[command(flatten)]
    pub identity: Identity,
}

/// Which stages are done: all, unless some are named. The preflight is never left out.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Stages")]
pub struct Stages {
    /// Do this stage and no other
    #[arg(long, value_name = "STAGE", conflicts_with = "from")]
    pub only: Vec<Stage>,
    /// Begin with this stage
    #[arg(long, value_name = "STAGE")]
    pub from: Option<Stage>,
    /// Leave this stage out
    #[arg(long, value_name = "STAGE")]
    pub skip: Vec<Stage>,
}

impl Stages {
    /// Those that are left out.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        LeftOut::of(&self.only, self.from, &self.skip)
    }
}

/// Options of `k3s-boot check`.
#[derive(Args, Debug)]
pub struct Check {
    /// What is looked at.
    #[command(flatten)]
    pub checks: Checks,
    /// Check only what needs no cluster, and contact nothing: for a repository's CI
    #[arg(long)]
    pub offline: bool,
    /// Write the cluster's UID into k3s-boot.yaml: it is the only one then that this repository bootstraps
    #[arg(long, conflicts_with = "offline")]
    pub pin: bool,
    /// With --pin, replace another cluster's UID
    #[arg(short, long, requires = "pin")]
    pub yes: bool,
    /// Tell why a check matters, and do nothing else
    #[arg(long, value_name = "ID", value_parser = rule_id(rules::ALL.iter().copied()))]
    pub explain: Option<String>,
}

/// Options of `k3s-boot diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// What is looked at.
    #[command(flatten)]
    pub checks: Checks,
    /// Compare every object that the releases make, too
    #[arg(long)]
    pub manifests: bool,
    /// End with exit code 7 if anything would be changed
    #[arg(long)]
    pub exit_code: bool,
    /// What is done that would not be done without being asked.
    #[command(flatten)]
    pub wishes: Asked,
    /// Which cluster is meant.
    #[command(flatten)]
    pub identity: Identity,
}

/// Options of `k3s-boot recover`.
#[derive(Args, Debug, Default)]
pub struct Recover {
    /// The releases, as NAME or NAMESPACE/NAME [default: all that are locked]
    pub releases: Vec<String>,
    /// Unlock releases too whose operation may still be at work, for it is younger than its timeout
    #[arg(long)]
    pub force: bool,
    /// UID of kube-system of the cluster that is meant
    #[arg(long, value_name = "UID")]
    pub cluster: Option<String>,
    /// How long to wait for another run to end; at least until it is seen that it lives [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait_lock: Option<Duration>,
    /// Answer yes to the question
    #[arg(short, long)]
    pub yes: bool,
}

fn rule_id(rules: impl Iterator<Item = &'static Rule>) -> clap::builder::PossibleValuesParser {
    rules.map(|rule| clap::builder::PossibleValue::new(rule.id)).collect::<Vec<_>>().into()
}

/// No bootstrap takes longer, and the clock ends somewhere.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Reads a duration of the command line or the configuration.
///
/// # Errors
///
/// It is none, or shorter or longer than makes sense.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < Duration::from_secs(1) => Err("must be 1s or longer".to_owned()),
        Ok(duration) if duration > LONGEST => Err("must be 7days or shorter".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; accepted are durations such as `90s`, `15m` or `1h30m`")),
    }
}
