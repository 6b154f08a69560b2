//! A problem that was found before anything is changed.

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::logger::{self, Level};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Neither good nor bad.
    Info,
    /// Worth a look; stops a run only with `--strict`.
    Warning,
    /// Makes this bootstrap fail or do harm.
    Error,
}

impl Severity {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A problem: what is wrong, where, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The ID of the rule.
    pub rule: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Details, the fix last.
    pub pairs: Vec<(&'static str, String)>,
    /// Whether it was logged already.
    pub logged: bool,
}

impl Finding {
    /// Creates a finding that stops the run.
    pub(crate) fn error(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, severity: Severity::Error, message: message.into(), pairs: Vec::new(), logged: false }
    }

    /// Creates a finding that does not stop the run.
    pub(crate) fn warning(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, message) }
    }

    /// Creates a finding that is information only.
    pub(crate) fn info(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, ..Self::error(rule, message) }
    }

    /// Adds a detail.
    pub(crate) fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.pairs.push((key, value.to_string()));
        self
    }

    /// Adds what to type or to change; always the last detail.
    pub(crate) fn fix(self, fix: impl std::fmt::Display) -> Self {
        self.with("fix", fix)
    }

    /// Logs the finding.
    pub(crate) fn log(&self) {
        let level = match self.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Warn,
            Severity::Error => Level::Error,
        };
        logger::log(level, &self.message, &self.pairs);
    }
}

/// Collects the findings of steps that continue after a problem.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub Vec<Finding>);

impl Findings {
    /// Keeps the finding of a failed step, returns the value of a successful one.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Finding>) -> Option<T> {
        result.map_err(|finding| self.0.push(finding)).ok()
    }
}
