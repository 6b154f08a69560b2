//! Makes what a release contains.

mod archive;
mod checks;
mod packages;
mod sbom;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::program::{output, print_progress, workspace};

/// The file with the checksums of all others, as `sha256sum --check` reads it.
const CHECKSUMS: &str = "SHA256SUMS";

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Step {
    /// Check that a tag is the version in Cargo.toml, and print its section of the changelog
    Notes {
        /// Tag, such as `v1.2.3`
        tag: String,
        /// GitHub repository of the release, which must be that in Cargo.toml, as OWNER/NAME
        #[arg(long)]
        repository: Option<String>,
    },
    /// Build the program for a target and make its archive
    Archive {
        /// Target triple [default: this machine]
        #[arg(long)]
        target: Option<String>,
    },
    /// Make the SBOM, the Homebrew formula, the aqua package and the checksums for the archives that exist
    Describe {
        /// GitHub repository of the release, as OWNER/NAME
        #[arg(long, default_value = packages::PLACEHOLDER)]
        repository: String,
    },
}

/// Runs a step; without one, makes everything for this machine from nothing.
pub(crate) fn run(step: Option<Step>) -> Result<()> {
    match step {
        Some(Step::Notes { tag, repository }) => checks::print_notes(&tag, repository.as_deref()),
        Some(Step::Archive { target }) => archive::make(target),
        Some(Step::Describe { repository }) => describe(&repository),
        None => {
            match std::fs::remove_dir_all(folder()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", folder().display()));
                }
                _ => {}
            }
            archive::make(None)?;
            describe(packages::PLACEHOLDER)
        }
    }
}

fn describe(repository: &str) -> Result<()> {
    sbom::make()?;
    packages::make(repository)?;
    let mut lines = Vec::new();
    for file in files()? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != CHECKSUMS {
            lines.push(format!("{}  {name}\n", sha256(&file)?));
        }
    }
    std::fs::write(folder().join(CHECKSUMS), lines.concat())?;
    for file in files()? {
        let size = std::fs::metadata(&file)?.len();
        print_progress(&format!("{:>10} {}", size, file.display()));
    }
    Ok(())
}

/// The folder of what is published.
pub(crate) fn folder() -> PathBuf {
    workspace().join("target/release-files")
}

/// The files of the release, sorted by name.
fn files() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder())
        .with_context(|| format!("cannot read {}: run `cargo xtask release archive`", folder().display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn sha256(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(format!("{:x}", Sha256::digest(bytes)))
}

/// What Cargo.toml says about k3s-boot.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) license: String,
    pub(crate) repository: Option<String>,
}

/// # Errors
///
/// If cargo cannot read Cargo.toml.
pub(crate) fn package() -> Result<Package> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let json = output(crate::program::cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Metadata = serde_json::from_str(&json)?;
    let package = metadata.packages.into_iter().find(|package| package.name == "k3s-boot");
    package.context("Cargo.toml has no package `k3s-boot`")
}

/// The time of everything that is made, for results that do not depend on when they are made: `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), else that of the commit.
pub(crate) fn source_date() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => output(
            std::process::Command::new("git")
                .args(["log", "--max-count=1", "--format=%ct"])
                .current_dir(workspace()),
        )?,
    };
    text.trim().parse().with_context(|| format!("`{}` is not a time in seconds", text.trim()))
}
