//! The identity of a Helm release.

use std::fmt;

use serde::{Deserialize, Serialize};

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
