//! The commands, one file each.

pub(crate) mod apps;
mod ask;
pub(crate) mod check;
pub(crate) mod diff;
pub mod docs;
pub(crate) mod init;
mod judge;
pub(crate) mod recover;
pub(crate) mod status;
pub(crate) mod version;

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use crate::base::env::Env;
use crate::base::error::{End, Error};
use crate::base::redact::Redactor;
use crate::base::scratch::Scratch;
use crate::gather::Files;
use crate::process::Runner;
use crate::process::signals::Stop;
use crate::process::transcript::Transcript;
use crate::report;
use crate::report::failure::FailureReport;
use crate::report::file::ReportFile;
use crate::settings::Settings;
use crate::settings::private_files::AgeKeyFrom;
use crate::tools::api::Api;
use crate::tools::child_env::{self, ChildEnv, ChildOptions};
use crate::tools::sops::Answered;
use crate::tools::template_env::TemplateEnv;
use crate::tools::{Clock, Programs, Toolbox};

/// A command that was started.
pub(crate) struct Session<'a> {
    pub settings: &'a Settings,
    pub env: &'a Env,
    pub redactor: &'a Redactor,
    pub stop: Stop,
    report: Option<ReportFile>,
    /// Receives the output of all tools.
    transcript: Transcript,
}

impl<'a> Session<'a> {
    /// `command` names the log file; without it the output of tools is not kept.
    ///
    /// # Errors
    ///
    /// The file of `--report` cannot be written.
    pub(crate) fn new(
        settings: &'a Settings,
        env: &'a Env,
        redactor: &'a Redactor,
        stop: Stop,
        command: Option<&'static str>,
    ) -> Result<Self, anyhow::Error> {
        let prepared = settings.report.as_deref().map(|file| {
            ReportFile::prepare(file)
                .with_context(|| format!("failed to write the report to `{}`", file.display()))
        });
        let report = prepared.transpose()?;
        redactor.add(child_env::secrets(env));
        let folder = settings.state.as_ref().map(|state| state.join("logs"));
        let transcript = Transcript::new(
            folder.filter(|_| command.is_some()),
            command.unwrap_or_default(),
            redactor.clone(),
        );
        Ok(Self { settings, env, redactor, stop, report, transcript })
    }

    /// Writes the report to the file of `--report`, and to stdout as JSON if asked. Returns the exit code: that of the run, or that
    /// of a failure if the run has succeeded and its report was not written. `changed` says whether the run had changed anything.
    ///
    /// # Errors
    ///
    /// Writing to stdout fails.
    fn deliver(&self, report: &impl Serialize, exit_code: u8, changed: bool) -> std::io::Result<u8> {
        let mut code = exit_code;
        if let Some(file) = &self.report
            && let Err(error) = file.write(report)
        {
            let (file, reason) = (file.path().display(), error.to_string());
            tracing::error!(%file, reason, "Report was not written");
            if exit_code == 0 {
                code = if changed { 5 } else { 1 };
            }
        }
        if self.settings.json {
            report::print(report, self.settings.guard)?;
        }
        Ok(code)
    }

    /// Logs how the command failed. `resume` is the command that resumes it.
    fn log_failure(&self, error: &Error, resume: Option<String>) -> Failed {
        if let Error::Preflight(_) = error {
            // The log has all of it.
            self.transcript.discard();
        }
        let log = self.transcript.path();
        let end = End { log: log.as_deref(), killed: self.stop.killed(), resume };
        error.report(&end);
        Failed { failure: FailureReport::new(error, &end, self.redactor), log }
    }

    /// Everything needed to run tools. A check reports missing programs.
    ///
    /// # Errors
    ///
    /// A temporary file cannot be written.
    fn toolbox(&self, files: &Files, scratch: &Scratch) -> Result<Toolbox, Error> {
        let Self { settings, env, .. } = self;
        let target = files.target.clone().unwrap_or_default();
        let current_context = target.write_current_context(scratch.path())?;
        let options = ChildOptions {
            root: settings.root.clone(),
            age_key: settings.age_key.clone(),
            sops_age_key_file: settings.sops_age_key_file.clone(),
            age_key_variable: match &settings.age_key_from {
                Some(AgeKeyFrom::Variable(name)) => Some(name.clone()),
                _ => None,
            },
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
            runner: Runner::new(vars, self.stop.clone(), self.transcript.clone()),
            programs,
            target,
            clock: Clock::new(settings.timeout),
            request_timeout: settings.request_timeout,
            api: Api::new(scratch.path()),
            can_ask: settings.can_ask,
            answered: Answered::default(),
            variables: TemplateEnv::new((*env).clone()),
            mirrors: settings.chart_mirrors.clone(),
            pulls: tokio::sync::Semaphore::new(settings.chart_pulls),
        })
    }
}

/// The outcome of a failed command.
struct Failed {
    failure: FailureReport,
    /// The log file with the output of all tools.
    log: Option<PathBuf>,
}
