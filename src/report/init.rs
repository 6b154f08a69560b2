//! The report of `k3s-boot init`, as text or JSON.

use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::SchemaVersion;

words! {
    /// What happened to a file.
    FileState {
        /// It did not exist and was written; with `--dry-run`, it would be.
        Created = "created",
        /// It exists with other content, and was not changed.
        Kept = "kept",
        /// It exists with the same content.
        Unchanged = "unchanged",
    }
}

/// The report of `k3s-boot init`, as `-o json` prints it.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct InitReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// The folder of the repository.
    pub root: String,
    /// Whether nothing was written, because of `--dry-run`.
    pub dry_run: bool,
    /// What was chosen, and why.
    pub choices: Vec<ChoiceReport>,
    pub files: Vec<FileReport>,
    /// The public key of the age key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_public_key: Option<String>,
    /// The deploy key, if it was created by this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy_key: Option<DeployKeyReport>,
    /// The commands to run next.
    pub next: Vec<String>,
}

/// A choice.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ChoiceReport {
    pub name: String,
    pub value: String,
    pub reason: String,
}

/// A file of the repository.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct FileReport {
    /// The path, relative to the root.
    pub path: String,
    pub state: FileState,
    /// How a kept file differs from what would be written, as a unified diff. The content of keys is never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// A new deploy key.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct DeployKeyReport {
    pub public_key: String,
    /// Where to add it.
    pub page: String,
    /// The fingerprints of the host keys to compare with those that the Git server publishes; empty for host keys that are
    /// known.
    pub host_keys: Vec<String>,
}

impl FileReport {
    pub(crate) fn new(path: &Path, state: FileState) -> Self {
        Self { path: path.display().to_string(), state, diff: None }
    }
}

impl InitReport {
    pub(crate) fn new(root: &Path, dry_run: bool, files: Vec<FileReport>) -> Self {
        Self {
            schema_version: SchemaVersion,
            root: root.display().to_string(),
            dry_run,
            choices: Vec::new(),
            files,
            age_public_key: None,
            deploy_key: None,
            next: Vec::new(),
        }
    }

    /// The files, the differences of kept ones, the keys and the next commands.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for FileReport { path, state, .. } in &self.files {
            _ = writeln!(text, "{:9}  {path}", state.word());
        }
        for diff in self.files.iter().filter_map(|file| file.diff.as_deref()) {
            _ = write!(text, "\n{diff}");
        }
        if let Some(key) = &self.age_public_key {
            _ = writeln!(text, "\nPublic age key: {key}");
        }
        if let Some(DeployKeyReport { public_key, page, host_keys }) = &self.deploy_key {
            _ = writeln!(text, "\nAdd the deploy key at {page}:\n{public_key}");
            for key in host_keys {
                _ = writeln!(text, "Compare with the fingerprints that the Git server publishes: {key}");
            }
        }
        if !self.next.is_empty() {
            _ = writeln!(text, "\nNext:");
        }
        for command in &self.next {
            _ = writeln!(text, "  {command}");
        }
        text
    }
}
