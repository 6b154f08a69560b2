//! k3s-boot takes a fresh k3s cluster to the point where Flux syncs its Git repository.
//!
//! The way of the data is told in `ARCHITECTURE.md`: settings, desired and observed make a plan, which is run and
//! verified.

pub mod age;
pub mod apps;
pub mod charts;
pub mod check;
pub mod child_env;
pub mod cli;
pub mod desired;
pub mod docs;
pub mod env;
pub mod error;
pub mod fingerprint;
pub mod kubeconfig;
pub mod logger;
pub mod observed;
pub mod plan;
pub mod preflight;
pub mod process;
pub mod redact;
pub mod report;
pub mod run;
pub mod scratch;
pub mod settings;
pub mod tools;
pub mod transcript;
pub mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Apps, Cli, Command, Global};
use crate::env::Env;
use crate::redact::Redactor;
use crate::settings::Settings;

/// What `main` does.
#[must_use]
pub fn main_impl() -> ExitCode {
    if let Some(code) = process::death::become_child() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors too, with exit code 0.
            _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match &cli.command {
        Command::Apps(apps) => run_apps(&cli.global, apps),
        Command::Completions { shell } => print(&docs::completions(*shell)),
        Command::Man => docs::man(Cli::command()).map_err(Into::into).and_then(|page| print(&page)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            _ = writeln!(std::io::stderr(), "k3s-boot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().lock().write_all(bytes) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS).context("failed to write to stdout"),
    }
}

fn run_apps(global: &Global, apps: &Apps) -> anyhow::Result<ExitCode> {
    let env = Env::from_process().context("failed to find the working folder")?;
    let (log, unknown_level) = settings::log_settings(global, false, &env);
    let redactor = Redactor::default();
    logger::init(log, redactor.clone());
    if let Some(level) = unknown_level {
        tracing::warn!(level, accepted = "debug info warn error", "Unknown LOG_LEVEL, taken for info");
    }
    let settings = match Settings::resolve(global, apps, &env) {
        Ok(settings) => settings,
        Err(finding) => {
            finding.log();
            return Ok(ExitCode::from(1));
        }
    };
    // One thread: the signal that a child gets at our death is bound to the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let report = runtime.block_on(async {
        let stop = process::signals::listen().context("failed to listen for signals")?;
        anyhow::Ok(apps::apps(&settings, &env, &redactor, stop).await)
    })?;
    if settings.json {
        report.print().context("failed to write to stdout")?;
    }
    Ok(ExitCode::from(report.exit_code))
}
