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
    pub summary: String,
    /// Where it is and why, by key; the order is that of the log.
    pub details: Vec<(&'static str, String)>,
    /// A command, or the lines to change.
    pub fix: Option<String>,
    /// What the fix adds to the configuration of k3s servers: several findings change one file.
    pub server_lines: Option<Box<ServerLines>>,
    /// Whether it was logged already.
    pub logged: bool,
}

/// What a fix adds to the configuration of k3s servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerLines {
    /// The name of a server, and its lines.
    pub lines: Vec<(String, String)>,
    /// A comment that follows them.
    pub note: Option<String>,
}

impl Finding {
    /// Creates a finding that stops the run.
    pub(crate) fn error(rule: &'static str, summary: impl Into<String>) -> Self {
        Self {
            rule,
            severity: Severity::Error,
            summary: summary.into(),
            details: Vec::new(),
            fix: None,
            server_lines: None,
            logged: false,
        }
    }

    /// Creates a finding that does not stop the run.
    pub(crate) fn warning(rule: &'static str, summary: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, summary) }
    }

    /// Creates a finding that is information only.
    pub(crate) fn info(rule: &'static str, summary: impl Into<String>) -> Self {
        Self { severity: Severity::Info, ..Self::error(rule, summary) }
    }

    /// Adds a detail.
    pub(crate) fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.details.push((key, value.to_string()));
        self
    }

    /// Sets what to type or to change.
    pub(crate) fn fix(mut self, fix: impl std::fmt::Display) -> Self {
        self.fix = Some(fix.to_string());
        self
    }

    /// A detail.
    pub(crate) fn detail(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// The fields of the log line: the details, then the fix.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        with_fix(self.details.clone(), self.fix.clone())
    }

    /// Logs the finding.
    pub(crate) fn log(&self) {
        let level = match self.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Warn,
            Severity::Error => Level::Error,
        };
        logger::log(level, &self.summary, &self.fields());
    }
}

/// The fields of a log line; the fix comes last.
pub(crate) fn with_fix(
    mut details: Vec<(&'static str, String)>,
    fix: Option<String>,
) -> Vec<(&'static str, String)> {
    details.extend(fix.map(|fix| ("fix", fix)));
    details
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
