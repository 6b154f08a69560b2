//! Lists and copies folders.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// All files in a folder and its subfolders except sockets; none if the folder does not exist.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", folder.display())),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if !kind.is_socket() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Copies a folder with its content.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let name = || format!("cannot copy `{}`", from.display());
    fs::create_dir_all(to).with_context(name)?;
    for entry in fs::read_dir(from).with_context(name)? {
        let entry = entry.with_context(name)?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).with_context(name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_files() {
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fs::create_dir_all(one.path().join("a/b")).unwrap();
        fs::write(one.path().join("a/b/c"), "text").unwrap();
        copy_folder(one.path(), two.path()).unwrap();
        assert_eq!(files(two.path()).unwrap(), [two.path().join("a/b/c")]);
        assert_eq!(files(&one.path().join("none")).unwrap(), Vec::<PathBuf>::new());
    }
}
