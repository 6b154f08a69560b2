//! Lints of everything that is not Rust.

use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::book;
use crate::program::{print_progress, python_programs, run, workspace};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lint {
    /// Syntax of the GitHub workflows
    Actionlint,
    /// Security of the GitHub workflows
    Zizmor,
    /// The Ansible role and its playbook
    Ansible,
    /// Pages and links of the documentation
    Docs,
}

/// Runs the lints, or all of them if none is given.
///
/// # Errors
///
/// Names the lints that found something or could not be run.
pub(crate) fn run_all(lints: &[Lint]) -> Result<()> {
    let lints = if lints.is_empty() { Lint::value_variants() } else { lints };
    let mut failed = Vec::new();
    for lint in lints {
        let name = lint.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        print_progress(&format!("lint: {name}"));
        if let Err(error) = lint.run() {
            print_progress(&format!("{error:#}"));
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("lints failed: {}", failed.join(", ")) }
}

impl Lint {
    fn run(self) -> Result<()> {
        match self {
            // renovate: datasource=go depName=github.com/rhysd/actionlint
            Self::Actionlint => run(Command::new("go")
                .args(["run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"])
                .current_dir(workspace())),
            Self::Zizmor => run(Command::new(python_programs()?.join("zizmor"))
                .args(["--offline", ".github"])
                .current_dir(workspace())),
            Self::Ansible => ansible(),
            Self::Docs => book::check_links(),
        }
    }
}

/// Runs ansible-lint and a syntax check, without a download of collections or schemas.
fn ansible() -> Result<()> {
    let programs = python_programs()?;
    // ansible-lint looks for Ansible itself on PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs.clone()).chain(std::env::split_paths(&path)))?;
    let run = |program: &str, arguments: &[&str]| {
        run(Command::new(programs.join(program))
            .args(arguments)
            .env("PATH", &path)
            .current_dir(workspace().join("deploy/ansible")))
    };
    run("ansible-lint", &["--offline", "--strict", "--profile", "production", "-q"])?;
    run("ansible-playbook", &["--syntax-check", "bootstrap.yml"])
}
