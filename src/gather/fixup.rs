//! Copies the repository's `bootstrap/` and fixes the paths of values files in the copy, so that one mistake does not hide
//! the others.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::base::error::Error;
use crate::base::files::{self, Unreadable};
use crate::base::scratch::Scratch;
use crate::desired::state_file::{StateFile, fix_paths};

/// A larger folder does not only hold helmfiles and values.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// The minimum that a file or folder counts for, which limits their number.
const MIN_ENTRY_SIZE: u64 = 1024;

/// Copies the helmfile's top-level folder and fixes the paths in the helmfile; everything beside that folder becomes a
/// symbolic link. Returns the path of the copied helmfile, or `None` if the folder is too large or unreadable; the wrong
/// paths are reported in any case.
pub(super) fn copy(state: &StateFile, root: &Path, scratch: &Scratch) -> Result<Option<PathBuf>, Error> {
    let Ok(below) = state.path.strip_prefix(root) else { return Ok(None) };
    let Some(first) = below.components().next().filter(|_| below.components().count() > 1) else {
        return Ok(None);
    };
    let copy = scratch.subfolder(&format!("fixed-{}", state.kind.stage().name()))?;
    let fixed = copy_fixed(state, root, &copy.join(below), (first.as_os_str(), &copy));
    if let Err(error) = &fixed {
        tracing::debug!(root = %root.display(), error = %error, "Paths of values files not fixed");
    }
    Ok(fixed.is_ok().then(|| copy.join(below)))
}

/// Copies `first` into the folder `copy`, and writes the helmfile with fixed paths to `path`.
fn copy_fixed(
    state: &StateFile,
    root: &Path,
    path: &Path,
    (first, copy): (&OsStr, &Path),
) -> std::io::Result<()> {
    let mut left = MAX_SIZE;
    for entry in std::fs::read_dir(root)?.flatten() {
        left = left.checked_sub(MIN_ENTRY_SIZE).ok_or(std::io::ErrorKind::FileTooLarge)?;
        if entry.file_name() == first {
            copy_tree(&entry.path(), &copy.join(first), &mut left)?;
        } else {
            symlink(entry.path(), copy.join(entry.file_name()))?;
        }
    }
    let text = files::text(path, files::LARGEST).map_err(Unreadable::into_io)?;
    std::fs::write(path, fix_paths(&text, &state.path_fixes))
}

fn copy_tree(from: &Path, to: &Path, left: &mut u64) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        let size = if kind.is_file() { entry.metadata()?.len() } else { 0 };
        *left = left.checked_sub(size.max(MIN_ENTRY_SIZE)).ok_or(std::io::ErrorKind::FileTooLarge)?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, left)?;
        } else if kind.is_symlink() {
            symlink(entry.path().canonicalize().unwrap_or_else(|_| entry.path()), target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
