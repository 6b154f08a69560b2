//! Age keys: what SOPS and Flux's kustomize-controller accept, and the public keys that belong to them.
//!
//! The rules are those of `ParseIdentities` in filippo.io/age 1.3 as sops 3.13 uses it: empty lines and lines that
//! start with `#` in the first column are skipped, every other line must be an identity and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use secrecy::{ExposeSecret as _, SecretString};
use ssh_key::rand_core::OsRng;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::base::files::{self, Entry};

/// The size of a file with identities; a post-quantum one has some kilobytes.
pub(crate) const LARGEST: u64 = 64 * 1024;

const X25519: &str = "AGE-SECRET-KEY-1";
const POST_QUANTUM: &str = "AGE-SECRET-KEY-PQ-1";
const PLUGIN: &str = "AGE-PLUGIN-";

/// An identity of a key file.
pub(crate) struct Identity {
    /// Its line.
    pub secret: SecretString,
    /// Its public key; not known for post-quantum and plugin identities.
    pub public: Option<String>,
}

impl Identity {
    /// Whether it is a post-quantum one: only sops 3.12 and Flux 2.9 or later read those.
    pub(crate) fn is_post_quantum(&self) -> bool {
        self.secret.expose_secret().starts_with(POST_QUANTUM)
    }

    /// Whether a plugin is needed for it, which no controller of Flux has.
    pub(crate) fn is_plugin(&self) -> bool {
        self.secret.expose_secret().starts_with(PLUGIN)
    }
}

pub(crate) struct KeyFile {
    /// The file as it is.
    pub text: SecretString,
    pub identities: Vec<Identity>,
}

/// Why a key file is not one. Never quotes its content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// A line is no identity.
    #[error("line {line} {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no identity in it.
    #[error("no line holds an identity; one starts with `AGE-SECRET-KEY-1`")]
    Empty,
}

/// Reads a key file.
///
/// # Errors
///
/// A line that sops or kustomize-controller would refuse, with its number and never its content.
pub(crate) fn parse(text: &str) -> Result<KeyFile, KeyError> {
    let mut identities = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        // Go's line scanner drops one carriage return; nothing else is trimmed.
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let public = public_key(line).map_err(|what| KeyError::Line { line: index + 1, what })?;
        identities.push(Identity { secret: SecretString::from(line), public });
    }
    if identities.is_empty() {
        return Err(KeyError::Empty);
    }
    Ok(KeyFile { text: SecretString::from(text), identities })
}

/// A new key file with one identity, as age-keygen writes it, and the public key.
///
/// # Errors
///
/// The identity cannot be encoded.
pub(crate) fn generate() -> Result<(SecretString, String), KeyError> {
    let secret = StaticSecret::random_from_rng(OsRng);
    let invalid = |_| KeyError::Empty;
    let prefix = Hrp::parse("age-secret-key-").map_err(invalid)?;
    let line = bech32::encode_upper::<Bech32>(prefix, secret.as_bytes()).map_err(|_| KeyError::Empty)?;
    let line = SecretString::from(line);
    let public = public_key(line.expose_secret()).ok().flatten().ok_or(KeyError::Empty)?;
    let text = SecretString::from(format!("# public key: {public}\n{}\n", line.expose_secret()));
    Ok((text, public))
}

/// The public key of an identity line, if it can be derived.
fn public_key(line: &str) -> Result<Option<String>, &'static str> {
    if line.starts_with('\u{feff}') {
        return Err("starts with a byte order mark");
    }
    if line.trim() != line {
        return Err("begins or ends with white space");
    }
    if line.starts_with("age1") {
        return Err("is a public key; the file must hold the private one");
    }
    if line.starts_with(POST_QUANTUM) || line.starts_with(PLUGIN) {
        return Ok(None);
    }
    if !line.starts_with(X25519) {
        return Err("is no age identity; one starts with `AGE-SECRET-KEY-1`, in upper case");
    }
    let broken = "is a broken identity: its checksum or length is wrong";
    let decoded = CheckedHrpstring::new::<Bech32>(line).map_err(|_| broken)?;
    let bytes: Vec<u8> = decoded.byte_iter().collect();
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| broken)?;
    let public = PublicKey::from(&StaticSecret::from(bytes));
    let prefix = Hrp::parse("age").map_err(|_| broken)?;
    bech32::encode::<Bech32>(prefix, public.as_bytes()).map(Some).map_err(|_| broken)
}

