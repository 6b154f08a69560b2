//! Finds out which pods belong to the current revision of a workload. The others are being replaced, or are not updated.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Deserialize;

use super::inventory::Partial;
use super::item::Item;
use super::pods::Pod;
use super::workloads::{CLAIM, Workload};
use crate::base::error::Error;
use crate::tools::Toolbox;
use crate::tools::api::{Call, List, METADATA, segment};

/// The revision number that the deployment controller sets on the Deployment and on each of its `ReplicaSets`
/// (`pkg/controller/deployment/util` of Kubernetes 1.36).
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The label of a Deployment's `ReplicaSets` and pods that identifies the revision.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The revision of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// The revision that is rolled out.
    Current,
    /// Another revision.
    Old,
    /// The revision is unknown.
    Unknown,
}

impl Workload {
    /// The revision of one of its pods. A Job has only one revision.
    pub(crate) fn revision_of(&self, pod: &Pod) -> Revision {
        let label = match self.kind.as_str() {
            _ if self.is_unchanged => return Revision::Unknown,
            "Deployment" => TEMPLATE_HASH,
            "DaemonSet" => "pod-template-generation",
            "StatefulSet" => "controller-revision-hash",
            _ => return Revision::Current,
        };
        match (&self.revision, pod.labels.get(label)) {
            (Some(current), Some(label)) if current == label => Revision::Current,
            (Some(_), Some(_)) => Revision::Old,
            _ => Revision::Unknown,
        }
    }
}

/// The kinds that helm waits for.
const AWAITED: [(&str, &str); 5] = [
    ("DaemonSet", "/apis/apps/v1/namespaces/{}/daemonsets"),
    ("Deployment", "/apis/apps/v1/namespaces/{}/deployments"),
    ("StatefulSet", "/apis/apps/v1/namespaces/{}/statefulsets"),
    ("Job", "/apis/batch/v1/namespaces/{}/jobs"),
    (CLAIM, "/api/v1/namespaces/{}/persistentvolumeclaims"),
];

impl Toolbox {
    /// The objects in this namespace that a release may wait for.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_workloads(&self, namespace: &str) -> Result<Vec<Workload>, Error> {
        let lists = AWAITED.map(async |(kind, path)| {
            let path = path.replace("{}", &segment(namespace));
            let found: Vec<Item> = self.api_list(&path).await?;
            let workload = |Item { metadata, spec, status, .. }: Item| {
                Workload::new(kind.to_owned(), metadata, &spec, &status)
            };
            Ok(found.into_iter().map(workload).collect::<Vec<_>>())
        });
        let lists: Result<Vec<_>, Error> = join_all(lists).await.into_iter().collect();
        let mut workloads: Vec<_> = lists?.into_iter().flatten().collect();
        let unready =
            |workload: &&mut Workload| workload.kind == "Deployment" && workload.have < workload.want;
        let mut deployments = workloads.iter_mut().filter(unready).peekable();
        if deployments.peek().is_some() {
            // Without permission to read ReplicaSets, the revisions are unknown.
            let sets = self.observe_replica_sets(namespace).await.unwrap_or_default();
            deployments.for_each(|deployment| deployment.revision = newest(deployment, &sets));
        }
        Ok(workloads)
    }
}

/// The metadata of a `ReplicaSet`.
#[derive(Deserialize)]
struct ReplicaSet {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Owner {
    uid: String,
    controller: bool,
}

/// The hash in the label of a Deployment's newest pods. It is unknown until the controller has observed the newest template:
/// until then, the Deployment's revision number is that of the previous template.
fn newest(deployment: &Workload, sets: &[ReplicaSet]) -> Option<String> {
    let revision = deployment.annotations.get(REVISION).filter(|_| deployment.is_observed)?;
    let is_newest = |set: &&ReplicaSet| {
        let is_owner = |owner: &Owner| owner.controller && owner.uid == deployment.uid;
        set.metadata.owner_references.iter().any(is_owner)
            && set.metadata.annotations.get(REVISION) == Some(revision)
    };
    sets.iter().find(is_newest)?.metadata.labels.get(TEMPLATE_HASH).cloned()
}

/// The generation of each workload, by UID.
pub(crate) type Generations = BTreeMap<String, i64>;

/// The paths of the workloads.
const LISTS: [&str; 4] = [
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/batch/v1/jobs",
];

impl Toolbox {
    /// The generations of all workloads: a workload whose generation stays the same was not changed.
    ///
    /// # Errors
    ///
    /// The API server does not answer, or denies access.
    pub(crate) async fn observe_generations(&self) -> Result<Generations, Error> {
        let lists = LISTS.map(async |path| {
            let list: Option<List<Partial>> =
                self.api_read(Call::get(path).accept(METADATA).listed()).await?;
            Ok::<_, Error>(list.map(|list| list.items).unwrap_or_default())
        });
        let lists: Result<Vec<_>, Error> = join_all(lists).await.into_iter().collect();
        let metas = lists?.into_iter().flatten().map(|object| object.metadata);
        Ok(metas.map(|meta| (meta.uid, meta.generation)).collect())
    }

