//! A problem that was found before anything is changed.

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::logger::{self, Level};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is good to know.
    Info,
    /// It deserves a look.
    Warning,
    /// It makes this bootstrap fail or do harm.
    Error,
}

impl Severity {
    /// Its word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A problem: what was found, where, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found it.
    pub rule: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What was found and where.
    pub pairs: Vec<(&'static str, String)>,
    /// Whether it is on the log already.
    pub told: bool,
}

impl Finding {
    /// A finding that stops the run.
    #[must_use]
    pub fn error(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, severity: Severity::Error, message: message.into(), pairs: Vec::new(), told: false }
    }

    /// A finding that does not stop the run.
    #[must_use]
    pub fn warning(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, message) }
    }

    /// What is good to know.
    #[must_use]
    pub fn info(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, ..Self::error(rule, message) }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.pairs.push((key, value.to_string()));
        self
    }

    /// Adds what to type or to change; always the last detail.
    #[must_use]
    pub fn fix(self, fix: impl std::fmt::Display) -> Self {
        self.with("fix", fix)
    }

    /// Writes it on the log.
    pub fn log(&self) {
        let level = match self.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Warn,
            Severity::Error => Level::Error,
        };
        logger::log(level, &self.message, &self.pairs);
    }
}

/// Collects findings of steps that go on after a problem.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Keeps the finding of a failed step, gives the value of a good one.
    pub fn keep<T>(&mut self, result: Result<T, Finding>) -> Option<T> {
        result.map_err(|finding| self.0.push(finding)).ok()
    }
}
