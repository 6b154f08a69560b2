//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::base::logger::{Level, LogFormat};
use crate::base::stages::{SkippedStages, Stage};
use crate::check::{Rule, rules};
use crate::plan::options::PlanOptions;
use crate::settings::shell::Shell;
use crate::tools::mirror::ChartMirror;

/// Bootstrap a fresh k3s cluster until Flux syncs its Git repository
#[derive(Debug, Parser)]
#[command(name = "k3s-boot", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bootstrap the cluster: preflight, nodes, namespaces, secrets, manifests, CRDs, apps, verify, summary
    ///
    /// Safe to run again at any time. Changes nothing until every check has passed.
    Apps(Apps),
    /// Report everything that would make a bootstrap fail, with fixes
    ///
    /// Changes nothing in the cluster.
    Check(Check),
    /// Show what `apps` would change: namespaces, names of secrets, releases with versions and values
    ///
    /// Changes nothing in the cluster.
    Diff(Diff),
    /// Show the state of nodes, releases and Flux
    ///
    /// Requires only kubectl and a kubeconfig, and changes nothing. The exit code is 1 only if the cluster cannot be
    /// reached, not if something is not ready.
    Status {
        /// Refresh every two seconds until interrupted; with `-o json`, print a line for each change
        #[arg(long)]
        watch: bool,
    },
    /// Recover Helm releases stuck in `pending-*`
    ///
    /// Helm refuses every operation on a release while its latest revision is pending. After confirmation, this command
    /// deletes that revision and nothing else: the objects that it created stay, and the next `apps` syncs the release.
    /// Releases left behind by a run of `apps` that has ended are recovered by the next `apps` automatically. Requires
    /// only kubectl and a kubeconfig.
    Recover(Recover),
    /// Write a repository for this cluster: helmfiles, Flux objects, encryption and tasks
    ///
    /// Reads the cluster if a kubeconfig is set, and asks for what it cannot find out. Existing files stay as they are; what would
    /// differ is shown.
    Init(Init),
    /// Show the versions of k3s-boot and of the programs that it runs, and which versions it supports
    Version,
    /// Print the completion script for a shell
    Completions {
        /// Shell to generate the script for
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Options of all commands.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Kubeconfig file [env: KUBECONFIG, which may be a list]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Bootstrap the cluster in which k3s-boot runs as a pod, with the service account of the pod
    #[arg(long, global = true, conflicts_with_all = ["kubeconfig", "context"])]
    pub in_cluster: bool,
    /// Kubeconfig context [default: the current context]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Root of the repository [env: ROOT_DIR] [default: the Git top level]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Configuration file [default: ROOT/k3s-boot.yaml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Minimum log level [env: LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<Level>,
    /// Show the output of all tools: short for `--log-level debug`
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level")]
    pub verbose: u8,
    /// Format of log lines
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// When to color the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Format of the report on stdout; with `json`, the log goes to stderr
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// When to color the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; `CLICOLOR_FORCE` forces color
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The format of the report on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Human-readable
    Text,
    /// One JSON document; with `status --watch`, one per line
    Json,
}

