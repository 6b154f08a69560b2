//! The report as text, on one screen if possible.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{
    ClusterStatus, FluxReady, FluxStatus, NodeStatus, ReleaseStatus, StatusPart, StatusReport, StatusResult,
    Unknown,
};
use crate::base::escape::escaped;
use crate::base::finding::Severity;
use crate::desired::repository::FLUX_NAMESPACE;
use crate::report::checks::{mark, paint};

/// If a kind has more objects than this, those that are ready are only counted.
const MAX_LISTED: usize = 15;

/// How the text looks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    /// Whether signs are coloured.
    pub colour: bool,
    /// The maximum length of messages that others wrote.
    pub longest: Option<usize>,
}

impl View {
    /// A text on one line and without control characters, shortened to the maximum length.
    fn words(self, text: &str) -> String {
        let text = escaped(&text.split_whitespace().collect::<Vec<_>>().join(" "));
        match self.longest {
            Some(longest) if text.chars().count() > longest => {
                let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
                format!("{}…", kept.trim_end())
            }
            _ => text,
        }
    }

    fn mark(self, severity: Option<Severity>) -> String {
        mark(severity, self.colour)
    }

    /// Never shortened: these reasons are rare, and their end matters most.
    fn unknown(self, reason: &str) -> String {
        format!("  {} unknown: {}\n", paint("?", 236, self.colour), escaped(reason))
    }
}

/// The report as text.
pub(crate) fn text(report: &StatusReport, view: View) -> String {
    let mut text = String::new();
    if let Some(cluster) = &report.cluster {
        add_cluster(&mut text, cluster);
    }
    section(&mut text, "Nodes", Some(&report.nodes), report, view);
    section(&mut text, "Releases", report.releases.as_deref(), report, view);
    section(&mut text, "Flux", report.flux.as_deref(), report, view);
    add_problems(&mut text, report, view);
    add_unknown(&mut text, report, view);
    if report.result == StatusResult::Ready && report.problems.is_empty() {
        text.push_str("\nEverything is ready\n");
    }
    text
}

fn add_cluster(text: &mut String, cluster: &ClusterStatus) {
    let ClusterStatus { context, server, version, uid, created } = cluster;
    _ = writeln!(
        text,
        "Cluster {}\n  {}, {}\n  UID {}, created {}",
        escaped(context),
        escaped(server),
        escaped(version),
        escaped(uid),
        escaped(created)
    );
}

/// A line of a section.
trait Row {
    fn severity(&self) -> Option<Severity>;
    /// The columns; the last one may be a sentence.
    fn columns(&self, view: View) -> Vec<String>;
    /// Whether it is listed even if there are many rows.
    fn leads(&self) -> bool;
    /// The group under which it is counted if there are many rows.
    fn counted_as(&self) -> String;
}

impl Row for NodeStatus {
    fn severity(&self) -> Option<Severity> {
        match (self.ready, self.cordoned) {
            (false, _) => Some(Severity::Error),
            (true, true) => Some(Severity::Warning),
            (true, false) => None,
        }
    }

    fn columns(&self, _: View) -> Vec<String> {
        let state = match (self.ready, self.cordoned) {
            (false, _) => self.reason.as_deref().unwrap_or("not ready"),
            (true, true) => "cordoned",
            (true, false) => "",
        };
        let address = self.address.as_deref().unwrap_or_default();
        [&self.name, self.role.word(), &self.version, address, state].map(escaped).to_vec()
    }

    fn leads(&self) -> bool {
        false
    }

    fn counted_as(&self) -> String {
        format!("{}, {}", self.role.word(), if self.ready { "ready" } else { "not ready" })
    }
}

impl Row for ReleaseStatus {
    fn severity(&self) -> Option<Severity> {
        (!self.ready).then_some(Severity::Error)
    }

    fn columns(&self, _: View) -> Vec<String> {
        let chart = match (&self.chart, &self.version) {
            (Some(chart), Some(version)) => format!("{chart} {version}"),
            _ => String::new(),
        };
        let id = format!("{}/{}", self.namespace, self.name);
        let revision = format!("revision {}", self.revision);
        [&id, &chart, &self.status, &revision, &self.owner].map(|text| escaped(text)).to_vec()
    }

    fn leads(&self) -> bool {
        self.in_helmfile
    }

    fn counted_as(&self) -> String {
        let owner = self.owner.split(' ').next().unwrap_or_default();
        let pods = if self.unready.is_some() { ", not ready" } else { "" };
        format!("{}{pods}, {owner}", self.status)
    }
}

