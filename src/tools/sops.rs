//! sops: decrypts files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::{Toolbox, public};
use crate::base::error::{Error, ProcessError};
use crate::base::finding::Finding;
use crate::base::{files, progress};
use crate::process::{Invocation, Output};
use crate::tools::child_env::AGE_IDENTITIES;

/// Long, because sops may ask a key service in the cloud.
const DECRYPT_TIMEOUT: Duration = Duration::from_mins(1);

/// The timeout for a sops that may ask on the terminal.
const ASKING_TIMEOUT: Duration = Duration::from_mins(5);

/// The files for which sops has asked, with their encrypted content and the result: a second preflight must not ask again. Locked
/// while sops asks, so that it asks for one file at a time.
#[derive(Default)]
pub(crate) struct Answered(Mutex<BTreeMap<PathBuf, (Vec<u8>, Decrypted)>>);

/// The content of a file, or why it cannot be decrypted.
type Decrypted = Result<SecretString, Finding>;

impl Answered {
    /// The result for a file, unless the file has changed.
    async fn get(&self, file: &Path) -> Option<Decrypted> {
        let answered = self.0.lock().await;
        let (encrypted, result) = answered.get(file)?;
        (*encrypted == files::bytes(file, files::LARGEST).ok()?).then(|| result.clone())
    }
}

/// How a file with a protected identity begins: encrypted by age, binary or armored.
const ENCRYPTED: [&str; 2] = ["age-encryption.org/", "-----BEGIN AGE ENCRYPTED FILE"];

/// Whether sops may have to ask: its identity is encrypted, belongs to a plugin, or comes from a command.
fn may_ask(identities: &[u8]) -> bool {
    let text = String::from_utf8_lossy(identities);
    ENCRYPTED.iter().any(|start| text.starts_with(start)) || text.contains("AGE-PLUGIN-")
}

impl Toolbox {
    /// Decrypts the files for which sops may ask, one after the other and before anything else runs that logs.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted. Any other failure returns when the file is decrypted again.
    pub(crate) async fn sops_ask(&self, encrypted: impl Iterator<Item = &Path>) -> Result<(), Error> {
        let set = |name: &str| self.runner.variable(name).filter(|value| !value.is_empty());
        let file =
            set("SOPS_AGE_KEY_FILE").and_then(|file| files::bytes(Path::new(file), files::LARGEST).ok());
        let is_expected = set("SOPS_AGE_KEY_CMD").is_some() || file.is_some_and(|text| may_ask(&text));
        if !self.can_ask || !is_expected {
            return Ok(());
        }
        for file in encrypted {
            let is_refused = self.sops_decrypt(file).await?.is_err();
            if is_refused && self.answered.get(file).await.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Decrypts a file into memory. If the identity is protected, by a passphrase or the PIN of a plugin, sops asks on the
    /// terminal.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` when sops cannot decrypt the file; `Err(_)` when k3s-boot is interrupted.
    pub(crate) async fn sops_decrypt(&self, file: &Path) -> Result<Decrypted, Error> {
        if let Some(result) = self.answered.get(file).await {
            return Ok(result);
        }
        let failure = match self.sops(file, false).await? {
            Ok(text) => return Ok(Ok(text)),
            Err(failure) => failure,
        };
        if !matches!(failure.kind, FailureKind::Asks | FailureKind::MayAsk) || !self.can_ask {
            return Ok(Err(failure.finding(file)));
        }
        let mut answered = self.answered.0.lock().await;
        let encrypted = files::bytes(file, files::LARGEST).unwrap_or_default();
        let _hidden = progress::hide();
        tracing::info!(file = %file.display(), "Running sops, which may ask on this terminal");
        let result = self.sops(file, true).await?.map_err(|failure| failure.finding(file));
        answered.insert(file.to_owned(), (encrypted, result.clone()));
        Ok(result)
    }

    /// Encrypts a manifest for the creation rule of `path`, which is relative to the root of the repository. The text reaches sops
    /// through stdin.
    ///
    /// # Errors
    ///
    /// sops fails; its message has no part of the text.
    pub(crate) async fn sops_encrypt(
        &self,
        root: &Path,
        path: &Path,
        text: &SecretString,
    ) -> Result<Vec<u8>, Error> {
        let file = root.join(path);
        // Without it, sops looks for the file in the working folder and above.
        let config = root.join(".sops.yaml");
        let args = [
            "--config".as_ref(),
            config.as_os_str(),
            "encrypt".as_ref(),
            "--filename-override".as_ref(),
            file.as_os_str(),
        ];
        let bytes = text.expose_secret().as_bytes().to_vec().into();
        let invocation = Invocation::new("sops", &self.programs.sops, args)
            .without(&AGE_IDENTITIES)
            .stdin(bytes)
            .deadline(self.clock.cap(DECRYPT_TIMEOUT))
            .public_part(public::sops_filter());
        let command = invocation.to_string();
        let output = self.runner.run(invocation).await?;
        if !output.success() {
            return Err(Error::Tool { command, reason: Failure::new(&output.talk).reason });
        }
        Ok(output.stdout)
    }

    async fn sops(&self, file: &Path, can_ask: bool) -> Result<Result<SecretString, Failure>, Error> {
        let timeout = if can_ask { ASKING_TIMEOUT } else { DECRYPT_TIMEOUT };
        let args = ["decrypt".as_ref(), file.as_os_str()];
        let invocation = Invocation::new("sops", &self.programs.sops, args)
            .deadline(self.clock.cap(timeout))
            .can_ask(can_ask)
            .public_part(public::sops_filter());
        Ok(match self.runner.run(invocation).await {
            Ok(Output { status, stdout, .. }) if status.success() => {
                let text = String::from_utf8(stdout).map(SecretString::from);
                text.map_err(|_| Failure::other("the decrypted content is not text"))
            }
            Ok(output) => Err(Failure::new(&output.talk)),
            Err(error @ ProcessError::Interrupted { .. }) => return Err(error.into()),
            Err(error) => Err(Failure::other(error.to_string())),
        })
    }
}

/// Why sops cannot decrypt a file.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    kind: FailureKind,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureKind {
    /// It has to ask, and has no terminal.
    Asks,
    /// A plugin or command for its identity failed, which may have had to ask.
    MayAsk,
    /// No identity fits, or none can be loaded.
    Identity,
    /// The file was changed after it was encrypted.
    Changed,
    /// A value cannot be decrypted with the key of the file.
    Broken,
    /// It is not YAML.
    Syntax,
    Other,
}

impl Failure {
    fn other(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Other, reason: reason.into() }
    }

