//! Files that SOPS encrypts: what they show without being decrypted.

use std::path::{Path, PathBuf};

use serde_yaml::Value;

use crate::base::files;
use crate::base::finding::Finding;
use crate::base::yaml::{self, PRINTED};
use crate::desired::sops_config::KeyGroups;

/// A file named as encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EncryptedFile {
    /// The path relative to the root of the repository.
    pub path: PathBuf,
    /// Whether the bootstrap applies it; otherwise Flux does.
    pub in_bootstrap: bool,
    pub state: EncryptedState,
    pub groups: KeyGroups,
}

/// Whether a file named as encrypted is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum EncryptedState {
    /// It cannot be read, or is not valid YAML.
    #[default]
    Unreadable,
    /// It has no `sops:` block: it is plain text.
    Plain,
    /// Git has written something else in its place.
    FromGit(FromGit),
    /// It has a `sops:` block.
    Encrypted {
        /// The age recipients; none if only other keys protect it.
        age: Vec<String>,
        /// Whether KMS, PGP or other keys protect it too.
        others: bool,
    },
}

/// What Git writes in place of the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromGit {
    /// The pointer to a file in Git LFS.
    Pointer,
    /// Both sides of a conflict.
    Conflict,
}

impl FromGit {
    pub(crate) fn of(text: &str) -> Option<Self> {
        // The specification of Git LFS: the first line of a pointer is its version.
        if text.starts_with("version https://git-lfs.github.com/spec/") {
            return Some(Self::Pointer);
        }
        // In this order, and at the start of a line, where neither YAML nor a `.env` file has them.
        let mut marks = ["<<<<<<< ", "=======", ">>>>>>> "].into_iter().peekable();
        for line in text.lines() {
            marks.next_if(|mark| line.starts_with(mark));
        }
        marks.peek().is_none().then_some(Self::Conflict)
    }

    /// The finding for an encrypted file.
    pub(crate) fn finding(self, rule: &'static str, path: &Path) -> Finding {
        let (message, fix) = match self {
            Self::Pointer => (
                "Encrypted file is a Git LFS pointer",
                "fetch the file with Git LFS, or keep it in Git without LFS; do not encrypt the pointer",
            ),
            Self::Conflict => (
                "Encrypted file has Git conflict markers",
                "take one side of the merge as a whole, then add the changes of the other with `sops edit`: a merged file does not decrypt",
            ),
        };
        Finding::error(rule, message).with("file", path.display()).fix(fix)
    }
}

/// Reads the plain text parts of a file named as encrypted.
pub(crate) fn read(root: &Path, path: &Path, in_bootstrap: bool) -> EncryptedFile {
    let text = files::text(&root.join(path), files::LARGEST);
    let (state, groups) = text.map_or_else(|_| Default::default(), |text| parse(&text));
    EncryptedFile { path: path.to_owned(), in_bootstrap, state, groups }
}

/// The key groups in a `sops:` block.
fn key_groups(sops: &Value) -> KeyGroups {
    let groups = sequence(sops, "key_groups").map(|group| recipients(group).collect());
    KeyGroups::new(groups.collect(), sops.get("shamir_threshold"))
}

/// The age recipients of a key group.
fn recipients(group: &Value) -> impl Iterator<Item = String> {
    sequence(group, "age").filter_map(|one| one.get("recipient")?.as_str()).map(ToOwned::to_owned)
}

/// The state of a file, and its key groups.
fn parse(text: &str) -> (EncryptedState, KeyGroups) {
    let only = |state| (state, KeyGroups::default());
    if let Some(from_git) = FromGit::of(text) {
        return only(EncryptedState::FromGit(from_git));
    }
    let mut age = Vec::new();
    let mut first_groups = None;
    let mut others = false;
    let mut documents = 0;
    for document in yaml::documents::<Value>(text, PRINTED) {
        let Ok(document) = document else {
            return only(EncryptedState::Unreadable);
        };
        if document.is_null() {
            continue;
        }
        documents += 1;
        let Some(sops) = document.get("sops") else {
            return only(EncryptedState::Plain);
        };
        // sops encrypts all documents with the keys of the first.
        first_groups.get_or_insert_with(|| key_groups(sops));
        // Key groups (Shamir) contain the same blocks one level deeper.
        let groups = sequence(sops, "key_groups");
        for block in std::iter::once(sops).chain(groups) {
            age.extend(recipients(block));
            others |= ["kms", "gcp_kms", "azure_kv", "hc_vault", "pgp"]
                .iter()
                .any(|key| sequence(block, key).next().is_some());
        }
    }
    if documents == 0 {
        return only(EncryptedState::Unreadable);
    }
    age.sort();
    age.dedup();
    (EncryptedState::Encrypted { age, others }, first_groups.unwrap_or_default())
}

