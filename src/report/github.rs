//! GitHub Actions: commands for its runner, and protection against commands in other output.
//!
//! The runner reads both streams of a step line by line, where LF, CR and CR LF end a line, and takes two shapes for a
//! command (`ActionCommand` and `OutputManager` of actions/runner): `::name …::` at the beginning of a line, after Unicode
//! white space, and `##[name …]` anywhere in it. Much of the output comes from helm, charts, pods or objects in the cluster.
//! So [`CommandEscape`] escapes both shapes in every line.
//!
//! `::stop-commands::TOKEN` is not used instead: the two streams are read concurrently, so no token covers both, or the lines
//! around a command of k3s-boot; a killed run would leave commands disabled for the rest of the step; and lines such as
//! `##[error]` would still be displayed as errors.

mod summary;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::base::escape::escaped;
use crate::base::github::CommandEscape;
use crate::report::Report;
use crate::report::failure::FailureReport;

/// The maximum length of a text in an annotation; the runner cuts longer ones.
const MAX_LENGTH: usize = 1000;

/// A command of the runner, with its line feed; escaped as actions/toolkit does.
fn command(name: &str, title: Option<&str>, data: &str) -> String {
    let data = data.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = title.map(|title| {
        let title = title.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        format!(" title={}", title.replace(':', "%3A").replace(',', "%2C"))
    });
    format!("::{name}{}::{data}\n", title.unwrap_or_default())
}

/// The annotation of a failed run: culprit, reason, cause and fix.
fn annotation(failure: &FailureReport) -> String {
    let mut parts = vec![&failure.culprit, &failure.reason];
    parts.extend(Some(&failure.cause).filter(|cause| **cause != failure.reason));
    let reasons = parts.into_iter().flat_map(|part| cut(part).lines().map(escaped).collect::<Vec<_>>());
    let fix = cut(&failure.fix).lines().map(|line| format!("fix: {}", escaped(line))).collect::<Vec<_>>();
    let lines: Vec<_> = reasons.chain(fix).collect();
    // An annotation contains no commands, but `##[` would be displayed as one.
    let data = CommandEscape::On.text(lines.join("\n"));
    command("error", Some(&format!("k3s-boot: {}", failure.message)), &data)
}

/// Shortens a text to the maximum length.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_LENGTH) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Prints commands for the runner.
#[derive(Clone, Debug)]
pub(crate) struct Actions {
    /// Commands go to the stream of the log, because only there they keep their order.
    to_stderr: bool,
    /// The file to which the step's summary is appended.
    summary: Option<PathBuf>,
}

impl Actions {
    /// Prints on stderr if stdout is for data.
    pub(crate) fn new(stdout_is_data: bool, summary: Option<PathBuf>) -> Self {
        Self { to_stderr: stdout_is_data, summary }
    }

    /// A group of lines, until it is dropped; groups do not nest.
    pub(crate) fn group(&self, name: &str) -> Group<'_> {
        self.write(&command("group", None, name));
        Group(self)
    }

    /// Reports the end of a run: an annotation if it failed, and the summary of the step.
    pub(crate) fn report(&self, report: &Report) {
        if let Some(failure) = &report.failure {
            self.write(&annotation(failure));
        }
        if let Some(file) = &self.summary
            && let Err(error) = append(file, &summary::text(report))
        {
            tracing::warn!(file = %file.display(), error = %error, "Failed to write the step summary");
        }
    }

    /// Like the log: one write per line, and a closed stream does not end a bootstrap.
    fn write(&self, line: &str) {
        _ = if self.to_stderr {
            std::io::stderr().lock().write_all(line.as_bytes())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
        };
    }
}

/// Lines that belong together.
#[must_use]
pub(crate) struct Group<'a>(&'a Actions);

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.0.write(&command("endgroup", None, ""));
    }
}

