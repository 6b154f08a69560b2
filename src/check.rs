//! What can be found out before anything is changed.

pub mod releases;
pub mod versions;

use crate::logger::{self, Level};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It deserves a look.
    Warning,
    /// It makes this bootstrap fail or do harm.
    Error,
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
}

impl Finding {
    /// A finding that stops the run.
    #[must_use]
    pub fn error(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, severity: Severity::Error, message: message.into(), pairs: Vec::new() }
    }

    /// A finding that does not stop the run.
    #[must_use]
    pub fn warning(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, message) }
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

    /// Whether any finding stops the run.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// How many are warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.0.iter().filter(|finding| finding.severity == Severity::Warning).count()
    }
}
