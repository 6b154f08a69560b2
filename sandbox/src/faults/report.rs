//! The table of a campaign.

use std::time::Duration;

use super::verdict::{Found, Output, Plain, Verdict};
use crate::bench::median;

/// The lines that k3s-boot and helmfile print when helm starts on a release.
const RELEASE_STARTED: (&str, &str) = ("Syncing release release=", "Upgrading release=");

/// One fault: a row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    what: &'static str,
    code: Option<i32>,
    /// Time from the injection, or from the start if that was later, until the fault was reported.
    reported: Option<Duration>,
    /// Time from the start of the release, if helm had started one.
    reported_in_release: Option<Duration>,
    found: Found,
    plain: Option<PlainResult>,
    problems: Vec<String>,
}

/// The result of plain helmfile. Times are measured as for k3s-boot.
struct PlainResult {
    ended: Duration,
    ended_in_release: Option<Duration>,
    names_object: bool,
    blind: bool,
    succeeded: bool,
}

/// The head of the table.
pub(super) fn head() -> [&'static str; 2] {
    [
        "| fault | exit code | object | cause | fix | reported after | plain ended after | plain names the object | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
}

impl Row {
    pub(super) fn new(name: &'static str, what: &'static str, output: &Output, verdict: Verdict) -> Self {
        let Verdict { reported, found, problems } = verdict;
        let reported_in_release = reported.and_then(|time| since_release(output, time, RELEASE_STARTED.0));
        let reported = reported.map(|time| time.saturating_sub(output.injected_at));
        Self { name, what, code: output.code, reported, reported_in_release, found, plain: None, problems }
    }

    /// A fault that could not be injected or removed.
    pub(super) fn failed(name: &'static str, what: &'static str, problem: String) -> Self {
        let verdict = Verdict { reported: None, found: Found::default(), problems: vec![problem] };
        Self::new(name, what, &Output::default(), verdict)
    }

    /// Adds the result of plain helmfile for the same fault.
    pub(super) fn add_plain(&mut self, expected: Plain, output: &Output) {
        let succeeded = output.code == Some(0);
        let (expects_success, names_object) = match expected {
            Plain::Fails(object) => (false, output.contains(object)),
            Plain::Succeeds(object) => (true, output.contains(object)),
            Plain::MayFail(object) => (succeeded, output.contains(object)),
            Plain::Blind | Plain::NotApplicable => (true, false),
        };
        if expects_success != succeeded {
            self.problems.push(format!("exit code of plain helmfile is {:?}", output.code));
        }
        let blind = expected == Plain::Blind || (succeeded && matches!(expected, Plain::MayFail(_)));
        self.plain = Some(PlainResult {
            ended: output.took.saturating_sub(output.injected_at),
            ended_in_release: since_release(output, output.took, RELEASE_STARTED.1),
            names_object,
            blind,
            succeeded,
        });
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    pub(super) fn text(&self) -> String {
        let Self { name, what, code, found, .. } = self;
        let mark = |found: Option<bool>| found.map_or("-", |found| if found { "✓" } else { "✗" });
        let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let after = self.reported.map_or_else(|| "-".to_owned(), seconds);
        let (ended, names) = match &self.plain {
            None => ("-".to_owned(), "-"),
            Some(plain) => {
                let result = if plain.succeeded { " (succeeded)" } else { "" };
                (format!("{}{result}", seconds(plain.ended)), if plain.names_object { "yes" } else { "no" })
            }
        };
        let ratio = self.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
        let (object, cause, fix) = (mark(found.object), mark(found.cause), mark(found.fix));
        format!(
            "| {what} (`{name}`) | {code} | {object} | {cause} | {fix} | {after} | {ended} | {names} | {ratio} |"
        )
    }

    /// How many times sooner k3s-boot reported the fault than plain helmfile failed.
    fn ratio(&self) -> Option<f64> {
        Some(self.failed_plain()?.ended.as_secs_f64() / self.reported?.as_secs_f64().max(0.01))
    }

    /// The same, from the start of the release: everything before it takes both the same time.
    fn ratio_of_release(&self) -> Option<f64> {
        let ended = self.failed_plain()?.ended_in_release?;
        Some(ended.as_secs_f64() / self.reported_in_release?.as_secs_f64().max(0.01))
    }

    /// How many seconds after the failure of plain helmfile k3s-boot reported the fault; negative if before.
    fn delay(&self) -> Option<f64> {
        Some(self.reported?.as_secs_f64() - self.failed_plain()?.ended.as_secs_f64())
    }

    fn failed_plain(&self) -> Option<&PlainResult> {
        self.plain.as_ref().filter(|plain| !plain.succeeded)
    }
}

/// The lines below the table.
pub(super) fn summary(rows: &[Row]) -> Vec<String> {
    let wrong = rows.iter().filter(|row| !row.problems.is_empty()).count();
    let mut lines = vec![format!("{} faults, {wrong} with unexpected results", rows.len())];
    let ratios: Vec<_> = rows.iter().filter_map(Row::ratio).collect();
    if let Ok(median) = median(&mut ratios.clone()) {
        lines.push(format!("median ratio of {}: {median:.1}", ratios.len()));
    }
    let of_release: Vec<_> = rows.iter().filter_map(Row::ratio_of_release).collect();
    if let Ok(median) = median(&mut of_release.clone()) {
        lines.push(format!(
            "median ratio from the start of the release, of {}: {median:.1}",
            of_release.len()
        ));
    }
    let delays = rows.iter().filter_map(|row| Some((row.delay()?, row.name)));
    if let Some((delay, name)) = delays.max_by(|one, other| one.0.total_cmp(&other.0)) {
        lines.push(format!("longest delay: {delay:+.1} s (`{name}`)"));
    }
    let names = |predicate: &dyn Fn(&PlainResult) -> bool| {
        let found = rows.iter().filter(|row| row.plain.as_ref().is_some_and(predicate));
        found.map(|row| format!("`{}`", row.name)).collect::<Vec<_>>().join(", ")
    };
    for (title, found) in [
        ("plain helmfile cannot see", names(&|plain| plain.blind)),
        ("plain helmfile succeeds too", names(&|plain| plain.succeeded && !plain.blind)),
    ] {
        if !found.is_empty() {
            lines.push(format!("{title}: {found}"));
        }
    }
    lines
}

/// The time from the start of a release, which prints `text`, until this moment.
fn since_release(output: &Output, moment: Duration, text: &str) -> Option<Duration> {
    moment.checked_sub(output.last_before(moment, text)?)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(reported: u64, found: Found) -> Verdict {
        Verdict { reported: Some(Duration::from_secs(reported)), found, problems: Vec::new() }
    }

    fn row(name: &'static str, reported: u64, plain: Plain, code: i32) -> Row {
        let found = Found { object: Some(true), cause: Some(true), fix: Some(true) };
        let lines = vec![(Duration::from_secs(5), "INFO Syncing release release=\"a/x\"".to_owned())];
        let output = Output { lines, code: Some(6), ..Output::default() };
        let mut row = Row::new(name, "something", &output, verdict(reported, found));
        let started = (Duration::from_secs(10), "Upgrading release=x, chart=y".to_owned());
        let lines = vec![(Duration::ZERO, "Deployment/x not ready".to_owned()), started];
        let output = Output { lines, code: Some(code), took: Duration::from_mins(1), ..Output::default() };
        row.add_plain(plain, &output);
        row
    }

    #[test]
    fn table_and_summary() {
        let rows = [
            row("soon", 6, Plain::Fails("Deployment/x"), 1),
            row("late", 61, Plain::Fails("Deployment/y"), 1),
            row("unseen", 9, Plain::Blind, 0),
        ];
        assert_eq!(rows[0].text(), "| something (`soon`) | 6 | ✓ | ✓ | ✓ | 6.0 s | 60.0 s | yes | 10.0 |");
        assert_eq!(
            rows[2].text(),
            "| something (`unseen`) | 6 | ✓ | ✓ | ✓ | 9.0 s | 60.0 s (succeeded) | no | - |"
        );
        let expected = [
            "3 faults, 0 with unexpected results",
            "median ratio of 2: 5.5",
            "median ratio from the start of the release, of 2: 25.4",
            "longest delay: +1.0 s (`late`)",
            "plain helmfile cannot see: `unseen`",
        ];
        assert_eq!(summary(&rows), expected);
        assert!(rows.iter().all(|row| row.problems().next().is_none()));
        assert_eq!(row("x", 1, Plain::Fails("x"), 0).problems().count(), 1);
    }

    #[test]
    fn times_count_from_the_injection() {
        let output = |injected_at, took| {
            let injected_at = Duration::from_secs(injected_at);
            Output { code: Some(6), injected_at, took, ..Output::default() }
        };
        let verdict = verdict(14, Found::default());
        let mut row = Row::new("late", "late", &output(10, Duration::ZERO), verdict);
        row.add_plain(Plain::Fails(""), &output(8, Duration::from_secs(28)));
        assert_eq!((row.ratio(), row.delay()), (Some(5.0), Some(-16.0)));
    }
}
