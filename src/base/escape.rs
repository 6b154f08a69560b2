//! Escapes external text for a log line.

use std::fmt::Write as _;

/// Escapes all control characters, so that the text cannot forge a line or move the cursor.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    escape(&mut line, text, false);
    line
}

/// Appends escaped text to a line; `quoted` escapes quotes and backslashes too.
pub(super) fn escape(line: &mut String, text: &str, quoted: bool) {
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '"' | '\\' if quoted => {
                line.push('\\');
                line.push(character);
            }
            other if other.is_control() => _ = write!(line, "\\u{{{:x}}}", u32::from(other)),
            other => line.push(other),
        }
    }
}
