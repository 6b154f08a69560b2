//! Searches for leaked secrets.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::folder::files;

/// Finds secrets in every form in which they can appear.
#[derive(Debug)]
pub struct SecretSearch(AhoCorasick);

impl SecretSearch {
    /// Prepares the search for these secrets.
    pub fn new(secrets: &[String]) -> Result<Self> {
        Ok(Self(AhoCorasick::new(secrets.iter().flat_map(|secret| forms(secret)))?))
    }

    /// The index of a secret that these bytes contain, and its place.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<(usize, Range<usize>)> {
        let found = self.0.find(bytes)?;
        Some((found.pattern().as_usize() / FORMS, found.range()))
    }
}

/// The number of forms of a secret.
const FORMS: usize = 4;

/// A secret literally, and in base64 at each of three offsets.
fn forms(secret: &str) -> [Vec<u8>; FORMS] {
    let encoded = |shift: usize| {
        let bytes = [&vec![0; shift], secret.as_bytes()].concat();
        let whole = bytes.len() / 3 * 3;
        // Skip the characters that also depend on the bytes before or after.
        STANDARD.encode(&bytes[..whole]).as_bytes()[[0, 2, 3][shift]..].to_vec()
    };
    [secret.as_bytes().to_vec(), encoded(0), encoded(1), encoded(2)]
}

/// The files of a folder that contain a secret.
pub(crate) fn leaks(secrets: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
    let search = SecretSearch::new(secrets)?;
    let mut found = Vec::new();
    for file in files(folder)? {
        let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        if search.find(&bytes).is_some() {
            found.push(file);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_shape() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = ["a-canary-of-the-test".to_owned()];
        for (name, before) in [("a", ""), ("b", "x"), ("c", "xy")] {
            let text = STANDARD.encode(format!("{before}{} and more", secrets[0]));
            fs::create_dir_all(folder.path().join("deep")).unwrap();
            fs::write(folder.path().join("deep").join(name), text).unwrap();
        }
        fs::write(folder.path().join("other"), "nothing of it").unwrap();
        assert_eq!(leaks(&secrets, folder.path()).unwrap().len(), 3);
        let secrets = ["another-canary".to_owned(), secrets[0].clone()];
        let search = SecretSearch::new(&secrets).unwrap();
        assert_eq!(search.find(b"\xff: a-canary-of-the-test"), Some((1, 3..23)));
        assert_eq!(files(folder.path()).unwrap().len(), 4);
    }
}
