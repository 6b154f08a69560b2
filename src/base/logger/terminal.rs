//! Warnings and errors that do not fit on one line of a terminal.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::SystemTime;

use terminal_size::{Width, terminal_size_of};

use super::order::subjects;
use super::{KEY_COLOUR, Level, format_line, paint};
use crate::base::fields;

/// The width of a terminal that does not report its size.
const DEFAULT_COLUMNS: usize = 80;

/// The width of the terminal that a stream is connected to, if it is connected to one.
pub(crate) fn columns(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let size = || terminal_size_of(stream.as_fd());
    let columns = || size().map_or(DEFAULT_COLUMNS, |(Width(columns), _)| usize::from(columns));
    stream.is_terminal().then(columns)
}

/// A log line. If it is a warning or an error and too long, its fields follow on lines of their own, except for the first one
/// if it is a subject.
pub(super) fn format(
    time: SystemTime,
    level: Level,
    message: &str,
    pairs: &[(&str, &str)],
    colour: bool,
    columns: usize,
) -> String {
    let fits = |pairs| format_line(time, level, message, pairs, false).trim_end().chars().count() <= columns;
    if level < Level::Warn || fits(pairs) {
        return format_line(time, level, message, pairs, colour);
    }
    let (subject, _) = pairs.split_at(subjects(pairs).min(1));
    let (on_line, rest) = pairs.split_at(if fits(subject) { subject.len() } else { 0 });
    let mut text = format_line(time, level, message, on_line, colour);
    for (key, value) in rest {
        let mut shown = String::new();
        paint(&mut shown, KEY_COLOUR, colour, |shown| shown.push_str(key));
        fields::append(&mut text, "  ", (key, &shown), value, Some(columns));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::logger::order;

    fn shown(level: Level, pairs: &[(&str, &str)], columns: usize) -> String {
        let mut pairs = pairs.to_owned();
        order::sort(&mut pairs);
        let text = format(SystemTime::UNIX_EPOCH, level, "Failed", &pairs, false, columns);
        text.replace("1970-01-01T00:00:00Z ", "")
    }

    #[test]
    fn what_is_blocked_why_and_the_fix_come_first() {
        let pairs = [
            ("release", "a/b"),
            ("object", "Pod a/b-1"),
            ("state", "ImagePullBackOff"),
            ("reason", "helm was stopped"),
            ("cause", "no such image"),
            ("log", "/x.log"),
            ("fix", "correct the tag"),
            ("resume", "k3s-boot apps"),
        ];
        let expected = "ERROR Failed release=\"a/b\" \n  object: Pod a/b-1\n  state: ImagePullBackOff\n  cause: no such image\n  \
                        fix: correct the tag\n  resume: k3s-boot apps\n  reason: helm was stopped\n  log: /x.log\n";
        assert_eq!(shown(Level::Error, &pairs, 80), expected);
        let narrow = expected.replace(" release=\"a/b\" \n", " \n  release: a/b\n");
        assert_eq!(shown(Level::Error, &pairs, 40), narrow);
        assert_eq!(shown(Level::Error, &pairs, 400).lines().count(), 1);
        assert_eq!(shown(Level::Info, &pairs, 80).lines().count(), 1);
    }

    #[test]
    fn the_reason_is_the_cause_if_no_other_is_known() {
        let (long, fix) = ("no ".repeat(30), ("fix", "x"));
        let expected = "WARN Failed server=\"s\" \n  reason: no";
        let text = shown(Level::Warn, &[("server", "s"), ("reason", &long), ("context", "c"), fix], 60);
        assert!(text.starts_with(expected) && text.ends_with("\n  fix: x\n  context: c\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        let text = shown(Level::Warn, &[("reason", &long), fix], 60);
        assert!(text.starts_with("WARN Failed \n  reason: no"), "{text}");
    }

    #[test]
    fn fields_cannot_forge_a_line() {
        let text = shown(Level::Error, &[("a", "b"), ("reason", "x\r\u{1b}[2J\n2026 INFO y")], 45);
        assert_eq!(text, "ERROR Failed a=\"b\" \n  reason: x\\r\\u{1b}[2J\n    2026 INFO y\n");
    }
}
