//! Runs the commands whose output is manifests, once for each run of k3s-boot, and finds templates that need such a command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::Context;
use super::manifests::is_kustomization;
use super::pipeline;
use crate::base::error::Error;
use crate::base::files::{self, Entry, LARGEST};
use crate::base::finding::Finding;
use crate::base::progress;
use crate::base::stages::Stage;
use crate::desired::commands::{Needs, SecretsCommand};
use crate::desired::object_source::ObjectSource;
use crate::process::find_program;
use crate::settings::Settings;

/// What each command printed, or why it failed.
pub(super) type CommandOutput = [(ObjectSource, Result<SecretString, Finding>)];

/// The output of the commands, in memory: a second preflight must not ask for a password again.
#[derive(Default)]
pub(crate) struct CommandOutputs(OnceCell<Vec<(ObjectSource, Result<SecretString, Finding>)>>);

impl CommandOutputs {
    /// The output of each command; runs them one after the other if they have not run yet.
    ///
    /// # Errors
    ///
    /// k3s-boot is interrupted.
    pub(super) async fn get(&self, context: Context<'_>) -> Result<&CommandOutput, Error> {
        self.0.get_or_try_init(|| run(context)).await.map(Vec::as_slice)
    }
}

async fn run(context: Context<'_>) -> Result<Vec<(ObjectSource, Result<SecretString, Finding>)>, Error> {
    let Context { settings, tools, .. } = context;
    let mut outputs = Vec::new();
    // A program does not ask for a password that is not needed. [`problems`] has reported the others.
    let is_skipped = settings.offline || settings.plan_options.stages.has(Stage::Secrets);
    if is_skipped || settings.secret_commands.iter().any(|command| !unusable(settings, command).is_empty()) {
        return Ok(outputs);
    }
    for command in &settings.secret_commands {
        let _hidden = settings.can_ask.then(progress::hide);
        if settings.can_ask {
            tracing::info!(command = %command, "Running command, which may ask on this terminal");
        }
        let output = pipeline::run(tools, command, settings.can_ask).await?;
        outputs.push((ObjectSource::Command(command.to_string()), output));
    }
    Ok(outputs)
}

/// Commands that cannot run, and templates beside the helmfiles for which no command is configured.
pub(super) fn problems<'a>(settings: &Settings, helmfiles: impl Iterator<Item = &'a Path>) -> Vec<Finding> {
    if !settings.secret_commands.is_empty() {
        // Only where the bootstrap runs, the programs must be installed.
        let commands = settings.secret_commands.iter().filter(|_| !settings.offline);
        return commands.flat_map(|command| unusable(settings, command)).collect();
    }
    let needs = needed(&settings.root, helmfiles);
    if needs.is_empty() {
        return Vec::new();
    }
    let names = needs.keys().cloned().collect::<Vec<_>>().join(", ");
    let lines = needs.values().map(SecretsCommand::lines).collect::<String>();
    vec![
        Finding::warning("secrets-commands", "Secrets are not applied: no command renders them")
            .with("files", names)
            .fix(format!("add the command to k3s-boot.yaml:\nsecrets:\n  commands:\n{}", lines.trim_end())),
    ]
}

fn unusable(settings: &Settings, command: &SecretsCommand) -> Vec<Finding> {
    if !command.directory.is_dir() {
        let source = ObjectSource::Command(command.to_string());
        let problem = Finding::error(source.rule(), "Working folder of a command not found");
        return vec![problem.with(source.key(), &source).with("directory", command.directory.display())];
    }
    let found = |name: &&str| find_program(name, settings.path.as_deref(), &command.directory).is_some();
    let missing = command.programs().filter(|name| !found(name)).map(|name| {
        let source = ObjectSource::Command(command.to_string());
        Finding::error(source.rule(), "Program of a command not found")
            .with(source.key(), &source)
            .with("program", name)
            .with("directory", command.directory.display())
            .fix(format!("install {name}, or add it to PATH"))
    });
    missing.collect()
}

/// The files and kustomizations that need a command, by their paths relative to the root.
fn needed<'a>(root: &Path, helmfiles: impl Iterator<Item = &'a Path>) -> BTreeMap<String, SecretsCommand> {
    let mut folders: BTreeMap<String, Needs> = BTreeMap::new();
    let mut needed = BTreeMap::new();
    for file in helmfiles.flat_map(|helmfile| beside(helmfile, root)).collect::<BTreeSet<_>>() {
        let Ok(text) = files::text(&file, LARGEST) else { continue };
        let Some(needs) = Needs::of(&file, &text) else { continue };
        let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        match kustomization(&file, root) {
            Some(folder) => {
                let all = folders.entry(shown(folder)).or_default();
                *all = all.and(needs);
            }
            None => _ = needed.insert(shown(&file), needs.command_for_file(&shown(&file))),
        }
    }
    needed.extend(folders.into_iter().map(|(folder, needs)| {
        let command = needs.command_for_folder(&folder);
        (folder, command)
    }));
    needed
}

/// The topmost folder below the root that contains a file and a kustomization.
fn kustomization<'a>(file: &'a Path, root: &Path) -> Option<&'a Path> {
    let folders = file.ancestors().skip(1).take_while(|folder| *folder != root);
    folders.filter(|folder| is_kustomization(folder)).last()
}

/// The files in the folder of a helmfile, or in the whole folder of the bootstrap that contains it.
fn beside(helmfile: &Path, root: &Path) -> Vec<PathBuf> {
    let mut folders = helmfile.ancestors().skip(1).take_while(|folder| *folder != root);
    let bootstrap = folders.find(|folder| folder.file_name().is_some_and(|name| name == "bootstrap"));
    let is_file = |entry: &Entry| entry.kind.is_file();
    if let Some(folder) = bootstrap {
        let enters = |entry: &Entry| !entry.name().starts_with('.');
        return files::walk(folder, enters).filter(is_file).map(|entry| entry.path).collect();
    }
    let entries = helmfile.parent().into_iter().flat_map(files::read_folder);
    entries.filter(is_file).map(|entry| entry.path).collect()
}
