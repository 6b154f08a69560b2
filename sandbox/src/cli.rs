//! The command line: `cargo sandbox up`, `env`, `run`, `test`, `bench`, `fleet`, `kills`, `faults`, `pictures`, `down`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Parser, Subcommand, ValueEnum as _};

use crate::build::{self, Profile};
use crate::cluster::foreign_variables;
use crate::faults::{self, FaultCampaign};
use crate::fleet::{self, Fleet};
use crate::kills::{self, Campaign, Runs};
use crate::output::Progress as _;
use crate::state::{self, State, workspace};
use crate::tools::{CACHE, Tools, cache_dir};
use crate::{bench, output, picture, test_command};

/// A real Kubernetes control plane, registry and Flux for k3s-boot, without containers.
#[derive(Debug, Parser)]
#[command(name = "cargo sandbox", bin_name = "cargo sandbox")]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Start the sandbox in the background
    ///
    /// The first start builds the tools of the sandbox with Go, which takes 15 to 20 minutes on two cores.
    Up,
    /// Print the environment of the running sandbox, for `eval "$(cargo sandbox env)"`
    Env,
    /// Build k3s-boot and run `k3s-boot apps` on the sandbox, starting it if needed
    Run {
        /// Remove a running sandbox first, to start with an empty cluster
        #[arg(long)]
        fresh: bool,
        /// Arguments for `k3s-boot apps`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Run all tests, including those that need a control plane
    ///
    /// Runs `cargo test --workspace`, then the tests on real control planes, which start their own sandboxes. With options that
    /// choose tests (such as `-- --test real NAME`), runs only these.
    Test {
        /// Arguments for `cargo test`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Compare `k3s-boot apps` with plain helmfile, and print the table for docs
    Bench {
        /// Number of pairs of first runs
        #[arg(long, default_value_t = 5)]
        pairs: usize,
        /// Cases to measure [default: all]
        cases: Vec<bench::Case>,
    },
    /// Run the Ansible role against several clusters at once, and print the table for docs
    ///
    /// One of several clusters has a wrong age key. A cluster needs 1.6 GB of memory.
    Fleet {
        /// Numbers of fresh clusters, one row after the other; the first row starts with an empty chart cache
        #[arg(long, num_args = 1.., default_values_t = [1, 1, 5, 10])]
        clusters: Vec<usize>,
    },
    /// Kill `k3s-boot apps` at random moments and check that the next run recovers
    ///
    /// Simulates power cuts in first runs and in upgrades, and sends signals to k3s-boot alone.
    Kills {
        /// Seed for the random moments
        #[arg(long, default_value_t = 20_261_124)]
        seed: u64,
        /// Number of power cuts in first runs
        #[arg(long, default_value_t = 100)]
        first: usize,
        /// Number of power cuts in upgrades
        #[arg(long, default_value_t = 50)]
        upgrades: usize,
        /// Number of times each of INT, TERM, HUP and KILL is sent to k3s-boot alone
        #[arg(long, default_value_t = 25)]
        signals: usize,
        /// Simulate a restart of the machine after each power cut
        ///
        /// The next run sees another boot ID and must start its work within 5 s. Needs root or user namespaces; sends no
        /// signals.
        #[arg(long, conflicts_with = "signals")]
        new_boot_id: bool,
    },
    /// Inject faults one by one and check how `k3s-boot apps` and plain helmfile report them
    ///
    /// Also checks that the next run of k3s-boot converges once the fault is removed. Each fault takes about two minutes.
    /// Times are correct only on an otherwise idle machine.
    Faults {
        /// Names of faults [default: all]
        #[arg(long, num_args = 1.., value_name = "NAME")]
        only: Vec<String>,
        /// Print the names of all faults and exit
        #[arg(long)]
        list: bool,
        /// Skip plain helmfile
        #[arg(long)]
        without_plain: bool,
        /// Inject all faults into one cluster, which must converge at the end
        ///
        /// For faults that show before anything is changed, and for others in the order of their releases.
        #[arg(long, requires = "only")]
        one_cluster: bool,
        /// Use this k3s-boot instead of building one
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
    /// Run k3s-boot on a terminal and save the screen of each command as docs/COMMAND.svg
    Pictures,
    /// Stop and remove the sandbox
    Down,
    /// Run the sandbox in this process
    #[command(hide = true)]
    Serve,
}

/// Runs the command and returns the exit code of the process.
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
            Self::Test { arguments } => test_command::run(&arguments),
            Self::Bench { pairs, cases } => {
                let cases = if cases.is_empty() { bench::Case::value_variants().to_vec() } else { cases };
                let (tools, program) = install_and_build(Profile::Release)?;
                bench::bench(&tools, &program, &cases, pairs)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Fleet { clusters } => {
                let (tools, program) = install_and_build(Profile::Release)?;
                let fleet = Fleet { clusters, large_crds: true };
                fleet::run(&tools, &program, &build::python_programs()?, &fleet, &output::result)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Kills { seed, first, upgrades, signals, new_boot_id } => {
                let runs = Runs { first, upgrades };
                // Fail before the builds, which take minutes.
                if new_boot_id {
                    kills::check_restarts()?;
                }
                let (cuts, restarts, signals) =
                    if new_boot_id { (Runs::default(), runs, 0) } else { (runs, Runs::default(), signals) };
                let (soon, large_crds) = (kills::SOON, true);
                let campaign = Campaign { seed, cuts, restarts, soon, large_crds, signals };
                let (tools, program) = install_and_build(Profile::Release)?;
                kills::run(&tools, &program, &campaign, &output::result)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Faults { list: true, .. } => {
                for line in faults::list() {
                    output::result(&line);
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Faults { only, without_plain, one_cluster, program, .. } => {
                let campaign = FaultCampaign { only, plain: !without_plain, one_cluster, large_crds: true };
                let (tools, program) = match program {
                    Some(program) => (install()?, program.canonicalize()?),
                    None => install_and_build(Profile::Release)?,
                };
                faults::run(&tools, &program, &campaign, &output::result)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Pictures => {
                let (tools, program) = install_and_build(Profile::Release)?;
                picture::pictures(&tools, &program, &workspace().join("docs"))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Down => {
                let line = if state::down()? { "sandbox removed" } else { "no sandbox is running" };
                output::progress(line);
                Ok(ExitCode::SUCCESS)
            }
            Self::Serve => state::serve().map(|()| ExitCode::SUCCESS),
        }
    }
}

fn install() -> Result<Tools> {
    Tools::install_for_clusters(&output::STDERR)
}

/// Builds the tools and k3s-boot at the same time: each of them waits for downloads now and then.
fn install_and_build(profile: Profile) -> Result<(Tools, PathBuf)> {
    std::thread::scope(|scope| {
        let program = scope.spawn(|| build::k3s_boot(profile, &output::STDERR));
        let tools = install()?;
        let program = program.join().map_err(|_| anyhow!("the thread that builds k3s-boot panicked"))?;
        Ok((tools, program?))
    })
}

fn up() -> Result<ExitCode> {
    let state = start(&install()?)?;
    output::progress(&format!("kubeconfig: {}", state.folder.join("kubeconfig").display()));
    output::progress("run a bootstrap:       cargo sandbox run");
    output::progress("use kubectl and helm:  eval \"$(cargo sandbox env)\"");
    output::progress("remove the sandbox:    cargo sandbox down");
    Ok(ExitCode::SUCCESS)
}

fn start(tools: &Tools) -> Result<State> {
    let started = Instant::now();
    output::STDERR.status("sandbox", Some("starting the sandbox".to_owned()));
    let up = state::up(tools);
    output::STDERR.status("sandbox", None);
    let (state, is_new) = up?;
    if is_new {
        output::progress(&format!("sandbox started in {:.1} s", started.elapsed().as_secs_f64()));
    } else {
        output::progress("sandbox is running");
    }
    Ok(state)
}

fn env() -> Result<ExitCode> {
    let Some(state) = state::find()? else {
        bail!("no sandbox is running: start it with `cargo sandbox up`")
    };
    for name in foreign_variables() {
        output::result(&format!("unset {name}"));
    }
    // In that shell, HOME is the sandbox's own; `cargo sandbox` must still find the cache.
    let cache = (CACHE.to_owned(), cache_dir()?.to_string_lossy().into_owned());
    for (name, value) in state.env.iter().chain(&rust_homes()).chain([&cache]) {
        output::result(&format!("export {name}={}", quoted(value)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where cargo and rustup find their files in a shell whose HOME is the sandbox's own.
fn rust_homes() -> Vec<(String, String)> {
    let home = |name: &str, folder: &str| {
        let set = std::env::var(name).ok();
        let value = set.or_else(|| Some(format!("{}/{folder}", std::env::var("HOME").ok()?)))?;
        Some((name.to_owned(), value))
    };
    [home("CARGO_HOME", ".cargo"), home("RUSTUP_HOME", ".rustup")].into_iter().flatten().collect()
}

/// Quotes a value for a POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn run_apps(fresh: bool, arguments: &[OsString]) -> Result<ExitCode> {
    let (tools, program) = install_and_build(Profile::Trial)?;
    if fresh {
        state::down()?;
    }
    let state = start(&tools)?;
    let mut command = Command::new(program);
    command.arg("apps").arg("--root").arg(workspace()).arg("--age-key").arg(&state.age_key).args(arguments);
    for name in foreign_variables().filter(|&name| name != "LOG_LEVEL") {
        command.env_remove(name);
    }
    command.envs(state.env).current_dir(workspace());
    // Replaces this process, so that signals and the exit code are those of k3s-boot.
    Err(command.exec()).context("cannot run `k3s-boot`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_valid() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["sandbox", "run", "--fresh", "--", "--log-level", "debug"]);
        assert!(matches!(cli.command, Cmd::Run { fresh: true, arguments } if arguments.len() == 2));
    }

    #[test]
    fn values_are_quoted_for_a_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
