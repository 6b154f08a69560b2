//! Lints of everything that is not Rust.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::book;
use crate::program::{output, print_progress, python_programs, run, workspace};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lint {
    /// Syntax of the GitHub workflows and of the action
    Actionlint,
    /// Security of the GitHub workflows and of the action
    Zizmor,
    /// The Ansible role and its playbook
    Ansible,
    /// Shell scripts
    Shellcheck,
    /// The systemd unit
    Systemd,
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
            Self::Actionlint => actionlint(&workspace()).and(lint_action()),
            Self::Zizmor => run(Command::new(python_programs()?.join("zizmor"))
                .args(["--offline", ".github", "action.yml", EXAMPLE])
                .current_dir(workspace())),
            Self::Ansible => ansible(),
            Self::Shellcheck => {
                let files = output(
                    Command::new("git")
                        .args(["ls-files", "*.sh", ":!tests/fixtures"])
                        .current_dir(workspace()),
                )?;
                run(Command::new("shellcheck").args(files.lines()).current_dir(workspace()))
            }
            Self::Systemd => lint_unit(),
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

/// A workflow that uses the action.
const EXAMPLE: &str = "deploy/github/workflow.yaml";

/// Checks the workflows of a repository.
fn actionlint(repository: &Path) -> Result<()> {
    // renovate: datasource=go depName=github.com/rhysd/actionlint
    run(Command::new("go")
        .args(["run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"])
        .current_dir(repository))
}

/// Checks the action and its example. actionlint reads the metadata of an action only for a workflow that uses it from the same
/// repository (<https://github.com/rhysd/actionlint/issues/46>).
fn lint_action() -> Result<()> {
    let folder = workspace().join("target/action-lint");
    fs::create_dir_all(folder.join(".git"))?;
    fs::create_dir_all(folder.join(".github/workflows"))?;
    fs::copy(workspace().join("action.yml"), folder.join("action.yml"))?;
    let example = fs::read_to_string(workspace().join(EXAMPLE))?;
    let line = |line: &str| match line.split_once("uses: OWNER/k3s-boot@") {
        Some((indentation, _)) => format!("{indentation}uses: ./\n"),
        None => format!("{line}\n"),
    };
    fs::write(folder.join(".github/workflows/example.yaml"), example.lines().map(line).collect::<String>())?;
    actionlint(&folder)
}

/// Checks the systemd unit, which has to name a program that exists.
fn lint_unit() -> Result<()> {
    const PROGRAM: &str = "/usr/local/bin/k3s-boot ";
    let unit = fs::read_to_string(workspace().join("deploy/systemd/k3s-boot.service"))?;
    if !unit.contains(PROGRAM) {
        bail!("the unit does not start `{}`", PROGRAM.trim_end());
    }
    let copy = workspace().join("target/k3s-boot.service");
    fs::write(&copy, unit.replace(PROGRAM, "/bin/true "))?;
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output();
    let output = output.context("cannot start `systemd-analyze`")?;
    // What systemd ignores is no error for it, and units of this machine are not ours.
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || text.contains("k3s-boot.service") {
        bail!("{}", text.trim_end());
    }
    Ok(())
}
