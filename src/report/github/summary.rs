//! The summary of a step, as Markdown.
//!
//! Text of others is formatted as code, inline or as a block, so that it cannot be markup, a link or a mention.

use std::fmt::Write as _;
use std::time::Duration;

use super::cut;
use crate::base::duration::seconds;
use crate::base::escape::escaped;
use crate::report::failure::FailureReport;
use crate::report::{ProblemReport, ReleaseReport, Report, RunResult};

/// The maximum number of rows and of problems: the runner rejects a summary that is too large.
const MAX_ROWS: usize = 100;

/// What is appended to the step's summary.
pub(super) fn text(report: &Report) -> String {
    // A previous program may not have ended its last line.
    let mut text = format!("\n## k3s-boot: {}\n\n", report.result.word());
    let took = seconds(Duration::from_secs_f64(report.seconds));
    let outcome = match (&report.failure, &report.flux, report.result) {
        (Some(failure), ..) => format!("{}, after {took}.", failure.message),
        (None, Some(flux), _) => {
            format!("Flux syncs {} at {}, after {took}.", code(&flux.repository), code(&flux.revision))
        }
        (None, None, RunResult::Partial) => format!("Done in {took}; Flux was not verified."),
        _ => format!("Releases are installed, but Flux has no repository to sync, after {took}."),
    };
    _ = writeln!(text, "{outcome}");
    if let Some(cluster) = &report.cluster {
        let (context, server, uid) = (code(&cluster.context), code(&cluster.server), code(&cluster.uid));
        _ = writeln!(text, "\nCluster {context} at {server}, UID {uid}, nodes: {}.", cluster.nodes);
    }
    if let Some(failure) = &report.failure {
        add_failure(&mut text, failure, report);
    }
    add_releases(&mut text, &report.releases);
    text
}

fn add_failure(text: &mut String, failure: &FailureReport, report: &Report) {
    let named = failure.object.is_none().then_some(&failure.culprit);
    let lines = [
        ("Release", failure.release.as_ref()),
        ("Object", failure.object.as_ref()),
        ("Culprit", named.filter(|culprit| failure.release.as_ref() != Some(culprit))),
        ("State", failure.state.as_ref()),
        ("Reason", Some(&failure.reason).filter(|_| report.problems.is_empty())),
        ("Cause", Some(&failure.cause).filter(|cause| **cause != failure.reason)),
        ("Log", report.log.as_ref()),
    ];
    text.push('\n');
    for (word, value) in lines {
        if let Some(value) = value {
            _ = writeln!(text, "- {word}: {}", code(value));
        }
    }
    for problem in report.problems.iter().take(MAX_ROWS) {
        add_problem(text, problem);
    }
    if report.problems.len() > MAX_ROWS {
        _ = writeln!(text, "- and {} more problems", report.problems.len() - MAX_ROWS);
    }
    _ = writeln!(text, "\nFix:\n\n{}", block(&failure.fix));
    if let Some(command) = &failure.resume {
        _ = writeln!(text, "\nResume with:\n\n{}", block(command));
    }
    if !failure.events.is_empty() {
        _ = writeln!(text, "\nEvents:\n\n{}", block(&failure.events.join("\n")));
    }
    if !failure.container_logs.is_empty() {
        _ = writeln!(text, "\nContainer logs:\n\n{}", block(&failure.container_logs.join("\n")));
    }
}

fn add_problem(text: &mut String, problem: &ProblemReport) {
    _ = writeln!(text, "- {}, {}: {}", code(problem.rule), problem.severity.name(), code(&problem.message));
    for (key, value) in &problem.details {
        _ = writeln!(text, "  - {}: {}", code(key), code(value));
    }
}

fn add_releases(text: &mut String, releases: &[ReleaseReport]) {
    if releases.is_empty() {
        return;
    }
    text.push_str("\n| release | version | result | took |\n|---|---|---|---:|\n");
    for release in releases.iter().take(MAX_ROWS) {
        let took = seconds(Duration::from_secs_f64(release.seconds));
        let (id, version) =
            (cell(&format!("{}/{}", release.namespace, release.name)), cell(&release.version));
        _ = writeln!(text, "| {id} | {version} | {} | {took} |", release.status.word());
    }
    if releases.len() > MAX_ROWS {
        _ = writeln!(text, "\nand {} more", releases.len() - MAX_ROWS);
    }
}

