//! The workloads of a release that is being synced.

use futures_util::future::join_all;
use serde::Deserialize;

use crate::error::Error;
use crate::tools::Toolbox;
use crate::tools::api::segment;

/// helm notes the release on every object.
const RELEASE: &str = "meta.helm.sh/release-name";

#[derive(Deserialize)]
struct Workload {
    #[serde(default)]
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Spec {
    replicas: Option<i64>,
    completions: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    available_replicas: i64,
    ready_replicas: i64,
    number_available: i64,
    desired_number_scheduled: i64,
    succeeded: i64,
}

impl Workload {
    /// `Kind/name have/want`, unless it has all that it wants.
    fn pending(&self) -> Option<String> {
        let Self { spec, status, .. } = self;
        let (have, want) = match self.kind.as_str() {
            "DaemonSet" => (status.number_available, status.desired_number_scheduled),
            "StatefulSet" => (status.ready_replicas, spec.replicas.unwrap_or(1)),
            "Job" => (status.succeeded, spec.completions.unwrap_or(1)),
            _ => (status.available_replicas, spec.replicas.unwrap_or(1)),
        };
        (have < want).then(|| format!("{}/{} {have}/{want}", self.kind, self.metadata.name))
    }
}

fn pending(workloads: &[Workload], release: &str) -> Vec<String> {
    let ours =
        |workload: &&Workload| workload.metadata.annotations.get(RELEASE).is_some_and(|name| name == release);
    workloads.iter().filter(ours).filter_map(Workload::pending).collect()
}

/// What a release is waited for with.
const LISTS: [(&str, &str); 4] = [
    ("DaemonSet", "/apis/apps/v1/namespaces/{}/daemonsets"),
    ("Deployment", "/apis/apps/v1/namespaces/{}/deployments"),
    ("StatefulSet", "/apis/apps/v1/namespaces/{}/statefulsets"),
    ("Job", "/apis/batch/v1/namespaces/{}/jobs"),
];

impl Toolbox {
    /// What of a release is not ready yet, such as `DaemonSet/cilium 0/3`.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn pending_workloads(&self, namespace: &str, release: &str) -> Result<Vec<String>, Error> {
        let lists = LISTS.map(async |(kind, path)| {
            let path = path.replace("{}", &segment(namespace));
            let found: Vec<Workload> = self.api_list(&path).await?;
            Ok(found.into_iter().map(move |found| Workload { kind: kind.to_owned(), ..found }))
        });
        let lists: Result<Vec<_>, Error> = join_all(lists).await.into_iter().collect();
        Ok(pending(&lists?.into_iter().flatten().collect::<Vec<_>>(), release))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_of_this_release_is_told() {
        let workload = |kind: &str, name: &str, release: &str, spec: &str, status: &str| {
            format!(
                r#"{{"kind":"{kind}","metadata":{{"name":"{name}","annotations":{{"{RELEASE}":"{release}"}}}},"spec":{spec},"status":{status}}}"#
            )
        };
        let items = [
            workload(
                "DaemonSet",
                "cilium",
                "cilium",
                "{}",
                r#"{"desiredNumberScheduled":3,"numberAvailable":1}"#,
            ),
            workload("Deployment", "cilium-operator", "cilium", r#"{"replicas":2}"#, "{}"),
            workload("Deployment", "done", "cilium", r#"{"replicas":1}"#, r#"{"availableReplicas":1}"#),
            workload("Job", "check", "cilium", "{}", "{}"),
            workload("Deployment", "coredns", "coredns", r#"{"replicas":1}"#, "{}"),
        ];
        let list: Vec<Workload> = serde_json::from_str(&format!("[{}]", items.join(","))).unwrap();
        let expected = ["DaemonSet/cilium 1/3", "Deployment/cilium-operator 0/2", "Job/check 0/1"];
        assert_eq!(pending(&list, "cilium"), expected);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(odd in crate::observed::odd::odd(r#"[{"kind":"Job","metadata":{"name":"a",
            "annotations":{"meta.helm.sh/release-name":"x"}},"spec":{"completions":2},"status":{"succeeded":1}}]"#)) {
            _ = serde_json::from_value(odd).map(|list: Vec<Workload>| pending(&list, "x"));
        }
    }
}
