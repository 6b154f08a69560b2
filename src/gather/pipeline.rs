//! Runs a command whose output is manifests.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use crate::base::error::{Error, ProcessError};
use crate::base::finding::Finding;
use crate::desired::commands::SecretsCommand;
use crate::desired::object_source::ObjectSource;
use crate::process::{Invocation, describe, find_program};
use crate::tools::Toolbox;

/// The default timeout of a command: it may ask a password manager in the cloud.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The default timeout of a command that may ask on the terminal.
const ASKING_TIMEOUT: Duration = Duration::from_mins(5);

/// Runs a command and returns its output. The programs of a pipeline run one after the other. Their messages are neither
/// logged nor kept, because they may contain secrets. With `can_ask` they may use the terminal.
///
/// # Errors
///
/// `Ok(Err(_))` when the command fails; `Err(_)` when k3s-boot is interrupted.
pub(super) async fn run(
    tools: &Toolbox,
    command: &SecretsCommand,
    can_ask: bool,
) -> Result<Result<SecretString, Finding>, Error> {
    let source = ObjectSource::Command(command.to_string());
    let problem = |summary: &str| Finding::error(source.rule(), summary).with(source.key(), &source);
    let timeout = command.timeout.unwrap_or(if can_ask { ASKING_TIMEOUT } else { TIMEOUT });
    let end = Instant::now() + tools.clock.cap(timeout);
    let mut passed: Option<SecretSlice<u8>> = None;
    for words in &command.pipeline {
        let Some((name, args)) = words.split_first() else { continue };
        // Starting a program that was not found fails with the reason.
        let program =
            find_program(name, tools.runner.search_path(), &command.directory).unwrap_or_else(|| name.into());
        let mut invocation = Invocation::new("secrets command", program, args)
            .folder(&command.directory)
            .deadline(end.saturating_duration_since(Instant::now()))
            .can_ask(can_ask)
            .public_part(Box::new(|_| None));
        if let Some(bytes) = passed.take() {
            invocation = invocation.stdin(bytes);
        }
        let failed = |reason: String| {
            problem("Command failed").with("program", name).with("reason", reason).fix(format!(
                "{}  # shows why; k3s-boot hides messages that may contain secrets",
                command.without_output()
            ))
        };
        match tools.runner.run(invocation).await {
            Ok(output) if output.success() => passed = Some(SecretSlice::from(output.stdout)),
            Ok(output) => return Ok(Err(failed(describe(output.status)))),
            Err(error @ ProcessError::Interrupted { .. }) => return Err(error.into()),
            Err(ProcessError::Deadline { .. }) => {
                let reason = format!("it did not end within {}", humantime::format_duration(timeout));
                let alone = if can_ask { "" } else { "; nobody can answer its questions without a terminal" };
                return Ok(Err(failed(format!("{reason}{alone}"))));
            }
            Err(error) => return Ok(Err(failed(error.to_string()))),
        }
    }
    let bytes = passed.as_ref().map(|bytes| bytes.expose_secret().to_vec()).unwrap_or_default();
    let text = String::from_utf8(bytes).map(SecretString::from);
    Ok(text.map_err(|_| problem("Output of a command is not text")))
}