/// The longest run of backticks in a text.
fn ticks(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// A text as inline code: on one line, between more backticks than it holds in a row.
fn code(text: &str) -> String {
    let text = escaped(&cut(text));
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let fence = "`".repeat(ticks(&text) + 1);
    // Markdown strips one space at either end.
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Inline code in a table, where a bar ends a cell even in code.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A text as a block of code.
fn block(text: &str) -> String {
    let lines: Vec<_> = cut(text).lines().map(escaped).collect();
    let text = lines.join("\n");
    let fence = "`".repeat(ticks(&text).max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insta::assert_snapshot;

    use super::*;
    use crate::base::finding::Severity;
    use crate::report::failure::Class;
    use crate::report::{ClusterReport, FluxReport, ReleaseResult};

    fn release(name: &str, status: ReleaseResult) -> ReleaseReport {
        let name = name.to_owned();
        ReleaseReport { namespace: "a".to_owned(), name, version: "1.2.3".to_owned(), status, seconds: 3.1 }
    }

    fn report() -> Report {
        let cluster = ClusterReport {
            context: "default".to_owned(),
            server: "https://10.0.0.10:6443".to_owned(),
            uid: "7f0c".to_owned(),
            nodes: 3,
        };
        let releases = vec![release("b", ReleaseResult::Synced), release("c|`", ReleaseResult::Failed)];
        Report { seconds: 139.0, cluster: Some(cluster), releases, ..Report::default() }
    }

    /// Snapshots keep no empty line at the start.
    fn shown(report: &Report) -> String {
        text(report).strip_prefix('\n').unwrap().to_owned()
    }

    #[test]
    fn a_good_run() {
        let flux = FluxReport {
            repository: "ssh://git@example.org/home.git".to_owned(),
            revision: "main@sha1:4b".to_owned(),
        };
        let report = Report { result: RunResult::Complete, flux: Some(flux), ..report() };
        assert_snapshot!(shown(&report), @r"
        ## k3s-boot: complete

        Flux syncs `ssh://git@example.org/home.git` at `main@sha1:4b`, after 2m19s.

        Cluster `default` at `https://10.0.0.10:6443`, UID `7f0c`, nodes: 3.

        | release | version | result | took |
        |---|---|---|---:|
        | `a/b` | `1.2.3` | synced | 3.1s |
        | `` a/c\|` `` | `1.2.3` | failed | 3.1s |
        ");
    }

    #[test]
    fn a_failed_run() {
        let texts =
            ["Pod a/c-1", "the container is crash-looping", "no\n| x | <b>`@me`</b>", "one\n```\n# two"];
        let failure = FailureReport {
            resume: Some("k3s-boot apps --from apps".to_owned()),
            release: Some("a/c".to_owned()),
            object: Some("Pod a/c-1".to_owned()),
            state: Some("CrashLoopBackOff".to_owned()),
            container_logs: vec!["last line".to_owned()],
            ..FailureReport::example(Class::Release, "Failed to sync Helm releases", texts)
        };
        let log = Some("/state/x.log".to_owned());
        let report = Report { result: RunResult::Failed, failure: Some(failure), log, ..report() };
        assert_snapshot!(shown(&report), @r"
        ## k3s-boot: failed

        Failed to sync Helm releases, after 2m19s.

        Cluster `default` at `https://10.0.0.10:6443`, UID `7f0c`, nodes: 3.

        - Release: `a/c`
        - Object: `Pod a/c-1`
        - State: `CrashLoopBackOff`
        - Reason: ``no\n| x | <b>`@me`</b>``
        - Cause: `the container is crash-looping`
        - Log: `/state/x.log`

        Fix:

        ````text
        one
        ```
        # two
        ````

        Resume with:

        ```text
        k3s-boot apps --from apps
        ```

        Container logs:

        ```text
        last line
        ```

        | release | version | result | took |
        |---|---|---|---:|
        | `a/b` | `1.2.3` | synced | 3.1s |
        | `` a/c\|` `` | `1.2.3` | failed | 3.1s |
        ");
    }

    #[test]
    fn a_preflight_with_many_problems() {
        let problem = |_| ProblemReport {
            rule: "tools",
            severity: Severity::Error,
            message: "x".repeat(5000),
            details: BTreeMap::from([("deps", "é".repeat(5000))]),
            fix: Some("y".repeat(5000)),
        };
        let (cause, fix) = ("z".repeat(5000), "y".repeat(5000));
        let texts = ["tools", &cause, &cause, &fix];
        let failure = FailureReport::example(Class::Preflight, "Preflight failed", texts);
        let problems = (0..500).map(problem).collect();
        let report =
            Report { result: RunResult::Failed, failure: Some(failure), problems, ..Report::default() };
        let text = text(&report);
        assert!(text.contains("and 400 more problems"));
        // GitHub's limit is 1 MiB for a step.
        assert!(text.len() < 512 * 1024, "{}", text.len());
    }

    proptest::proptest! {
        #[test]
        fn nothing_escapes_from_code(text: String, hostile in "[`a \n\r|\\\\]{0,12}") {
            for text in [text, hostile] {
                let (inline, block) = (code(&text), block(&text));
                proptest::prop_assert!(!inline.contains(['\n', '\r']));
                if inline != "(empty)" {
                    let fence = inline.len() - inline.trim_start_matches('`').len();
                    let inner = &inline[fence..inline.len() - fence];
                    proptest::prop_assert!(ticks(inner) < fence && !inner.starts_with('`') && !inner.ends_with('`'));
                }
                let fence = block.split("text\n").next().unwrap();
                let inner = block.lines().skip(1).collect::<Vec<_>>();
                let (last, inner) = inner.split_last().unwrap();
                proptest::prop_assert_eq!(*last, fence);
                proptest::prop_assert!(inner.iter().all(|line| ticks(line) < fence.len()));
                let bars = cell(&text);
                let bare = bars.replace("\\|", "");
                proptest::prop_assert!(!bare.contains('|'));
            }
        }
    }
}