/// Checks that a file named as encrypted is encrypted: sops adds a `sops:` block in plain text at the top level. `encrypt`
/// is the command that encrypts the file.
///
/// # Errors
///
/// The file is plain text, not valid YAML, or was joined from several.
pub(crate) fn check_encrypted(path: &Path, text: &str, encrypt: &str) -> Result<(), Finding> {
    if let Some(from_git) = FromGit::of(text) {
        return Err(from_git.finding("sops", path));
    }
    let problem = |message: &str| Finding::error("sops", message).with("file", path.display());
    let mut documents = 0;
    let mut mac = None;
    for document in yaml::documents::<Value>(text, PRINTED) {
        // The parser's message may quote what should be secret.
        let document = document.map_err(|error| {
            let finding = problem("Encrypted file is not valid YAML");
            match error.line {
                Some(line) if !error.is_refused() => finding.with("line", line),
                _ => finding.with("reason", error.without_content("unknown location")),
            }
        })?;
        if document.is_null() {
            continue;
        }
        documents += 1;
        let Some(sops) = document.get("sops") else {
            return Err(problem("Encrypted file is plain text")
                .fix(format!("{encrypt}  # and change its secrets if it was ever pushed")));
        };
        // sops writes the same block into all documents of a file, and reads the first.
        let own = sops.get("mac").cloned();
        if documents > 1 && mac != own {
            return Err(problem(
                "Encrypted file was joined from several, and sops can decrypt only the first",
            )
            .fix("put each document into a file of its own"));
        }
        mac = own;
    }
    if documents == 0 { Err(problem("Encrypted file is empty")) } else { Ok(()) }
}

/// Whether an encrypted file has manifests, of which SOPS leaves the keys readable; others hold data for a template or a tool.
pub(crate) fn has_manifests(text: &str) -> bool {
    let mut documents =
        yaml::documents::<Value>(text, PRINTED).flatten().filter(|document| !document.is_null());
    documents.any(|document| document.get("kind").is_some() || document.get("items").is_some())
}

/// The decrypted values that are encrypted in the file, except those that only identify its objects.
pub(crate) fn decrypted_values(encrypted: &str, decrypted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let [encrypted, decrypted] = [encrypted, decrypted].map(|text| yaml::documents::<Value>(text, PRINTED));
    for (encrypted, decrypted) in encrypted.zip(decrypted) {
        if let (Ok(encrypted), Ok(decrypted)) = (encrypted, decrypted) {
            add_decrypted(&mut found, &encrypted, &decrypted, 0);
        }
    }
    found
}

/// Top-level keys that are not secret, even if a rule of SOPS encrypts all values.
const NOT_SECRET: [&str; 4] = ["apiVersion", "kind", "metadata", "type"];

fn add_decrypted(found: &mut Vec<String>, encrypted: &Value, decrypted: &Value, depth: usize) {
    match (encrypted, decrypted) {
        (Value::Mapping(encrypted), Value::Mapping(decrypted)) => {
            for (key, value) in decrypted {
                let is_secret = depth > 0 || !key.as_str().is_some_and(|key| NOT_SECRET.contains(&key));
                if let Some(encrypted) = encrypted.get(key).filter(|_| is_secret) {
                    add_decrypted(found, encrypted, value, depth + 1);
                }
            }
        }
        (Value::Sequence(encrypted), Value::Sequence(decrypted)) => {
            for (encrypted, decrypted) in encrypted.iter().zip(decrypted) {
                add_decrypted(found, encrypted, decrypted, depth + 1);
            }
        }
        (Value::String(encrypted), value) if encrypted.starts_with("ENC[") => match value {
            Value::String(text) => found.push(text.clone()),
            Value::Number(number) => found.push(number.to_string()),
            // Booleans and null are not secret.
            _ => {}
        },
        _ => {}
    }
}

