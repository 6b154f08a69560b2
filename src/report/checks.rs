//! The report of `k3s-boot check`, as text or JSON.

use std::fmt::Write as _;
use std::time::Duration;

use owo_colors::{OwoColorize as _, XtermColors};
use schemars::JsonSchema;
use serde::Serialize;

use super::failure::FailureReport;
use super::{ClusterReport, ProblemReport, SchemaVersion};
use crate::base::duration::seconds;
use crate::base::escape::escaped;
use crate::base::fields;
use crate::base::finding::{Finding, Severity};
use crate::base::redact::Redactor;
use crate::check::{Answer, Outcome};

/// The report of `k3s-boot check`, as `-o json` prints it.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ChecksReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// The worst finding.
    pub result: ChecksResult,
    /// The exit code.
    pub exit_code: u8,
    /// Details of the failure; present if `result` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// The cluster, if it was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
    /// The number of checks and findings.
    pub counts: CheckCounts,
    /// All checks, in the order of the text report.
    pub checks: Vec<CheckReport>,
    /// Duration of the run in seconds.
    pub seconds: f64,
}

/// The result of `k3s-boot check`.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChecksResult {
    /// No errors and no warnings.
    Ok,
    /// Warnings, but no errors.
    Warnings,
    /// Errors.
    Errors,
    /// The checks could not be run.
    Failed,
}

/// The number of checks and findings.
#[derive(Clone, Copy, Debug, Default, JsonSchema, PartialEq, Eq, Serialize)]
pub(crate) struct CheckCounts {
    /// All checks, including skipped ones.
    pub checks: usize,
    /// Checks that passed.
    pub ok: usize,
    /// Errors; a check may report several.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Findings for information.
    pub infos: usize,
    /// Checks that could not be run.
    pub unknown: usize,
    /// Checks that had nothing to check.
    pub not_applicable: usize,
    /// Checks that the user skipped.
    pub skipped: usize,
}

impl CheckCounts {
    /// Counts checks and findings.
    pub(crate) fn new(outcomes: &[Outcome]) -> Self {
        let mut counts = Self { checks: outcomes.len(), ..Self::default() };
        for outcome in outcomes {
            match &outcome.answer {
                None => counts.skipped += 1,
                Some(Answer::Ok | Answer::Counted(_)) => counts.ok += 1,
                Some(Answer::NotApplicable(_)) => counts.not_applicable += 1,
                Some(Answer::Unknown(_)) => counts.unknown += 1,
                Some(Answer::Found(findings)) => {
                    for finding in findings {
                        match finding.severity {
                            Severity::Info => counts.infos += 1,
                            Severity::Warning => counts.warnings += 1,
                            Severity::Error => counts.errors += 1,
                        }
                    }
                }
            }
        }
        counts
    }
}

/// A check.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct CheckReport {
    /// The ID, as `--skip-check` and `--explain` accept it.
    pub id: &'static str,
    /// The heading in the text report.
    pub group: &'static str,
    /// What holds if the check passes.
    pub title: &'static str,
    /// The answer.
    pub status: CheckStatus,
    /// Why the status is `unknown` or `not_applicable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was checked, such as `3 releases`, if the status is `ok` and the check counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// The findings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
}

/// The answer of a check.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckStatus {
    /// It checked something and found no problem.
    Ok,
    /// It found something for information.
    Info,
    /// It found something that deserves attention.
    Warning,
    /// It found something that makes this bootstrap fail or do harm.
    Error,
    /// It could not be run.
    Unknown,
    /// There is nothing to check.
    NotApplicable,
    /// The user skipped it.
    Skipped,
}

impl CheckReport {
    /// The outcome of a check, without secrets.
    pub(crate) fn new(outcome: &Outcome, redactor: &Redactor) -> Self {
        let status = match (&outcome.answer, outcome.severity()) {
            (None, _) => CheckStatus::Skipped,
            (Some(Answer::NotApplicable(_)), _) => CheckStatus::NotApplicable,
            (Some(Answer::Unknown(_)), _) => CheckStatus::Unknown,
            (Some(_), None) => CheckStatus::Ok,
            (Some(_), Some(Severity::Info)) => CheckStatus::Info,
            (Some(_), Some(Severity::Warning)) => CheckStatus::Warning,
            (Some(_), Some(Severity::Error)) => CheckStatus::Error,
        };
        let reason = match &outcome.answer {
            Some(Answer::Unknown(reason) | Answer::NotApplicable(reason)) => {
                Some(redactor.apply(reason).into_owned())
            }
            _ => None,
        };
        let checked = match &outcome.answer {
            Some(Answer::Counted(checked)) => Some(checked.clone()),
            _ => None,
        };
        Self {
            id: outcome.rule.id,
            group: outcome.rule.group.title(),
            title: outcome.rule.title,
            status,
            reason,
            checked,
            problems: outcome
                .findings()
                .iter()
                .map(|finding| ProblemReport::new(finding, redactor))
                .collect(),
        }
    }
}

