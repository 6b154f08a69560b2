//! The command line: `cargo sandbox up`, `env`, `run`, `test`, `bench`, `kills`, `faults`, `picture`, `down`.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand, ValueEnum as _};
use serde_json::Value;

use crate::cluster::foreign_variables;
use crate::faults::{self, FaultCampaign};
use crate::kills::{self, Campaign, Runs};
use crate::process::run;
use crate::state::{self, State, workspace};
use crate::tools::{CACHE, Tools, cache_dir};
use crate::{bench, output, picture};

/// How many tests of a program run side by side, for `cargo test`.
const THREADS: &str = "RUST_TEST_THREADS";

/// A real Kubernetes control plane, registry and Flux for k3s-boot, without containers.
#[derive(Debug, Parser)]
#[command(name = "cargo sandbox", bin_name = "cargo sandbox")]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Starts the sandbox in the background; the first time, this builds its tools (about 15 minutes)
    Up,
    /// Prints the environment that leads to the running sandbox: `eval "$(cargo sandbox env)"`
    Env,
    /// Builds k3s-boot and runs `k3s-boot apps` on the sandbox, which is started if needed
    Run {
        /// Ends a running sandbox first, so that the cluster is empty
        #[arg(long)]
        fresh: bool,
        /// More arguments of `k3s-boot apps`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Runs all tests; they start their own sandboxes
    Test {
        /// More arguments of `cargo test`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Compares `k3s-boot apps` with plain helmfile in one go, and prints the table of the README
    Bench {
        /// How many pairs of first runs
        #[arg(long, default_value_t = 5)]
        pairs: usize,
        /// What is measured [default: all]
        cases: Vec<bench::Case>,
    },
    /// Ends `k3s-boot apps` at random moments and checks that the next run mends everything: a power cut in first runs and in
    /// upgrades, and signals to k3s-boot alone
    Kills {
        /// The same seed gives the same moments
        #[arg(long, default_value_t = 20_261_124)]
        seed: u64,
        /// Power cuts in first runs
        #[arg(long, default_value_t = 100)]
        first: usize,
        /// Power cuts in upgrades
        #[arg(long, default_value_t = 50)]
        upgrades: usize,
        /// Of each of INT, TERM, HUP and KILL, to k3s-boot alone
        #[arg(long, default_value_t = 25)]
        signals: usize,
        /// Restart the machine after each power cut: the next run sees another boot ID and has to begin to work within 5 s.
        /// Needs root or user namespaces; sends no signals
        #[arg(long, conflicts_with = "signals")]
        new_boot_id: bool,
    },
    /// Injects whatever goes wrong with a bootstrap, one fault after the other, into `k3s-boot apps` and then into plain
    /// helmfile; checks what k3s-boot says of each, and that the next run converges once the fault is lifted. About two
    /// minutes each; times are right only if nothing else runs
    Faults {
        /// Names of faults [default: all]
        #[arg(long, num_args = 1.., value_name = "NAME")]
        only: Vec<String>,
        /// Prints the names, and does nothing else
        #[arg(long)]
        list: bool,
        /// Leaves plain helmfile out
        #[arg(long)]
        without_plain: bool,
        /// All on one cluster, which has to converge only at the end: for faults that show before anything was changed, and for
        /// others in the order of their releases
        #[arg(long, requires = "only")]
        one_cluster: bool,
        /// A k3s-boot that is built already
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
    /// Runs `k3s-boot apps` on a terminal and a fresh cluster, and writes what is seen to the picture that the README shows
    Picture,
    /// Ends the sandbox and removes it
    Down,
    /// Runs the sandbox in this process
    #[command(hide = true)]
    Serve,
}

/// Runs the command line's command and returns the process' exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command.execute() {
        Ok(code) => code,
        Err(error) => {
            output::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Cmd {
    fn execute(self) -> Result<ExitCode> {
        match self {
            Self::Up => up(),
            Self::Env => env(),
            Self::Run { fresh, arguments } => run_apps(fresh, &arguments),
            Self::Test { arguments } => test(&arguments),
            Self::Bench { pairs, cases } => {
                let cases = if cases.is_empty() { bench::Case::value_variants().to_vec() } else { cases };
                bench::bench(&install()?, &build()?, &cases, pairs)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Kills { seed, first, upgrades, signals, new_boot_id } => {
                let runs = Runs { first, upgrades };
                // Before k3s-boot is built, which takes minutes.
                if new_boot_id {
                    kills::check_restarts()?;
                }
                let (cuts, restarts, signals) =
                    if new_boot_id { (Runs::default(), runs, 0) } else { (runs, Runs::default(), signals) };
                let campaign = Campaign { seed, cuts, restarts, soon: kills::SOON, signals };
                kills::run(&install()?, &build()?, &campaign, &output::result)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Faults { list: true, .. } => {
                for line in faults::list() {
                    output::result(&line);
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Faults { only, without_plain, one_cluster, program, .. } => {
                let campaign = FaultCampaign { only, plain: !without_plain, one_cluster };
                let program = program.map_or_else(build, |program| Ok(program.canonicalize()?))?;
                faults::run(&install()?, &program, &campaign, &output::result)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Picture => {
                picture::picture(&install()?, &build()?, &workspace().join("docs/run.svg"))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Down => {
                let line = if state::down()? { "the sandbox is down" } else { "no sandbox is running" };
                output::progress(line);
                Ok(ExitCode::SUCCESS)
            }
            Self::Serve => state::serve().map(|()| ExitCode::SUCCESS),
        }
    }
}

fn install() -> Result<Tools> {
    Tools::install(&output::progress)
}

fn up() -> Result<ExitCode> {
    let state = start()?;
    output::progress(&format!("kubeconfig: {}", state.folder.join("kubeconfig").display()));
    output::progress(
        "next: `cargo sandbox run` for a bootstrap, `eval \"$(cargo sandbox env)\"` to look around",
    );
    output::progress("      `cargo sandbox down` ends it");
    Ok(ExitCode::SUCCESS)
}

fn start() -> Result<State> {
    let tools = install()?;
    let started = Instant::now();
    let (state, new) = state::up(&tools)?;
    if new {
        output::progress(&format!("the sandbox is up, started in {:.1} s", started.elapsed().as_secs_f64()));
    } else {
        output::progress("the sandbox is up");
    }
    Ok(state)
}

fn env() -> Result<ExitCode> {
    let Some(state) = state::find()? else { bail!("no sandbox is running; `cargo sandbox up` starts one") };
    for name in foreign_variables() {
        output::result(&format!("unset {name}"));
    }
    // So that `cargo sandbox` finds its sandbox from that shell too.
    let cache = (CACHE.to_owned(), cache_dir()?.to_string_lossy().into_owned());
    for (name, value) in state.env.iter().chain(&rust_homes()).chain([&cache]) {
        output::result(&format!("export {name}={}", quoted(value)));
    }
    Ok(ExitCode::SUCCESS)
}

/// HOME becomes the sandbox' own; without these, cargo would not find its toolchain in that shell any more.
fn rust_homes() -> Vec<(String, String)> {
    let home = |name: &str, folder: &str| {
        let set = std::env::var(name).ok();
        let value = set.or_else(|| Some(format!("{}/{folder}", std::env::var("HOME").ok()?)))?;
        Some((name.to_owned(), value))
    };
    [home("CARGO_HOME", ".cargo"), home("RUSTUP_HOME", ".rustup")].into_iter().flatten().collect()
}

/// A POSIX shell's single quotes.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn run_apps(fresh: bool, arguments: &[OsString]) -> Result<ExitCode> {
    let program = build()?;
    if fresh {
        state::down()?;
    }
    let state = start()?;
    let mut command = Command::new(program);
    command.arg("apps").arg("--root").arg(workspace()).arg("--age-key").arg(&state.age_key).args(arguments);
    for name in foreign_variables().filter(|&name| name != "LOG_LEVEL") {
        command.env_remove(name);
    }
    command.envs(state.env).current_dir(workspace());
    // In place of this process, so that signals and the exit code are k3s-boot's own.
    Err(command.exec()).context("cannot run `k3s-boot`")
}

fn test(arguments: &[OsString]) -> Result<ExitCode> {
    install()?;
    let mut command = cargo();
    if std::env::var_os(THREADS).is_none() {
        // One more than there are processors: each waits for its cluster a part of the time.
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get) + 1;
        command.env(THREADS, threads.to_string());
    }
    command.args(["test", "--workspace", "--locked"]).args(arguments);
    Err(command.exec()).context("cannot run `cargo`")
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds k3s-boot as it is released and returns the program's path.
fn build() -> Result<PathBuf> {
    let status =
        cargo().args(["build", "--quiet", "--release", "--locked", "--package", "k3s-boot"]).status()?;
    if !status.success() {
        bail!("cannot build k3s-boot");
    }
    let about = run(cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"]))?;
    let about: Value = serde_json::from_slice(&about.stdout)?;
    let target = about["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
    Ok(PathBuf::from(target).join("release/k3s-boot"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["sandbox", "run", "--fresh", "--", "--log-level", "debug"]);
        assert!(matches!(cli.command, Cmd::Run { fresh: true, arguments } if arguments.len() == 2));
    }

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
