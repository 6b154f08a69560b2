//! The only module that reads files of the user: it rejects pipes and devices, and limits the size. Writes those of k3s-boot.

use std::fs::{File, FileType, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// The maximum size of a file.
pub(crate) const LARGEST: u64 = 8 * 1024 * 1024;

/// How many files and folders of a repository are visited.
const MAX_ENTRIES: usize = 200_000;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The operating system returned an error.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It is a folder, a pipe, a device, …
    #[error("not a regular file")]
    NoFile,
    /// It is larger than this limit in bytes.
    #[error("larger than {}", size(*.0))]
    TooLarge(u64),
    /// It is not text.
    #[error("not UTF-8 text")]
    NoText,
}

impl Unreadable {
    /// Converts it to an I/O error.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::System(error) => error,
            other => io::Error::other(other.to_string()),
        }
    }
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1024 * 1024) {
        format!("{} MiB", bytes / 1024 / 1024)
    } else {
        format!("{} KiB", bytes / 1024)
    }
}

/// Reads the text of a file of at most `largest` bytes.
///
/// # Errors
///
/// The file cannot be read. The error never contains file content.
pub(crate) fn text(path: &Path, largest: u64) -> Result<String, Unreadable> {
    String::from_utf8(bytes(path, largest)?).map_err(|_| Unreadable::NoText)
}

/// Reads the bytes of a file of at most `largest` bytes.
///
/// # Errors
///
/// The file cannot be read.
pub(crate) fn bytes(path: &Path, largest: u64) -> Result<Vec<u8>, Unreadable> {
    let (file, length) = open(path)?;
    if length > largest {
        return Err(Unreadable::TooLarge(largest));
    }
    let mut bytes = Vec::new();
    // The file may grow meanwhile, and files in `/proc` have no length.
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest { Err(Unreadable::TooLarge(largest)) } else { Ok(bytes) }
}

/// Opens a regular file only: a pipe would block, and some devices are endless.
fn open(path: &Path) -> Result<(File, u64), Unreadable> {
    // Check before opening, too: opening a device can have side effects.
    if !path.metadata()?.is_file() {
        return Err(Unreadable::NoFile);
    }
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let found = file.metadata()?;
    if found.is_file() { Ok((file, found.len())) } else { Err(Unreadable::NoFile) }
}

/// A file or folder in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub path: PathBuf,
    /// The type; symbolic links are not followed.
    pub kind: FileType,
}

impl Entry {
    /// The file name, with invalid UTF-8 replaced.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Visits a folder and those of its subfolders for which `enters` is true, at most [`MAX_ENTRIES`] entries. Symbolic links
/// are not followed, and unreadable entries are skipped.
pub(crate) fn walk<F: Fn(&Entry) -> bool>(folder: &Path, enters: F) -> impl Iterator<Item = Entry> + use<F> {
    let mut folders = vec![folder.to_owned()];
    let mut entries: Vec<Entry> = Vec::new();
    std::iter::from_fn(move || {
        loop {
            if let Some(entry) = entries.pop() {
                if entry.kind.is_dir() && enters(&entry) {
                    folders.push(entry.path.clone());
                }
                return Some(entry);
            }
            let folder = folders.pop()?;
            entries.extend(read_folder(&folder));
        }
    })
    .take(MAX_ENTRIES)
}

/// The entries of a folder in no particular order, at most [`MAX_ENTRIES`].
pub(crate) fn read_folder(folder: &Path) -> impl Iterator<Item = Entry> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| Some(Entry { path: entry.path(), kind: entry.file_type().ok()? }));
    found.take(MAX_ENTRIES)
}

/// Writes a file completely or not at all, and creates its folder.
///
/// # Errors
///
/// The folder or the file cannot be written.
pub(crate) fn write_whole(file: &Path, content: &[u8]) -> io::Result<()> {
    staged(file, content, 0o600)?.persist(file)?;
    Ok(())
}

/// Creates a file completely or not at all, and its folder. `mode` is the mode before the umask.
///
/// # Errors
///
/// The folder or the file cannot be written, or the file exists.
pub(crate) fn create_whole(file: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let new = staged(file, content, mode)?;
    new.as_file().sync_all()?;
    new.persist_noclobber(file)?;
    Ok(())
}

/// A temporary file beside `file`.
fn staged(file: &Path, content: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::Builder::new()
        .prefix(".k3s-boot-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        // The error names the temporary file, which means nothing to the user.
        .map_err(|error| error.kind())?;
    new.as_file_mut().write_all(content)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn reads_only_regular_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |name: &str| text(&path(name), 4).unwrap_err().to_string();
        mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for (name, bytes) in [("good", &b"1234"[..]), ("large", b"12345"), ("binary", b"\xff\xfe")] {
            std::fs::write(path(name), bytes).unwrap();
        }
        symlink("good", path("link")).unwrap();
        assert_eq!(text(&path("good"), 4).unwrap(), "1234");
        assert_eq!(text(&path("link"), 4).unwrap(), "1234");
        for name in ["pipe", "zero", "."] {
            assert_eq!(error(name), "not a regular file", "{name}");
        }
        assert_eq!(error("large"), "larger than 0 KiB");
        assert_eq!(error("binary"), "not UTF-8 text");
        assert_eq!(error("gone"), "No such file or directory (os error 2)");
        assert!(error("loop").starts_with("Too many levels of symbolic links"));
        // A file without a length.
        assert_eq!(bytes(Path::new("/proc/self/maps"), 4).unwrap_err().to_string(), "larger than 0 KiB");
        assert_eq!(Unreadable::TooLarge(LARGEST).to_string(), "larger than 8 MiB");
    }

    #[test]
    fn walk_terminates_despite_links() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        for name in ["one", "two"] {
            symlink("..", below.join(name)).unwrap();
        }
        symlink(folder.path(), folder.path().join("self")).unwrap();
        std::fs::write(below.join(OsStr::from_bytes(b"\xff.yaml")), "").unwrap();
        std::fs::create_dir(folder.path().join(".hidden")).unwrap();
        std::fs::write(folder.path().join(".hidden/x"), "").unwrap();
        let found = |enters: fn(&Entry) -> bool| {
            let mut names: Vec<_> = walk(folder.path(), enters).map(|entry| entry.name()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(found(|_| true), ".hidden a b one self two x \u{fffd}.yaml");
        assert_eq!(found(|entry| !entry.name().starts_with('.')), ".hidden a b one self two \u{fffd}.yaml");
        assert_eq!(walk(&below.join("gone"), |_| true).count(), 0);
    }
}
