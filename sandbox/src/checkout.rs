//! A repository with the shipped bootstrap files and an age key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cluster::Sandbox;
use crate::folder::copy_folder;
use crate::process::run;
use crate::state::workspace;

/// A temporary repository, with a folder for temporary files beside it.
#[derive(Debug)]
pub struct Checkout {
    folder: TempDir,
}

impl Checkout {
    /// Creates a repository for a cluster. Fails if a file cannot be written or Git fails.
    pub fn new(sandbox: &Sandbox) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sandbox-checkout-").tempdir()?;
        let checkout = Self { folder };
        checkout.ship(sandbox)?;
        fs::create_dir(checkout.temp())?;
        for args in [&["init", "--quiet"][..], &["add", "bootstrap"]] {
            run(Command::new("git").args(args).current_dir(checkout.root()))?;
        }
        // As a repository with an age key has it in its `.gitignore`.
        let info = checkout.root().join(".git/info");
        fs::create_dir_all(&info)?;
        fs::write(info.join("exclude"), "/age.key\n")?;
        Ok(checkout)
    }

    /// Copies the shipped files and the age key, replacing what is there.
    pub fn ship(&self, sandbox: &Sandbox) -> Result<()> {
        let bootstrap = self.root().join("bootstrap");
        if bootstrap.exists() {
            fs::remove_dir_all(&bootstrap)?;
        }
        copy_folder(&workspace().join("bootstrap"), &bootstrap)?;
        fs::copy(sandbox.age_key(), self.root().join("age.key"))?;
        Ok(())
    }

    /// The temporary folder, for more files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The repository.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder().join("repository")
    }

    /// The folder for temporary files.
    #[must_use]
    pub fn temp(&self) -> PathBuf {
        self.folder().join("tmp")
    }

    /// A command that runs a program under test in the repository.
    pub fn command(&self, sandbox: &Sandbox, program: &Path) -> Command {
        let mut command = sandbox.command(program);
        command.current_dir(self.root()).env("TMPDIR", self.temp());
        command
    }

    /// Writes a file of the repository, creating its folders.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.root().join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Writes a shipped file with texts replaced; each of them must exist.
    pub fn change(&self, file: &str, changes: &[(&str, String)]) -> Result<()> {
        let mut text = fs::read_to_string(workspace().join(file))?;
        for (from, to) in changes {
            anyhow::ensure!(text.contains(from), "`{}` is missing from `{file}`", from.trim());
            text = text.replace(from, to);
        }
        self.write(file, &text)
    }
}
