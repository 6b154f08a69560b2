//! A copy of the repository's `bootstrap/` in which paths of values files are right, so that one fault does not hide the
//! others.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::base::error::Error;
use crate::base::files::{self, Unreadable};
use crate::base::scratch::Scratch;
use crate::desired::state_file::{StateFile, mend};

/// More than this is no folder of helmfiles and values.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What a file or folder counts for at least, so that there are not too many.
const SMALLEST: u64 = 1024;

/// Copies the helmfile's part of the repository and mends its paths; gives the copy's path, or none where there is too
/// much, or what cannot be read: what is wrong with the paths is told all the same. What lies beside it is there as
/// links.
pub(super) fn copy(state: &StateFile, root: &Path, scratch: &Scratch) -> Result<Option<PathBuf>, Error> {
    let Ok(below) = state.path.strip_prefix(root) else { return Ok(None) };
    let Some(first) = below.components().next().filter(|_| below.components().count() > 1) else {
        return Ok(None);
    };
    let copy = scratch.subfolder(&format!("mended-{}", state.kind.stage().name()))?;
    let mended = mended(state, root, &copy.join(below), (first.as_os_str(), &copy));
    if let Err(error) = &mended {
        tracing::debug!(root = %root.display(), error = %error, "Paths not mended");
    }
    Ok(mended.is_ok().then(|| copy.join(below)))
}

/// Makes the copy of `first` in a folder, and of the helmfile at `path` with other paths in it.
fn mended(
    state: &StateFile,
    root: &Path,
    path: &Path,
    (first, copy): (&OsStr, &Path),
) -> std::io::Result<()> {
    let mut left = LARGEST;
    for entry in std::fs::read_dir(root)?.flatten() {
        left = left.checked_sub(SMALLEST).ok_or(std::io::ErrorKind::FileTooLarge)?;
        if entry.file_name() == first {
            copy_tree(&entry.path(), &copy.join(first), &mut left)?;
        } else {
            symlink(entry.path(), copy.join(entry.file_name()))?;
        }
    }
    let text = files::text(path, files::LARGEST).map_err(Unreadable::into_io)?;
    std::fs::write(path, mend(&text, &state.mends))
}

fn copy_tree(from: &Path, to: &Path, left: &mut u64) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        let size = if kind.is_file() { entry.metadata()?.len() } else { 0 };
        *left = left.checked_sub(size.max(SMALLEST)).ok_or(std::io::ErrorKind::FileTooLarge)?;
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
