//! The archive of a target: the program, completions, manual pages and texts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::{folder, package, source_date};
use crate::program::{cargo, output, print_progress, run, workspace};

/// What the archive contains beside the program: files, and folders without folders in them.
const CONTENTS: [&str; 5] = ["CHANGELOG.md", "LICENSE", "README.md", "completions", "man"];

/// Builds the program and makes the archive.
pub(super) fn make(target: Option<String>) -> Result<()> {
    let target = target.map_or_else(host, Ok)?;
    let program = static_program(&target)?;
    let package = package()?;
    let name = format!("{}-{}-{target}", package.name, package.version);
    std::fs::create_dir_all(folder())?;
    let path = folder().join(format!("{name}.tar.gz"));
    let mut entries = vec![(package.name, program)];
    for content in CONTENTS {
        let path = workspace().join(content);
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                entries.push((format!("{content}/{}", entry.file_name().to_string_lossy()), entry.path()));
            }
        } else {
            entries.push((content.to_owned(), path));
        }
    }
    entries.sort();
    write(&path, &name, &entries, source_date()?)?;
    print_progress(&format!("made {}", path.display()));
    Ok(())
}

/// Writes an archive that depends on nothing but names, contents and `time`.
fn write(path: &Path, root: &str, entries: &[(String, PathBuf)], time: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    // A GzBuilder writes neither a name nor the current time.
    let mut archive = Builder::new(GzBuilder::new().write(file, Compression::best()));
    for (name, path) in entries {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes.len().try_into()?);
        header.set_mode(if name == "k3s-boot" { 0o755 } else { 0o644 });
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, format!("{root}/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?.sync_all()?;
    Ok(())
}

/// Builds a program that needs no libraries of the machine, on Linux; on macOS, none but those of the system.
///
/// # Errors
///
/// If it cannot be built or is linked dynamically.
fn static_program(target: &str) -> Result<PathBuf> {
    print_progress(&format!("building k3s-boot for {target}"));
    let mut command = cargo();
    command.args([
        "build",
        "--release",
        "--locked",
        "--package=k3s-boot",
        "--bin=k3s-boot",
        "--target",
        target,
    ]);
    command.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(target)?.join("\x1f"));
    run(&mut command)?;
    let program = target_dir()?.join(target).join("release/k3s-boot");
    if target.contains("-linux-") {
        // ldd(1) runs only programs of this machine.
        let headers = output(Command::new("readelf").args(["--program-headers", "--wide"]).arg(&program))?;
        if headers.contains("INTERP") {
            bail!("{} is linked dynamically", program.display());
        }
    }
    Ok(program)
}

/// Paths of this machine are replaced in the program, which then depends on its source and the toolchain only.
fn rust_flags(target: &str) -> Result<Vec<String>> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("`HOME` is not set")?).join(".cargo"),
    };
    let mut flags = vec![
        format!("--remap-path-prefix={}=/cargo", home.display()),
        format!("--remap-path-prefix={}=/k3s-boot", workspace().display()),
    ];
    // With musl this is the default.
    if target.ends_with("-linux-gnu") {
        flags.push("-Ctarget-feature=+crt-static".to_owned());
    }
    Ok(flags)
}

fn target_dir() -> Result<PathBuf> {
    let json = output(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&json)?;
    let folder =
        metadata["target_directory"].as_str().context("`cargo metadata` printed no target directory")?;
    Ok(folder.into())
}

/// The triple of this machine.
fn host() -> Result<String> {
    Ok(output(Command::new("rustc").args(["--print", "host-tuple"]).current_dir(workspace()))?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn an_archive_depends_only_on_what_it_contains() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let entries = [("k3s-boot".to_owned(), path("program")), ("man/k3s-boot.1".to_owned(), path("page"))];
        let archive = |name: &str| {
            write(&path(name), "k3s-boot-1.2.3", &entries, 1_700_000_000).unwrap();
            std::fs::read(path(name)).unwrap()
        };
        for (_, file) in &entries {
            std::fs::write(file, "text").unwrap();
        }
        let first = archive("first");
        let file = File::options().write(true).open(path("page")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        assert_eq!(archive("second"), first);
        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(first.as_slice()));
        let found: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let header = entry.as_ref().unwrap().header().clone();
                let path = entry.unwrap().path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap())
            })
            .collect();
        let expected = [("k3s-boot-1.2.3/k3s-boot", 0o755), ("k3s-boot-1.2.3/man/k3s-boot.1", 0o644)];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode, 0, 1_700_000_000)));
        std::fs::write(path("page"), "other text").unwrap();
        assert_ne!(archive("third"), first);
    }
}
