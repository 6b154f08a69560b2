//! Keeps the output of all tools: at debug level in the log, and in full in a file that a failure names.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::base::redact::Redactor;
use crate::process::{Invocation, Stream, describe};

/// The maximum size of the file, so that an endless output does not fill the disk.
const MAX_SIZE: usize = 64 * 1024 * 1024;

/// The number of older files that are kept.
const MAX_FILES: usize = 20;

/// The transcript of all tools; clones write to the same file.
#[derive(Clone)]
pub(crate) struct Transcript {
    inner: Arc<Mutex<Inner>>,
    redactor: Redactor,
}

struct Inner {
    folder: Option<PathBuf>,
    /// The name of the command, for the name of the file.
    command: &'static str,
    file: Option<(PathBuf, File)>,
    /// Whether opening was attempted; a failure is logged once and not retried.
    tried: bool,
    /// The size of the file.
    written: usize,
}

impl Transcript {
    /// A transcript that creates its file in `folder` with the first line; without a folder it only logs.
    pub(crate) fn new(folder: Option<PathBuf>, command: &'static str, redactor: Redactor) -> Self {
        let inner = Inner { folder, command, file: None, tried: false, written: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), redactor }
    }

    /// The file, if it was created.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.inner().file.as_ref().map(|(path, _)| path.clone())
    }

    /// Removes the file, which is not needed after a successful run.
    pub(crate) fn discard(&self) {
        if let Some((path, _)) = self.inner().file.take() {
            _ = std::fs::remove_file(path);
        }
    }

    /// A text without secrets, for the progress display.
    pub(crate) fn redacted(&self, text: &str) -> String {
        self.redactor.apply(text).into_owned()
    }

    pub(crate) fn started(&self, invocation: &Invocation) {
        self.write(&format!("$ {invocation}"));
        tracing::debug!(tool = invocation.tool, command = %invocation, "Running");
    }

    pub(crate) fn line(&self, tool: &'static str, stream: Stream, line: &str) {
        self.write(&format!("{tool} {}: {line}", stream.name()));
        tracing::debug!(tool, stream = stream.name(), line, "Child output");
    }

    pub(crate) fn asked(&self, request: &str, answer: &str, milliseconds: u128) {
        self.write(&format!("api {request}: {answer}, {milliseconds} ms"));
        tracing::debug!(request, answer, took = %format_args!("{milliseconds}ms"), "Asked the API server");
    }

    /// Records the messages of a blocked object.
    pub(crate) fn seen<'a>(&self, object: &str, words: impl Iterator<Item = &'a str>) {
        words.for_each(|words| self.write(&format!("seen {object}: {words}")));
    }

    pub(crate) fn ended(&self, tool: &'static str, status: ExitStatus) {
        self.write(&format!("{tool} ended: {}", describe(status)));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, line: &str) {
        let mut inner = self.inner();
        if !inner.tried {
            inner.tried = true;
            inner.open();
        }
        let Inner { file: Some((_, file)), written, .. } = &mut *inner else { return };
        if *written > MAX_SIZE {
            return;
        }
        let line = self.redactor.apply(line);
        *written += line.len();
        let line = if *written > MAX_SIZE { "output truncated" } else { &line };
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        _ = writeln!(file, "{time} {line}");
    }
}

impl Inner {
    fn open(&mut self) {
        let Some(folder) = &self.folder else { return };
        match open_in(folder, self.command) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), error = %error, "Failed to write the log file");
            }
        }
    }
}

fn open_in(folder: &Path, command: &str) -> std::io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    remove_old(folder)?;
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], "");
    let path = folder.join(format!("{command}-{time}-{}.log", std::process::id()));
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

/// The time in the name of a log, which follows the command.
fn begun(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.split_once('-').map(|(_, time)| time.to_owned())
}

fn remove_old(folder: &Path) -> std::io::Result<()> {
    let mut logs: Vec<_> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort_by_key(|path| begun(path));
    for path in logs.iter().rev().skip(MAX_FILES) {
        _ = std::fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_logs_of_all_commands_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let log = |index: usize| {
            let command = if index.is_multiple_of(2) { "apps" } else { "recover" };
            folder.path().join(format!("{command}-2026112{index:02}Z-7.log"))
        };
        for index in 0..MAX_FILES + 3 {
            std::fs::write(log(index), "").unwrap();
        }
        remove_old(folder.path()).unwrap();
        let left: Vec<_> = (0..MAX_FILES + 3).filter(|index| log(*index).exists()).collect();
        assert_eq!(left, (3..MAX_FILES + 3).collect::<Vec<_>>());
    }
}
