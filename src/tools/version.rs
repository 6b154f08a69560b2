//! Reads the versions of the programs, and caches them for each build of a program.

use std::collections::BTreeMap;
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
        for (_, path, version) in &asked {
            if let Some((version, build)) = version.clone().zip(build(path)) {
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
        if let (Some(known), Some(now)) = (known.0.get(program), build(program))
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

fn build(program: &Path) -> Option<Build> {
    let file = std::fs::metadata(program).ok()?;
    Some(Build {
        size: file.size(),
        changed: file.ctime(),
        number: file.ino(),
        version: Version::new(0, 0, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn parsing_cache_never_panics(odd in crate::base::mutate::json(
            r#"{"/usr/bin/helm":{"size":58000000,"changed":1763900000,"number":42,"version":"4.2.4"}}"#)) {
            _ = serde_json::from_value::<VersionCache>(odd);
        }
    }
}
