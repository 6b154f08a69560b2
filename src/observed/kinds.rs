//! The kinds that an API server knows, and the paths of their objects.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;

use crate::base::error::Error;
use crate::tools::Toolbox;
use crate::tools::api::{Call, DISCOVERY, segment};

/// The kinds that an API server knows, including custom resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(BTreeMap<(String, String), Resource>);

/// The resource of a kind, which determines the paths of its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    /// The group; empty for the core group.
    pub group: String,
    /// The preferred version.
    pub version: String,
    /// The other served versions.
    pub other_versions: Vec<String>,
    /// The plural name in paths.
    pub plural: String,
    /// Whether the kind is namespaced.
    pub namespaced: bool,
}

/// Kinds of the core group, which has its own discovery and has not changed for years.
const CORE: [(&str, &str, bool); 14] = [
    ("ConfigMap", "configmaps", true),
    ("Endpoints", "endpoints", true),
    ("Event", "events", true),
    ("LimitRange", "limitranges", true),
    ("Namespace", "namespaces", false),
    ("Node", "nodes", false),
    ("PersistentVolume", "persistentvolumes", false),
    ("PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("Pod", "pods", true),
    ("ReplicationController", "replicationcontrollers", true),
    ("ResourceQuota", "resourcequotas", true),
    ("Secret", "secrets", true),
    ("Service", "services", true),
    ("ServiceAccount", "serviceaccounts", true),
];

impl Resource {
    /// Whether the server serves this version.
    pub(crate) fn has_version(&self, version: &str) -> bool {
        self.version == version || self.other_versions.iter().any(|other| other == version)
    }

    /// The path of all objects, or of those in a namespace.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let Self { group, version, plural, namespaced, .. } = self;
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match namespace.filter(|_| *namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{plural}", segment(namespace)),
            None => format!("{root}/{plural}"),
        }
    }

    /// The path of one object.
    pub(crate) fn object(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.path(namespace), segment(name))
    }

    /// The path of one object in another version.
    pub(crate) fn object_in(&self, version: &str, namespace: Option<&str>, name: &str) -> String {
        Self { version: version.to_owned(), ..self.clone() }.object(namespace, name)
    }
}

impl Kinds {
    /// The kinds of the core group.
    pub(crate) fn core() -> Self {
        let kinds = CORE.map(|(kind, plural, namespaced)| {
            let resource = Resource {
                group: String::new(),
                version: "v1".to_owned(),
                plural: plural.to_owned(),
                namespaced,
                ..Resource::default()
            };
            ((String::new(), kind.to_owned()), resource)
        });
        Self(kinds.into())
    }

    /// Adds a kind, or another version of a kind.
    pub(crate) fn add(&mut self, kind: &str, resource: Resource) {
        match self.0.entry((resource.group.clone(), kind.to_owned())) {
            Entry::Vacant(entry) => _ = entry.insert(resource),
            Entry::Occupied(mut entry) => entry.get_mut().other_versions.push(resource.version),
        }
    }

    /// Finds the resource of a kind.
    pub(crate) fn of(&self, kind: &str, group: &str) -> Option<&Resource> {
        self.0.get(&(group.to_owned(), kind.to_owned()))
    }

    /// Finds a kind and its resource by `plural.group`.
    pub(crate) fn named(&self, name: &str) -> Option<(&str, &Resource)> {
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        let mut all = self.0.iter().map(|((_, kind), resource)| (kind.as_str(), resource));
        all.find(|(_, resource)| resource.plural == plural && resource.group == group)
    }
}

#[derive(Deserialize)]
struct Discovery {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    metadata: Metadata,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Found>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    resource: String,
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

impl From<Discovery> for Kinds {
    fn from(discovery: Discovery) -> Self {
        let mut kinds = Self::core();
        for Group { metadata: Metadata { name: group }, versions } in discovery.items {
            // The server lists the preferred version first.
            for Version { version, resources } in versions {
                for Found { resource: plural, response_kind, scope } in resources {
                    let Some(ResponseKind { kind }) = response_kind else { continue };
                    let resource = Resource {
                        group: group.clone(),
                        version: version.clone(),
                        plural,
                        namespaced: scope == "Namespaced",
                        ..Resource::default()
                    };
                    kinds.add(&kind, resource);
                }
            }
        }
        kinds
    }
}

impl Toolbox {
    /// The kinds that the API server knows.
    ///
    /// # Errors
    ///
    /// When it does not answer, or is older than 1.27 and does not support aggregated discovery.
    pub(crate) async fn observe_kinds(&self) -> Result<Kinds, Error> {
        let discovery: Discovery = self.ask(Call::get("/apis").accept(DISCOVERY)).await?.read()?;
        Ok(discovery.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The answer of Kubernetes 1.36, shortened.
    const DISCOVERY: &str = r#"{"kind":"APIGroupDiscoveryList","items":[
        {"metadata":{"name":"apps"},"versions":[{"version":"v1","resources":[
            {"resource":"deployments","responseKind":{"group":"apps","version":"v1","kind":"Deployment"},"scope":"Namespaced","verbs":["get"]}]}]},
        {"metadata":{"name":"source.toolkit.fluxcd.io"},"versions":[
            {"version":"v1","resources":[{"resource":"gitrepositories","responseKind":{"kind":"GitRepository"},"scope":"Namespaced"}]},
            {"version":"v1beta2","resources":[{"resource":"gitrepositories","responseKind":{"kind":"GitRepository"},"scope":"Namespaced"},
                {"resource":"buckets","responseKind":{"kind":"Bucket"},"scope":"Namespaced"}]}]},
        {"metadata":{"name":"rbac.authorization.k8s.io"},"versions":[{"version":"v1","resources":[
            {"resource":"clusterroles","responseKind":{"kind":"ClusterRole"},"scope":"Cluster"}, {"resource":"odd"}]}]}]}"#;

    fn kinds() -> Kinds {
        serde_json::from_str::<Discovery>(DISCOVERY).unwrap().into()
    }

    #[test]
    fn builds_paths() {
        let kinds = kinds();
        let path = |kind: &str, group: &str, namespace| Some(kinds.of(kind, group)?.path(namespace));
        let cases = [
            ("Deployment", "apps", Some("n"), "/apis/apps/v1/namespaces/n/deployments"),
            ("Deployment", "apps", None, "/apis/apps/v1/deployments"),
            (
                "ClusterRole",
                "rbac.authorization.k8s.io",
                Some("n"),
                "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            ),
            ("Secret", "", Some("n"), "/api/v1/namespaces/n/secrets"),
            // The preferred version.
            (
                "GitRepository",
                "source.toolkit.fluxcd.io",
                None,
                "/apis/source.toolkit.fluxcd.io/v1/gitrepositories",
            ),
            ("Bucket", "source.toolkit.fluxcd.io", None, "/apis/source.toolkit.fluxcd.io/v1beta2/buckets"),
        ];
        for (kind, group, namespace, expected) in cases {
            assert_eq!(path(kind, group, namespace).as_deref(), Some(expected), "{kind}");
        }
        assert_eq!(path("ServiceMonitor", "monitoring.coreos.com", None), None);
        assert!(kinds.named("gitrepositories.source.toolkit.fluxcd.io").is_some());
        assert!(kinds.named("secrets").is_some() && kinds.named("fluxinstances.x").is_none());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(answer: Vec<u8>, odd in crate::base::mutate::json(DISCOVERY)) {
            _ = serde_json::from_slice::<Discovery>(&answer).map(Kinds::from);
            _ = serde_json::from_value::<Discovery>(odd).map(Kinds::from);
        }
    }
}
