//! GitHub Actions: what its runner takes for a command, and what k3s-boot tells it.
//!
//! The runner reads both streams of a step line by line, where LF, CR and CR LF end a line, and takes two shapes for a
//! command (`ActionCommand` and `OutputManager` of actions/runner): `::name …::` at the beginning of a line, after Unicode
//! white space, and `##[name …]` anywhere in it. Others write much of what k3s-boot prints: helm, a chart, a pod, an object in
//! the cluster. So [`Guard`] takes both shapes out of every line that is printed there.
//!
//! `::stop-commands::TOKEN` is not used in place of that: the two streams are read side by side, so that no token holds
//! for both of them, nor for what stands on either side of a command of our own; a run that is killed would leave the
//! commands of the rest of its step stopped; and lines such as `##[error]` would still be shown as what they are not.

/// Whether what is printed is read by a runner, which must find no command in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nobody looks for commands.
    #[default]
    Off,
    /// A runner does.
    On,
}

impl Guard {
    /// Lines in which no command is found. What would be taken for one is written in the log's way of escaping.
    #[must_use]
    pub fn text(self, text: String) -> String {
        match self {
            Self::Off => text,
            Self::On => guard(text, "\\u{3a}", "\\u{5b}"),
        }
    }

    /// JSON in which no command is found; for whoever parses it, it is the same. A line of it never begins with a colon.
    #[must_use]
    pub fn json(self, json: String) -> String {
        match self {
            Self::Off => json,
            Self::On => guard(json, ":", "\\u005b"),
        }
    }
}

/// Writes `colon` for a colon with which a line begins, and `bracket` for a bracket after a `#`.
///
/// Where .NET compares by culture, characters without width do not count, so nothing outside of ASCII separates.
fn guard(text: String, colon: &str, bracket: &str) -> String {
    if !text.contains([':', '#']) {
        return text;
    }
    let mut guarded = String::with_capacity(text.len() + 16);
    let (mut begins, mut hash) = (true, false);
    for character in text.chars() {
        match character {
            ':' if begins => guarded.push_str(colon),
            '[' if hash => guarded.push_str(bracket),
            other => guarded.push(other),
        }
        let counts = character.is_ascii();
        hash = character == '#' || (hash && !counts);
        begins = matches!(character, '\n' | '\r')
            || (begins && (!counts || character.is_whitespace() || character.is_control()));
    }
    guarded
}
