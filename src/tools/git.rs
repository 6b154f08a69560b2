//! git: tracked files and the remote of the repository. git is optional: without it, both are unknown.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Toolbox, last_words};
use crate::base::error::Error;
use crate::process::Invocation;
use crate::tools::child_env::AGE_IDENTITIES;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Git sets these variables for a hook that runs k3s-boot; they would select another repository.
const REPOSITORY_VARIABLES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"];

/// Parses the output of `git ls-files -z`; a name may contain any byte but 0.
pub(crate) fn parse_tracked(names: &[u8]) -> BTreeSet<PathBuf> {
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
}

impl Toolbox {
    /// The files that Git tracks, relative to `root`.
    ///
    /// # Errors
    ///
    /// When git fails.
    pub(crate) async fn git_tracked(&self, git: &Path, root: &Path) -> Result<BTreeSet<PathBuf>, Error> {
        let names = self.git(git, root, &["ls-files", "-z"]).await?;
        Ok(parse_tracked(&names))
    }

    /// The URL of the remote `origin`; it may contain credentials.
    ///
    /// # Errors
    ///
    /// When git fails, or there is no such remote.
    pub(crate) async fn git_origin(&self, git: &Path, root: &Path) -> Result<String, Error> {
        let url = self.git(git, root, &["config", "--get", "remote.origin.url"]).await?;
        Ok(String::from_utf8_lossy(&url).trim().to_owned())
    }

    /// The current branch, also before its first commit; none if HEAD is detached.
    ///
    /// # Errors
    ///
    /// When git fails.
    pub(crate) async fn git_branch(&self, git: &Path, root: &Path) -> Result<String, Error> {
        let name = self.git(git, root, &["symbolic-ref", "--short", "HEAD"]).await?;
        Ok(String::from_utf8_lossy(&name).trim().to_owned())
    }

    /// Whether `git add .` would add this file: it is neither tracked nor ignored.
    ///
    /// # Errors
    ///
    /// When git fails.
    pub(crate) async fn git_would_add(&self, git: &Path, root: &Path, file: &Path) -> Result<bool, Error> {
        let file = format!(":(literal){}", file.display());
        let args = ["ls-files", "-z", "--others", "--exclude-standard", "--", &file];
        Ok(!self.git(git, root, &args).await?.is_empty())
    }

    async fn git(&self, git: &Path, root: &Path, words: &[&str]) -> Result<Vec<u8>, Error> {
        let mut args = vec!["--no-optional-locks".as_ref(), "-C".as_ref(), root.as_os_str()];
        args.extend(words.iter().map(OsStr::new));
        let invocation = Invocation::new("git", git, args).deadline(self.clock.cap(TIMEOUT));
        let invocation = invocation.without(&AGE_IDENTITIES).without(&REPOSITORY_VARIABLES);
        let command = invocation.to_string();
        let output = self.runner.run(invocation).await?;
        if !output.success() {
            return Err(Error::Tool { command, reason: last_words(&output) });
        }
        Ok(output.stdout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_any_bytes() {
        let found = parse_tracked(b"b\xff.yaml\0a\nb\0\0c");
        let names: Vec<_> = found.iter().map(|path| path.as_os_str().as_bytes()).collect();
        assert_eq!(names, [&b"a\nb"[..], b"b\xff.yaml", b"c"]);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(names: Vec<u8>) {
            _ = parse_tracked(&names);
        }
    }
}
