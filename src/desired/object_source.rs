//! Where an object that k3s-boot applies itself comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::repository::FLUX_NAMESPACE;
use crate::base::finding::Finding;
use crate::base::stages::Stage;

/// Where an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ObjectSource {
    /// An encrypted file, or the file with the age key.
    Encrypted(PathBuf),
    /// The output of a command of `secrets.commands`.
    Command(String),
    /// A file, a folder or a URL of `manifests`.
    Manifest(String),
}

impl ObjectSource {
    /// The rule that reports problems of such objects.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::Encrypted(_) => "sops",
            Self::Command(_) => "secrets-commands",
            Self::Manifest(_) => "manifests",
        }
    }

    /// The namespace of objects that name none: as for kubectl, except that secrets are meant for Flux.
    pub(crate) fn namespace(&self) -> &'static str {
        match self {
            Self::Encrypted(_) | Self::Command(_) => FLUX_NAMESPACE,
            Self::Manifest(_) => "default",
        }
    }

    /// The stage in which they are applied.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Encrypted(_) | Self::Command(_) => Stage::Secrets,
            Self::Manifest(_) => Stage::Manifests,
        }
    }

    /// An error about this source; `summary` follows the kind of source.
    pub(crate) fn problem(&self, summary: &str) -> Finding {
        let kind = match self {
            Self::Encrypted(_) => "Encrypted file",
            Self::Command(_) => "Output of a command",
            Self::Manifest(_) => "Manifest",
        };
        Finding::error(self.rule(), format!("{kind} {summary}")).with(self.key(), self)
    }

    /// As users name it: files relative to the root.
    pub(crate) fn shown(&self, root: &Path) -> String {
        match self {
            Self::Encrypted(path) => path.strip_prefix(root).unwrap_or(path).display().to_string(),
            Self::Command(text) | Self::Manifest(text) => text.clone(),
        }
    }

    /// The key under which findings name it.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Encrypted(_) => "file",
            Self::Command(_) => "command",
            Self::Manifest(_) => "manifest",
        }
    }
}

/// A source of manifests that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManifestSource {
    /// A file, or a folder with a kustomization.
    Path(PathBuf),
    /// A file on a web server, with the hash of its content in lower-case hexadecimal digits.
    Url { url: String, sha256: String },
}

impl ManifestSource {
    /// The source as users name it: a path relative to the root, or a URL.
    pub(crate) fn shown(&self, root: &Path) -> String {
        match self {
            Self::Path(path) => path.strip_prefix(root).unwrap_or(path).display().to_string(),
            Self::Url { url, .. } => url.clone(),
        }
    }
}

impl fmt::Display for ObjectSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encrypted(path) => path.display().fmt(f),
            Self::Command(text) | Self::Manifest(text) => f.write_str(text),
        }
    }
}
