//! The one place where files of others are read: whatever lies there, reading it ends, and takes no more memory than the
//! largest file that is meant.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A file that people write, or that programs write for them.
pub const LARGEST: u64 = 8 * 1024 * 1024;

/// A repository with more files and folders than this is not looked through to its end.
const MOST: usize = 200_000;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The system's reason.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It is a folder, a pipe, a device, …
    #[error("it is not a file")]
    NoFile,
    /// It is larger than what was asked for.
    #[error("it is larger than {}", size(*.0))]
    TooLarge(u64),
    /// It holds other bytes.
    #[error("it is not text in UTF-8")]
    NoText,
}

impl Unreadable {
    /// The same as an error of the system.
    #[must_use]
    pub fn into_io(self) -> io::Error {
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

/// The text in a file of at most `largest` bytes.
///
/// # Errors
///
/// Why it cannot be read; nothing of what stands in it.
pub fn text(path: &Path, largest: u64) -> Result<String, Unreadable> {
    String::from_utf8(bytes(path, largest)?).map_err(|_| Unreadable::NoText)
}

/// What a file of at most `largest` bytes holds.
///
/// # Errors
///
/// Why it cannot be read.
pub fn bytes(path: &Path, largest: u64) -> Result<Vec<u8>, Unreadable> {
    let (file, length) = open(path)?;
    if length > largest {
        return Err(Unreadable::TooLarge(largest));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile, and some files of the system have no length.
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest { Err(Unreadable::TooLarge(largest)) } else { Ok(bytes) }
}

/// Opens a file, and nothing else: a pipe would be waited for, and some devices never end.
fn open(path: &Path) -> Result<(File, u64), Unreadable> {
    // Opening a device can have effects, so it is looked at before, too.
    if !path.metadata()?.is_file() {
        return Err(Unreadable::NoFile);
    }
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let found = file.metadata()?;
    if found.is_file() { Ok((file, found.len())) } else { Err(Unreadable::NoFile) }
}

/// Something in a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path.
    pub path: PathBuf,
    /// What it is; a link is a link, wherever it leads.
    pub kind: FileType,
}

impl Entry {
    /// Its name; what is no UTF-8 in it is replaced.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What is in a folder and in the folders below it that `enters` picks, at most [`MOST`] in all. Links are not followed,
/// and what cannot be read is left out.
pub fn walk<F: Fn(&Entry) -> bool>(folder: &Path, enters: F) -> impl Iterator<Item = Entry> + use<F> {
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
    .take(MOST)
}

/// What is in a folder, at most [`MOST`], in no order.
pub fn read_folder(folder: &Path) -> impl Iterator<Item = Entry> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| Some(Entry { path: entry.path(), kind: entry.file_type().ok()? }));
    found.take(MOST)
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
    fn only_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let told = |name: &str| text(&path(name), 4).unwrap_err().to_string();
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
            assert_eq!(told(name), "it is not a file", "{name}");
        }
        assert_eq!(told("large"), "it is larger than 0 KiB");
        assert_eq!(told("binary"), "it is not text in UTF-8");
        assert_eq!(told("gone"), "No such file or directory (os error 2)");
        assert!(told("loop").starts_with("Too many levels of symbolic links"));
        // It has no length, and goes on.
        assert_eq!(
            bytes(Path::new("/proc/self/maps"), 4).unwrap_err().to_string(),
            "it is larger than 0 KiB"
        );
        assert_eq!(Unreadable::TooLarge(LARGEST).to_string(), "it is larger than 8 MiB");
    }

    #[test]
    fn walks_end() {
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