/// What of a key file goes into the cluster.
pub(crate) struct Selection {
    /// The content of the Secret's `age.agekey`.
    pub text: SecretString,
    pub identities: Vec<SecretString>,
    /// The public keys of identities that were skipped.
    pub skipped: Vec<String>,
}

/// The file as it is; but when it holds several identities of which some are no recipient in this repository, only
/// those that are. Identities of an unknown kind stay in.
pub(crate) fn select(key: &KeyFile, recipients: &BTreeSet<String>) -> Selection {
    let is_recipient = |identity: &&Identity| match &identity.public {
        Some(public) => recipients.contains(public),
        None => true,
    };
    let any_known =
        key.identities.iter().any(|identity| identity.public.is_some() && is_recipient(&identity));
    let (kept, left_out): (Vec<_>, Vec<_>) = key.identities.iter().partition(is_recipient);
    if key.identities.len() < 2 || left_out.is_empty() || !any_known {
        let identities = key.identities.iter().map(|identity| identity.secret.clone()).collect();
        return Selection { text: key.text.clone(), identities, skipped: Vec::new() };
    }
    let text =
        kept.iter().fold(String::new(), |text, identity| text + identity.secret.expose_secret() + "\n");
    Selection {
        text: SecretString::from(text),
        identities: kept.iter().map(|identity| identity.secret.clone()).collect(),
        skipped: left_out.iter().filter_map(|identity| identity.public.clone()).collect(),
    }
}

/// Every age recipient in a text, be it a `.sops.yaml` or an encrypted file: they are public, and the
/// places where they may stand (strings with commas, lists, key groups) are many.
fn recipients_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("age1") && word.len() >= 62)
}

