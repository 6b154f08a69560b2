//! sops: decrypts files.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::{Toolbox, public};
use crate::base::error::{Error, ProcessError};
use crate::base::finding::Finding;
use crate::process::Invocation;

/// Long, because sops may ask a key service in the cloud.
const DECRYPT_TIMEOUT: Duration = Duration::from_mins(1);

impl Toolbox {
    /// Decrypts a file into memory.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` when sops cannot decrypt the file; `Err(_)` when k3s-boot is interrupted.
    pub(crate) async fn sops_decrypt(&self, file: &Path) -> Result<Result<SecretString, Finding>, Error> {
        let args = ["decrypt".as_ref(), file.as_os_str()];
        let invocation = Invocation::new("sops", &self.programs.sops, args)
            .deadline(self.clock.cap(DECRYPT_TIMEOUT))
            .public_part(public::sops_filter());
        let output = match self.runner.run(invocation).await {
            Ok(output) => output,
            Err(error @ ProcessError::Interrupted { .. }) => return Err(error.into()),
            Err(error) => return Ok(Err(cannot_decrypt(file, &error.to_string()))),
        };
        if !output.success() {
            return Ok(Err(cannot_decrypt(file, &reason(&output.talk))));
        }
        let text = String::from_utf8(output.stdout).map(SecretString::from);
        Ok(text.map_err(|_| cannot_decrypt(file, "the decrypted content is not text")))
    }
}

fn cannot_decrypt(file: &Path, reason: &str) -> Finding {
    let found =
        |message: &str| Finding::error("sops", message).with("file", file.display()).with("reason", reason);
    // The key was right, but what it decrypts is not what was encrypted (sops, `cmd/sops/common`).
    if ["MAC mismatch", "Cannot decrypt MAC", "Error decrypting tree"]
        .iter()
        .any(|words| reason.starts_with(words))
    {
        let path = file.display();
        return found("Encrypted file was changed after encryption")
            .fix(format!("restore the file as sops wrote it, and change it with `sops edit {path}` only"));
    }
    found("Encrypted file cannot be decrypted").fix("set SOPS_AGE_KEY_FILE to a file with a matching identity, or add your public key to .sops.yaml and run `sops updatekeys` where the file can be decrypted")
}

/// sops prints a block of wrapped lines for each recipient; the first block without the searched locations is enough. For
/// other failures, the last line is the reason.
fn reason(talk: &str) -> String {
    let lines = talk.lines().map(str::trim).skip_while(|line| !line.starts_with("- |"));
    let block = lines.map_while(|line| line.trim_start_matches("- ").strip_prefix('|'));
    let block = block.map(str::trim).collect::<Vec<_>>().join(" ");
    let reason = block.split(" Did not find keys in").next().unwrap_or_default();
    let last = || talk.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    if reason.is_empty() { last().trim().to_owned() } else { reason.trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    // sops 3.13.2, shortened.
    const WRONG_KEY: &str = "Failed to get the data key required to decrypt the SOPS file.\n\nGroup 0: FAILED\n  age1q2f: FAILED\n\
            \x20   - | failed to create reader for decrypting sops data key with\n\
            \x20     | age: identity did not match any of the recipients: incorrect\n\
            \x20     | identity for recipient block. Did not find keys in locations\n\
            \x20     | 'SOPS_AGE_KEY', and 'SOPS_AGE_KEY_CMD'.\n\nRecovery failed because no master key was able to decrypt the file.\n";

    #[test]
    fn reason_is_one_line() {
        let expected = "failed to create reader for decrypting sops data key with age: identity did not match any of the recipients: incorrect identity for recipient block";
        assert_eq!(reason(WRONG_KEY), expected);
        assert_eq!(
            reason("Error decrypting tree: message authentication failed\n\n"),
            "Error decrypting tree: message authentication failed"
        );
        assert_eq!(reason(""), "no reason given");
    }

    #[test]
    fn a_changed_file_is_not_a_problem_of_keys() {
        let summary = |reason: &str| cannot_decrypt(Path::new("a.sops.yaml"), reason).summary;
        for reason in [
            "MAC mismatch",
            "Cannot decrypt MAC: input does not match sops' data format",
            "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed",
        ] {
            assert_eq!(summary(reason), "Encrypted file was changed after encryption");
        }
        assert_eq!(summary(&reason(WRONG_KEY)), "Encrypted file cannot be decrypted");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(talk: String, block in "(\\n|  - \\| |    \\| |word|ä| Did not find keys in|\\.)*",
            near in crate::base::mutate::text(&[WRONG_KEY])) {
            _ = reason(&near);
            _ = reason(&talk);
            _ = reason(&block);
        }
    }
}
