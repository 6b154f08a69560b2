//! What `k3s-boot check` prints: for people, or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use owo_colors::{OwoColorize as _, XtermColors};
use schemars::JsonSchema;
use serde::Serialize;

use super::ClusterReport;
use super::failure::FailureReport;
use crate::check::{Answer, Finding, Group, Outcome, Severity};
use crate::logger::escaped;
use crate::redact::Redactor;
use crate::run::seconds;

/// The result of `k3s-boot check`, as `-o json` prints it.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ChecksReport {
    /// `ok`, `warnings` or `errors`; `failed` when it could not be carried out.
    pub result: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// What is behind a failure; there whenever `result` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// The cluster, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
    /// All checks, in the order in which they are told.
    pub checks: Vec<CheckReport>,
    /// The whole run, in seconds.
    pub seconds: f64,
}

/// A check.
#[derive(Debug, JsonSchema, Serialize)]
pub struct CheckReport {
    /// Its name.
    pub id: &'static str,
    /// Its heading.
    pub group: &'static str,
    /// What is in order when it finds nothing.
    pub title: &'static str,
    /// `ok`, `info`, `warning`, `error`, `unknown` or `skipped`.
    pub status: &'static str,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<CheckProblem>,
}

/// What a check found.
#[derive(Debug, JsonSchema, Serialize)]
pub struct CheckProblem {
    /// `info`, `warning` or `error`.
    pub severity: &'static str,
    /// What is wrong.
    pub message: String,
    /// What was found, and where.
    pub details: BTreeMap<&'static str, String>,
    /// What mends it: a command, or lines of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl CheckProblem {
    fn new(finding: &Finding, redactor: &Redactor) -> Self {
        let clean = |text: &str| redactor.apply(text).into_owned();
        let details = finding.pairs.iter().filter(|(key, _)| *key != "fix");
        let fix = finding.pairs.iter().find(|(key, _)| *key == "fix");
        Self {
            severity: finding.severity.name(),
            message: clean(&finding.message),
            details: details.map(|(key, value)| (*key, clean(value))).collect(),
            fix: fix.map(|(_, value)| clean(value)),
        }
    }
}

impl CheckReport {
    /// A check's outcome, without secrets.
    #[must_use]
    pub fn new(outcome: &Outcome, redactor: &Redactor) -> Self {
        let status = match (&outcome.answer, outcome.severity()) {
            (None, _) => "skipped",
            (Some(Answer::Unknown(_)), _) => "unknown",
            (Some(_), Some(severity)) => severity.name(),
            (Some(_), None) => "ok",
        };
        let reason = match &outcome.answer {
            Some(Answer::Unknown(reason)) => Some(redactor.apply(reason).into_owned()),
            _ => None,
        };
        Self {
            id: outcome.rule.id,
            group: outcome.rule.group.title(),
            title: outcome.rule.title,
            status,
            reason,
            problems: outcome.findings().iter().map(|finding| CheckProblem::new(finding, redactor)).collect(),
        }
    }
}

/// What people read.
#[must_use]
pub fn text(outcomes: &[Outcome], redactor: &Redactor, took: Duration, colour: bool) -> String {
    let mut text = String::new();
    let mut group: Option<Group> = None;
    for outcome in outcomes.iter().filter(|outcome| outcome.answer.is_some()) {
        if group != Some(outcome.rule.group) {
            if group.is_some() {
                text.push('\n');
            }
            group = Some(outcome.rule.group);
            _ = writeln!(text, "{}", outcome.rule.group.title());
        }
        add(&mut text, outcome, redactor, colour);
    }
    _ = writeln!(text, "\n{}", total(outcomes, took));
    text
}

fn add(text: &mut String, outcome: &Outcome, redactor: &Redactor, colour: bool) {
    let id = outcome.rule.id;
    match &outcome.answer {
        None => {}
        Some(Answer::Ok) => {
            _ = writeln!(text, "  {} {}", mark(None, colour), outcome.rule.title);
        }
        Some(Answer::Unknown(reason)) => {
            let sign = paint("?", 236, colour);
            let reason = escaped(&redactor.apply(reason));
            _ = writeln!(
                text,
                "  {sign} {id}: unknown whether {}\n      reason: {reason}",
                outcome.rule.title
            );
        }
        Some(Answer::Found(findings)) => {
            for finding in findings {
                let message = escaped(&redactor.apply(&finding.message));
                _ = writeln!(text, "  {} {id}: {message}", mark(Some(finding.severity), colour));
                for (key, value) in &finding.pairs {
                    let value = redactor.apply(value);
                    // What mends it may be lines of a file.
                    let mut lines = value.lines().map(escaped);
                    if *key == "fix" && value.contains('\n') {
                        _ = writeln!(text, "      fix:");
                        lines.for_each(|line| _ = writeln!(text, "        {line}"));
                    } else {
                        _ = writeln!(text, "      {key}: {}", lines.next().unwrap_or_default());
                        lines.for_each(|line| _ = writeln!(text, "        {line}"));
                    }
                }
            }
        }
    }
}

/// The sign of a severity; of none that all is well.
pub(super) fn mark(severity: Option<Severity>, colour: bool) -> String {
    match severity {
        None | Some(Severity::Info) => paint("✓", 87, colour),
        Some(Severity::Warning) => paint("!", 192, colour),
        Some(Severity::Error) => paint("✗", 198, colour),
    }
}

/// The colours of the log's levels.
pub(super) fn paint(sign: &str, index: u8, colour: bool) -> String {
    if colour { sign.bold().color(XtermColors::from(index)).to_string() } else { sign.to_owned() }
}

fn total(outcomes: &[Outcome], took: Duration) -> String {
    let asked = outcomes.iter().filter(|outcome| outcome.answer.is_some()).count();
    let count = |severity| outcomes.iter().filter(|outcome| outcome.severity() == Some(severity)).count();
    let unknown =
        outcomes.iter().filter(|outcome| matches!(outcome.answer, Some(Answer::Unknown(_)))).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![plural(errors, "error"), plural(warnings, "warning")];
    if unknown > 0 {
        parts.push(format!("{unknown} unknown"));
    }
    if outcomes.len() > asked {
        parts.push(format!("{} not asked", outcomes.len() - asked));
    }
    format!("{}: {}, in {}", plural(asked, "check"), parts.join(", "), seconds(took))
}
