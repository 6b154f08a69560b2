//! What is not ready and why, the most important first; and what could not be found out.

use schemars::JsonSchema;
use serde::Serialize;

use super::{EventStatus, FluxStatus, NodeStatus, ReleaseStatus, Seen, StatusReport, Unready, reason};
use crate::base::finding::{Finding, Severity};
use crate::base::redact::Redactor;

/// Something that is not ready.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct StatusProblem {
    /// `warning` or `error`.
    pub severity: &'static str,
    /// What it is about, as `KIND NAME` or `KIND NAMESPACE/NAME`.
    pub object: String,
    /// Why, in the words of whoever knows.
    pub reason: String,
}

/// Something that could not be found out.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Unknown {
    /// `releases`, `flux`, `charts`, `warnings` or `helmfiles`.
    pub what: &'static str,
    /// Why.
    pub reason: String,
}

impl StatusProblem {
    fn error(object: String, reason: String) -> Self {
        Self { severity: Severity::Error.name(), object, reason }
    }

    fn warning(object: String, reason: String) -> Self {
        Self { severity: Severity::Warning.name(), ..Self::error(object, reason) }
    }

    /// What keeps the cluster from being looked at.
    pub(super) fn of(finding: &Finding, redactor: &Redactor) -> Self {
        let words = finding.pairs.iter().find(|(key, _)| *key == "reason");
        let reason = words
            .map_or_else(|| finding.message.clone(), |(_, words)| format!("{}: {words}", finding.message));
        Self {
            severity: finding.severity.name(),
            object: finding.rule.to_owned(),
            reason: redactor.apply(&reason).into_owned(),
        }
    }
}

/// Everything that is not ready.
pub(super) fn problems(report: &StatusReport) -> Vec<StatusProblem> {
    let releases = || report.releases.iter().flatten().filter(|release| !release.ready);
    let mut flux: Vec<_> = report.flux.iter().flatten().filter_map(flux_object).collect();
    flux.sort_by_key(|(rank, _)| *rank);
    let mut problems: Vec<_> = report.nodes.iter().filter_map(node).collect();
    if report.nodes.is_empty() {
        problems.push(StatusProblem::error("Cluster".to_owned(), "no node is registered".to_owned()));
    }
    // Helm's own word weighs more than pods that are only slow.
    problems.extend(releases().filter(|release| release.status != "deployed").map(release));
    problems.extend(releases().filter(|release| release.status == "deployed").map(release));
    problems.extend(flux.into_iter().map(|(_, problem)| problem));
    problems.extend(
        report.workloads.iter().map(|one| StatusProblem::error(one.object.clone(), workload_words(one))),
    );
    // Stable, so that the order stays within each.
    problems.sort_by_key(|problem| problem.severity != Severity::Error.name());
    problems
}

fn node(node: &NodeStatus) -> Option<StatusProblem> {
    let object = format!("Node {}", node.name);
    if !node.ready {
        let words: Vec<_> = [&node.reason, &node.message].into_iter().flatten().cloned().collect();
        let words =
            if words.is_empty() { "its kubelet has not reported yet".to_owned() } else { words.join(": ") };
        return Some(StatusProblem::error(object, words));
    }
    node.cordoned.then(|| StatusProblem::warning(object, "takes no new pods: it is cordoned".to_owned()))
}

fn release(release: &ReleaseStatus) -> StatusProblem {
    let mut words = Vec::new();
    if release.status != "deployed" {
        words.push(match (&release.pending_since, &release.description) {
            (Some(since), _) => format!("{} since {since}", release.status),
            (None, Some(description)) => format!("{}: {description}", release.status),
            (None, None) => release.status.clone(),
        });
    }
    words.extend(release.unready.as_ref().map(|one| format!("{} {}", one.object, workload_words(one))));
    StatusProblem::error(format!("Release {}/{}", release.namespace, release.name), words.join("; "))
}

/// How much is missing, and the last warning.
fn workload_words(workload: &Unready) -> String {
    let Unready { have, want, event, .. } = workload;
    match event {
        Some(EventStatus { reason, message, .. }) => format!("{have}/{want} ready: {reason}: {message}"),
        None => format!("{have}/{want} ready"),
    }
}

/// With a rank: a failure, what only waits for another object, what Flux is at work on.
fn flux_object(object: &FluxStatus) -> Option<(u8, StatusProblem)> {
    let FluxStatus { kind, namespace, name, ready, suspended, reason, message, .. } = object;
    let id = format!("{kind} {namespace}/{name}");
    let words = [reason, message].into_iter().filter(|text| !text.is_empty()).cloned();
    let words = words.collect::<Vec<_>>().join(": ");
    match *ready {
        _ if *suspended => Some((3, StatusProblem::warning(id, "suspended".to_owned()))),
        "True" => None,
        "False" if reason == "DependencyNotReady" => Some((1, StatusProblem::error(id, words))),
        "False" => Some((0, StatusProblem::error(id, words))),
        _ => Some((2, StatusProblem::warning(id, words))),
    }
}

/// Everything that could not be found out.
pub(super) fn unknown(seen: &Seen<'_>, redactor: &Redactor) -> Vec<Unknown> {
    let live = &seen.standing.live;
    let all = [
        ("releases", reason(&live.releases)),
        ("flux", reason(&live.claims)),
        // Without releases there is nothing to read.
        ("charts", reason(&live.records).filter(|_| live.releases.is_ok())),
        ("warnings", reason(&seen.standing.warnings)),
        ("helmfiles", seen.named.unknown.as_deref()),
    ];
    let found = all
        .into_iter()
        .filter_map(|(what, reason)| Some(Unknown { what, reason: redactor.apply(reason?).into_owned() }));
    found.collect()
}
