//! What is not ready and why, the most important first; and what is unknown.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    EventStatus, FluxReady, FluxStatus, NodeStatus, ReleaseStatus, Seen, StatusReport, Unready, reason,
};
use crate::base::finding::{Finding, Severity};
use crate::base::redact::Redactor;

/// Something that is not ready.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct StatusProblem {
    pub severity: Severity,
    /// The object, as `KIND NAME` or `KIND NAMESPACE/NAME`.
    pub object: String,
    /// Why, as Kubernetes, Helm or Flux report it.
    pub reason: String,
}

words! {
    /// A part of the status that may be unknown.
    StatusPart {
        /// Helm releases.
        Releases = "releases",
        /// Objects of Flux.
        Flux = "flux",
        /// Charts and versions of releases.
        Charts = "charts",
        /// Events.
        Events = "events",
        /// Releases that the helmfiles name.
        Helmfiles = "helmfiles",
    }
}

/// Something that is unknown.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct Unknown {
    pub what: StatusPart,
    /// Why.
    pub reason: String,
}

impl StatusProblem {
    fn error(object: String, reason: String) -> Self {
        Self { severity: Severity::Error, object, reason }
    }

    fn warning(object: String, reason: String) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, reason) }
    }

    /// Why the cluster could not be read.
    pub(super) fn of(finding: &Finding, redactor: &Redactor) -> Self {
        let summary = &finding.summary;
        let reason =
            finding.detail("reason").map_or_else(|| summary.clone(), |reason| format!("{summary}: {reason}"));
        Self {
            severity: finding.severity,
            object: finding.rule.to_owned(),
            reason: redactor.apply(&reason).into_owned(),
        }
    }
}

/// All problems of a report.
pub(super) fn problems(report: &StatusReport) -> Vec<StatusProblem> {
    let releases = || report.releases.iter().flatten().filter(|release| !release.ready);
    let mut flux: Vec<_> = report.flux.iter().flatten().filter_map(flux_object).collect();
    flux.sort_by_key(|(rank, _)| *rank);
    let mut problems: Vec<_> = report.nodes.iter().filter_map(node).collect();
    if report.nodes.is_empty() {
        problems.push(StatusProblem::error("Cluster".to_owned(), "no node is registered".to_owned()));
    }
    // A failed release matters more than pods that are only slow.
    problems.extend(releases().filter(|release| release.status != "deployed").map(release));
    problems.extend(releases().filter(|release| release.status == "deployed").map(release));
    problems.extend(flux.into_iter().map(|(_, problem)| problem));
    problems.extend(
        report.workloads.iter().map(|one| StatusProblem::error(one.object.clone(), workload_words(one))),
    );
    // A stable sort: the order within errors and warnings stays.
    problems.sort_by_key(|problem| problem.severity != Severity::Error);
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
    node.cordoned.then(|| StatusProblem::warning(object, "cordoned: accepts no new pods".to_owned()))
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

/// How many pods are ready, and the latest warning.
fn workload_words(workload: &Unready) -> String {
    let Unready { ready, desired, event, .. } = workload;
    match event {
        Some(EventStatus { reason, message, .. }) => format!("{ready}/{desired} ready: {reason}: {message}"),
        None => format!("{ready}/{desired} ready"),
    }
}

/// The problem of an object of Flux, with a rank: failures first, then what waits for another object, then what is in
/// progress.
fn flux_object(object: &FluxStatus) -> Option<(u8, StatusProblem)> {
    let FluxStatus { kind, namespace, name, ready, suspended, reason, message, .. } = object;
    let id = format!("{kind} {namespace}/{name}");
    let words = [reason, message].into_iter().filter(|text| !text.is_empty()).cloned();
    let words = words.collect::<Vec<_>>().join(": ");
    match *ready {
        _ if *suspended => Some((3, StatusProblem::warning(id, "suspended".to_owned()))),
        FluxReady::True => None,
        FluxReady::False if reason == "DependencyNotReady" => Some((1, StatusProblem::error(id, words))),
        FluxReady::False => Some((0, StatusProblem::error(id, words))),
        _ => Some((2, StatusProblem::warning(id, words))),
    }
}

/// Everything that is unknown.
pub(super) fn unknown(seen: &Seen<'_>, redactor: &Redactor) -> Vec<Unknown> {
    let live = &seen.standing.live;
    let all = [
        (StatusPart::Releases, reason(&live.releases)),
        (StatusPart::Flux, reason(&live.claims)),
        // Without releases there are no charts to read.
        (StatusPart::Charts, reason(&live.records).filter(|_| live.releases.is_ok())),
        (StatusPart::Events, reason(&seen.standing.warnings)),
        (StatusPart::Helmfiles, seen.named.unknown.as_deref()),
    ];
    let found = all
        .into_iter()
        .filter_map(|(what, reason)| Some(Unknown { what, reason: redactor.apply(reason?).into_owned() }));
    found.collect()
}