impl Row for FluxStatus {
    fn severity(&self) -> Option<Severity> {
        match self.ready {
            _ if self.suspended => Some(Severity::Warning),
            FluxReady::True => None,
            FluxReady::False => Some(Severity::Error),
            _ => Some(Severity::Warning),
        }
    }

    fn columns(&self, view: View) -> Vec<String> {
        // The section of problems says why an object is not ready.
        let state = match self.ready {
            _ if self.suspended => "suspended".to_owned(),
            FluxReady::True => view.words(&self.message),
            _ if self.reason.is_empty() => view.words(&self.message),
            _ => view.words(&self.reason),
        };
        vec![escaped(&self.kind), escaped(&format!("{}/{}", self.namespace, self.name)), state]
    }

    fn leads(&self) -> bool {
        self.kind == "FluxInstance" || (self.name == FLUX_NAMESPACE && self.namespace == FLUX_NAMESPACE)
    }

    fn counted_as(&self) -> String {
        let state = match self.ready {
            _ if self.suspended => "suspended",
            FluxReady::True => "ready",
            FluxReady::False => "not ready",
            _ => "in progress",
        };
        format!("{}, {state}", self.kind)
    }
}

fn section<R: Row>(text: &mut String, title: &str, rows: Option<&[R]>, report: &StatusReport, view: View) {
    _ = writeln!(text, "\n{title}");
    let Some(rows) = rows else {
        let what = title.to_lowercase();
        let unknown = report.unknown.iter().find(|one| one.what.word() == what);
        text.push_str(&view.unknown(unknown.map_or("not asked", |one| one.reason.as_str())));
        return;
    };
    if rows.is_empty() {
        text.push_str("  none\n");
    }
    let (listed, counted) = shortened(rows);
    let columns: Vec<_> = listed.iter().map(|row| row.columns(view)).collect();
    let widths = widths(&columns);
    for (row, columns) in listed.iter().zip(&columns) {
        _ = writeln!(text, "  {} {}", view.mark(row.severity()), padded(columns, &widths));
    }
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for row in counted {
        *counts.entry((std::cmp::Reverse(row.severity()), row.counted_as())).or_default() += 1;
    }
    for ((std::cmp::Reverse(severity), what), count) in counts {
        _ = writeln!(text, "  {} {count} more: {}", view.mark(severity), escaped(&what));
    }
}

/// Splits rows into those that are listed and those that are counted.
fn shortened<R: Row>(rows: &[R]) -> (Vec<&R>, Vec<&R>) {
    let (mut listed, rest): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.leads());
    if rest.len() <= MAX_LISTED {
        listed.extend(rest);
        return (listed, Vec::new());
    }
    let (wrong, mut counted): (Vec<_>, Vec<_>) = rest.into_iter().partition(|row| row.severity().is_some());
    listed.extend(wrong.iter().take(MAX_LISTED));
    counted.extend(wrong.into_iter().skip(MAX_LISTED));
    (listed, counted)
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    widths
}

fn padded(columns: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (text, width) in columns.iter().zip(widths) {
        // A column without text is omitted.
        if *width > 0 {
            _ = write!(line, "{text:width$}  ");
        }
    }
    line.trim_end().to_owned()
}

/// What is unknown, except releases and Flux: their sections say so.
fn add_unknown(text: &mut String, report: &StatusReport, view: View) {
    let elsewhere = |unknown: &&Unknown| ![StatusPart::Releases, StatusPart::Flux].contains(&unknown.what);
    for (index, Unknown { what, reason }) in report.unknown.iter().filter(elsewhere).enumerate() {
        let sign = paint("?", 236, view.colour);
        let start = if index == 0 { "\n" } else { "" };
        _ = writeln!(text, "{start}{sign} {} unknown: {}", what.word(), escaped(reason));
    }
}

fn add_problems(text: &mut String, report: &StatusReport, view: View) {
    if report.problems.is_empty() {
        return;
    }
    text.push_str("\nProblems\n");
    // Messages matter most here.
    let view = View { longest: view.longest.map(|longest| 2 * longest), ..view };
    for problem in report.problems.iter().take(MAX_LISTED) {
        let sign = view.mark(Some(problem.severity));
        _ = writeln!(text, "  {sign} {}: {}", escaped(&problem.object), view.words(&problem.reason));
    }
    if report.problems.len() > MAX_LISTED {
        _ = writeln!(text, "  and {} more", report.problems.len() - MAX_LISTED);
    }
}
