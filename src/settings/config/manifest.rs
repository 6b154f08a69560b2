//! Manifests in the configuration.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Unexpected};

use super::{Config, File, Text, Word, invalid};
use crate::base::url::Url;
use crate::desired::object_source::ManifestSource;

/// Manifests to apply: a file, a folder, or a URL with its hash.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a mapping with the key `path`, or `url` and `sha256`",
    try_from = "Keys"
)]
#[schemars(with = "Keys")]
pub(crate) struct Manifest(Given);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    Path(File),
    Url(String, String),
}

/// Manifests to apply: a file, a folder, or a URL with its hash.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a mapping with the key `path`, or `url` and `sha256`"
)]
#[schemars(rename = "Manifest")]
struct Keys {
    /// A file, or a folder with a `kustomization.yaml`.
    path: Option<Text<File>>,
    /// A file on a web server.
    url: Option<Text<HttpsUrl>>,
    /// The SHA-256 hash of that file.
    sha256: Option<Text<Sha256>>,
}

impl TryFrom<Keys> for Manifest {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        match (keys.path, keys.url, keys.sha256) {
            (Some(Text(file)), None, None) => Ok(Self(Given::Path(file))),
            (None, Some(Text(url)), Some(Text(sha256))) => Ok(Self(Given::Url(url.0, sha256.0))),
            (None, Some(_), None) => {
                Err("a URL without `sha256`, expected the hash of its content: `curl -fsSL URL | sha256sum`"
                    .to_owned())
            }
            _ => Err("wrong keys, expected `path`, or `url` and `sha256`".to_owned()),
        }
    }
}

/// The URL of a file on a web server.
struct HttpsUrl(String);

impl Word for HttpsUrl {
    const ACCEPTED: &'static str = "a URL that starts with `https://`, without a user name";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        let url = Url::parse(text).filter(|url| url.scheme == "https" && !url.has_user());
        // The text may hold a password.
        url.map(|_| Self(text.to_owned()))
            .ok_or_else(|| E::invalid_value(Unexpected::Other("another text"), &Self::ACCEPTED))
    }

    fn schema() -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^https://"})
    }
}

/// A SHA-256 hash in hexadecimal digits.
struct Sha256(String);

impl Word for Sha256 {
    const ACCEPTED: &'static str = "a SHA-256 hash of 64 hexadecimal digits";

    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
            Ok(Self(text.to_lowercase()))
        } else {
            Err(invalid::<Self, E>(text))
        }
    }

    fn schema() -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"})
    }
}

impl Config {
    /// The manifests, with absolute paths.
    pub(crate) fn manifests(&self, root: &Path) -> Vec<ManifestSource> {
        let source = |Manifest(given): &Manifest| match given {
            Given::Path(File(path)) => ManifestSource::Path(root.join(path)),
            Given::Url(url, sha256) => ManifestSource::Url { url: url.clone(), sha256: sha256.clone() },
        };
        self.manifests.iter().flatten().map(source).collect()
    }
}