/// Options of all commands that run the checks.
#[derive(Args, Debug, Default)]
pub struct Checks {
    /// Number of nodes to expect; they do not have to be Ready [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: Option<u32>,
    /// Timeout for the whole run [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Timeout for each request to the API server [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub request_timeout: Option<Duration>,
    /// Age key to store in the cluster as `flux-system/sops-age`; `-` reads it from stdin, `env:NAME` from an environment variable
    /// [default: ROOT/age.key]
    #[arg(long, value_name = "FILE")]
    pub age_key: Option<PathBuf>,
    /// File with variables for templates, which take precedence over those of k3s-boot.yaml (repeatable)
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Fetch charts of a registry from a mirror, such as `ghcr.io=https://registry.example.org/ghcr.io` (repeatable)
    #[arg(long, value_name = "REGISTRY=URL", value_parser = ChartMirror::parse)]
    pub chart_mirror: Vec<ChartMirror>,
    /// Number of charts to fetch at the same time [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub chart_pulls: Option<u16>,
    /// Allow helmfiles with `exec` or `prepare` hooks, which run commands while rendering
    #[arg(long)]
    pub allow_hooks: bool,
    /// Skip a check; docs/checks.md lists all checks
    #[arg(long, value_name = "ID", value_parser = rule_id(rules::skippable()))]
    pub skip_check: Vec<String>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Options of all commands that make a plan.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Releases and secrets")]
pub struct Asked {
    /// Sync only this release (NAME or NAMESPACE/NAME, repeatable) and those of its `needs` that are not installed
    #[arg(long, value_name = "NAME")]
    pub release: Vec<String>,
    /// Skip this release; releases that need it are still synced
    #[arg(long, value_name = "NAME")]
    pub skip_release: Vec<String>,
    /// Sync releases even if they are up to date; releases managed by Flux or k3s stay untouched
    #[arg(long)]
    pub force: bool,
    /// Take over this release, which is managed by Flux or k3s
    #[arg(long, value_name = "NAME")]
    pub adopt: Vec<String>,
    /// Allow this release to be downgraded to the version in the helmfile
    #[arg(long, value_name = "NAME")]
    pub downgrade: Vec<String>,
    /// Revert manual changes to this release
    #[arg(long, value_name = "NAME")]
    pub fix_drift: Vec<String>,
    /// Uninstall this release, for which the helmfile sets `installed: false`
    #[arg(long, value_name = "NAME")]
    pub uninstall: Vec<String>,
    /// Replace the age key in the cluster, even if its identities are not in the key file
    #[arg(long)]
    pub rotate_age_key: bool,
}

impl Asked {
    /// Adds these options to what the configuration says.
    #[must_use]
    pub fn of(&self, configured: PlanOptions) -> PlanOptions {
        PlanOptions {
            rotate_age_key: self.rotate_age_key,
            force: self.force,
            take: self.adopt.clone(),
            downgrade: self.downgrade.clone(),
            fix_drift: self.fix_drift.clone(),
            uninstall: self.uninstall.clone(),
            releases: self.release.clone(),
            skip_releases: [configured.skip_releases.as_slice(), &self.skip_release].concat(),
            ..configured
        }
    }
}

/// What `init` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Helmfiles that read the HelmReleases of Flux, and everything around them
    #[default]
    Flux,
    /// Only `bootstrap/` and the Taskfile
    Helmfile,
}

/// The CNI plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cni {
    /// Cilium, which also replaces kube-proxy
    Cilium,
    /// The flannel of k3s
    Flannel,
}

/// The DNS server of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dns {
    /// CoreDNS as a release
    Coredns,
    /// The CoreDNS of k3s
    K3s,
}

/// Options of `k3s-boot init`.
#[derive(Args, Clone, Debug, Default)]
pub struct Init {
    /// Folder to write to [default: the Git top level, or the working folder]
    pub dir: Option<PathBuf>,
    /// What to write
    #[arg(long, value_name = "LAYOUT", default_value = "flux")]
    pub layout: Layout,
    /// List what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not read the cluster
    #[arg(long)]
    pub offline: bool,
    /// Number of nodes, with agents [default: those of the cluster]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Cluster")]
    pub nodes: Option<u32>,
    /// How many of the nodes are agents [default: those of the cluster]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub agents: Option<u32>,
    /// Address of the API server for Cilium [default: 127.0.0.1, where k3s answers on every node]
    #[arg(long, value_name = "HOST", help_heading = "Cluster")]
    pub api_host: Option<String>,
    /// CNI plugin [default: that of the cluster, or cilium]
    #[arg(long, value_name = "CNI", help_heading = "Cluster")]
    pub cni: Option<Cni>,
    /// DNS server [default: that of the cluster, or coredns]
    #[arg(long, value_name = "DNS", help_heading = "Cluster")]
    pub dns: Option<Dns>,
    /// Networks of pods, one for each IP family [default: those of the cluster, or of k3s]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Cluster")]
    pub cluster_cidr: Vec<ipnet::IpNet>,
    /// Networks of Services, one for each IP family [default: those of the cluster, or of k3s]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Cluster")]
    pub service_cidr: Vec<ipnet::IpNet>,
    /// URL of the Git repository that Flux syncs [default: the remote `origin`]
    #[arg(long, value_name = "URL", help_heading = "Git")]
    pub git_url: Option<String>,
    /// Branch that Flux syncs [default: the current branch, or main]
    #[arg(long, value_name = "BRANCH", help_heading = "Git")]
    pub git_branch: Option<String>,
    /// Create a deploy key for a private repository, encrypted with SOPS
    #[arg(long, help_heading = "Git")]
    pub deploy_key: bool,
}

/// Options that identify the cluster.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Cluster identity")]
pub struct Identity {
    /// UID of the kube-system namespace of the target cluster, if nothing else identifies it
    #[arg(long, value_name = "UID")]
    pub cluster: Option<String>,
    /// Former URL of this repository: accept clusters that were bootstrapped or are synced from it (repeatable)
    #[arg(long, value_name = "URL")]
    pub moved_from: Vec<String>,
}

