//! Compares the output of a run with what was expected.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

/// The expected result of k3s-boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// The exit code; 0 if k3s-boot recovers from the fault by itself.
    pub(super) code: i32,
    /// Text that names the object; empty if the fault is not reported.
    pub(super) object: &'static str,
    /// Texts that name the cause; all must be present.
    pub(super) cause: &'static [&'static str],
    /// Text that names the fix; empty if there is nothing to do.
    pub(super) fix: &'static str,
    /// More text that must appear anywhere in the output.
    pub(super) also: &'static str,
}

/// The expected result of plain helmfile. The text would name the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Fails(&'static str),
    Succeeds(&'static str),
    /// The result depends on timing.
    MayFail(&'static str),
    /// helmfile cannot see the fault and reports success.
    Blind,
    /// The fault concerns something that only k3s-boot does.
    NotApplicable,
}

/// The output of a program.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Each line, with the time since the start.
    pub(super) lines: Vec<(Duration, String)>,
    /// None if the program was killed.
    pub(super) code: Option<i32>,
    pub(super) took: Duration,
    /// When the fault was injected, since the start; zero if before.
    pub(super) injected_at: Duration,
}

/// Which expected texts were found on a line that names the object; `None` if none is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) object: Option<bool>,
    pub(super) cause: Option<bool>,
    pub(super) fix: Option<bool>,
}

/// The result of a run of k3s-boot, compared with the expected one.
#[derive(Debug)]
pub(super) struct Verdict {
    /// When object and cause were first reported on one line.
    pub(super) reported: Option<Duration>,
    pub(super) found: Found,
    pub(super) problems: Vec<String>,
}

/// Texts that must not appear: a panic, a backtrace, and a timeout as the only reason.
const FORBIDDEN: [&str; 5] = [
    "panicked at",
    "stack backtrace",
    "RUST_BACKTRACE",
    "reason=\"context deadline exceeded\"",
    "reason=\"UPGRADE FAILED: context deadline exceeded\"",
];

pub(super) fn evaluate(output: &Output, expected: &Expected) -> Verdict {
    let Expected { code, object, cause, fix, also } = *expected;
    let with_object = || output.lines.iter().filter(|(_, line)| line.contains(object));
    let has_cause = |line: &str| cause.iter().all(|text| line.contains(text));
    let is_reported = !object.is_empty();
    let reported = with_object().find(|(_, line)| is_reported && has_cause(line)).map(|(after, _)| *after);
    let found = Found {
        object: is_reported.then(|| with_object().next().is_some()),
        cause: is_reported.then_some(reported.is_some()),
        // The fix must be on a line with the cause.
        fix: (!fix.is_empty()).then(|| with_object().any(|(_, line)| has_cause(line) && line.contains(fix))),
    };
    let mut problems = Vec::new();
    if output.code != Some(code) {
        let actual = output.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        problems.push(format!("exit code is {actual}, expected {code}"));
    }
    let last = output.lines.last().map_or("", |(_, line)| line);
    if code == 0 && output.code == Some(0) && !last.contains("Bootstrap complete!") {
        problems.push("the last line is not `Bootstrap complete!`".to_owned());
    }
    for (what, found, text) in [
        ("object", found.object, object.to_owned()),
        ("cause", found.cause, cause.join("`, `")),
        ("fix", found.fix, fix.to_owned()),
    ] {
        if found == Some(false) {
            problems.push(format!("the {what} was not reported: no `{text}`"));
        }
    }
    if !output.contains(also) {
        problems.push(format!("no `{also}` in the output"));
    }
    for text in FORBIDDEN {
        if output.contains(text) {
            problems.push(format!("`{text}` in the output"));
        }
    }
    Verdict { reported, found, problems }
}

impl Output {
    pub(super) fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|(_, line)| line.contains(text))
    }

    /// The time of the last line with this text before a moment.
    pub(super) fn last_before(&self, moment: Duration, text: &str) -> Option<Duration> {
        let before = self.lines.iter().filter(|(after, line)| *after <= moment && line.contains(text));
        before.map(|(after, _)| *after).max()
    }

    /// Writes it to `PROGRAM.log` in a folder.
    pub(super) fn write(&self, folder: &Path, program: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut text = String::new();
        for (after, line) in &self.lines {
            writeln!(text, "{:7.2} {line}", after.as_secs_f64())?;
        }
        writeln!(text, "{:7.2} exit code: {:?}", self.took.as_secs_f64(), self.code)?;
        if !self.injected_at.is_zero() {
            writeln!(text, "{:7.2} fault injected", self.injected_at.as_secs_f64())?;
        }
        fs::write(folder.join(format!("{program}.log")), text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected {
        code: 6,
        object: "Pod a/b",
        cause: &["untolerated taint"],
        fix: "kubectl taint",
        also: "",
    };

    fn output(code: i32, lines: &[(u64, &str)]) -> Output {
        let lines = lines.iter().map(|(after, line)| (Duration::from_secs(*after), (*line).to_owned()));
        Output {
            lines: lines.collect(),
            code: Some(code),
            took: Duration::from_mins(1),
            injected_at: Duration::ZERO,
        }
    }

    #[test]
    fn first_line_with_object_and_cause_counts() {
        let output = output(
            6,
            &[
                (1, "INFO pending=\"Pod a/b\""),
                (2, "WARN object=\"Pod a/c\" state=\"untolerated taint\""),
                (3, "WARN object=\"Pod a/b\" state=\"untolerated taint\" fix=\"kubectl taint nodes\""),
                (60, "ERROR object=\"Pod a/b\" state=\"untolerated taint\""),
            ],
        );
        let verdict = evaluate(&output, &EXPECTED);
        assert_eq!(verdict.reported, Some(Duration::from_secs(3)));
        assert_eq!(verdict.found, Found { object: Some(true), cause: Some(true), fix: Some(true) });
        assert_eq!(verdict.problems, [""; 0]);
    }

    #[test]
    fn each_difference_is_a_problem() {
        let panicked = output(101, &[(1, "thread 'main' panicked at src/x.rs"), (2, "Pod a/b")]);
        let verdict = evaluate(&panicked, &EXPECTED);
        assert_eq!(verdict.reported, None);
        assert_eq!(verdict.problems.len(), 4, "{:?}", verdict.problems);
        let recovers = Expected { code: 0, fix: "", ..EXPECTED };
        let incomplete = output(0, &[(1, "WARN Pod a/b untolerated taint"), (2, "INFO done")]);
        let verdict = evaluate(&incomplete, &recovers);
        assert_eq!((verdict.found.fix, verdict.problems.len()), (None, 1), "{:?}", verdict.problems);
    }
}
