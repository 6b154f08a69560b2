//! What happens to namespaces.

use std::collections::BTreeMap;

use crate::base::finding::Finding;
use crate::base::stages::Stage;
use crate::desired::Desired;
use crate::desired::namespaces::Namespace;
use crate::desired::objects::{Object, ObjectId};
use crate::desired::values::ValueChange;
use crate::observed::Live;
use crate::observed::flux::{KUSTOMIZE, made_by};
use crate::plan::options::PlanOptions;

/// What happens to a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamespaceAction {
    /// It is created.
    Create,
    /// Declared labels or annotations are missing or differ.
    Change,
    /// It exists, with the declared labels and annotations.
    Exists,
    /// Labels or annotations differ, but a Kustomization of Flux manages it.
    ManagedByFlux(String),
}

impl NamespaceAction {
    /// Whether it changes the cluster.
    pub(crate) fn applies(&self) -> bool {
        matches!(self, Self::Create | Self::Change)
    }
}

/// A desired namespace, and what happens to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NamespacePlan {
    pub namespace: Namespace,
    pub action: NamespaceAction,
    /// The labels and annotations that are set.
    pub changes: Vec<ValueChange>,
}

impl NamespacePlan {
    /// The paths of the labels and annotations that are set.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.changes.iter().map(|change| change.path.as_str()).collect()
    }
}

/// A namespace whose deletion is stuck: while an aggregated API does not answer, the namespace controller deletes no namespace.
fn stuck(finding: Finding, message: &str) -> Finding {
    let services = api_services(message).join(" ");
    let finding = finding.with("reason", message);
    if services.is_empty() {
        return finding.fix("kubectl get apiservices  # make those that are not Available work");
    }
    finding.with("api_service", &services).fix(format!(
        "kubectl describe apiservice {services}  # its condition shows why it is not Available; the namespace is deleted once it is"
    ))
}

