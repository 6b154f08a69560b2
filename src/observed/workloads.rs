//! Workloads and their desired and ready pods; and volume claims, which helm waits for, too.

use std::collections::BTreeMap;

use super::inventory::Meta;
use super::item::{Spec, Status, release};
use super::pods::Pod;
use crate::base::object_ref::ObjectRef;
use crate::base::release_id::ReleaseId;

/// The generation of a DaemonSet's template (`k8s.io/api/apps/v1`). The API server sets it together with the template.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// A Deployment, DaemonSet, StatefulSet or Job; or a `PersistentVolumeClaim`, which helm waits for, too. helm does not wait
/// for the address of a load balancer.
///
/// Source: `status.Compute` of <https://github.com/fluxcd/cli-utils>, which helm 4 uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Workload {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Its generation, which changes with the spec.
    pub generation: i64,
    /// Whether its controller has observed this generation.
    pub is_observed: bool,
    /// The label value of pods of the current revision (see [`Workload::revision_of`]); for Deployments, only
    /// [`Toolbox::observe_workloads`] sets it.
    pub revision: Option<String>,
    /// Whether the current sync is known not to have changed it.
    pub is_unchanged: bool,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// The number of ready pods of the current revision; for a claim, 1 if it is bound.
    pub have: i64,
    /// The desired number.
    pub want: i64,
}

impl Workload {
    pub(super) fn new(kind: String, metadata: Meta, spec: &Spec, status: &Status) -> Self {
        let replicas = spec.replicas.unwrap_or(1);
        // Existing pods of older revisions.
        let old = |all: i64, updated: i64| (all - updated).max(0);
        let (have, want) = match kind.as_str() {
            "DaemonSet" => {
                let old = old(status.current_number_scheduled, status.updated_number_scheduled);
                (status.number_available - old, status.desired_number_scheduled)
            }
            "StatefulSet" if spec.update_strategy.rolls() => {
                (status.ready_replicas - old(status.replicas, status.updated_replicas), replicas)
            }
            "StatefulSet" => (status.ready_replicas, replicas),
            "Job" => (status.succeeded, spec.completions.unwrap_or(1)),
            CLAIM => ((status.phase == "Bound").into(), 1),
            _ => (status.available_replicas - old(status.replicas, status.updated_replicas), replicas),
        };
        // Until the controller has observed the spec, the status is about an older generation.
        let is_observed =
            matches!(kind.as_str(), "Job" | CLAIM) || status.observed_generation >= metadata.generation;
        let have = if is_observed { have.max(0) } else { 0 };
        let Meta { name, namespace, uid, generation, labels, annotations, .. } = metadata;
        let revision = match kind.as_str() {
            "DaemonSet" => annotations.get(TEMPLATE_GENERATION).cloned(),
            "StatefulSet" => {
                Some(&status.update_revision).filter(|name| is_observed && !name.is_empty()).cloned()
            }
            _ => None,
        };
        Self {
            kind,
            namespace,
            name,
            uid,
            generation,
            is_observed,
            revision,
            is_unchanged: false,
            labels,
            annotations,
            have,
            want,
        }
    }

    /// The Helm release that it belongs to.
    pub(crate) fn release(&self) -> Option<ReleaseId> {
        release(&self.annotations)
    }

    /// Whether an object is this workload or was created for it, judged by its name: controllers use `NAME-SUFFIX`, and no
    /// suffix contains a hyphen.
    pub(crate) fn is_or_made(&self, kind: &str, namespace: &str, name: &str) -> bool {
        if namespace != self.namespace {
            return false;
        }
        if kind == self.kind {
            return name == self.name;
        }
        let suffixes = match (self.kind.as_str(), kind) {
            ("Deployment", "ReplicaSet") | ("DaemonSet" | "StatefulSet" | "Job", "Pod") => 1,
            ("Deployment", "Pod") => 2,
            _ => return false,
        };
        let rest = name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| rest.split('-').count() == suffixes)
    }

    /// Whether this is one of its pods: judged by its controller, or by its name if it has none.
    pub(crate) fn has_pod(&self, pod: &Pod) -> bool {
        match &pod.owner {
            Some((kind, name)) => self.is_or_made(kind, &pod.namespace, name),
            None => self.is_or_made("Pod", &pod.namespace, &pod.name),
        }
    }

    /// Whether it belongs to this Helm release or is a hook of it. helm does not annotate hooks, so they
    /// are recognized by the labels that charts set.
    pub(crate) fn is_of(&self, release: &ReleaseId) -> bool {
        if let Some(owner) = self.release() {
            return owner == *release;
        }
        let hook = self.annotations.contains_key("helm.sh/hook");
        let instance =
            self.labels.get("app.kubernetes.io/instance").is_some_and(|instance| *instance == release.name);
        hook && self.namespace == release.namespace && instance
    }

    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::new(&self.kind, &self.namespace, &self.name)
    }

    /// Such as `DaemonSet/cilium 0/3`.
    pub(crate) fn words(&self) -> String {
        let Self { kind, name, have, want, .. } = self;
        format!("{kind}/{name} {have}/{want}")
    }
}

