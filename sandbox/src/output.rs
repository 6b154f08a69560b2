//! What the command line prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program's own output")]

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The longest status line: one that wraps could not be replaced.
const MAX_COLUMNS: usize = 79;

/// Receives the progress of long steps.
pub(crate) trait Progress: Sync {
    /// Prints a line that stays.
    fn line(&self, text: &str);

    /// Prints a line at the start of a step, unless its status will be shown.
    fn start(&self, text: &str) {
        self.line(text);
    }

    /// Shows what a step does now, or that it has ended; does nothing where a line cannot be replaced.
    fn status(&self, _step: &'static str, _text: Option<String>) {}
}

impl<F: Fn(&str) + Sync> Progress for F {
    fn line(&self, text: &str) {
        self(text);
    }
}

/// Progress on stderr. On a terminal, the last line shows the steps that run now.
pub(crate) struct Stderr {
    running: Mutex<Vec<(&'static str, String)>>,
}

pub(crate) static STDERR: Stderr = Stderr { running: Mutex::new(Vec::new()) };

/// Prints a line of the result to stdout.
pub(crate) fn result(line: &str) {
    println!("{line}");
}

/// Prints a line about progress to stderr.
pub(crate) fn progress(line: &str) {
    STDERR.line(line);
}

impl Stderr {
    fn running(&self) -> MutexGuard<'_, Vec<(&'static str, String)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Stderr {
    fn line(&self, text: &str) {
        let running = self.running();
        if running.is_empty() {
            eprintln!("{text}");
        } else {
            eprint!("\r\x1b[K{text}\n{}", status_line(&running));
        }
    }

    fn start(&self, text: &str) {
        if !stderr().is_terminal() {
            self.line(text);
        }
    }

    fn status(&self, step: &'static str, text: Option<String>) {
        if !stderr().is_terminal() {
            return;
        }
        let mut running = self.running();
        let found = running.iter().position(|(name, _)| *name == step);
        match (found, text) {
            (Some(index), Some(text)) => running[index].1 = text,
            (Some(index), None) => drop(running.remove(index)),
            (None, Some(text)) => running.push((step, text)),
            (None, None) => {}
        }
        eprint!("\r\x1b[K{}", status_line(&running));
        // A status that cannot be shown is no reason to fail.
        drop(stderr().flush());
    }
}

fn status_line(running: &[(&'static str, String)]) -> String {
    let line = running.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("; ");
    if line.chars().count() <= MAX_COLUMNS {
        return line;
    }
    line.chars().take(MAX_COLUMNS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_line_fits_on_a_terminal() {
        let running =
            [("tools", "building tools: 1/8".to_owned()), ("k3s-boot", "building k3s-boot".to_owned())];
        assert_eq!(status_line(&running), "building tools: 1/8; building k3s-boot");
        let long = status_line(&[("tools", "x".repeat(100))]);
        assert_eq!(long.chars().count(), MAX_COLUMNS);
        assert!(long.ends_with('…'));
    }
}
