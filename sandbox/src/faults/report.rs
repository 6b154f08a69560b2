//! The table of a campaign.

use std::time::Duration;

use super::judge::{Found, Plain, Told};
use crate::bench::median;

/// What k3s-boot and helmfile say when helm begins a release.
const BEGUN: (&str, &str) = ("Syncing release release=", "Upgrading release=");

/// A fault's line.
pub(super) struct Row {
    pub(super) name: &'static str,
    what: &'static str,
    code: Option<i32>,
    /// Counted from when both the run and the fault had begun.
    named: Option<Duration>,
    /// The same, counted from when helm began the release, if it had begun one.
    named_in_release: Option<Duration>,
    found: Found,
    plain: Option<Other>,
    problems: Vec<String>,
}

/// How plain helmfile did.
struct Other {
    /// Counted as for k3s-boot.
    ended: Duration,
    ended_in_release: Option<Duration>,
    names: bool,
    /// Whether it could not see the fault.
    blind: bool,
    /// Whether it went through.
    passed: bool,
}

/// The first two lines.
pub(super) fn head() -> [&'static str; 2] {
    [
        "| fault | exit code | object | cause | cure | named after | plain ended after | names the object | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
}

impl Row {
    pub(super) fn new(
        name: &'static str,
        what: &'static str,
        told: &Told,
        named: Option<Duration>,
        found: Found,
        problems: Vec<String>,
    ) -> Self {
        let named_in_release = named.and_then(|named| in_release(told, named, BEGUN.0));
        let named = named.map(|named| named.saturating_sub(told.came));
        Self { name, what, code: told.code, named, named_in_release, found, plain: None, problems }
    }

    /// A fault that could not be played.
    pub(super) fn unplayed(name: &'static str, what: &'static str, problem: String) -> Self {
        Self::new(name, what, &Told::default(), None, Found::default(), vec![problem])
    }

    /// Adds how plain helmfile did on the same fault.
    pub(super) fn meet_plain(&mut self, expected: Plain, told: &Told) {
        let passed = told.code == Some(0);
        let (expects_success, names) = match expected {
            Plain::Fails(object) => (false, told.says(object)),
            Plain::Passes(object) => (true, told.says(object)),
            Plain::Perhaps(object) => (passed, told.says(object)),
            Plain::Blind | Plain::Unmet => (true, false),
        };
        if expects_success != passed {
            self.problems.push(format!("plain helmfile ended with {:?}", told.code));
        }
        let blind = expected == Plain::Blind || (passed && matches!(expected, Plain::Perhaps(_)));
        self.plain = Some(Other {
            ended: told.took.saturating_sub(told.came),
            ended_in_release: in_release(told, told.took, BEGUN.1),
            names,
            blind,
            passed,
        });
    }

    /// Whatever was not as expected.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    pub(super) fn text(&self) -> String {
        let Self { name, what, code, found, .. } = self;
        let mark = |found: Option<bool>| found.map_or("-", |found| if found { "✓" } else { "✗" });
        let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let after = self.named.map_or_else(|| "-".to_owned(), seconds);
        let (ended, names) = match &self.plain {
            None => ("-".to_owned(), "-"),
            Some(plain) => {
                let how = if plain.passed { " (went through)" } else { "" };
                (format!("{}{how}", seconds(plain.ended)), if plain.names { "yes" } else { "no" })
            }
        };
        let ratio = self.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
        let (culprit, cause, fix) = (mark(found.culprit), mark(found.cause), mark(found.fix));
        format!(
            "| {what} (`{name}`) | {code} | {culprit} | {cause} | {fix} | {after} | {ended} | {names} | {ratio} |"
        )
    }

    /// How many times sooner the fault was named than plain helmfile failed.
    fn ratio(&self) -> Option<f64> {
        let plain = self.plain.as_ref().filter(|plain| !plain.passed)?;
        Some(plain.ended.as_secs_f64() / self.named?.as_secs_f64().max(0.01))
    }

    /// The same, counted from when helm began the release: what comes before it takes both the same time.
    fn ratio_of_release(&self) -> Option<f64> {
        let plain = self.plain.as_ref().filter(|plain| !plain.passed)?;
        Some(plain.ended_in_release?.as_secs_f64() / self.named_in_release?.as_secs_f64().max(0.01))
    }

    /// How many seconds later it was named than plain helmfile failed; less than nothing if sooner.
    fn later(&self) -> Option<f64> {
        let plain = self.plain.as_ref().filter(|plain| !plain.passed)?;
        Some(self.named?.as_secs_f64() - plain.ended.as_secs_f64())
    }
}