    /// Parses the messages of sops 3.13.2. It prints a block of wrapped lines for each recipient; the first block without the
    /// searched locations is enough.
    fn new(talk: &str) -> Self {
        let lines: Vec<_> = talk.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let block = lines.iter().skip_while(|line| !line.starts_with("- |"));
        let block = block.map_while(|line| line.trim_start_matches("- ").strip_prefix('|'));
        let block = block.map(str::trim).collect::<Vec<_>>().join(" ");
        let block = block.split(" Did not find keys in").next().unwrap_or_default().trim_end_matches('.');
        if !block.is_empty() {
            let kind = if block.contains(NO_TERMINAL) {
                FailureKind::Asks
            } else if MAY_ASK.iter().any(|words| block.contains(words)) {
                FailureKind::MayAsk
            } else {
                FailureKind::Identity
            };
            return Self { kind, reason: block.to_owned() };
        }
        if let Some(at) = lines.iter().position(|line| line.starts_with("yaml: ")) {
            return Self { kind: FailureKind::Syntax, reason: lines[at..].join(" ") };
        }
        let reason = lines.last().copied().unwrap_or("no reason given");
        let kind = match reason {
            _ if lines.iter().any(|line| line.starts_with("Failed to get the data key")) => {
                FailureKind::Identity
            }
            reason if reason.starts_with("MAC mismatch") => FailureKind::Changed,
            reason if reason.contains("Could not decrypt with AES_GCM: ") => FailureKind::Broken,
            _ => FailureKind::Other,
        };
        Self { kind, reason: reason.to_owned() }
    }

    fn finding(self, file: &Path) -> Finding {
        let Self { kind, reason } = self;
        let name = file.display();
        let summary = match kind {
            FailureKind::Changed => "Encrypted file was changed after encryption",
            _ => "Encrypted file cannot be decrypted",
        };
        let finding = Finding::error("sops", summary).with("file", &name);
        let finding = finding.with("reason", reason);
        let restore = format!("restore the content that sops wrote: git log --patch -- {name}");
        match kind {
            FailureKind::Asks => finding.with("cause", ASKS).fix(format!("run k3s-boot on a terminal, or {OTHER_IDENTITY}")),
            FailureKind::MayAsk => finding.fix(format!(
                "sops decrypt {name} > /dev/null  # shows whether the plugin or command works, and what it asks for; without a terminal, {OTHER_IDENTITY}"
            )),
            FailureKind::Identity => finding.fix("set SOPS_AGE_KEY_FILE to a file with a matching identity, or add your public key to .sops.yaml and run `sops updatekeys` where the file can be decrypted"),
            FailureKind::Changed => finding.with("cause", "the file was changed after it was encrypted, or holds several encrypted files").fix(format!(
                "{restore}\nor, if the content is right: sops decrypt --ignore-mac --in-place {name} && sops encrypt --in-place {name}"
            )),
            FailureKind::Broken => {
                finding.with("cause", "a value was changed after it was encrypted, or comes from another encrypted file").fix(restore)
            }
            FailureKind::Syntax => finding.with("cause", "the file is not valid YAML").fix(restore),
            FailureKind::Other => finding,
        }
    }
}

