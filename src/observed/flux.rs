//! Flux's objects and their status.

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::inventory::Meta;
use crate::base::error::Error;
use crate::base::object_ref::ObjectRef;
use crate::tools::Toolbox;

/// A FluxInstance, a source or a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resource {
    /// The group and version, such as `kustomize.toolkit.fluxcd.io/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

/// The fields of all kinds' specs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    /// The source that a FluxInstance syncs the cluster from.
    pub sync: Option<Sync>,
    /// Whether reconciliation is suspended.
    pub suspend: bool,
    /// The URL of a source.
    pub url: Option<String>,
    /// The reference of a source.
    pub r#ref: Option<Value>,
    /// The address of a Bucket.
    pub endpoint: Option<String>,
    pub bucket_name: Option<String>,
    /// The patches of a FluxInstance.
    pub kustomize: Option<Value>,
    /// The dependencies of a Kustomization.
    pub depends_on: Vec<Dependency>,
    /// The source of a Kustomization.
    pub source_ref: Option<SourceRef>,
}

/// The source of a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SourceRef {
    /// `GitRepository`, `OCIRepository`, `Bucket` or `ExternalArtifact`.
    pub kind: String,
    pub name: String,
    /// Its namespace; by default that of the Kustomization.
    pub namespace: Option<String>,
}

/// The source that a FluxInstance syncs the cluster from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sync {
    /// `GitRepository`, `OCIRepository` or `Bucket`.
    pub kind: String,
    pub url: String,
    /// The full name of the reference, such as `refs/heads/main`.
    pub r#ref: Option<String>,
    /// The name of the objects that the operator creates for it; by default that of the namespace.
    pub name: Option<String>,
}

/// A dependency of a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Dependency {
    pub name: String,
    /// Its namespace; by default that of the dependent Kustomization.
    pub namespace: Option<String>,
    /// A CEL expression for its readiness, which replaces its conditions.
    pub ready_expr: Option<String>,
}

/// The status of a resource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    /// The generation of the spec that this status is about.
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
    /// The revision that a Kustomization last applied, and that passed its health checks if it has any.
    pub last_applied_revision: Option<String>,
    /// The revision that a Kustomization last tried to apply.
    pub last_attempted_revision: Option<String>,
    /// The last request to reconcile that was handled.
    pub last_handled_reconcile_at: Option<String>,
    /// The artifact of a source.
    pub artifact: Option<Artifact>,
}

/// The artifact that a source fetched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    /// The revision, such as `main@sha1:…`.
    pub revision: String,
}

/// A condition of a resource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Condition {
    /// The generation of the spec that it is about; a FluxInstance only reports it here.
    pub observed_generation: i64,
    /// `Ready`, `Stalled`, …
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason, in one word.
    pub reason: String,
    pub message: String,
}

impl Resource {
    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::new(&self.kind, &self.metadata.namespace, &self.metadata.name)
    }

    /// A condition, if it is about the current generation.
    pub(crate) fn condition(&self, name: &str) -> Option<&Condition> {
        let found = self.status.conditions.iter().find(|condition| condition.r#type == name)?;
        let generations = [found.observed_generation, self.status.observed_generation];
        let observed = generations.into_iter().find(|generation| *generation > 0);
        (observed == Some(self.metadata.generation)).then_some(found)
    }

    /// Whether a condition has this status for the current generation.
    pub(crate) fn has(&self, name: &str, status: &str) -> bool {
        self.condition(name).is_some_and(|condition| condition.status == status)
    }

    /// Whether a Kustomization has applied its objects and waits for their health checks. kustomize-controller then sets
    /// `Healthy` to `Unknown` (`checkHealth` in `internal/controller/kustomization_controller.go`), while `Ready` is
    /// `Unknown` during the whole reconciliation.
    pub(crate) fn is_checking_health(&self) -> bool {
        self.has("Ready", "Unknown") && self.has("Healthy", "Unknown")
    }

    /// A line about its readiness. During a reconciliation, the current step is in `Reconciling`.
    pub(crate) fn words(&self) -> String {
        let running = self.condition("Reconciling").filter(|_| self.has("Ready", "Unknown"));
        match running.or_else(|| self.condition("Ready")) {
            Some(Condition { reason, message, .. }) => format!("{}: {reason}: {message}", self.object()),
            None => format!("{}: not reconciled yet", self.object()),
        }
    }

    /// The Kustomization that applied it, as namespace and name.
    pub(crate) fn applied_by(&self) -> Option<(&str, &str)> {
        made_by(KUSTOMIZE, |label| self.metadata.labels.get(label).map(String::as_str))
    }
}

