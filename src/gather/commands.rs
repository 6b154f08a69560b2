//! Runs the commands whose output is manifests, once for each run of k3s-boot, and finds templates that need such a command.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::Context;
use super::pipeline::{self, missing_program};
use crate::base::error::Error;
use crate::base::files::{self, LARGEST};
use crate::base::finding::Finding;
use crate::base::progress;
use crate::base::stages::Stage;
use crate::desired::commands::{SecretsCommand, needed};
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
    // Nobody is asked for a password that is not needed.
    if settings.offline || settings.plan_options.stages.has(Stage::Secrets) {
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
    let mut folders: Vec<_> = helmfiles.flat_map(beside).collect();
    folders.sort();
    folders.dedup();
    let files =
        folders.iter().flat_map(|folder| files::read_folder(folder)).filter(|entry| entry.kind.is_file());
    let mut needs: Vec<(PathBuf, SecretsCommand)> = files
        .filter_map(|entry| {
            let text = files::text(&entry.path, LARGEST).ok()?;
            let path = entry.path.strip_prefix(&settings.root).unwrap_or(&entry.path);
            Some((path.to_owned(), needed(path, &text)?))
        })
        .collect();
    needs.sort_by(|one, other| one.0.cmp(&other.0));
    if needs.is_empty() {
        return Vec::new();
    }
    let names = needs.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let lines = needs.iter().map(|(_, command)| command.lines()).collect::<String>();
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
    command.programs().filter(|name| !found(name)).map(|name| missing_program(command, name)).collect()
}

/// The folder of a helmfile, and the folder above if that is the folder of the bootstrap.
fn beside(helmfile: &Path) -> Vec<PathBuf> {
    let Some(folder) = helmfile.parent() else { return Vec::new() };
    let above = folder.parent().filter(|above| above.file_name().is_some_and(|name| name == "bootstrap"));
    std::iter::once(folder).chain(above).map(Path::to_owned).collect()
}
