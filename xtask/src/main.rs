//! `cargo xtask`: what maintainers run.

mod lint;
mod program;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What maintainers of k3s-boot run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check everything that is not Rust
    ///
    /// Installs the programs that it needs below `target/`. Runs all lints even if one fails.
    Lint {
        /// Lints to run [default: all]
        lints: Vec<lint::Lint>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Lint { lints } => lint::run_all(&lints),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            program::print_progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