fn append(file: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::report::failure::Class;

    /// Whether the runner may find a command in any line: more generous than it is, for names are not looked at, and
    /// neither white space, controls nor anything outside of ASCII separates.
    fn has_command(text: &str) -> bool {
        text.split(['\n', '\r']).any(|line| {
            let bare: String =
                line.chars().filter(|c| c.is_ascii() && !c.is_whitespace() && !c.is_control()).collect();
            let seen: String = line.chars().filter(char::is_ascii).collect();
            bare.starts_with("::") || seen.contains("##[")
        })
    }

    #[test]
    fn only_commands_are_escaped() {
        let cases = [
            ("a\n::error::x", "a\n\\u{3a}:error::x"),
            (" \t\u{a0}\u{200b}::set-env name=A::b", " \t\u{a0}\u{200b}\\u{3a}:set-env name=A::b"),
            ("a\r::stop-commands::x", "a\r\\u{3a}:stop-commands::x"),
            ("x ##[error]y ###[a]", "x ##\\u{5b}error]y ###\\u{5b}a]"),
            ("#\u{200d}#\u{200d}[error]y", "#\u{200d}#\u{200d}\\u{5b}error]y"),
            ("a::b::c [x] # [y] \u{1b}[0m", "a::b::c [x] # [y] \u{1b}[0m"),
            ("2026-11-23T08:00:00Z INFO x ", "2026-11-23T08:00:00Z INFO x "),
        ];
        for (text, expected) in cases {
            assert_eq!(CommandEscape::On.text(text.to_owned()), expected);
            assert_eq!(CommandEscape::Off.text(text.to_owned()), text);
            assert!(!has_command(expected));
        }
        assert_eq!(CommandEscape::On.json("{\"a\": \"##[x]\"}".to_owned()), "{\"a\": \"##\\u005bx]\"}");
        assert!(has_command("a\n \u{2003}::x::") && has_command("a##[x]"), "it finds what it looks for");
    }

    #[test]
    fn commands_are_escaped() {
        assert_eq!(command("group", None, "a%\r\nb"), "::group::a%25%0D%0Ab\n");
        assert_eq!(
            command("error", Some("a: b, 100%\n"), "x: y, z"),
            "::error title=a%3A b%2C 100%25%0A::x: y, z\n"
        );
    }

    fn failure(texts: [&str; 4]) -> FailureReport {
        FailureReport::example(Class::Release, "Failed to sync Helm releases", texts)
    }

    #[test]
    fn an_annotation_has_culprit_reason_and_fix() {
        assert_eq!(
            annotation(&failure(["Pod a/b", "why", "100% no\n::error::x ##[group]y", "one\ntwo"])),
            "::error title=k3s-boot%3A Failed to sync Helm releases::Pod a/b%0A100%25 no%0A\\u{3a}:error::x \
             ##\\u{5b}group]y%0Awhy%0Afix: one%0Afix: two\n"
        );
        let long = "ü".repeat(5000);
        assert!(annotation(&failure(["a", &long, &long, &long])).chars().count() < 2 * MAX_LENGTH + 200);
    }

    proptest! {
        #[test]
        fn no_command_is_left(
            text: String,
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "::", ":", "#", "[", "##[", "error", "]", "\n", "\r", " ", "\u{a0}", "\u{200b}", "\u{feff}", "\t", "é", "x",
                ]),
                0..24,
            ),
        ) {
            let hostile = parts.concat();
            for text in [text, hostile] {
                prop_assert!(!has_command(&CommandEscape::On.text(text.clone())));
                let json = serde_json::to_string_pretty(&json!({"k": [text], text.as_str(): 1})).unwrap();
                let guarded = CommandEscape::On.json(json.clone());
                prop_assert!(!has_command(&guarded));
                let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
                prop_assert_eq!(read(&guarded), read(&json));
                let said = annotation(&failure([&text, &text, &text, &text]));
                prop_assert_eq!(said.matches('\n').count(), 1);
                prop_assert!(!said.contains('\r'));
            }
        }
    }
}
