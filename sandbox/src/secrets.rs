//! Searches for leaked secrets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::folder::files;

/// The forms in which a secret can appear: literally, and in base64 at each of three offsets.
#[must_use]
pub fn shapes(secret: &str) -> Vec<String> {
    let encoded = (0..3).map(|shift| {
        let bytes = [&vec![0; shift], secret.as_bytes()].concat();
        let whole = bytes.len() / 3 * 3;
        // Skip the characters that also depend on the bytes before or after.
        STANDARD.encode(&bytes[..whole])[[0, 2, 3][shift]..].to_owned()
    });
    std::iter::once(secret.to_owned()).chain(encoded).collect()
}

/// The files of a folder that contain a secret.
pub(crate) fn leaks(secrets: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
    let shapes: Vec<_> = secrets.iter().flat_map(|secret| shapes(secret)).collect();
    let mut found = Vec::new();
    for file in files(folder)? {
        let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        if shapes.iter().any(|shape| text.contains(shape)) {
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
        assert_eq!(files(folder.path()).unwrap().len(), 4);
    }
}
