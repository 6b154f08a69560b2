//! `cargo xtask`: what maintainers run.

mod book;
mod image;
mod lint;
mod program;
mod release;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
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
    /// Build the book in `target/book`
    Book,
    /// Check everything that is not Rust
    ///
    /// Installs the programs that it needs below `target/`. Runs all lints even if one fails.
    Lint {
        /// Lints to run [default: all]
        lints: Vec<lint::Lint>,
    },
    /// Install the programs of requirements.txt and print their folder
    Python,
    /// Process the book on stdin for mdBook
    #[command(hide = true)]
    RepositoryLinks {
        /// `supports RENDERER` succeeds for every renderer
        #[arg(hide = true)]
        supports: Vec<String>,
    },
    /// Make what a release contains in `target/release-files/`, for this machine
    ///
    /// The archive with the program, completions and manual pages, the SBOM, the packages for Homebrew and aqua, and the checksums.
    /// The release workflow runs the steps one by one.
    Release {
        #[command(subcommand)]
        step: Option<release::Step>,
    },
    /// Build the container image, or check it
    Image {
        #[command(subcommand)]
        step: image::Step,
    },
}

/// For programs that run one of them.
fn print_python_programs() -> Result<()> {
    let folder = program::python_programs()?;
    Ok(writeln!(std::io::stdout(), "{}", folder.display())?)
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Book => book::build()
            .map(|folder| program::print_progress(&folder.join("index.html").display().to_string())),
        Command::Lint { lints } => lint::run_all(&lints),
        Command::Python => print_python_programs(),
        Command::RepositoryLinks { supports } if supports.is_empty() => book::link_to_repository(),
        Command::RepositoryLinks { .. } => Ok(()),
        Command::Release { step } => release::run(step),
        Command::Image { step } => image::run_step(step),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            program::print_progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