/// Lists of IDs are wrapped at this width.
const WIDTH: usize = 100;

/// The indentation of the details of a finding.
const INDENT: &str = "      ";

/// How the text looks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Style {
    pub colour: bool,
    /// The width of the terminal, if there is one.
    pub columns: Option<usize>,
}

/// The report as text: the groups, what was not checked, and the counts.
pub(crate) fn text(outcomes: &[Outcome], redactor: &Redactor, took: Duration, style: Style) -> String {
    let groups = outcomes.chunk_by(|one, other| one.rule.group == other.rule.group);
    let groups = groups.filter_map(|outcomes| {
        let title = outcomes.first()?.rule.group.title();
        // Their names would only confuse users of another distribution.
        if outcomes.iter().all(Outcome::is_for_another_distribution) {
            return None;
        }
        Some((title, group(outcomes, redactor, style)))
    });
    let sections = groups.chain([("Not checked", unknown(outcomes, redactor, style))]);
    let mut text = String::new();
    for (title, lines) in sections.filter(|(_, lines)| !lines.is_empty()) {
        _ = writeln!(text, "{title}\n{lines}");
    }
    text + &total(&CheckCounts::new(outcomes), took)
}

/// The findings of a group, then the checks that are not applicable.
fn group(outcomes: &[Outcome], redactor: &Redactor, style: Style) -> String {
    let Style { colour, .. } = style;
    let mut text = String::new();
    let mut idle = Vec::new();
    for outcome in outcomes {
        match &outcome.answer {
            None | Some(Answer::Unknown(_)) => {}
            Some(Answer::Ok) => _ = writeln!(text, "  {} {}", mark(None, colour), outcome.rule.title),
            Some(Answer::Counted(checked)) => {
                _ = writeln!(text, "  {} {} ({checked})", mark(None, colour), outcome.rule.title);
            }
            Some(Answer::NotApplicable(_)) => idle.push(outcome.rule.id),
            Some(Answer::Found(findings)) => {
                for finding in findings {
                    add(&mut text, finding, redactor, style);
                }
            }
        }
    }
    if !idle.is_empty() {
        let ids = listed("  – not applicable: ", &idle);
        _ = writeln!(text, "  {} not applicable: {ids}", paint("–", QUIET, colour));
    }
    text
}

fn add(text: &mut String, finding: &Finding, redactor: &Redactor, Style { colour, columns }: Style) {
    let summary = escaped(&redactor.apply(&finding.summary));
    _ = writeln!(text, "  {} {}: {summary}", mark(Some(finding.severity), colour), finding.rule);
    for (key, value) in finding.fields() {
        fields::append(text, INDENT, (key, key), &redactor.apply(&value), columns);
    }
}

/// The checks that are unknown, grouped by reason: many share one.
fn unknown(outcomes: &[Outcome], redactor: &Redactor, Style { colour, columns }: Style) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for outcome in outcomes {
        if let Some(Answer::Unknown(reason)) = &outcome.answer {
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, ids)) => ids.push(outcome.rule.id),
                None => reasons.push((reason, vec![outcome.rule.id])),
            }
        }
    }
    let mut text = String::new();
    for (reason, ids) in reasons {
        let ids = listed("  ? ", &ids);
        _ = writeln!(text, "  {} {ids}: not checked", paint("?", QUIET, colour));
        fields::append(&mut text, INDENT, ("reason", "reason"), &redactor.apply(reason), columns);
    }
    text
}

/// Joins names with commas and wraps the lines; `before` precedes the first name.
fn listed(before: &str, names: &[&str]) -> String {
    let mut text = String::new();
    let mut width = before.chars().count();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            width += ", ".len();
            let fits = width + name.len() < WIDTH;
            text.push_str(if fits { ", " } else { ",\n" });
            if !fits {
                text.push_str(INDENT);
                width = INDENT.len();
            }
        }
        text.push_str(name);
        width += name.len();
    }
    text
}

/// The colour of signs that are neither good nor bad.
const QUIET: u8 = 236;

/// The sign of a severity; without one the check has passed.
pub(super) fn mark(severity: Option<Severity>, colour: bool) -> String {
    match severity {
        None => paint("✓", 87, colour),
        Some(Severity::Info) => paint("i", 87, colour),
        Some(Severity::Warning) => paint("!", 192, colour),
        Some(Severity::Error) => paint("✗", 198, colour),
    }
}