/// The prefix of helm-controller's labels.
pub(crate) const HELM: &str = "helm";

/// The prefix of kustomize-controller's labels.
pub(crate) const KUSTOMIZE: &str = "kustomize";

/// The namespace and name of the Flux object that an object was created for: Flux's controllers label all their objects.
pub(crate) fn made_by<'a>(
    controller: &str,
    label: impl Fn(&str) -> Option<&'a str>,
) -> Option<(&'a str, &'a str)> {
    let label = |what: &str| label(&format!("{controller}.toolkit.fluxcd.io/{what}"));
    Some((label("namespace")?, label("name")?))
}

/// Flux's objects in the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flux {
    /// The FluxInstance, if there is one.
    pub instance: Option<Resource>,
    /// Sources and Kustomizations.
    pub resources: Vec<Resource>,
}

/// Kustomizations, as `plural.group`.
pub(crate) const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";

/// The kinds of Flux that are read, as `plural.group`.
pub(crate) const KINDS: [&str; 5] = [
    "fluxinstances.fluxcd.controlplane.io",
    "gitrepositories.source.toolkit.fluxcd.io",
    "ocirepositories.source.toolkit.fluxcd.io",
    "buckets.source.toolkit.fluxcd.io",
    KUSTOMIZATIONS,
];

impl FromIterator<Resource> for Flux {
    fn from_iter<T: IntoIterator<Item = Resource>>(resources: T) -> Self {
        let (instances, resources): (Vec<_>, Vec<_>) =
            resources.into_iter().partition(|resource| resource.kind == "FluxInstance");
        Self { instance: instances.into_iter().next(), resources }
    }
}

impl Toolbox {
    /// Reads Flux's objects.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_flux(&self) -> Result<Flux, Error> {
        let kinds = self.observe_kinds().await?;
        let lists = KINDS.iter().filter_map(|name| kinds.named(name)).map(async |(_, resource)| {
            let found: Vec<Resource> = self.api_list(&resource.path(None)).await?;
            Ok(found)
        });
        let lists: Result<Vec<_>, Error> = join_all(lists).await.into_iter().collect();
        Ok(lists?.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::api::List;

    const LIST: &str = r#"{"items":[{"kind":"FluxInstance","metadata":{"name":"flux","namespace":"flux-system","generation":2,"labels":{"a":"b"}},
        "spec":{"sync":{"kind":"GitRepository","url":"ssh://x","ref":"refs/heads/main","name":"x"},"suspend":false,"ref":{"name":"x"},
            "dependsOn":[{"name":"a","namespace":"b","readyExpr":"true"}],"sourceRef":{"kind":"GitRepository","name":"x","namespace":"b"}},
        "status":{"observedGeneration":2,"conditions":[{"observedGeneration":2,"type":"Ready","status":"True","reason":"x","message":"y"}],
            "lastAppliedRevision":"main@sha1:1","lastAttemptedRevision":"main@sha1:1","lastHandledReconcileAt":"x","artifact":{"revision":"main@sha1:1"}}}]}"#;

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(answer: Vec<u8>, odd in crate::base::mutate::json(LIST)) {
            _ = serde_json::from_slice::<List<Resource>>(&answer).map(drop);
            if let Ok(list) = serde_json::from_value::<List<Resource>>(odd) {
                for resource in &list.items {
                    _ = (resource.words(), resource.is_checking_health());
                }
            }
        }
    }
}