    /// The `ReplicaSets` of a namespace.
    async fn observe_replica_sets(&self, namespace: &str) -> Result<Vec<ReplicaSet>, Error> {
        let path = format!("/apis/apps/v1/namespaces/{}/replicasets", segment(namespace));
        let list: Option<List<ReplicaSet>> =
            self.api_read(Call::get(&path).accept(METADATA).listed()).await?;
        Ok(list.map(|list| list.items).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(label: &str, value: &str) -> Pod {
        Pod { labels: [(label.to_owned(), value.to_owned())].into(), ..Pod::default() }
    }

    #[test]
    fn pods_of_newest_revision_are_current() {
        for (kind, label) in [
            ("Deployment", TEMPLATE_HASH),
            ("DaemonSet", "pod-template-generation"),
            ("StatefulSet", "controller-revision-hash"),
        ] {
            let workload =
                Workload { kind: kind.to_owned(), revision: Some("2".to_owned()), ..Workload::default() };
            assert_eq!(workload.revision_of(&pod(label, "2")), Revision::Current, "{kind}");
            assert_eq!(workload.revision_of(&pod(label, "1")), Revision::Old, "{kind}");
            assert_eq!(workload.revision_of(&pod("other", "2")), Revision::Unknown, "{kind}");
            let unknown = Workload { revision: None, ..workload.clone() };
            assert_eq!(unknown.revision_of(&pod(label, "2")), Revision::Unknown, "{kind}");
            let unchanged = Workload { is_unchanged: true, ..workload };
            assert_eq!(unchanged.revision_of(&pod(label, "2")), Revision::Unknown, "{kind}");
        }
        let job = Workload { kind: "Job".to_owned(), ..Workload::default() };
        assert_eq!(job.revision_of(&Pod::default()), Revision::Current);
    }

    #[test]
    fn newest_replica_set_has_revision_of_deployment() {
        let set = |owner: &str, revision: &str, hash: &str| {
            let metadata = json!({"name": "x", "labels": {TEMPLATE_HASH: hash}, "annotations": {REVISION: revision},
                "ownerReferences": [{"kind": "Deployment", "name": "d", "uid": owner, "controller": true}]});
            serde_json::from_value::<ReplicaSet>(json!({"metadata": metadata})).unwrap()
        };
        let sets = [set("u", "2", "old"), set("other", "3", "strange"), set("u", "3", "new")];
        let deployment = Workload {
            kind: "Deployment".to_owned(),
            uid: "u".to_owned(),
            annotations: [(REVISION.to_owned(), "3".to_owned())].into(),
            is_observed: true,
            ..Workload::default()
        };
        assert_eq!(newest(&deployment, &sets).as_deref(), Some("new"));
        assert_eq!(newest(&Workload { is_observed: false, ..deployment.clone() }, &sets), None);
        assert_eq!(newest(&Workload { annotations: [].into(), ..deployment.clone() }, &sets), None);
        assert_eq!(newest(&deployment, &sets[..2]), None);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(odd in crate::base::mutate::json(r#"{"metadata":{"labels":{"pod-template-hash":"a"},
            "annotations":{"deployment.kubernetes.io/revision":"1"},"ownerReferences":[{"uid":"u","controller":true}]}}"#)) {
            if let Ok(set) = serde_json::from_value::<ReplicaSet>(odd) {
                _ = newest(&Workload { is_observed: true, ..Workload::default() }, &[set]);
            }
        }
    }
}
