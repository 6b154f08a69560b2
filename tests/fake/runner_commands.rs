//! Parses JSON lines and the commands of GitHub Actions in the output.

use serde_json::Value;

/// Checks that every line is a JSON log line.
#[track_caller]
pub(crate) fn assert_json_lines(text: &str) {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no line feed: {text}");
    // Some readers also split lines at other characters than line feeds.
    for line in text.split_terminator(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        let keys: Vec<_> = read.as_object().expect(line).keys().map(String::as_str).collect();
        assert_eq!(keys, ["fields", "level", "message", "time"], "{line}");
        assert!(["debug", "info", "warn", "error"].contains(&read["level"].as_str().unwrap()), "{line}");
        assert!(
            !line.contains('\u{1b}') && read["fields"].as_object().unwrap().values().all(Value::is_string)
        );
    }
}

/// The names of all commands that a GitHub Actions runner would find in a text: `::NAME` at the start of a line, and
/// `##[NAME` anywhere.
pub(crate) fn runner_commands(text: &str) -> Vec<&str> {
    let found = text.split(['\n', '\r']).filter_map(|line| {
        // .NET knows more white space, and ignores characters without width.
        let bare = line.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii());
        let begun = bare.strip_prefix("::").and_then(|rest| rest.split_once("::"));
        let inner = line.split_once("##[").and_then(|(_, rest)| rest.split_once(']'));
        let (info, _) = begun.or(inner)?;
        Some(info.split(' ').next().unwrap_or_default())
    });
    found.collect()
}

/// Checks that all commands are those of k3s-boot itself.
#[track_caller]
pub(crate) fn assert_own_commands(text: &str) {
    for name in runner_commands(text) {
        assert!(["group", "endgroup", "error"].contains(&name), "{name} in {text}");
    }
    assert!(!text.contains("##["), "{text}");
}

/// Removes the lines that are commands.
pub(crate) fn without_commands(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| runner_commands(line).is_empty()).collect()
}
