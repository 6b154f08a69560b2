//! A copy of the repository's `bootstrap/` in which paths of values files are right, so that one fault does not hide the
//! others.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::desired::state_file::{StateFile, mend};
use crate::error::Error;
use crate::scratch::Scratch;

/// More than this is no folder of helmfiles and values.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Copies the helmfile's part of the repository and mends its paths; gives the copy's path. What lies beside it is
/// there as links.
pub(super) fn copy(state: &StateFile, root: &Path, scratch: &Scratch) -> Result<Option<PathBuf>, Error> {
    let Ok(below) = state.path.strip_prefix(root) else { return Ok(None) };
    let Some(first) = below.components().next().filter(|_| below.components().count() > 1) else {
        return Ok(None);
    };
    let copy = scratch.subfolder(&format!("mended-{}", state.kind.stage()))?;
    let mut left = LARGEST;
    let failed = |source| Error::File { action: "copy", path: root.to_owned(), source };
    for entry in std::fs::read_dir(root).map_err(failed)?.flatten() {
        if entry.file_name() == first.as_os_str() {
            copy_tree(&entry.path(), &copy.join(first), &mut left).map_err(failed)?;
        } else {
            symlink(entry.path(), copy.join(entry.file_name())).map_err(failed)?;
        }
    }
    let path = copy.join(below);
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    std::fs::write(&path, mend(&text, &state.mends)).map_err(failed)?;
    Ok(Some(path))
}

fn copy_tree(from: &Path, to: &Path, left: &mut u64) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, left)?;
        } else if kind.is_symlink() {
            symlink(entry.path().canonicalize().unwrap_or_else(|_| entry.path()), target)?;
        } else if kind.is_file() {
            *left = left.checked_sub(entry.metadata()?.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
