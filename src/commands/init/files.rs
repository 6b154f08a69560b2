//! Writes files that do not exist yet, each completely or not at all, and compares those that do.

use std::io::ErrorKind;
use std::path::Path;

use similar::TextDiff;

use super::templates::File;
use crate::base::error::Error;
use crate::base::files::{self, LARGEST, Unreadable};
use crate::report::init::FileState;

/// The state of a file of the repository.
///
/// # Errors
///
/// It exists and cannot be read.
pub(super) fn state(root: &Path, file: &File) -> Result<(FileState, Option<String>), Error> {
    Ok(match read(&root.join(&file.path), LARGEST)? {
        None => (FileState::Created, None),
        Some(text) if text == file.text => (FileState::Unchanged, None),
        Some(text) => (FileState::Kept, Some(diff(&file.path, &text, &file.text))),
    })
}

/// The text of a file; none if it does not exist.
///
/// # Errors
///
/// It exists and cannot be read.
pub(super) fn read(path: &Path, largest: u64) -> Result<Option<String>, Error> {
    match files::text(path, largest).map_err(Unreadable::into_io) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { action: "read", path: path.to_owned(), source }),
    }
}

/// A unified diff of the file as it is and as it would be written.
fn diff(path: &Path, old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let name = path.display();
    diff.unified_diff().header(&name.to_string(), &format!("{name} (k3s-boot init)")).to_string()
}

/// Creates a file and its folders. A file that another program creates in the meantime is not replaced.
///
/// # Errors
///
/// A folder or the file cannot be written; the file does not exist then.
pub(super) fn create(root: &Path, path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let path = root.join(path);
    let written = files::create_whole(&path, content, mode);
    written.map_err(|source| Error::File { action: "write", path, source })
}
