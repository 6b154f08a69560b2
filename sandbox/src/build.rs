//! Builds k3s-boot.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::output::Progress;
use crate::process::run;
use crate::state::workspace;

/// The name of the step, for [`Progress::status`].
const STEP: &str = "k3s-boot";

/// How k3s-boot is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As fast to build as possible: cargo's default profile, which shares its dependencies with the sandbox and the tests.
    Trial,
    /// As it is released.
    Release,
}

/// `cargo`, in the folder of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds k3s-boot and returns the path of the program.
pub(crate) fn k3s_boot(profile: Profile, progress: &dyn Progress) -> Result<PathBuf> {
    let started = Instant::now();
    let mut command = cargo();
    command.args(["build", "--locked", "--package", "k3s-boot", "--bin", "k3s-boot", "--color=never"]);
    let folder = match profile {
        Profile::Trial => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `cargo`")?;
    let mut printed = Vec::new();
    let mut compiled = 0;
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line.context("cannot read the output of `cargo`")?;
        if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
            if compiled == 0 {
                progress.start("building k3s-boot");
            }
            compiled += 1;
            let package = package.split(' ').next().unwrap_or_default();
            progress.status(STEP, Some(format!("building k3s-boot: {compiled} crates ({package})")));
        }
        printed.push(line);
    }
    let status = child.wait()?;
    progress.status(STEP, None);
    if !status.success() {
        bail!("cannot build k3s-boot:\n{}", printed.join("\n"));
    }
    if compiled > 0 {
        progress.line(&format!("built k3s-boot in {} s", started.elapsed().as_secs()));
    }
    Ok(target_dir()?.join(folder).join("k3s-boot"))
}

/// Installs the Python programs of `xtask/requirements.txt` and returns their folder.
pub fn python_programs() -> Result<PathBuf> {
    let output = run(cargo().args(["run", "--quiet", "--locked", "--package", "xtask", "--", "python"]))?;
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

fn target_dir() -> Result<PathBuf> {
    let output = run(cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let folder =
        metadata["target_directory"].as_str().context("`cargo metadata` printed no target directory")?;
    Ok(folder.into())
}
