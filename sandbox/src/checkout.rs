//! A repository that is bootstrapped from: the shipped files, and an age key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cluster::Sandbox;
use crate::folder::copy_folder;
use crate::process::run;
use crate::state::workspace;

/// A repository of its own, with a folder for temporary files beside it. Both go with it.
#[derive(Debug)]
pub struct Checkout {
    folder: TempDir,
}

impl Checkout {
    /// Makes one for a cluster. Fails when a file cannot be written or Git says no.
    pub fn new(sandbox: &Sandbox) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sandbox-checkout-").tempdir()?;
        let checkout = Self { folder };
        checkout.ship(sandbox)?;
        fs::create_dir(checkout.temp())?;
        for args in [&["init", "--quiet"][..], &["add", "bootstrap"]] {
            run(Command::new("git").args(args).current_dir(checkout.root()))?;
        }
        Ok(checkout)
    }

    /// Puts the shipped files and the age key there, or back.
    pub fn ship(&self, sandbox: &Sandbox) -> Result<()> {
        let bootstrap = self.root().join("bootstrap");
        if bootstrap.exists() {
            fs::remove_dir_all(&bootstrap)?;
        }
        copy_folder(&workspace().join("bootstrap"), &bootstrap)?;
        fs::copy(sandbox.age_key(), self.root().join("age.key"))?;
        Ok(())
    }

    /// The folder that goes when it does, for more files.
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

    /// A program under test in the repository.
    pub fn command(&self, sandbox: &Sandbox, program: &Path) -> Command {
        let mut command = sandbox.command(program);
        command.current_dir(self.root()).env("TMPDIR", self.temp());
        command
    }

    /// Writes a file of the repository, and the folders that it is in.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.root().join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// A file as it is shipped, with texts replaced; each of them must be there.
    pub fn change(&self, file: &str, changes: &[(&str, String)]) -> Result<()> {
        let mut text = fs::read_to_string(workspace().join(file))?;
        for (from, to) in changes {
            anyhow::ensure!(text.contains(from), "`{}` is not in {file}", from.trim());
            text = text.replace(from, to);
        }
        self.write(file, &text)
    }
}
