//! Whether the checks block `apps`, for all commands that make a plan.

use crate::base::error::Error;
use crate::base::finding::{Finding, Severity};
use crate::base::stages::Stage;
use crate::check::cluster_identity::{self, Verdict};
use crate::check::{self, Check, Facts, Outcome, Rule};
use crate::gather::{self, Listener};
use crate::settings::Settings;

/// Whether to run a rule now. The identity of the cluster is checked last. Rules about nodes run once the number of nodes is
/// `complete`.
pub(super) fn is_due(rule: &Rule, complete: bool) -> bool {
    rule.id != "cluster-identity" && (complete || !is_about_nodes(rule))
}

pub(super) fn is_about_nodes(rule: &Rule) -> bool {
    matches!(rule.check, Check::Nodes(_))
}

/// The number of rules that answered, and of warnings.
pub(super) struct Judged {
    pub(super) checks: usize,
    pub(super) warnings: usize,
}

/// Runs the rules and logs warnings. The problems in `logged` are not logged again.
///
/// # Errors
///
/// The problems that block `apps`.
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
            finding.logged = logged.contains(finding);
        }
        // In the order of the log.
        findings.sort_by_key(|finding| !finding.logged);
        check::merge_fixes(&mut findings, facts.observed.live.as_ref());
        return Err(Error::Preflight(findings));
    }
    check::merge_fixes(&mut findings, facts.observed.live.as_ref());
    findings.iter().filter(|_| !again).for_each(Finding::log);
    let checks = outcomes.iter().filter(|outcome| outcome.answered()).count();
    Ok(Judged { checks, warnings: findings.len() })
}

/// Ends reading at a cluster that belongs to another repository: its other problems do not matter.
pub(super) struct RightCluster;

impl Listener for RightCluster {
    fn facts(&mut self, facts: &Facts<'_>) -> Result<(), Error> {
        let Some(live) = &facts.observed.live else { return Ok(()) };
        match cluster_identity::judge(facts.options, facts.desired, live) {
            Verdict::Refused(finding) => Err(Error::Preflight(vec![finding])),
            Verdict::Right(_) | Verdict::Fresh | Verdict::Unknown(_) => Ok(()),
        }
    }
}

/// A finding with its severity; with `strict`, warnings are errors.
pub(super) fn weighed(finding: Finding, strict: bool) -> Finding {
    let severity = match finding.severity {
        Severity::Warning if strict => Severity::Error,
        severity => severity,
    };
    Finding { severity, ..finding }
}

/// Judges like the preflight of `apps`, but without waiting for nodes or asking for confirmation.
///
/// # Errors
///
/// The problems that block `apps`.
pub(super) fn judge_all(settings: &Settings, facts: &Facts<'_>) -> Result<(), Error> {
    let live = facts.observed.live.as_ref();
    let registered = live.map_or(0, |live| live.cluster.nodes.len());
    let is_complete = settings.plan_options.stages.has(Stage::Nodes) || registered >= settings.nodes;
    judge(settings, facts, |rule| is_due(rule, is_complete), false, &[])?;
    let Some(live) = live else { return Ok(()) };
    match cluster_identity::judge(facts.options, facts.desired, live) {
        Verdict::Right(_) | Verdict::Fresh => Ok(()),
        Verdict::Refused(finding) => Err(Error::Preflight(vec![finding])),
        Verdict::Unknown(runs) => {
            let unknown = cluster_identity::unknown(live, &runs);
            if !settings.can_ask {
                return Err(Error::Preflight(vec![unknown]));
            }
            Finding { severity: Severity::Warning, ..unknown }.log();
            Ok(())
        }
    }
}