/// Colours a sign as the log colours its levels.
pub(super) fn paint(sign: &str, index: u8, colour: bool) -> String {
    if colour { sign.bold().color(XtermColors::from(index)).to_string() } else { sign.to_owned() }
}

/// The counts, and a legend of the less common signs.
fn total(counts: &CheckCounts, took: Duration) -> String {
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut parts =
        vec![format!("{} ok", counts.ok), plural(counts.errors, "error"), plural(counts.warnings, "warning")];
    let others = [
        (counts.infos, "info", Some("i information")),
        (counts.unknown, "unknown", Some("? not checked")),
        (counts.not_applicable, "not applicable", Some("– nothing to check")),
        (counts.skipped, "skipped", None),
    ];
    let others = others.iter().filter(|(count, ..)| *count > 0);
    parts.extend(others.clone().map(|(count, word, _)| format!("{count} {word}")));
    let signs: Vec<_> = others.filter_map(|(.., sign)| *sign).collect();
    let mut text =
        format!("{}: {}, in {}\n", plural(counts.checks, "check"), parts.join(", "), seconds(took));
    if !signs.is_empty() {
        _ = writeln!(text, "({})", signs.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insta::assert_snapshot;

    use super::*;
    use crate::check::rules::ALL;

    /// The outcomes of rules, in the order of reports. Those without an answer were skipped.
    fn outcomes(answers: Vec<(&str, Option<Answer>)>) -> Vec<Outcome> {
        let mut answers: BTreeMap<_, _> = answers.into_iter().collect();
        let outcomes = ALL.iter().filter_map(|rule| Some(Outcome { rule, answer: answers.remove(rule.id)? }));
        outcomes.collect()
    }

    fn mixed() -> Vec<Outcome> {
        let away = || Answer::unknown("the cluster does not answer");
        let mut answers = vec![
            ("config", Answer::not_applicable("there is no k3s-boot.yaml")),
            ("env", Answer::judged(Some(Finding::error("env", "Missing").with("envs", "A").fix("a\nb")))),
            ("programs", Answer::Ok),
            ("versions", Answer::not_applicable("x")),
            ("mirror", Answer::judged(["a", "b"].map(|name| Finding::warning("mirror", name)))),
            ("kube-version", Answer::judged(Some(Finding::info("kube-version", "Newer")))),
            ("sops", Answer::unknown("sops is not installed")),
        ];
        answers.extend(["k3s-flannel", "coredns-bundled", "nodes", "flux-owned"].map(|id| (id, away())));
        let answers = answers.into_iter().map(|(id, answer)| (id, Some(answer)));
        outcomes(answers.chain([("rights", None), ("clock", None)]).collect())
    }

    #[test]
    fn the_text_has_signs_and_counts() {
        let text = text(&mixed(), &Redactor::default(), Duration::from_millis(1300), Style::default());
        assert_snapshot!(text, @r"
        Environment
          ✗ env: Missing
              envs: A
              fix:
                a
                b
          ✓ required programs are installed
          – not applicable: config, versions

        Repository
          ! mirror: a
          ! mirror: b

        Cluster
          i kube-version: Newer

        Not checked
          ? sops: not checked
              reason: sops is not installed
          ? k3s-flannel, coredns-bundled, nodes, flux-owned: not checked
              reason: the cluster does not answer

        13 checks: 1 ok, 1 error, 2 warnings, 1 info, 5 unknown, 2 not applicable, 2 skipped, in 1.3s
        (i information, ? not checked, – nothing to check)
        ");
    }

    #[test]
    fn the_legend_explains_only_signs_that_are_shown() {
        let fine = ["config", "env", "nodes"].map(|id| (id, Some(Answer::Ok)));
        let text =
            text(&outcomes(fine.into()), &Redactor::default(), Duration::from_secs(1), Style::default());
        assert!(text.ends_with("\n\n3 checks: 3 ok, 0 errors, 0 warnings, in 1.0s\n"), "{text}");
        assert!(!text.contains("Not checked") && !text.contains('–'), "{text}");
    }

    #[test]
    fn every_check_is_counted_once_and_every_finding() {
        let counts = CheckCounts::new(&mixed());
        let expected = CheckCounts {
            checks: 13,
            ok: 1,
            errors: 1,
            warnings: 2,
            infos: 1,
            unknown: 5,
            not_applicable: 2,
            skipped: 2,
        };
        assert_eq!(counts, expected);
    }
}