const ASKS: &str = "the age identity is protected by a passphrase, and nobody can answer without a terminal";

const OTHER_IDENTITY: &str =
    "set SOPS_AGE_KEY_FILE to a file with an identity that needs no passphrase or PIN";

/// What age prints if it has to ask and has no terminal (age 1.3.1, `WithTerminal` in `internal/term/term.go`).
const NO_TERMINAL: &str = "/dev/tty is not available";

/// How age marks the error of a plugin (`plugin/client.go`), and sops that of `SOPS_AGE_KEY_CMD`.
const MAY_ASK: [&str; 2] = [" plugin: ", "identities: failed to execute command "];

#[cfg(test)]
mod tests {
    use super::*;

    // sops 3.13.2, shortened.
    const WRONG_KEY: &str = "Failed to get the data key required to decrypt the SOPS file.\n\nGroup 0: FAILED\n  age1q2f: FAILED\n\
            \x20   - | failed to create reader for decrypting sops data key with\n\
            \x20     | age: identity did not match any of the recipients: incorrect\n\
            \x20     | identity for recipient block. Did not find keys in locations\n\
            \x20     | 'SOPS_AGE_KEY', and 'SOPS_AGE_KEY_CMD'.\n\nRecovery failed because no master key was able to decrypt the file.\n";
    const PASSPHRASE: &str = "Failed to get the data key required to decrypt the SOPS file.\n\nGroup 0: FAILED\n  age1q2f: FAILED\n\
            \x20   - | failed to create reader for decrypting sops data key with\n\
            \x20     | age: failed to decrypt identity file: could not read\n\
            \x20     | passphrase: standard input is not a terminal, and /dev/tty\n\
            \x20     | is not available: open /dev/tty: no such device or address.\n\
            \x20     | Did not find keys in locations\n\
            \x20     | 'SOPS_AGE_SSH_PRIVATE_KEY_FILE', and 'SOPS_AGE_KEY_CMD'.\n\nRecovery failed because no master key was able to decrypt the file.\n";

    #[test]
    fn each_failure_is_read_as_a_whole() {
        let cases = [
            (
                WRONG_KEY,
                FailureKind::Identity,
                "failed to create reader for decrypting sops data key with age: identity did not match any of the recipients: incorrect identity for recipient block",
            ),
            (
                PASSPHRASE,
                FailureKind::Asks,
                "failed to create reader for decrypting sops data key with age: failed to decrypt identity file: could not read passphrase: standard input is not a terminal, and /dev/tty is not available: open /dev/tty: no such device or address",
            ),
            (
                "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed\n\n",
                FailureKind::Broken,
                "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed",
            ),
            (
                "Group 0: FAILED\n  age1q2f: FAILED\n    - | failed to create reader for decrypting sops data key with\n\
                 \x20     | age: identity did not match any of the recipients: test\n      | plugin: incorrect identity for recipient block. Did not find\n      | keys in locations 'SOPS_AGE_KEY', and 'SOPS_AGE_KEY_CMD'.\n",
                FailureKind::MayAsk,
                "failed to create reader for decrypting sops data key with age: identity did not match any of the recipients: test plugin: incorrect identity for recipient block",
            ),
            ("MAC mismatch\n", FailureKind::Changed, "MAC mismatch"),
            (
                "yaml: unmarshal errors:\n  line 21: mapping key  already defined at line 6\n",
                FailureKind::Syntax,
                "yaml: unmarshal errors: line 21: mapping key  already defined at line 6",
            ),
            (
                "yaml: line 6: could not find expected\n",
                FailureKind::Syntax,
                "yaml: line 6: could not find expected",
            ),
            ("sops metadata not found\n", FailureKind::Other, "sops metadata not found"),
            ("", FailureKind::Other, "no reason given"),
        ];
        for (talk, kind, reason) in cases {
            assert_eq!(Failure::new(talk), Failure { kind, reason: reason.to_owned() }, "{talk}");
        }
    }

    #[test]
    fn protected_identities_are_recognized() {
        for text in [
            "age-encryption.org/v1\n-> scrypt x",
            "-----BEGIN AGE ENCRYPTED FILE-----\n",
            "# x\nAGE-PLUGIN-YUBIKEY-1Q",
        ] {
            assert!(may_ask(text.as_bytes()), "{text}");
        }
        assert!(!may_ask(b"# created: x\nAGE-SECRET-KEY-1Q\n"));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(talk: String, block in "(\\n|  - \\| |    \\| |word|ä| Did not find keys in|\\.)*",
            near in crate::base::mutate::text(&[WRONG_KEY, PASSPHRASE])) {
            for talk in [talk, block, near] {
                _ = Failure::new(&talk).finding(Path::new("a.sops.yaml"));
            }
        }
    }
}
