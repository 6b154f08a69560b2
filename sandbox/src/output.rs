//! What the command line says.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program's own output")]

/// A line of the result, to stdout.
pub(crate) fn result(line: &str) {
    println!("{line}");
}

/// A line on what goes on, to stderr.
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}
