//! Reads the versions of the programs, and caches them for each build of a program.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::Toolbox;
use crate::base::error::{Error, ProcessError};
use crate::base::fact::Fact;
use crate::base::files;
use crate::process::Invocation;
use crate::tools::child_env::AGE_IDENTITIES;
use crate::tools::requirements;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The versions that earlier runs read, by the path of the program.
#[derive(Clone, Default, Deserialize, PartialEq, Eq, Serialize)]
struct VersionCache(BTreeMap<PathBuf, Build>);

/// A build of a program, recognized by size, change time and inode number of its file.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
struct Build {
    size: u64,
    changed: i64,
    number: u64,
    version: Version,
}

impl Toolbox {
    /// The versions of the programs; `None` if a version could not be read. `cache` is the folder of the cache. With
    /// `offline`, kubectl is skipped, because only a cluster needs it.
    ///
    /// # Errors
    ///
    /// When k3s-boot is interrupted.
    pub(crate) async fn versions(
        &self,
        cache: Option<&Path>,
        offline: bool,
    ) -> Result<Vec<(&'static str, Fact<Option<Version>>)>, Error> {
        let file = cache.map(|folder| folder.join("versions.json"));
        let mut known: VersionCache = file
            .as_ref()
            .and_then(|file| files::bytes(file, files::LARGEST).ok())
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let before = known.clone();
        let programs = &self.programs;
        let asked: [(_, _, &[&str]); 4] = [
            ("helmfile", &programs.helmfile, &["--version"]),
            ("kubectl", &programs.kubectl, &["version", "--client"]),
            ("sops", &programs.sops, &["--version", "--disable-version-check"]),
            ("helm", &programs.helm, &["version", "--short"]),
        ];
        let asked = asked.iter().filter(|(tool, ..)| !(offline && *tool == "kubectl"));
        let asking = asked.map(async |(tool, program, args)| {
            let version = self.version(tool, program, args, &known).await?;
            Ok((*tool, *program, version))
        });
        let asked: Vec<_> = join_all(asking).await.into_iter().collect::<Result<_, Error>>()?;
        for (tool, path, version) in &asked {
            if let Some((version, build)) = version.clone().zip(build(tool, path)) {
                known.0.insert((*path).clone(), Build { version, ..build });
            }
        }
        if let Some(file) = file.filter(|_| known != before) {
            // A failure is harmless: the cache only saves time.
            _ = std::fs::create_dir_all(file.parent().unwrap_or(&file))
                .and_then(|()| std::fs::write(&file, serde_json::to_vec(&known)?));
        }
        Ok(asked.into_iter().map(|(name, _, version)| (name, Ok(version))).collect())
    }

    async fn version(
        &self,
        tool: &'static str,
        program: &Path,
        args: &[&str],
        known: &VersionCache,
    ) -> Result<Option<Version>, Error> {
        if let (Some(known), Some(now)) = (known.0.get(program), build(tool, program))
            && (Build { version: known.version.clone(), ..now }) == *known
        {
            return Ok(Some(known.version.clone()));
        }
        let invocation =
            Invocation::new(tool, program, args).deadline(self.clock.cap(TIMEOUT)).without(&AGE_IDENTITIES);
        match self.runner.run(invocation).await {
            Ok(output) => {
                let stdout = String::from_utf8_lossy(&output.stdout);
                Ok(requirements::parse(&stdout).or_else(|| requirements::parse(&output.talk)))
            }
            Err(error @ ProcessError::Interrupted { .. }) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}

/// The build of a program; none if its file does not decide its version: a script, or a shim of a version manager, which is a
/// link to a program of another name (`mise`, `aqua-proxy`) or a script (asdf).
fn build(tool: &str, program: &Path) -> Option<Build> {
    let real = std::fs::canonicalize(program).ok()?;
    if !real.file_name()?.to_str()?.starts_with(tool) || !is_binary(&real) {
        return None;
    }
    let file = std::fs::metadata(&real).ok()?;
    Some(Build {
        size: file.size(),
        changed: file.ctime(),
        number: file.ino(),
        version: Version::new(0, 0, 0),
    })
}

/// Whether a file is a program in machine code: ELF, or Mach-O with 64 bits or for several architectures.
fn is_binary(file: &Path) -> bool {
    const MAGIC: [[u8; 4]; 3] = [*b"\x7fELF", [0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]];
    let mut start = [0; 4];
    let read = std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && MAGIC.contains(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_in_machine_code_under_its_own_name_has_a_build() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["helm", "helm-4.2.4", "mise"] {
            std::fs::write(path(name), b"\x7fELF and more").unwrap();
        }
        std::fs::write(path("sops"), "#!/usr/bin/env bash\nexec asdf exec sops \"$@\"\n").unwrap();
        std::os::unix::fs::symlink(path("mise"), path("kubectl")).unwrap();
        std::os::unix::fs::symlink(path("helm-4.2.4"), path("helm-link")).unwrap();
        assert!(build("helm", &path("helm")).is_some());
        assert!(build("helm", &path("helm-link")).is_some(), "a link of a package manager");
        for (tool, file) in [("kubectl", "kubectl"), ("sops", "sops"), ("helm", "nothing")] {
            assert!(build(tool, &path(file)).is_none(), "{file}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_cache_never_panics(odd in crate::base::mutate::json(
            r#"{"/usr/bin/helm":{"size":58000000,"changed":1763900000,"number":42,"version":"4.2.4"}}"#)) {
            _ = serde_json::from_value::<VersionCache>(odd);
        }
    }
}
