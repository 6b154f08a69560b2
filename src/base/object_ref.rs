//! A reference to an object of the cluster, for messages.

use std::fmt;

/// An object by its kind, namespace and name. In text it is `Kind namespace/name`, or `Kind name` if it is cluster-scoped.
///
/// The API version is not part of it: [`crate::desired::objects::ObjectId`] has it, for requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef {
    pub kind: String,
    /// Empty if the object is cluster-scoped.
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    pub(crate) fn new(
        kind: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match namespace.as_str() {
            "" => write!(formatter, "{kind} {name}"),
            _ => write!(formatter, "{kind} {namespace}/{name}"),
        }
    }
}

#[cfg(test)]
impl From<&str> for ObjectRef {
    fn from(text: &str) -> Self {
        let (kind, path) = text.split_once(' ').unwrap();
        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
        Self::new(kind, namespace, name)
    }
}

#[cfg(test)]
impl PartialEq<&str> for ObjectRef {
    fn eq(&self, other: &&str) -> bool {
        other.split_once(' ').and_then(|(kind, path)| Some((kind, path.split_once('/')?)))
            == Some((self.kind.as_str(), (self.namespace.as_str(), self.name.as_str())))
    }
}
