//! What happens to each custom resource definition of a helmfile that is only rendered.

use std::collections::BTreeSet;

use super::releases;
use crate::base::release_id::ReleaseId;
use crate::desired::crds::{Crd, versions};
use crate::observed::crds::{Comparison, LiveCrd};

/// What happens to a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CrdPlan {
    /// The release whose chart contains it.
    pub release: ReleaseId,
    pub name: String,
    pub action: CrdAction,
}

/// What happens to a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CrdAction {
    /// It is created; with the value of its annotation.
    Create(String),
    /// These fields change; with the value of its annotation.
    Change(Vec<String>, String),
    UpToDate,
    /// Flux or a Helm release manages it.
    ManagedElsewhere(String),
    /// The one in the cluster is newer, and stays.
    Newer,
    /// Objects may be stored in versions that the desired one does not have: it stays.
    KeepsVersions(Vec<String>),
    /// The API server rejects it.
    Rejected(String),
}

impl CrdAction {
    /// Whether it is applied.
    pub(crate) fn applies(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Change(..))
    }
}

/// Decides what happens to a definition.
pub(crate) fn plan(crd: &Crd, live: Option<&LiveCrd>) -> CrdPlan {
    CrdPlan { release: crd.release.clone(), name: crd.name.clone(), action: action(crd, live) }
}

fn action(crd: &Crd, live: Option<&LiveCrd>) -> CrdAction {
    let Some(live) = live else { return CrdAction::Create(crd.mark(1)) };
    if let Some(owner) = &live.owner {
        return CrdAction::ManagedElsewhere(owner.clone());
    }
    // Without a comparison, the annotation shows that nothing has changed.
    let Some(comparison) = &live.comparison else { return CrdAction::UpToDate };
    match kept(comparison, &crd.object()) {
        Some(Kept::Newer) => return CrdAction::Newer,
        Some(Kept::Versions(versions)) => return CrdAction::KeepsVersions(versions),
        None => {}
    }
    match &comparison.would_change {
        Ok(fields) if fields.is_empty() => CrdAction::UpToDate,
        Ok(fields) => CrdAction::Change(fields.clone(), crd.mark(comparison.next_generation)),
        Err(reason) => CrdAction::Rejected(reason.clone()),
    }
}

/// Why a definition in the cluster stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is newer.
    Newer,
    /// Objects may be stored in these versions, which the desired one does not have.
    Versions(Vec<String>),
}

/// Why the definition in the cluster stays, if it does.
pub(super) fn kept(live: &Comparison, desired: &serde_json::Value) -> Option<Kept> {
    let wanted = versions(desired);
    if is_newer(live, desired, &wanted) {
        return Some(Kept::Newer);
    }
    let lost: Vec<_> = live.stored.difference(&wanted).cloned().collect();
    (!lost.is_empty()).then_some(Kept::Versions(lost))
}

/// Whether the definition in the cluster is newer: it has all versions of the desired one and more, or a newer version in one of
/// the annotations in which projects note theirs, such as `operator.prometheus.io/version`.
fn is_newer(live: &Comparison, desired: &serde_json::Value, wanted: &BTreeSet<String>) -> bool {
    if live.versions.is_superset(wanted) && live.versions != *wanted {
        return true;
    }
    let noted = desired.pointer("/metadata/annotations").and_then(serde_json::Value::as_object);
    let versions = noted.into_iter().flatten().filter(|(name, _)| is_version_note(name));
    let mut pairs = versions.filter_map(|(name, value)| Some((live.annotations.get(name)?, value.as_str()?)));
    pairs.any(|(live, desired)| releases::is_newer(live, desired))
}

/// Whether an annotation notes the version of a project, and not that of the program that generated the definition.
fn is_version_note(annotation: &str) -> bool {
    let (domain, name) = annotation.split_once('/').unwrap_or(("", annotation));
    matches!(name, "version" | "bundle-version") && !domain.starts_with("controller-gen.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(versions: &[&str], note: &str) -> Crd {
        let versions: Vec<_> = versions.iter().map(|name| serde_json::json!({"name": name})).collect();
        let manifest = serde_json::json!({"kind": "CustomResourceDefinition",
            "metadata": {"name": "xs.example.org", "annotations": {"example.org/bundle-version": note,
                "controller-gen.kubebuilder.io/version": "v0.1.0"}},
            "spec": {"versions": versions}});
        Crd {
            name: "xs.example.org".to_owned(),
            digest: "d".to_owned(),
            manifest: manifest.to_string(),
            ..Crd::default()
        }
    }

    fn live(versions: &[&str], stored: &[&str], note: &str, fields: &[&str]) -> LiveCrd {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let annotations = [
            ("example.org/bundle-version".to_owned(), note.to_owned()),
            ("controller-gen.kubebuilder.io/version".to_owned(), "v0.9.0".to_owned()),
        ];
        let comparison = Comparison {
            versions: versions.iter().map(|name| (*name).to_owned()).collect(),
            stored: texts(stored),
            annotations: annotations.into(),
            would_change: Ok(fields.iter().map(|field| (*field).to_owned()).collect()),
            next_generation: 4,
        };
        LiveCrd { generation: 3, comparison: Some(comparison), ..LiveCrd::default() }
    }

    #[test]
    fn every_state_has_an_action() {
        let desired = crd(&["v1"], "v1.2.0");
        let act = |live: &LiveCrd| action(&desired, Some(live));
        assert_eq!(action(&desired, None), CrdAction::Create("d@1".to_owned()));
        let owned = LiveCrd { owner: Some("HelmRelease a/b".to_owned()), ..LiveCrd::default() };
        assert_eq!(act(&owned), CrdAction::ManagedElsewhere("HelmRelease a/b".to_owned()));
        assert_eq!(act(&LiveCrd::default()), CrdAction::UpToDate);
        assert_eq!(act(&live(&["v1"], &["v1"], "v1.2.0", &[])), CrdAction::UpToDate);
        let change = CrdAction::Change(vec!["spec.x".to_owned()], "d@4".to_owned());
        assert_eq!(act(&live(&["v1"], &["v1"], "v1.1.0", &["spec.x"])), change);
        assert_eq!(act(&live(&["v1"], &["v1"], "v1.10.0", &["spec.x"])), CrdAction::Newer);
        assert_eq!(act(&live(&["v1", "v2"], &["v1"], "", &["spec.x"])), CrdAction::Newer);
        let kept = CrdAction::KeepsVersions(vec!["v1beta1".to_owned()]);
        assert_eq!(act(&live(&["v1beta1"], &["v1beta1"], "", &["spec.x"])), kept);
        let mut rejected = live(&["v1"], &["v1"], "", &[]);
        rejected.comparison.as_mut().unwrap().would_change = Err("reason".to_owned());
        assert_eq!(act(&rejected), CrdAction::Rejected("reason".to_owned()));
    }

    #[test]
    fn applied_definition_is_up_to_date_until_its_spec_changes() {
        let desired = crd(&["v1"], "");
        let mut live = LiveCrd { generation: 1, applied: Some("d@1".to_owned()), ..LiveCrd::default() };
        assert!(live.is_applied(&desired));
        live.generation = 2;
        assert!(!live.is_applied(&desired));
    }
}
