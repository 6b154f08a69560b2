//! Writes files that do not exist yet, each completely or not at all, and compares those that do.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use similar::TextDiff;

use super::templates::File;
use crate::base::error::Error;
use crate::base::files::{self, LARGEST};
use crate::report::init::FileState;

/// The state of a file of the repository.
///
/// # Errors
///
/// It exists and cannot be read.
pub(super) fn state(root: &Path, file: &File) -> Result<(FileState, Option<String>), Error> {
    let path = root.join(&file.path);
    match files::text(&path, LARGEST) {
        Ok(text) if text == file.text => Ok((FileState::Unchanged, None)),
        Ok(text) => Ok((FileState::Kept, Some(diff(&file.path, &text, &file.text)))),
        Err(error) => match error.into_io() {
            error if error.kind() == std::io::ErrorKind::NotFound => Ok((FileState::Created, None)),
            source => Err(Error::File { action: "read", path, source }),
        },
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
    let written = write(&path, content, mode);
    written.map_err(|source| Error::File { action: "write", path, source })
}

fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::Builder::new()
        .prefix(".k3s-boot-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    new.persist_noclobber(path)?;
    Ok(())
}
