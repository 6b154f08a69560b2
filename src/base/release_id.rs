//! The identity of a Helm release.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fingerprint::sha256;

/// A Helm release, unique in a cluster by namespace and name. In text it is `NAMESPACE/NAME`, or `NAME` if the namespace is
/// unknown.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(from = "String", into = "String")]
pub struct ReleaseId {
    /// Empty if it is unknown.
    pub namespace: String,
    pub name: String,
}

impl ReleaseId {
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Whether a name on the command line or in `k3s-boot.yaml`, `NAME` or `NAMESPACE/NAME`, is this release.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        match name.split_once('/') {
            Some((namespace, name)) => namespace == self.namespace && name == self.name,
            None => name == self.name,
        }
    }

    /// Whether one of these names is this release (see [`Self::is_named`]).
    #[must_use]
    pub fn is_among(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.is_named(name))
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => formatter.write_str(&self.name),
            namespace => write!(formatter, "{namespace}/{}", self.name),
        }
    }
}

impl From<&str> for ReleaseId {
    fn from(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        Self::new(namespace, name)
    }
}

impl From<String> for ReleaseId {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.to_string()
    }
}

/// The fields of a HelmRelease of Flux that name its Helm release.
pub(crate) struct HelmReleaseNames<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub release_name: Option<&'a str>,
    pub target_namespace: Option<&'a str>,
    pub storage_namespace: Option<&'a str>,
}

impl HelmReleaseNames<'_> {
    /// The Helm release as helm-controller names it: `[TARGET-]NAME` in the storage namespace.
    pub(crate) fn release(&self) -> ReleaseId {
        let name = match (self.release_name, self.target_namespace) {
            (Some(name), _) => shortened(name),
            (None, Some(target)) => shortened(&format!("{target}-{}", self.name)),
            (None, None) => shortened(self.name),
        };
        ReleaseId::new(self.storage_namespace.unwrap_or(self.namespace), name)
    }
}

const MAX_NAME_LENGTH: usize = 53;
const HASH_LENGTH: usize = 12;

/// Shortens a release name that is too long, as helm-controller does (`internal/release/name.go`): a hash of the whole name
/// replaces the end.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME_LENGTH {
        return name.to_owned();
    }
    let hash = sha256(name);
    let kept = name.floor_char_boundary(MAX_NAME_LENGTH - HASH_LENGTH - 1);
    format!("{}-{}", &name[..kept], &hash[..HASH_LENGTH])
}

#[cfg(test)]
impl PartialEq<&str> for ReleaseId {
    fn eq(&self, other: &&str) -> bool {
        let (namespace, name) = other.split_once('/').unwrap_or(("", other));
        self.namespace == namespace && self.name == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_with_or_without_its_namespace() {
        let id = ReleaseId::new("kube-system", "cilium");
        for (name, expected) in
            [("cilium", true), ("kube-system/cilium", true), ("media/cilium", false), ("kube-system", false)]
        {
            assert_eq!(id.is_named(name), expected, "{name}");
        }
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""kube-system/cilium""#);
        assert_eq!(serde_json::from_str::<ReleaseId>(r#""kube-system/cilium""#).unwrap(), id);
        assert_eq!(ReleaseId::from("cilium").to_string(), "cilium");
    }
}
