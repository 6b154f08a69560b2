//! Fields on lines of their own, as reports and the log on a terminal show them.

use std::fmt::Write as _;

use super::escape::escaped;

/// Fields that people copy, so their lines are never wrapped.
const COPIED: [&str; 5] = ["fix", "resume", "log", "file", "command"];

/// Appends `key: value`. Further lines are indented below it; those of a fix may be lines of a file, so all of them are.
/// `shown` is the key with its colour. Lines are wrapped at `columns`.
pub(crate) fn append(
    text: &mut String,
    indent: &str,
    (key, shown): (&str, &str),
    value: &str,
    columns: Option<usize>,
) {
    let below = format!("{indent}  ");
    let mut lines: Vec<_> = value.lines().map(escaped).collect();
    if let Some(columns) = columns.filter(|_| !COPIED.contains(&key)) {
        let used = indent.len() + key.len() + ": ".len();
        lines = lines.iter().flat_map(|line| wrapped(line, columns.saturating_sub(used))).collect();
    }
    let mut lines = lines.into_iter();
    if key == "fix" && lines.len() > 1 {
        _ = writeln!(text, "{indent}{shown}:");
    } else {
        _ = writeln!(text, "{indent}{shown}: {}", lines.next().unwrap_or_default());
    }
    lines.for_each(|line| _ = writeln!(text, "{below}{line}"));
}

/// The smallest width at which lines are wrapped.
const MIN_WIDTH: usize = 20;

/// Breaks a line between words; longer words stay whole.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let width = width.max(MIN_WIDTH);
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let used = lines.last().map_or(0, |last| last.chars().count());
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if used > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &str, value: &str, columns: Option<usize>) -> String {
        let mut text = String::new();
        append(&mut text, "  ", (key, key), value, columns);
        text
    }

    #[test]
    fn only_what_is_not_copied_is_wrapped() {
        let words = "one two three four five six";
        assert_eq!(shown("reason", words, None), format!("  reason: {words}\n"));
        assert_eq!(shown("reason", words, Some(32)), "  reason: one two three four\n    five six\n");
        assert_eq!(shown("fix", words, Some(32)), format!("  fix: {words}\n"));
        let long = "x".repeat(60);
        assert_eq!(
            shown("state", &format!("a {long} b"), Some(32)),
            format!("  state: a\n    {long}\n    b\n")
        );
    }

    #[test]
    fn lines_of_a_fix_are_below_it() {
        assert_eq!(shown("fix", "a\nb", Some(80)), "  fix:\n    a\n    b\n");
        assert_eq!(shown("events", "a\nb\u{1b}", None), "  events: a\n    b\\u{1b}\n");
        assert_eq!(shown("fix", "", None), "  fix: \n");
    }
}
