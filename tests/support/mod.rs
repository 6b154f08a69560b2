//! Assertions for all tests that run the binary, with fake and with real tools.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

use assert_cmd::assert::{Assert, OutputAssertExt as _};
use assert_cmd::cargo::cargo_bin;
use sandbox::{SecretSearch, files};

/// The program under test.
pub(crate) fn k3s_boot() -> &'static Path {
    cargo_bin!("k3s-boot")
}

/// The folder of the program under test, for `PATH`.
pub(crate) fn bin_dir() -> &'static Path {
    k3s_boot().parent().unwrap()
}

/// The example that simulates helmfile, helm, kubectl and sops.
#[track_caller]
pub(crate) fn fake_tool() -> PathBuf {
    let path = bin_dir().join("examples/fake-tool");
    assert!(
        path.is_file(),
        "`cargo test` builds {}; with `--test fake`, run `cargo build --example fake-tool` before",
        path.display()
    );
    path
}

/// The assertions of `assert_cmd` on a run that has ended. A failure prints the command and both streams.
#[track_caller]
pub(crate) fn assert_run(command: &str, status: ExitStatus, stdout: &str, stderr: &str) -> Assert {
    let output = Output { status, stdout: stdout.into(), stderr: stderr.into() };
    output.assert().append_context("command", command.to_owned())
}

/// A parsed log line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub(crate) level: String,
    /// The message with its escapes.
    pub(crate) message: String,
    /// The pairs, with unescaped values.
    pub(crate) pairs: Vec<(String, String)>,
}

/// Parses a log line without colors and line feed. Accepts only what the format allows.
pub(crate) fn parse_line(line: &str) -> Result<Line, String> {
    let wrong = |what: &str| format!("{what} in {line:?}");
    if line.chars().any(char::is_control) {
        return Err(wrong("a control character"));
    }
    let (time, rest) = line.split_once(' ').ok_or_else(|| wrong("no time"))?;
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "0000-00-00T00:00:00Z" {
        return Err(wrong("no time"));
    }
    let (level, rest) = rest.split_once(' ').ok_or_else(|| wrong("no level"))?;
    if !["DEBUG", "INFO", "WARN", "ERROR"].contains(&level) {
        return Err(wrong("no level"));
    }
    let (message, mut rest) = match first_pair(rest) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let message = message.strip_suffix(' ').ok_or_else(|| wrong("no space after the message"))?;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once("=\"").ok_or_else(|| wrong("no pair"))?;
        let (value, after) = unquote(value).ok_or_else(|| wrong("a value without its end"))?;
        pairs.push((key.to_owned(), value));
        rest = after.strip_prefix(' ').ok_or_else(|| wrong("no space after a value"))?;
    }
    Ok(Line { level: level.to_owned(), message: message.to_owned(), pairs })
}

/// The position of the first `key="`.
fn first_pair(text: &str) -> Option<usize> {
    let at = text.find("=\"")?;
    Some(text[..at].rfind(' ').map_or(0, |space| space + 1))
}

/// A value up to its closing quote, and the rest.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((value, rest.as_str())),
            '\\' => match rest.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'u' => {
                    let (hex, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                    value.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
                    rest = after.chars();
                }
                character @ ('"' | '\\') => value.push(character),
                _ => return None,
            },
            character => value.push(character),
        }
    }
}

/// Checks that every line has the format of the log.
#[track_caller]
pub(crate) fn assert_log_lines(text: &str) {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no line feed: {text}");
    for line in text.lines() {
        if let Err(problem) = parse_line(line) {
            panic!("{problem}");
        }
    }
}

/// Checks that no secret is in a text, in any encoding.
#[track_caller]
pub(crate) fn assert_no_canary(canaries: &[String], place: &str, bytes: &[u8]) {
    assert_not_found(&SecretSearch::new(canaries).unwrap(), place, bytes);
}

/// Checks that no secret is in a file of a folder.
#[track_caller]
pub(crate) fn assert_no_canary_in_files(canaries: &[String], folder: &Path) {
    let search = SecretSearch::new(canaries).unwrap();
    for path in files(folder).unwrap() {
        match std::fs::read(&path) {
            Ok(bytes) => assert_not_found(&search, &path.display().to_string(), &bytes),
            // A running k3s-boot may have removed it.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display()),
        }
    }
}

#[track_caller]
fn assert_not_found(search: &SecretSearch, place: &str, bytes: &[u8]) {
    if let Some((index, range)) = search.find(bytes) {
        let [before, after] = [&bytes[..range.start], &bytes[range.end..]].map(String::from_utf8_lossy);
        panic!("secret {index} shows in {place}: {before}<<<HERE>>>{after}");
    }
}
