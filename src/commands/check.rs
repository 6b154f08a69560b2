//! `k3s-boot check`: reports all problems with fixes; changes nothing.

use std::fmt::Write as _;
use std::time::Instant;

use super::{Failed, Session};
use crate::base::error::Error;
use crate::base::finding::{Finding, Severity};
use crate::base::logger::{self, Level};
use crate::base::scratch::Scratch;
use crate::check::{self, Outcome};
use crate::gather::{self, CommandOutputs, Context, Purpose};
use crate::report;
use crate::report::checks::{CheckCounts, CheckReport, ChecksReport, ChecksResult, Style, text};
use crate::report::{ClusterReport, SchemaVersion, rounded};
use crate::settings::Settings;
use crate::settings::config::{self, Pinned};

/// Runs all checks and prints the report; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn check(session: &Session<'_>, pinned: bool) -> std::io::Result<u8> {
    let Session { settings, redactor, .. } = session;
    let start = Instant::now();
    let (outcomes, cluster) = match Box::pin(gather_outcomes(session)).await {
        Ok(gathered) => {
            session.transcript.discard();
            gathered
        }
        Err(error) => {
            let Failed { failure, .. } = session.log_failure(&error, None);
            let exit_code = error.exit_code(false);
            let report = ChecksReport {
                schema_version: SchemaVersion,
                result: ChecksResult::Failed,
                exit_code,
                failure: Some(failure),
                cluster: None,
                counts: CheckCounts::default(),
                checks: Vec::new(),
                seconds: rounded(start.elapsed()),
            };
            return session.deliver(&report, exit_code, false);
        }
    };
    let heaviest = outcomes.iter().filter_map(Outcome::severity).max();
    let (result, failed) = match heaviest {
        Some(Severity::Error) => (ChecksResult::Errors, true),
        Some(Severity::Warning) => (ChecksResult::Warnings, settings.strict),
        Some(Severity::Info) | None => (ChecksResult::Ok, false),
    };
    let failed = failed || (pinned && !pin(settings, &outcomes, cluster.as_ref()));
    let exit_code = u8::from(failed);
    if !settings.json {
        let style = Style { colour: settings.colour, columns: logger::columns(&std::io::stdout()) };
        report::print_text(text(&outcomes, redactor, start.elapsed(), style), settings.guard)?;
    }
    let report = ChecksReport {
        schema_version: SchemaVersion,
        result,
        exit_code,
        failure: None,
        cluster,
        counts: CheckCounts::new(&outcomes),
        checks: outcomes.iter().map(|outcome| CheckReport::new(outcome, redactor)).collect(),
        seconds: rounded(start.elapsed()),
    };
    session.deliver(&report, exit_code, false)
}

async fn gather_outcomes(session: &Session<'_>) -> Result<(Vec<Outcome>, Option<ClusterReport>), Error> {
    let Session { settings, redactor, .. } = session;
    let files = gather::files(settings, redactor);
    let scratch = Scratch::new(&settings.temp)?;
    let tools = session.toolbox(&files, &scratch)?;
    let context =
        Context { settings, tools: &tools, scratch: &scratch, redactor, outputs: &CommandOutputs::default() };
    let picture = Box::pin(gather::gather(context, files, Purpose::Check, &mut ())).await?;
    let cluster = picture.observed.live.as_ref().map(|live| ClusterReport::new(&tools.target, live));
    Ok((check::run_all(&picture.facts()), cluster))
}

/// Pins the cluster, unless its identity was refused. Returns whether it is pinned.
fn pin(settings: &Settings, outcomes: &[Outcome], cluster: Option<&ClusterReport>) -> bool {
    let refused = |outcome: &Outcome| {
        outcome.rule.id == "cluster-identity" && outcome.severity() == Some(Severity::Error)
    };
    let Some(cluster) = cluster.filter(|_| !outcomes.iter().any(refused)) else {
        tracing::error!(file = %settings.config_file.display(), "Cluster was not pinned");
        return false;
    };
    match config::pin(&settings.config_file, &cluster.uid) {
        Ok(pinned) => {
            let message = match pinned {
                Pinned::Created | Pinned::Changed => "Cluster pinned",
                Pinned::Unchanged => "Cluster is already pinned",
            };
            let file = settings.config_file.display().to_string();
            logger::log(Level::Info, message, &[("uid", cluster.uid.clone()), ("file", file)]);
            true
        }
        Err(findings) => {
            findings.iter().for_each(Finding::log);
            false
        }
    }
}

/// Lists all checks.
pub(crate) fn list() -> String {
    let width = check::rules::ALL.iter().map(|rule| rule.id.len()).max().unwrap_or_default();
    let mut text = String::new();
    let mut group = None;
    for rule in check::rules::ALL {
        if group != Some(rule.group) {
            let space = if group.is_some() { "\n" } else { "" };
            group = Some(rule.group);
            _ = writeln!(text, "{space}{}", rule.group.title());
        }
        _ = writeln!(text, "  {:width$}  {}", rule.id, rule.title);
    }
    text
}

/// Explains a check.
pub(crate) fn explain(id: &str) -> Option<String> {
    let rule = check::rules::ALL.iter().find(|rule| rule.id == id)?;
    Some(format!("{}: {}\n\n{}\n", rule.id, rule.title, rule.why))
}
