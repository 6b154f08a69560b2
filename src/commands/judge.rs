//! What keeps `apps` from doing anything, for every command that says what it would do.

use crate::check::{self, Check, Facts, Finding, Outcome, Rule, Severity};
use crate::error::Error;
use crate::gather;
use crate::guard::{self, Verdict};
use crate::settings::Settings;
use crate::stages::Stage;

/// Whether a rule is to be asked. Whether an unknown cluster is the right one is asked last, when nothing else is in the
/// way; nodes that are still to come are waited for, and told of when the number is `complete`.
pub(super) fn is_due(rule: &Rule, complete: bool) -> bool {
    rule.id != "cluster-identity" && (complete || !is_about_nodes(rule))
}

pub(super) fn is_about_nodes(rule: &Rule) -> bool {
    matches!(rule.check, Check::Nodes(_))
}

/// How many rules answered, and how many of them found something that deserves a look.
pub(super) struct Judged {
    pub(super) checks: usize,
    pub(super) warnings: usize,
}

/// Asks the rules; says warnings. `told` are the problems that are on the log.
///
/// # Errors
///
/// What keeps `apps` from doing anything.
pub(super) fn judge(
    settings: &Settings,
    facts: &Facts<'_>,
    is_selected: impl Fn(&Rule) -> bool,
    again: bool,
    logged: &[Finding],
) -> Result<Judged, Error> {
    let outcomes = check::run(facts, is_selected);
    let findings = outcomes.iter().flat_map(Outcome::findings);
    let findings = findings.map(|finding| weighed(finding.clone(), settings.strict));
    let mut findings: Vec<_> = findings.filter(|finding| finding.severity >= Severity::Warning).collect();
    if gather::stops(&findings) {
        for finding in &mut findings {
            finding.told = logged.contains(finding);
        }
        // As they are on the log.
        findings.sort_by_key(|finding| !finding.told);
        return Err(Error::Preflight(findings));
    }
    findings.iter().filter(|_| !again).for_each(Finding::log);
    let checks = outcomes.iter().filter(|outcome| outcome.answered()).count();
    Ok(Judged { checks, warnings: findings.len() })
}

/// A finding as heavy as the user has it: where `strict`, a warning stops a run.
pub(super) fn weighed(finding: Finding, strict: bool) -> Finding {
    let severity = match finding.severity {
        Severity::Warning if strict => Severity::Error,
        severity => severity,
    };
    Finding { severity, ..finding }
}

/// Judges as the preflight of `apps` does, but neither waits for nodes nor asks whether it is the right cluster.
///
/// # Errors
///
/// What keeps `apps` from doing anything.
pub(super) fn judge_all(settings: &Settings, facts: &Facts<'_>) -> Result<(), Error> {
    let live = facts.observed.live.as_ref();
    let verdict = live.map(|live| (live, guard::judge(settings, facts.desired, live)));
    if let Some((_, Verdict::Refused(finding))) = verdict {
        return Err(Error::Preflight(vec![finding]));
    }
    let registered = live.map_or(0, |live| live.cluster.nodes.len());
    let is_complete = settings.wishes.stages.has(Stage::Nodes) || registered >= settings.nodes;
    judge(settings, facts, |rule| is_due(rule, is_complete), false, &[])?;
    if let Some((live, Verdict::Unknown(runs))) = verdict {
        let unknown = guard::unknown(live, &runs);
        if !settings.can_ask {
            return Err(Error::Preflight(vec![unknown]));
        }
        Finding { severity: Severity::Warning, ..unknown }.log();
    }
    Ok(())
}