/// The workloads of a release that are not ready.
pub(crate) fn unready_workloads<'a>(
    workloads: &'a [Workload],
    release: &'a ReleaseId,
) -> impl Iterator<Item = &'a Workload> {
    workloads.iter().filter(move |workload| workload.is_of(release) && workload.have < workload.want)
}

/// The workloads of a release that are not ready, such as `DaemonSet/cilium 0/3`.
pub(crate) fn pending(workloads: &[Workload], release: &ReleaseId) -> Vec<String> {
    unready_workloads(workloads, release).map(Workload::words).collect()
}

/// The kind of volume claims.
pub(crate) const CLAIM: &str = "PersistentVolumeClaim";

/// The label of cluster DNS, whatever provides it (kubernetes/dns, `specification.md`).
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");

/// The workloads that provide cluster DNS.
pub(crate) fn cluster_dns(workloads: &[Workload]) -> impl Iterator<Item = &Workload> {
    workloads.iter().filter(|workload| {
        workload.namespace == "kube-system"
            && matches!(workload.kind.as_str(), "Deployment" | "DaemonSet")
            && workload.labels.get(DNS_LABEL.0).is_some_and(|value| value == DNS_LABEL.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::item::Item;

    fn read(item: serde_json::Value) -> serde_json::Result<Workload> {
        let Item { kind, metadata, spec, status } = serde_json::from_value(item)?;
        Ok(Workload::new(kind, metadata, &spec, &status))
    }

    #[test]
    fn pending_lists_unready_workloads_of_the_release() {
        let workload = |kind: &str, name: &str, release: &str, spec: &str, status: &str| {
            let notes = format!(
                r#"{{"meta.helm.sh/release-name":"{release}","meta.helm.sh/release-namespace":"kube-system"}}"#
            );
            let text = format!(
                r#"{{"kind":"{kind}","metadata":{{"name":"{name}","annotations":{notes}}},"spec":{spec},"status":{status}}}"#
            );
            read(serde_json::from_str(&text).unwrap()).unwrap()
        };
        let list = [
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
        let expected = ["DaemonSet/cilium 1/3", "Deployment/cilium-operator 0/2", "Job/check 0/1"];
        assert_eq!(pending(&list, &"kube-system/cilium".into()), expected);
        assert!(pending(&list, &"default/cilium".into()).is_empty());
    }

    #[test]
    fn only_pods_of_the_current_revision_count() {
        let have = |kind: &str, spec: &str, status: &str| {
            let text = format!(
                r#"{{"kind":"{kind}","metadata":{{"name":"a","generation":2}},"spec":{spec},"status":{status}}}"#
            );
            read(serde_json::from_str(&text).unwrap()).unwrap().have
        };
        let one = r#"{"replicas":1}"#;
        // The old pod is available, the new one does not become ready.
        let stuck = r#"{"observedGeneration":2,"replicas":2,"updatedReplicas":1,"availableReplicas":1}"#;
        assert_eq!(have("Deployment", one, stuck), 0);
        let done = r#"{"observedGeneration":2,"replicas":1,"updatedReplicas":1,"availableReplicas":1}"#;
        assert_eq!(have("Deployment", one, done), 1);
        let unseen = r#"{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"availableReplicas":1}"#;
        assert_eq!(have("Deployment", one, unseen), 0);
        let rolling = r#"{"observedGeneration":2,"desiredNumberScheduled":3,"currentNumberScheduled":3,"updatedNumberScheduled":1,"numberAvailable":3}"#;
        assert_eq!(have("DaemonSet", "{}", rolling), 1);
        let old = r#"{"observedGeneration":2,"replicas":3,"updatedReplicas":1,"readyReplicas":3}"#;
        assert_eq!(have("StatefulSet", r#"{"replicas":3}"#, old), 1);
        let on_delete = r#"{"replicas":3,"updateStrategy":{"type":"OnDelete"}}"#;
        assert_eq!(have("StatefulSet", on_delete, old), 3);
        let partition =
            r#"{"replicas":3,"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}"#;
        assert_eq!(have("StatefulSet", partition, old), 3);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(odd in crate::base::mutate::json(r#"{"kind":"Job","metadata":{"name":"a",
            "annotations":{"meta.helm.sh/release-name":"x","meta.helm.sh/release-namespace":"y"}},
            "spec":{"completions":2},"status":{"succeeded":1}}"#)) {
            _ = read(odd).map(|workload| pending(&[workload], &"y/x".into()));
        }
    }
}