/// The age recipients of a repository: of its SOPS configuration and of all its encrypted files.
///
/// Hidden folders are not entered (but `.sops.yaml` is read), links are not followed.
pub(crate) fn recipients(root: &Path) -> BTreeSet<String> {
    let enters = |entry: &Entry| !entry.name().starts_with('.') && entry.name() != "node_modules";
    let mut found = BTreeSet::new();
    for entry in files::walk(root, enters).filter(|entry| entry.kind.is_file()) {
        let name = entry.name();
        if (name.ends_with(".sops.yaml") || name.ends_with(".sops.yml"))
            && let Ok(text) = files::text(&entry.path, files::LARGEST)
        {
            found.extend(recipients_in(&text).map(ToOwned::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with age-keygen 1.3.1 for this test; they protect nothing.
    const SECRET: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

    fn made(byte: u8) -> (String, String) {
        let secret =
            bech32::encode_upper::<Bech32>(Hrp::parse("age-secret-key-").unwrap(), &[byte; 32]).unwrap();
        let public = public_key(&secret).unwrap().unwrap();
        (secret, public)
    }

    #[test]
    fn the_public_key_is_that_of_age_keygen() {
        // `age-keygen -y` of the secret whose 32 bytes are all 0x42.
        assert_eq!(made(0x42).0, SECRET);
        assert_eq!(made(0x42).1, PUBLIC);
    }
    const PUBLIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn the_rules_of_the_file_format() {
        let good = [
            format!("{SECRET}\n"),
            SECRET.to_owned(),
            format!("# created: today\r\n# public key: x\r\n{SECRET}\r\n"),
            format!("\n{SECRET}\n\n{}\n", made(7).0),
            "AGE-SECRET-KEY-PQ-1XYZ\n".to_owned(),
            "AGE-PLUGIN-YUBIKEY-1XYZ\n".to_owned(),
        ];
        for text in good {
            assert!(parse(&text).is_ok(), "{text}");
        }
        let bad = [
            (format!(" {SECRET}"), 1),
            (format!("{SECRET} "), 1),
            (format!("\u{feff}# comment\n{SECRET}"), 1),
            (format!("{SECRET}\n # not in column 0\n"), 2),
            (format!("#\n{}", SECRET.to_lowercase()), 2),
            (format!("{SECRET}x"), 1),
            (format!("{SECRET}\n{PUBLIC}"), 2),
            (SECRET.replace("GFPYY", "GFPYZ"), 1),
            ("hello".to_owned(), 1),
        ];
        for (text, line) in bad {
            match parse(&text).map(|_| ()).unwrap_err() {
                KeyError::Line { line: at, what } => {
                    assert_eq!(at, line, "{text}");
                    assert!(!what.contains("GFP"), "quotes content");
                }
                KeyError::Empty => panic!("{text}"),
            }
        }
        for text in ["", "\n\n", "# only\n"] {
            assert_eq!(parse(text).map(|_| ()).unwrap_err(), KeyError::Empty);
        }
    }

    #[test]
    fn only_recipients_go_into_the_cluster_when_there_are_several() {
        let [(one, public_one), (two, public_two), (_, public_three)] = [1, 2, 3].map(made);
        let text = format!("# mine\n{one}\n{two}\n");
        let key = parse(&text).unwrap();
        let set = |keys: &[&String]| keys.iter().map(|key| (*key).clone()).collect::<BTreeSet<_>>();

        let selection = select(&key, &set(&[&public_two]));
        assert_eq!(selection.text.expose_secret(), format!("{two}\n"));
        assert_eq!(selection.skipped, std::slice::from_ref(&public_one));
        assert_eq!(selection.identities.len(), 1);
        for recipients in [set(&[]), set(&[&public_three]), set(&[&public_one, &public_two])] {
            let selection = select(&key, &recipients);
            assert_eq!(selection.text.expose_secret(), text, "{recipients:?}");
            assert!(selection.skipped.is_empty());
        }
        let single = parse(&one).unwrap();
        assert_eq!(select(&single, &set(&[&public_two])).text.expose_secret(), one);
    }

    #[test]
    fn recipients_are_found_wherever_they_may_stand() {
        let folder = tempfile::tempdir().unwrap();
        let keys = [1, 2, 3, 4, 5].map(|byte| made(byte).1);
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let [one, two, three, four, five] = &keys;
        write(".sops.yaml", format!("creation_rules:\n- age: {one},{two}\n"));
        write("kubernetes/a.sops.yaml", format!("sops:\n  age:\n  - recipient: {three}\n"));
        write(".hidden/b.sops.yaml", four.clone());
        write("plain.yaml", five.clone());
        let found = recipients(folder.path());
        assert_eq!(found, [one, two, three].into_iter().cloned().collect());
    }

    proptest::proptest! {
        #[test]
        fn no_key_file_makes_it_panic(text: String, data in "[A-Z0-9ac-z]{0,70}", near in crate::base::mutate::text(&[
            "# created: 2026-11-23T08:00:00Z\n# public key: age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\n\
             AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n",
            "AGE-SECRET-KEY-PQ-1XYZ\r\nAGE-PLUGIN-YUBIKEY-1XYZ\n",
        ])) {
            for text in [&text, &near] {
                let all = |key: &KeyFile| select(key, &recipients_in(text).map(ToOwned::to_owned).collect()).skipped.len();
                _ = parse(text).map(|key| all(&key));
            }
            _ = parse(&format!("AGE-SECRET-KEY-1{data}"));
            _ = recipients_in(&text).count();
        }

        /// With a right checksum, which no text has by chance.
        #[test]
        fn no_identity_of_another_length_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let line = bech32::encode_upper::<Bech32>(Hrp::parse("AGE-SECRET-KEY-").unwrap(), &bytes).unwrap();
            assert_eq!(parse(&line).is_ok(), bytes.len() == 32, "{line}");
        }
    }
}
