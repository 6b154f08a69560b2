//! sops: decrypting files.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::Toolbox;
use crate::check::Finding;
use crate::error::Error;
use crate::process::{Invocation, ProcessError};

/// A key service in the cloud may have to be asked.
const DECRYPT: Duration = Duration::from_mins(1);

impl Toolbox {
    /// Decrypts a file into memory.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` when sops cannot decrypt it; `Err(_)` when k3s-boot is told to stop.
    pub async fn sops_decrypt(&self, file: &Path) -> Result<Result<SecretString, Finding>, Error> {
        let args = ["decrypt".as_ref(), file.as_os_str()];
        let invocation = Invocation::new("sops", &self.programs.sops, args).deadline(self.clock.cap(DECRYPT));
        let output = match self.runner.run(invocation).await {
            Ok(output) => output,
            Err(error @ ProcessError::Interrupted { .. }) => return Err(error.into()),
            Err(error) => return Ok(Err(cannot_decrypt(file, &error.to_string()))),
        };
        if !output.success() {
            return Ok(Err(cannot_decrypt(file, &reason(&output.talk))));
        }
        let text = String::from_utf8(output.stdout).map(SecretString::from);
        Ok(text.map_err(|_| cannot_decrypt(file, "what it decrypts to is not text")))
    }
}

fn cannot_decrypt(file: &Path, reason: &str) -> Finding {
    Finding::error("sops", "Encrypted file cannot be decrypted")
        .with("file", file.display())
        .with("reason", reason)
        .fix("name the right identities in SOPS_AGE_KEY_FILE, or add your public key to .sops.yaml and run `sops updatekeys` where it can be decrypted")
}

/// sops prints a long explanation per key group; the lines that tell something are those with `FAILED` or a cause.
fn reason(talk: &str) -> String {
    let telling = |line: &&str| {
        [
            "no identity matched",
            "did not find keys",
            "failed to",
            "error",
            "cannot",
            "incorrect",
        ]
        .iter()
        .any(|word| line.contains(word))
    };
    let line = talk
        .lines()
        .map(|line| line.trim().trim_start_matches(['|', '-', ' ']))
        .rfind(telling);
    line.or_else(|| talk.lines().next())
        .unwrap_or("no reason given")
        .to_owned()
}
