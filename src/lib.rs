//! k3s-boot takes a fresh k3s cluster to the point where Flux syncs its Git repository.
//!
//! `ARCHITECTURE.md` shows the data flow: settings, desired and observed state make a plan, which is run and verified.

mod base;
mod check;
mod commands;
mod desired;
mod diagnose;
mod gather;
mod observed;
mod plan;
mod process;
mod report;
mod run;
mod settings;
mod tools;

/// What the documentation and the tests of the program use. It is no interface for others.
pub mod internals {
    pub use crate::base::known_failures::{KnownFailure, Origin, Sample, table as known_failures};
    pub use crate::base::logger::{Level, format_line};
    pub use crate::base::redact::Redactor;
    pub use crate::base::release_id::ReleaseId;
    pub use crate::base::url::{Url, without_credentials};
    pub use crate::commands::docs;
    pub use crate::process::identity::Identity;
    pub use crate::settings::cli::Cli;
    pub use crate::settings::shell::Shell;
    pub use crate::tools::requirements::parse as parse_version;

    /// The ids of all rules of `k3s-boot check`.
    pub fn rule_ids() -> impl Iterator<Item = &'static str> {
        crate::check::rules::ALL.iter().map(|rule| rule.id)
    }
}

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::base::env::Env;
use crate::base::github::CommandEscape;
use crate::base::redact::Redactor;
use crate::commands::Session;
use crate::settings::Settings;
use crate::settings::cli::{Apps, Check, Cli, Command, Diff, Global, Init, Recover};

