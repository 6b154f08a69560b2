//! The commands, one file each.

pub(crate) mod apps;
mod ask;
pub(crate) mod check;
pub(crate) mod diff;
pub mod docs;
mod judge;
pub(crate) mod recover;
pub(crate) mod status;

use std::path::PathBuf;

use crate::base::env::Env;
use crate::base::error::{End, Error};
use crate::base::redact::Redactor;
use crate::base::scratch::Scratch;
use crate::gather::Files;
use crate::process::Runner;
use crate::process::signals::Stop;
use crate::process::transcript::Transcript;
use crate::report::failure::FailureReport;
use crate::settings::Settings;
use crate::tools::api::Api;
use crate::tools::child_env::{self, ChildEnv, ChildOptions};
use crate::tools::{Clock, Programs, Toolbox};

/// The transcript of the tools of a command.
fn transcript(settings: &Settings, command: &'static str, redactor: &Redactor) -> Transcript {
    let folder = settings.state.as_ref().map(|state| state.join("logs"));
    Transcript::new(folder, command, redactor.clone())
}

/// The outcome of a failed command.
struct Failed {
    failure: FailureReport,
    /// The log file with the output of all tools.
    log: Option<PathBuf>,
}

impl Failed {
    /// Logs how a command failed. `resume` is the command that resumes it.
    fn log(
        error: &Error,
        transcript: &Transcript,
        stop: &Stop,
        resume: Option<String>,
        redactor: &Redactor,
    ) -> Self {
        if let Error::Preflight(_) = error {
            // The log has all of it.
            transcript.discard();
        }
        let log = transcript.path();
        let end = End { log: log.as_deref(), killed: stop.killed(), resume };
        error.report(&end);
        Self { failure: FailureReport::new(error, &end, redactor), log }
    }
}

/// Everything needed to run tools. A check reports missing programs.
///
/// # Errors
///
/// A temporary file cannot be written.
fn toolbox(
    settings: &Settings,
    env: &Env,
    files: &Files,
    scratch: &Scratch,
    stop: Stop,
    transcript: &Transcript,
) -> Result<Toolbox, Error> {
    let target = files.target.clone().unwrap_or_default();
    let current_context = target.write_current_context(scratch.path())?;
    let options = ChildOptions {
        root: settings.root.clone(),
        age_key: settings.age_key.clone(),
        sops_age_key_file: settings.sops_age_key_file.clone(),
    };
    let ChildEnv { vars, removed } =
        child_env::build(env, &options, &target, scratch.path(), &current_context);
    if !removed.is_empty() {
        tracing::warn!(envs = %removed.join(" "), reason = "they could select another cluster", "Ignoring environment variables");
    }
    let path = |name: &str| {
        let found = files.programs.iter().find(|program| program.name == name);
        found.and_then(|program| program.path.clone()).unwrap_or_default()
    };
    let programs = Programs {
        helmfile: path("helmfile"),
        kubectl: path("kubectl"),
        sops: path("sops"),
        helm: path("helm"),
    };
    Ok(Toolbox {
        runner: Runner::new(vars, stop, transcript.clone()),
        programs,
        target,
        clock: Clock::new(settings.timeout),
        request_timeout: settings.request_timeout,
        api: Api::new(scratch.path()),
        public_variables: child_env::public_values(env),
    })
}
