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
pub(crate) struct Checkout {
    folder: TempDir,
}

impl Checkout {
    /// Makes one for a cluster.
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sandbox-checkout-").tempdir()?;
        let checkout = Self { folder };
        let root = checkout.root();
        copy_folder(&workspace().join("bootstrap"), &root.join("bootstrap"))?;
        fs::copy(sandbox.age_key(), root.join("age.key"))?;
        fs::create_dir(checkout.temp())?;
        for args in [&["init", "--quiet"][..], &["add", "bootstrap"]] {
            run(Command::new("git").args(args).current_dir(&root))?;
        }
        Ok(checkout)
    }

    /// The folder that goes when it does, for more files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The repository.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder().join("repository")
    }

    /// The folder for temporary files.
    pub(crate) fn temp(&self) -> PathBuf {
        self.folder().join("tmp")
    }

    /// A program under test in the repository.
    pub(crate) fn command(&self, sandbox: &Sandbox, program: &Path) -> Command {
        let mut command = sandbox.command(program);
        command.current_dir(self.root()).env("TMPDIR", self.temp());
        command
    }

    /// Writes a file of the repository.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.root().join(file);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// A file as it is shipped, with texts replaced; each of them must be there.
    pub(crate) fn change(&self, file: &str, changes: &[(&str, String)]) -> Result<()> {
        let mut text = fs::read_to_string(workspace().join(file))?;
        for (from, to) in changes {
            anyhow::ensure!(text.contains(from), "`{}` is not in {file}", from.trim());
            text = text.replace(from, to);
        }
        self.write(file, &text)
    }
}