fn sequence<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_sequence).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1234\n";
    const CONFLICT: &str =
        "a: 1\n<<<<<<< HEAD\nb: ENC[CANARY]\n=======\nb: ENC[x]\n>>>>>>> feature\nsops: {mac: x}\n";

    #[test]
    fn a_file_with_manifests_is_recognized_without_decrypting_it() {
        assert!(has_manifests("apiVersion: ENC[x]\nkind: ENC[x]\nsops: {}\n"));
        assert!(has_manifests("---\n---\nitems: []\nsops: {}\n"));
        assert!(!has_manifests("token: ENC[x]\nsops: {}\n"));
        assert!(!has_manifests(""));
    }

    #[test]
    fn values_that_were_encrypted_are_found() {
        let encrypted = "kind: 'ENC[x]'\nmetadata: {name: 'ENC[x]'}\ndata: {a: 'ENC[x]', b: open, c: ['ENC[x]', {d: 'ENC[x]'}], e: 'ENC[x]'}\nsops: {mac: 'ENC[x]'}\n---\nk: 'ENC[x]'\n";
        let decrypted = "kind: Role\nmetadata: {name: n}\ndata: {a: one, b: open, c: [2345, {d: three}], e: true}\n---\nk: four\n";
        assert_eq!(decrypted_values(encrypted, decrypted), ["one", "2345", "three", "four"]);
        for (encrypted, decrypted) in [("", "a: b"), ("a: ENC[x]", "["), ("[ENC[x]", "[x]")] {
            assert_eq!(decrypted_values(encrypted, decrypted), [""; 0]);
        }
    }

    #[test]
    fn plain_text_parts_are_read() {
        let age = |names: &[&str], others| EncryptedState::Encrypted {
            age: names.iter().map(|name| (*name).to_owned()).collect(),
            others,
        };
        let cases = [
            (
                "a: ENC\nsops: {age: [{recipient: age1b, enc: x}, {recipient: age1a}]}\n",
                age(&["age1a", "age1b"], false),
            ),
            ("a: ENC\nsops: {pgp: [{fp: X}], age: null}\n", age(&[], true)),
            (
                "sops: {key_groups: [{age: [{recipient: age1a}]}, {hc_vault: [{x: y}]}]}\n",
                age(&["age1a"], true),
            ),
            ("a: 1\n", EncryptedState::Plain),
            ("sops: {}\n---\na: 1\n", EncryptedState::Plain),
            ("", EncryptedState::Unreadable),
            ("a: [\n", EncryptedState::Unreadable),
            (POINTER, EncryptedState::FromGit(FromGit::Pointer)),
            (CONFLICT, EncryptedState::FromGit(FromGit::Conflict)),
            ("a: <<<<<<< b\n", EncryptedState::Plain),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).0, expected, "{text}");
        }
    }

    #[test]
    fn plain_text_is_not_an_encrypted_file() {
        let check = |text| check_encrypted(Path::new("bootstrap/x.sops.yaml"), text, "sops encrypt x");
        assert!(check("a: ENC[AES256]\nsops: {mac: x}\n").is_ok());
        assert!(check("\u{feff}a: ENC[AES256]\nsops: {mac: x}\n").is_ok());
        assert!(check("a: ENC[AES256]\nsops: {mac: x}\n---\nb: ENC[x]\nsops: {mac: x}\n").is_ok());
        for (text, message) in [
            ("kind: Secret\nstringData: {k: CANARY-SECRET}\n", "Encrypted file is plain text"),
            ("a: ENC[x]\nsops: {}\n---\nb: CANARY-SECRET\n", "Encrypted file is plain text"),
            (
                "a: ENC[x]\nsops: {mac: x}\n---\nb: CANARY-SECRET\nsops: {mac: y}\n",
                "Encrypted file was joined from several, and sops can decrypt only the first",
            ),
            ("k: [CANARY-SECRET", "Encrypted file is not valid YAML"),
            ("", "Encrypted file is empty"),
            (POINTER, "Encrypted file is a Git LFS pointer"),
            (CONFLICT, "Encrypted file has Git conflict markers"),
        ] {
            let finding = check(text).unwrap_err();
            assert_eq!(finding.summary, message);
            assert!(!format!("{finding:?}").contains("CANARY"));
        }
    }

    #[test]
    fn key_groups_are_read() {
        let flat = parse("a: ENC\nsops: {age: [{recipient: age1a}], shamir_threshold: 0}\n").1;
        assert_eq!(flat, KeyGroups::default());
        let (_, groups) = parse(
            "a: ENC\nsops: {shamir_threshold: 2, key_groups: [{age: [{recipient: a}]}, {pgp: [{fp: X}]}, {age: []}]}\n",
        );
        let age = vec![vec!["a".to_owned()], Vec::new(), Vec::new()];
        assert_eq!(groups, KeyGroups { age, threshold: 2 });
        assert!(!groups.can_decrypt(&["a".to_owned()]) && flat.can_decrypt(&[]));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in crate::base::mutate::text(&[
            "apiVersion: v1\nkind: Secret\nstringData:\n    k: ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]\nsops:\n    age:\n        - recipient: age1q\n          \
             enc: |\n            -----BEGIN AGE ENCRYPTED FILE-----\n            QQ==\n            -----END AGE ENCRYPTED FILE-----\n    \
             lastmodified: \"2026-11-23T08:00:00Z\"\n    encrypted_regex: ^(data|stringData)$\n    version: 3.13.2\n",
            "sops: {key_groups: [{age: [{recipient: age1a}]}, {hc_vault: [{x: y}], pgp: null}]}\n---\na: 1\n",
        ])) {
            _ = (parse(&text), check_encrypted(Path::new("a"), &text, ""));
            _ = (parse(&near), check_encrypted(Path::new("a"), &near, ""));
        }
    }
}
