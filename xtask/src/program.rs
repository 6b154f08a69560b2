//! Programs of other people, and where they are installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The root of this repository.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

pub(crate) fn print_progress(line: &str) {
    // Nobody is left to tell if stderr is closed.
    _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs a command with the output of this process.
///
/// # Errors
///
/// If it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed: {status}");
    }
    Ok(())
}

/// Runs a command, and returns what it prints on stdout.
///
/// # Errors
///
/// If it cannot be started, fails, or prints something that is not text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` printed something that is not text"))
}

/// `cargo`, in the folder of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// A program from a crate, which is built once for each version.
///
/// # Errors
///
/// If it cannot be built.
pub(crate) fn cargo_program(name: &str, version: &str) -> Result<PathBuf> {
    let folder = workspace().join("target/programs").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        run(cargo().args(["install", "--locked", "--root"]).arg(folder).arg(format!("{name}@{version}")))?;
    }
    Ok(program)
}

/// The folder of programs from Python packages, with the versions of `xtask/requirements.txt`.
///
/// # Errors
///
/// If Python is missing, or a package cannot be installed.
pub(crate) fn python_programs() -> Result<PathBuf> {
    let requirements = workspace().join("xtask/requirements.txt");
    let wanted =
        std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = workspace().join("target/python");
    // Tests that need the programs start at the same time.
    std::fs::create_dir_all(workspace().join("target"))?;
    let lock = std::fs::File::create(workspace().join("target/python.lock"))?;
    lock.lock().context("cannot lock the Python programs")?;
    let installed = folder.join("requirements.txt");
    // Copied last: what an interrupted installation left is installed again.
    if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
        print_progress("installing the Python programs of xtask/requirements.txt");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements))?;
        std::fs::write(&installed, wanted)?;
    }
    Ok(folder.join("bin"))
}
