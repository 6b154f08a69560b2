//! The temporary folder of a run.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::base::error::Error;

const PREFIX: &str = "k3s-boot.";

/// A younger folder may belong to a run that has not locked it yet.
const SETTLED: Duration = Duration::from_mins(1);

/// The temporary folder of this run: mode 0700, locked while the run is alive, removed at its end. The next run removes the
/// folder of a killed run.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    _lock: Flock<File>,
}

impl Scratch {
    /// Creates the folder below `parent`, and removes those of killed runs.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub(crate) fn new(parent: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { action: "create a folder in", path: parent.to_owned(), source };
        std::fs::create_dir_all(parent).map_err(failed)?;
        remove_leftovers(parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(failed)?;
        let lock = lock(folder.path()).ok_or_else(|| failed(std::io::ErrorKind::ResourceBusy.into()))?;
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates a folder inside.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).map_err(|source| Error::File {
            action: "create",
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }
}

fn lock(folder: &Path) -> Option<Flock<File>> {
    let file = File::open(folder).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

fn remove_leftovers(parent: &Path) {
    let own = nix::unistd::getuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Links are not followed: other users can write to the parent.
        let Ok(metadata) = entry.path().symlink_metadata() else {
            continue;
        };
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        let settled = age.is_some_and(|age| age > SETTLED) || has_content(&entry.path());
        if metadata.is_dir() && metadata.uid() == own && settled && lock(&entry.path()).is_some() {
            _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A run locks its folder before it puts anything in it.
fn has_content(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_runs_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let living = Scratch::new(parent.path()).unwrap();
        living.subfolder("values").unwrap();
        let dead = parent.path().join("k3s-boot.dead");
        std::fs::create_dir_all(dead.join("values")).unwrap();
        let others = parent.path().join("helmfile123");
        std::fs::create_dir(&others).unwrap();
        let next = Scratch::new(parent.path()).unwrap();
        assert!(living.path().exists() && next.path().exists() && others.exists());
        assert!(!dead.exists());
        let mode = std::fs::metadata(next.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