/// The `APIService`s that the message of the namespace controller names by `GROUP/VERSION` (`ErrGroupDiscoveryFailed` of
/// client-go).
fn api_services(message: &str) -> Vec<String> {
    let Some((_, groups)) = message.split_once("the complete list of server APIs: ") else {
        return Vec::new();
    };
    let mut names: Vec<_> = groups
        .split([' ', ','])
        .filter_map(|word| word.trim_end_matches(':').split_once('/'))
        .filter(|(group, version)| group.contains('.') && version.starts_with('v') && !version.contains('/'))
        .map(|(group, version)| format!("{version}.{group}"))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Plans one namespace.
///
/// # Errors
///
/// It is being deleted.
pub(crate) fn plan(namespace: &Namespace, live: &Live) -> Result<NamespacePlan, Finding> {
    let name = &namespace.name;
    let phase = live.cluster.namespaces.get(name).map(String::as_str);
    if phase == Some("Terminating") {
        let finding = Finding::error("plan", "Namespace is being deleted").with("namespace", name);
        return Err(match live.cluster.undiscovered.get(name) {
            Some(message) => stuck(finding, message),
            None => finding.fix(format!(
                "wait until it is gone; `kubectl get namespace {name} -o yaml` shows what blocks the deletion"
            )),
        });
    }
    let id = ObjectId {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: name.clone(),
    };
    let meta = live.cluster.inventory.find(&id).cloned().unwrap_or_default();
    let annotations = changes("annotations", &meta.annotations, &namespace.annotations);
    let changes: Vec<_> = annotations.chain(changes("labels", &meta.labels, &namespace.labels)).collect();
    let flux = made_by(KUSTOMIZE, |label| meta.labels.get(label).map(String::as_str));
    let action = match (phase, flux) {
        (None, _) => NamespaceAction::Create,
        _ if changes.is_empty() => NamespaceAction::Exists,
        (_, Some((namespace, name))) => NamespaceAction::ManagedByFlux(format!("{namespace}/{name}")),
        _ => NamespaceAction::Change,
    };
    let changes = if action.applies() { changes } else { Vec::new() };
    Ok(NamespacePlan { namespace: namespace.clone(), action, changes })
}

/// An object cannot be created if its namespace is missing and is not created before.
pub(super) fn missing(
    object: &Object,
    desired: &Desired,
    live: &Live,
    plan_options: &PlanOptions,
) -> Option<Finding> {
    let namespace = object.id.namespace.as_ref()?;
    let is_skipped = plan_options.stages.has(Stage::Namespaces);
    let is_desired = desired.namespaces.iter().any(|desired| desired.name == *namespace);
    let is_object =
        desired.objects.iter().any(|object| object.id.kind == "Namespace" && object.id.name == *namespace);
    let is_created = (is_desired && !is_skipped) || is_object;
    (!is_created && !live.cluster.namespaces.contains_key(namespace)).then(|| {
        Finding::error("plan", "Namespace is missing")
            .with("namespace", namespace)
            .with("object", object.id.words())
            .fix(if is_desired {
                "do not skip the stage `namespaces`".to_owned()
            } else {
                format!("declare it in kubernetes/apps/{namespace}/kustomization.yaml, or list all namespaces in k3s-boot.yaml with `namespaces`")
            })
    })
}

/// The declared labels or annotations that are missing or differ. Others do not count.
fn changes<'a>(
    map: &'a str,
    live: &'a BTreeMap<String, String>,
    declared: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = ValueChange> + 'a {
    let differing = declared.iter().filter(|(key, value)| live.get(*key) != Some(*value));
    differing.map(move |(key, value)| ValueChange {
        path: format!("{map}.{key}"),
        old: live.get(key).map(|old| old.as_str().into()),
        new: Some(value.as_str().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::namespaces::Source;
    use crate::observed::cluster::Cluster;
    use crate::observed::inventory::{Inventory, Meta};

    fn texts(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
        texts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn planned(phase: Option<&str>, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> NamespacePlan {
        let namespace = Namespace {
            name: "media".to_owned(),
            labels: texts(&[("pod-security.kubernetes.io/enforce", "privileged")]),
            annotations: texts(&[("kustomize.toolkit.fluxcd.io/prune", "disabled")]),
            source: Source::Flux,
        };
        let mut cluster = Cluster::default();
        if let Some(phase) = phase {
            cluster.namespaces.insert("media".to_owned(), phase.to_owned());
            let (labels, annotations) = (texts(labels), texts(annotations));
            let meta = Meta { name: "media".to_owned(), labels, annotations, ..Meta::default() };
            cluster.inventory = Inventory::default();
            cluster.inventory.add("", "Namespace", [meta]);
        }
        plan(&namespace, &Live { cluster, ..Live::default() }).unwrap()
    }

    #[test]
    fn only_missing_and_different_declared_fields_are_changed() {
        use NamespaceAction::{Change, Create, Exists, ManagedByFlux};
        let (label, annotation) = ("pod-security.kubernetes.io/enforce", "kustomize.toolkit.fluxcd.io/prune");
        let label_path = "labels.pod-security.kubernetes.io/enforce";
        let annotation_path = "annotations.kustomize.toolkit.fluxcd.io/prune";
        let both = [annotation_path, label_path];
        let flux = ["kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"];
        let of_flux = [(flux[0], "apps"), (flux[1], "flux-system")];
        let cases: [(Option<&str>, &[_], &[_], _, &[&str]); 7] = [
            (None, &[], &[], Create, &both),
            (Some("Active"), &[], &[("other", "x")], Change, &both),
            (Some("Active"), &[(label, "baseline")], &[(annotation, "disabled")], Change, &[label_path]),
            (Some("Active"), &[(label, "privileged"), ("x", "y")], &[], Change, &[annotation_path]),
            (Some("Active"), &[(label, "privileged"), ("x", "y")], &[(annotation, "disabled")], Exists, &[]),
            (Some("Active"), &of_flux, &[], ManagedByFlux("flux-system/apps".to_owned()), &[]),
            // From a copied manifest: Flux always sets both labels.
            (Some("Active"), &of_flux[..1], &[], Change, &both),
        ];
        for (phase, labels, annotations, action, paths) in cases {
            let plan = planned(phase, labels, annotations);
            assert_eq!((&plan.action, plan.paths()), (&action, paths.to_vec()), "{labels:?} {annotations:?}");
        }
        let changed = planned(Some("Active"), &[(label, "baseline")], &[(annotation, "disabled")]);
        let change = &changed.changes[0];
        assert_eq!((&change.old, &change.new), (&Some("baseline".into()), &Some("privileged".into())));
    }

    /// Recorded on k3s v1.36.3, while metrics-server had no endpoints.
    const STALE: &str = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
                         metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1";

    #[test]
    fn a_stuck_deletion_names_the_api_service() {
        let namespace = Namespace {
            name: "gone".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            source: Source::Flux,
        };
        let finding = |message: &str| {
            let mut cluster = Cluster::default();
            cluster.namespaces.insert("gone".to_owned(), "Terminating".to_owned());
            cluster.undiscovered.insert("gone".to_owned(), message.to_owned());
            plan(&namespace, &Live { cluster, ..Live::default() }).unwrap_err()
        };
        let found = finding(STALE);
        assert_eq!(found.detail("api_service"), Some("v1beta1.metrics.k8s.io"));
        assert!(found.fix.unwrap().starts_with("kubectl describe apiservice v1beta1.metrics.k8s.io "));
        let two = "unable to retrieve the complete list of server APIs: a.b/v1: the server is currently unable to handle the \
                   request, c.d/v2: connect: see https://x/y";
        assert_eq!(api_services(two), ["v1.a.b", "v2.c.d"]);
        assert!(finding("Discovery failed").fix.unwrap().starts_with("kubectl get apiservices"));
    }
}