/// What follows from the table.
pub(super) fn summary(rows: &[Row]) -> Vec<String> {
    let wrong = rows.iter().filter(|row| !row.problems.is_empty()).count();
    let mut lines = vec![format!("{} faults, {wrong} not as expected", rows.len())];
    let ratios: Vec<_> = rows.iter().filter_map(Row::ratio).collect();
    if let Ok(median) = median(&mut ratios.clone()) {
        lines.push(format!("median ratio of {}: {median:.1}", ratios.len()));
    }
    let of_release: Vec<_> = rows.iter().filter_map(Row::ratio_of_release).collect();
    if let Ok(median) = median(&mut of_release.clone()) {
        lines.push(format!("counted from when helm began the release, of {}: {median:.1}", of_release.len()));
    }
    let later = rows.iter().filter_map(|row| Some((row.later()?, row.name)));
    if let Some((later, name)) = later.max_by(|one, other| one.0.total_cmp(&other.0)) {
        lines.push(format!("worst difference: {later:+.1} s (`{name}`)"));
    }
    let names = |wanted: &dyn Fn(&Other) -> bool| {
        let found = rows.iter().filter(|row| row.plain.as_ref().is_some_and(wanted));
        found.map(|row| format!("`{}`", row.name)).collect::<Vec<_>>().join(", ")
    };
    for (words, found) in [
        ("plain helmfile cannot see", names(&|plain| plain.blind)),
        ("plain helmfile goes through too", names(&|plain| plain.passed && !plain.blind)),
    ] {
        if !found.is_empty() {
            lines.push(format!("{words}: {found}"));
        }
    }
    lines
}

/// How long before this moment helm began a release; `words` tell of that.
fn in_release(told: &Told, moment: Duration, words: &str) -> Option<Duration> {
    moment.checked_sub(told.last_before(moment, words)?)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, named: u64, plain: Plain, code: i32) -> Row {
        let found = Found { culprit: Some(true), cause: Some(true), fix: Some(true) };
        let lines = vec![(Duration::from_secs(5), "INFO Syncing release release=\"a/x\"".to_owned())];
        let told = Told { lines, code: Some(6), ..Told::default() };
        let mut row = Row::new(name, "something", &told, Some(Duration::from_secs(named)), found, Vec::new());
        let begun = (Duration::from_secs(10), "Upgrading release=x, chart=y".to_owned());
        let lines = vec![(Duration::ZERO, "Deployment/x not ready".to_owned()), begun];
        let told = Told { lines, code: Some(code), took: Duration::from_mins(1), ..Told::default() };
        row.meet_plain(plain, &told);
        row
    }

    #[test]
    fn a_row_and_what_follows() {
        let rows = [
            row("soon", 6, Plain::Fails("Deployment/x"), 1),
            row("late", 61, Plain::Fails("Deployment/y"), 1),
            row("unseen", 9, Plain::Blind, 0),
        ];
        assert_eq!(rows[0].text(), "| something (`soon`) | 6 | ✓ | ✓ | ✓ | 6.0 s | 60.0 s | yes | 10.0 |");
        assert_eq!(
            rows[2].text(),
            "| something (`unseen`) | 6 | ✓ | ✓ | ✓ | 9.0 s | 60.0 s (went through) | no | - |"
        );
        let expected = [
            "3 faults, 0 not as expected",
            "median ratio of 2: 5.5",
            "counted from when helm began the release, of 2: 25.4",
            "worst difference: +1.0 s (`late`)",
            "plain helmfile cannot see: `unseen`",
        ];
        assert_eq!(summary(&rows), expected);
        assert!(rows.iter().all(|row| row.problems().next().is_none()));
        assert_eq!(row("x", 1, Plain::Fails("x"), 0).problems().count(), 1);
    }

    #[test]
    fn a_fault_that_comes_in_mid_run_is_counted_from_then() {
        let told =
            |came, took| Told { code: Some(6), came: Duration::from_secs(came), took, ..Told::default() };
        let named = Some(Duration::from_secs(14));
        let mut row =
            Row::new("late", "late", &told(10, Duration::ZERO), named, Found::default(), Vec::new());
        row.meet_plain(Plain::Fails(""), &told(8, Duration::from_secs(28)));
        assert_eq!((row.ratio(), row.later()), (Some(5.0), Some(-16.0)));
    }
}
