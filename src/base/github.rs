//! GitHub Actions: escapes workflow commands in the output.
//!
//! The runner reads both streams of a step line by line, where LF, CR and CR LF end a line. It executes two forms of
//! workflow commands (`ActionCommand` and `OutputManager` of actions/runner): `::name …::` at the beginning of a line, after
//! Unicode white space, and `##[name …]` anywhere in it. Much of the output comes from others: helm, a chart, a pod, an
//! object in the cluster. So [`CommandEscape`] escapes both forms in every line.
//!
//! `::stop-commands::TOKEN` does not work instead: the runner reads the two streams concurrently, so one token cannot
//! protect both, nor the lines around a command of k3s-boot; a killed run would leave the commands of the remaining step
//! disabled; and lines such as `##[error]` would still be shown as errors.

/// Whether workflow commands in the output are escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CommandEscape {
    /// The output is not read by a runner.
    #[default]
    Off,
    /// The output is read by a runner: commands are escaped.
    On,
}

impl CommandEscape {
    /// Escapes commands in plain text, in the way the log escapes characters.
    pub(crate) fn text(self, text: String) -> String {
        match self {
            Self::Off => text,
            Self::On => guard(text, "\\u{3a}", "\\u{5b}"),
        }
    }

    /// Escapes commands in JSON, which still parses to the same value. A line of JSON never begins with a colon.
    pub(crate) fn json(self, json: String) -> String {
        match self {
            Self::Off => json,
            Self::On => guard(json, ":", "\\u005b"),
        }
    }
}

/// Replaces a colon at the beginning of a line by `colon`, and a bracket after `#` by `bracket`.
///
/// .NET ignores zero-width characters in culture-sensitive comparisons, so only ASCII characters count as separators.
fn guard(text: String, colon: &str, bracket: &str) -> String {
    if !text.contains([':', '#']) {
        return text;
    }
    let mut guarded = String::with_capacity(text.len() + 16);
    let (mut at_start, mut after_hash) = (true, false);
    for character in text.chars() {
        match character {
            ':' if at_start => guarded.push_str(colon),
            '[' if after_hash => guarded.push_str(bracket),
            other => guarded.push(other),
        }
        let counts = character.is_ascii();
        after_hash = character == '#' || (after_hash && !counts);
        at_start = matches!(character, '\n' | '\r')
            || (at_start && (!counts || character.is_whitespace() || character.is_control()));
    }
    guarded
}
