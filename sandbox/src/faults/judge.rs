//! What a run has said, and whether that is what was expected of it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

/// What is expected of k3s-boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Its exit code; 0 where it repairs the fault itself.
    pub(super) code: i32,
    /// Words that name the object; none where nobody gets to see the fault.
    pub(super) culprit: &'static str,
    /// Words, all of which tell the cause.
    pub(super) cause: &'static [&'static str],
    /// Words that tell the cure; none where nothing has to be done.
    pub(super) fix: &'static str,
    /// More words that it says at some time.
    pub(super) also: &'static str,
}

/// What is expected of plain helmfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// It fails, and these words would name the object.
    Fails(&'static str),
    /// It goes through, and these words would name the object.
    Passes(&'static str),
    /// It fails or goes through, by chance; if it fails, these words would name the object.
    Perhaps(&'static str),
    /// It cannot see the fault: it says success.
    Blind,
    /// The fault is not one of helmfile's: it concerns what only k3s-boot does.
    Unmet,
}

/// What a program has said, line by line, with the time since its start.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) lines: Vec<(Duration, String)>,
    /// The exit code; none if it was ended, by a signal or because it did not end.
    pub(super) code: Option<i32>,
    pub(super) took: Duration,
    /// When the fault came about, since its start; zero for one that was there before.
    pub(super) came: Duration,
}

/// What of the expected was told on a line that names the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// These are `None` where there is nothing to tell.
    pub(super) culprit: Option<bool>,
    pub(super) cause: Option<bool>,
    pub(super) fix: Option<bool>,
}

/// How a run of k3s-boot compares with what was expected.
#[derive(Debug)]
pub(super) struct Verdict {
    /// When object and cause were first told together.
    pub(super) named: Option<Duration>,
    pub(super) found: Found,
    pub(super) problems: Vec<String>,
}

/// Words that no output may hold: a panic, a backtrace, and a deadline for the only reason.
const NEVER: [&str; 5] = [
    "panicked at",
    "stack backtrace",
    "RUST_BACKTRACE",
    "reason=\"context deadline exceeded\"",
    "reason=\"UPGRADE FAILED: context deadline exceeded\"",
];

pub(super) fn judge(told: &Told, expected: &Expected) -> Verdict {
    let Expected { code, culprit, cause, fix, also } = *expected;
    let naming = || told.lines.iter().filter(|(_, line)| line.contains(culprit));
    let causes = |line: &str| cause.iter().all(|words| line.contains(words));
    let seen = !culprit.is_empty();
    let named = naming().find(|(_, line)| seen && causes(line)).map(|(after, _)| *after);
    let found = Found {
        culprit: seen.then(|| naming().next().is_some()),
        cause: seen.then_some(named.is_some()),
        // The cure belongs to the cause.
        fix: (!fix.is_empty()).then(|| naming().any(|(_, line)| causes(line) && line.contains(fix))),
    };
    let mut problems = Vec::new();
    if told.code != Some(code) {
        let ended = told.code.map_or_else(|| "no exit code".to_owned(), |code| code.to_string());
        problems.push(format!("it ended with {ended}, expected is {code}"));
    }
    let last = told.lines.last().map_or("", |(_, line)| line);
    if code == 0 && told.code == Some(0) && !last.contains("Bootstrap complete!") {
        problems.push("it did not complete".to_owned());
    }
    for (what, found, words) in [
        ("object", found.culprit, culprit.to_owned()),
        ("cause", found.cause, cause.join("`, `")),
        ("cure", found.fix, fix.to_owned()),
    ] {
        if found == Some(false) {
            problems.push(format!("the {what} was not told: no `{words}`"));
        }
    }
    if !told.says(also) {
        problems.push(format!("it did not say `{also}`"));
    }
    for words in NEVER {
        if told.lines.iter().any(|(_, line)| line.contains(words)) {
            problems.push(format!("it said `{words}`"));
        }
    }
    Verdict { named, found, problems }
}

impl Told {
    /// Whether these words were said.
    pub(super) fn says(&self, words: &str) -> bool {
        self.lines.iter().any(|(_, line)| line.contains(words))
    }

    /// When the last line before this moment was said that holds these words.
    pub(super) fn last_before(&self, moment: Duration, words: &str) -> Option<Duration> {
        let before = self.lines.iter().filter(|(after, line)| *after <= moment && line.contains(words));
        before.map(|(after, _)| *after).max()
    }

    /// Writes it into a folder, under the name of who said it.
    pub(super) fn write(&self, folder: &Path, who: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut text = String::new();
        for (after, line) in &self.lines {
            writeln!(text, "{:7.2} {line}", after.as_secs_f64())?;
        }
        writeln!(text, "{:7.2} ended: {:?}", self.took.as_secs_f64(), self.code)?;
        if !self.came.is_zero() {
            writeln!(text, "{:7.2} the fault had come about", self.came.as_secs_f64())?;
        }
        fs::write(folder.join(format!("{who}.log")), text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected {
        code: 6,
        culprit: "Pod a/b",
        cause: &["untolerated taint"],
        fix: "kubectl taint",
        also: "",
    };

    fn told(code: i32, lines: &[(u64, &str)]) -> Told {
        let lines = lines.iter().map(|(after, line)| (Duration::from_secs(*after), (*line).to_owned()));
        Told { lines: lines.collect(), code: Some(code), took: Duration::from_mins(1), came: Duration::ZERO }
    }

    #[test]
    fn the_first_line_with_object_and_cause_counts() {
        let told = told(
            6,
            &[
                (1, "INFO pending=\"Pod a/b\""),
                (2, "WARN object=\"Pod a/c\" state=\"untolerated taint\""),
                (3, "WARN object=\"Pod a/b\" state=\"untolerated taint\" fix=\"kubectl taint nodes\""),
                (60, "ERROR object=\"Pod a/b\" state=\"untolerated taint\""),
            ],
        );
        let verdict = judge(&told, &EXPECTED);
        assert_eq!(verdict.named, Some(Duration::from_secs(3)));
        assert_eq!(verdict.found, Found { culprit: Some(true), cause: Some(true), fix: Some(true) });
        assert_eq!(verdict.problems, [""; 0]);
    }

    #[test]
    fn whatever_is_not_as_expected_is_told() {
        let told = told(101, &[(1, "thread 'main' panicked at src/x.rs"), (2, "Pod a/b")]);
        let verdict = judge(&told, &EXPECTED);
        assert_eq!(verdict.named, None);
        assert_eq!(verdict.problems.len(), 4, "{:?}", verdict.problems);
        let repaired = Expected { code: 0, fix: "", ..EXPECTED };
        let told = self::told(0, &[(1, "WARN Pod a/b untolerated taint"), (2, "INFO done")]);
        let verdict = judge(&told, &repaired);
        assert_eq!((verdict.found.fix, verdict.problems.len()), (None, 1), "{:?}", verdict.problems);
    }
}