/// Options of `k3s-boot apps`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub struct Apps {
    #[command(flatten)]
    pub checks: Checks,
    /// Timeout for each release, unless the helmfile sets a shorter one [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub release_timeout: Option<Duration>,
    /// Timeout for nodes to register [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub nodes_timeout: Option<Duration>,
    /// Timeout for Flux to sync the repository [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub verify_timeout: Option<Duration>,
    /// Stop at the first unschedulable pod, failed image pull or crash loop
    ///
    /// Without it these are warnings: while a cluster comes up, they often resolve themselves.
    #[arg(long)]
    pub fail_fast: bool,
    /// How long to wait for another run to finish; 15s is the minimum [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait_lock: Option<Duration>,
    /// Answer yes to all questions, except whether this is the right cluster: use --cluster
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would change, like `k3s-boot diff`, and exit
    #[arg(long)]
    pub dry_run: bool,
    /// List the stages and their releases without contacting the cluster, and exit
    #[arg(long, conflicts_with = "report")]
    pub list: bool,
    // Groups with a heading come last: clap puts what follows one under it.
    #[command(flatten)]
    pub stages: Stages,
    #[command(flatten)]
    pub plan_options: Asked,
    #[command(flatten)]
    pub identity: Identity,
}

/// Options that select stages. The preflight cannot be skipped.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Stages")]
pub struct Stages {
    /// Run only this stage (repeatable)
    #[arg(long, value_name = "STAGE", conflicts_with = "from")]
    pub only: Vec<Stage>,
    /// Start with this stage
    #[arg(long, value_name = "STAGE")]
    pub from: Option<Stage>,
    /// Skip this stage (repeatable)
    #[arg(long, value_name = "STAGE")]
    pub skip: Vec<Stage>,
}

impl Stages {
    /// The stages to skip.
    #[must_use]
    pub fn skipped(&self) -> SkippedStages {
        SkippedStages::of(&self.only, self.from, &self.skip)
    }
}

/// Options of `k3s-boot check`.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the command line, each independent of the others"
)]
pub struct Check {
    #[command(flatten)]
    pub checks: Checks,
    /// Run only checks that need neither a cluster nor the network, for example in CI
    #[arg(long)]
    pub offline: bool,
    /// Write the UID of the cluster to k3s-boot.yaml, so that this repository bootstraps no other cluster
    #[arg(long, conflicts_with = "offline")]
    pub pin: bool,
    /// With --pin, replace the UID of another cluster
    #[arg(short, long, requires = "pin")]
    pub yes: bool,
    /// List all checks and exit
    #[arg(long, conflicts_with = "explain")]
    pub list: bool,
    /// Explain a check and exit
    #[arg(long, value_name = "ID", value_parser = rule_id(rules::ALL.iter().copied()))]
    pub explain: Option<String>,
}

/// Options of `k3s-boot diff`.
#[derive(Args, Debug)]
pub struct Diff {
    #[command(flatten)]
    pub checks: Checks,
    /// Also compare every object of the releases
    #[arg(long)]
    pub manifests: bool,
    /// Exit with code 7 if anything would change
    #[arg(long)]
    pub exit_code: bool,
    #[command(flatten)]
    pub plan_options: Asked,
    #[command(flatten)]
    pub identity: Identity,
}

/// Options of `k3s-boot recover`.
#[derive(Args, Debug, Default)]
pub struct Recover {
    /// Releases to recover, as NAME or NAMESPACE/NAME [default: all that are stuck]
    pub releases: Vec<String>,
    /// Also recover releases whose operation may still be running because its timeout has not passed
    #[arg(long)]
    pub force: bool,
    /// UID of the kube-system namespace of the target cluster
    #[arg(long, value_name = "UID")]
    pub cluster: Option<String>,
    /// How long to wait for another run to finish; 15s is the minimum [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait_lock: Option<Duration>,
    /// Recover without asking for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Write the JSON report to a file too, completely or not at all; /dev/termination-log gets one of 4096 bytes at most
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

fn rule_id(rules: impl Iterator<Item = &'static Rule>) -> clap::builder::PossibleValuesParser {
    rules.map(|rule| clap::builder::PossibleValue::new(rule.id)).collect::<Vec<_>>().into()
}

const MAX_TIMEOUT: Duration = Duration::from_hours(7 * 24);

/// Parses a duration of the command line or the configuration.
///
/// # Errors
///
/// The text is not a duration, or the duration is shorter than a second or longer than a week.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < Duration::from_secs(1) => Err("must be 1s or longer".to_owned()),
        Ok(duration) if duration > MAX_TIMEOUT => Err("must be 7days or shorter".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; expected a duration such as `90s`, `15m` or `1h30m`")),
    }
}