/// Runs the command line.
#[must_use]
pub fn main_impl() -> ExitCode {
    if let Some(code) = process::parent_death::become_child() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap returns help and version as errors with exit code 0.
            print_usage(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match &cli.command {
        Command::Apps(apps) => run_apps(&cli.global, apps),
        Command::Check(check) => run_check(&cli.global, check),
        Command::Diff(diff) => run_diff(&cli.global, diff),
        Command::Status { watch } => run_status(&cli.global, *watch),
        Command::Recover(recover) => run_recover(&cli.global, recover),
        Command::Init(init) => run_init(&cli.global, init),
        Command::Version => run_version(&cli.global),
        Command::Completions { shell } => print(&commands::docs::completions(*shell)),
        Command::Man => commands::docs::man(Cli::command()).map_err(Into::into).and_then(|page| print(&page)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let reason = format!("{error:#}");
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!(reason, "Run failed");
            } else {
                // The log is not set up yet.
                _ = writeln!(std::io::stderr(), "k3s-boot: {}", base::escape::escaped(&reason));
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints an error of the command line. It repeats arguments, which a GitHub Actions workflow may have taken from untrusted
/// input.
fn print_usage(error: &clap::Error) {
    let text = error.render().to_string();
    let guarded = CommandEscape::On.text(text.clone());
    if guarded == text {
        _ = error.print();
    } else {
        _ = std::io::stderr().write_all(guarded.as_bytes());
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    let printed = report::ignore_broken_pipe(std::io::stdout().lock().write_all(bytes));
    printed.map(|()| ExitCode::SUCCESS).context("failed to write to stdout")
}

/// Sets up environment, log and redaction for a command.
fn begin(global: &Global, data_on_stdout: bool) -> anyhow::Result<(Env, Redactor)> {
    let env = Env::from_process().context("failed to find the working folder")?;
    let (log, unknown_level) = settings::log_settings(global, data_on_stdout, &env);
    let redactor = Redactor::default();
    base::logger::init(log, redactor.clone());
    if let Some(level) = unknown_level {
        tracing::warn!(level, accepted = "debug info warn error", "Unknown LOG_LEVEL, using info");
    }
    Ok((env, redactor))
}

/// Runs on one thread, because the parent-death signal of a child is bound to the thread that started it. `command` names the
/// log file of the tools.
fn run<T>(
    settings: &mut Settings,
    env: &Env,
    redactor: &Redactor,
    command: Option<&'static str>,
    work: impl AsyncFnOnce(Session<'_>) -> T,
) -> anyhow::Result<T> {
    let _private = settings.write_private_files(env, redactor)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let stop = process::signals::listen().context("failed to listen for signals")?;
        Ok(work(Session::new(settings, env, redactor, stop, command)?).await)
    })
}

fn run_apps(global: &Global, apps: &Apps) -> anyhow::Result<ExitCode> {
    if apps.stages.skipped().is_all() {
        let error = Cli::command().error(
            ErrorKind::ValueValidation,
            "no stages to run: `--only`, `--from` and `--skip` exclude all of them",
        );
        print_usage(&error);
        return Ok(ExitCode::from(2));
    }
    let (env, redactor) = begin(global, apps.dry_run || apps.list)?;
    let mut settings = Settings::of_apps(global, apps, &env);
    if apps.list {
        return exit(commands::apps::list(&settings));
    }
    if apps.dry_run {
        let asked = commands::diff::Asked::default();
        let result = run(&mut settings, &env, &redactor, Some("diff"), async |session| {
            commands::diff::diff(&session, asked).await
        })?;
        return exit(result);
    }
    let result = run(&mut settings, &env, &redactor, Some("apps"), async |session| {
        commands::apps::apps(&session).await
    });
    exit(result?)
}

fn run_check(global: &Global, check: &Check) -> anyhow::Result<ExitCode> {
    if let Some(text) = check.explain.as_deref().and_then(commands::check::explain) {
        return print(text.as_bytes());
    }
    if check.list {
        return print(commands::check::list().as_bytes());
    }
    let (env, redactor) = begin(global, true)?;
    let mut settings = Settings::of_check(global, check, &env);
    let result = run(&mut settings, &env, &redactor, Some("check"), async |session| {
        commands::check::check(&session, check.pin).await
    })?;
    exit(result)
}

fn run_diff(global: &Global, diff: &Diff) -> anyhow::Result<ExitCode> {
    let (env, redactor) = begin(global, true)?;
    let mut settings = Settings::of_diff(global, diff, &env);
    let asked = commands::diff::Asked { manifests: diff.manifests, exit_code: diff.exit_code };
    let result = run(&mut settings, &env, &redactor, Some("diff"), async |session| {
        commands::diff::diff(&session, asked).await
    })?;
    exit(result)
}

fn run_init(global: &Global, init: &Init) -> anyhow::Result<ExitCode> {
    let (env, redactor) = begin(global, true)?;
    let mut settings = Settings::of_init(global, init, &env);
    let result = run(&mut settings, &env, &redactor, Some("init"), async |session| {
        commands::init::init(&session, init).await
    })?;
    match result.context("failed to write to stdout")? {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(commands::init::Missing(flags)) => {
            let reason = format!("required without a terminal: {}", flags.join(", "));
            print_usage(&Cli::command().error(ErrorKind::MissingRequiredArgument, reason));
            Ok(ExitCode::from(2))
        }
    }
}

fn run_version(global: &Global) -> anyhow::Result<ExitCode> {
    let (env, redactor) = begin(global, true)?;
    let mut settings = Settings::of_status(global, &env);
    let result = run(&mut settings, &env, &redactor, None, async |session| {
        commands::version::version(&session).await
    })?;
    exit(result)
}

fn run_recover(global: &Global, recover: &Recover) -> anyhow::Result<ExitCode> {
    let (env, redactor) = begin(global, false)?;
    let mut settings = Settings::of_recover(global, recover, &env);
    let result = run(&mut settings, &env, &redactor, Some("recover"), async |session| {
        commands::recover::recover(&session, recover).await
    })?;
    exit(result)
}

fn run_status(global: &Global, watch: bool) -> anyhow::Result<ExitCode> {
    let (env, redactor) = begin(global, true)?;
    let mut settings = Settings::of_status(global, &env);
    // The output of tools is not kept: `--watch` may run for days.
    let result = run(&mut settings, &env, &redactor, None, async |session| {
        commands::status::status(&session, watch).await
    })?;
    exit(result)
}

/// The exit code of a command that prints data; its only errors are those of writing to stdout.
fn exit(result: std::io::Result<u8>) -> anyhow::Result<ExitCode> {
    result.map(ExitCode::from).context("failed to write to stdout")
}
