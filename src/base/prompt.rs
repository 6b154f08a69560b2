//! Questions on the terminal.

use std::io::Write as _;

use super::progress;

/// Writes a question to stderr. The cursor stays behind it.
pub(crate) fn write(question: &str) {
    progress::beside(|| {
        let mut stderr = std::io::stderr().lock();
        // In one write, so that typed characters do not appear in the middle.
        _ = stderr.write_all(question.as_bytes());
        _ = stderr.flush();
    });
}
