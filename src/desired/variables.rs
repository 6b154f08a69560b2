//! Variables for templates: the keys of manifests (Secret, `ConfigMap`), and those of dotenv files.

mod dotenv;
mod manifest;

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use crate::base::finding::Finding;
use crate::tools::child_env;

/// The maximum size of a value. Linux limits a variable to 128 KiB.
pub(crate) const MAX_VALUE_SIZE: usize = 100 * 1024;

/// How a value that SOPS has encrypted begins.
const CIPHER_TEXT: &str = "ENC[";

/// The files that are accepted.
const ACCEPTED_FILES: &str =
    "Secret and ConfigMap manifests (`.yaml`, `.yml`, `.json`) and dotenv files (`.env`)";

/// The format of a file with variables. sops decides by the end of the name too (`cmd/sops/formats` of sops 3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Manifest,
    Dotenv,
}

impl Format {
    /// The format of a file, by its name.
    ///
    /// # Errors
    ///
    /// The name belongs to no format.
    pub(crate) fn new(path: &Path) -> Result<Self, Finding> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
            Ok(Self::Manifest)
        } else if name.ends_with(".env") {
            Ok(Self::Dotenv)
        } else {
            let reason = "the name does not show its format";
            Err(unusable(path).with("reason", reason).with("accepted", ACCEPTED_FILES))
        }
    }

    /// Whether SOPS has encrypted the text.
    pub(crate) fn is_encrypted(self, text: &str) -> bool {
        match self {
            Self::Manifest => manifest::is_encrypted(text),
            Self::Dotenv => text.lines().any(|line| line.starts_with(dotenv::METADATA)),
        }
    }
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The file is not encrypted.
    Plain,
    /// The text of an encrypted file: only the names are known.
    Encrypted,
    /// What sops has printed.
    Decrypted,
}

/// A variable in a file. Has no `Debug`: the value may be secret.
#[derive(Clone)]
pub(crate) struct Variable {
    pub name: String,
    /// The value, or its cipher text.
    pub value: SecretString,
    /// Whether the value is only known encrypted.
    pub is_encrypted: bool,
    pub place: Place,
}

impl Variable {
    pub(crate) fn new(name: &str, value: &str, place: Place) -> Self {
        Self { name: name.to_owned(), value: SecretString::from(value), is_encrypted: false, place }
    }

    fn encrypted(name: &str, value: &str, place: Place) -> Self {
        Self { is_encrypted: true, ..Self::new(name, value, place) }
    }
}

/// Whether a value in a text is encrypted.
fn is_cipher_text(value: &str, state: State) -> bool {
    state == State::Encrypted && value.starts_with(CIPHER_TEXT)
}

/// The key and the value of the detail that shows where something is.
pub(crate) type Place = (&'static str, String);

/// Why a text has no usable variables. Contains no value.
struct Invalid {
    place: Option<Place>,
    reason: String,
    accepted: &'static str,
}

impl Invalid {
    fn new(place: impl Into<Option<Place>>, reason: impl Into<String>, accepted: &'static str) -> Self {
        Self { place: place.into(), reason: reason.into(), accepted }
    }
}

/// Reads the variables of a file in the order of the file.
///
/// # Errors
///
/// The text has another format, or a variable that is not accepted. The finding contains no value.
pub(crate) fn parse(path: &Path, format: Format, text: &str, state: State) -> Result<Vec<Variable>, Finding> {
    let parsed = match format {
        Format::Manifest => manifest::parse(text, state),
        Format::Dotenv => dotenv::parse(text, state),
    };
    let checked = parsed.and_then(|variables| {
        if variables.is_empty() {
            return Err(Invalid::new(None, "it contains no variable", ACCEPTED_FILES));
        }
        variables.iter().try_for_each(check)?;
        Ok(variables)
    });
    checked.map_err(|Invalid { place, reason, accepted }| {
        let mut finding = unusable(path);
        finding.details.extend(place);
        finding.with("reason", reason).with("accepted", accepted)
    })
}

fn check(variable: &Variable) -> Result<(), Invalid> {
    let Variable { name, value, is_encrypted, place } = variable;
    let (value, place) = (value.expose_secret(), place.clone());
    if !is_name(name) {
        Err(Invalid::new(
            place,
            "this is not the name of a variable",
            "letters, digits and `_`, not beginning with a digit",
        ))
    } else if child_env::is_reserved(name) {
        let reason = format!("`{name}` could select another cluster or change how programs run");
        Err(Invalid::new(
            place,
            reason,
            "other variables; export this one in your shell if the tools need it",
        ))
    } else if !is_encrypted && (value.contains('\0') || value.len() > MAX_VALUE_SIZE) {
        Err(Invalid::new(
            place,
            "no variable can hold the value",
            "text without NUL characters, of at most 100 KiB",
        ))
    } else {
        Ok(())
    }
}

/// A finding for a file whose variables cannot be used.
pub(crate) fn unusable(path: &Path) -> Finding {
    Finding::error("environment", "File has no usable variables").with("file", path.display())
}

/// Whether a text is the name of a variable, for shells and for Flux (`varsubRegex` in `fluxcd/pkg/kustomize`).
pub(crate) fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(is_part) && text.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
