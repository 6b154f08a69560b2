//! Flux's objects, as far as they tell whether it has taken over.

use futures_util::future::join_all;
use serde::Deserialize;

use super::inventory::Meta;
use crate::base::error::Error;
use crate::tools::Toolbox;

/// A FluxInstance, a source or a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// Its group and version, such as `kustomize.toolkit.fluxcd.io/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name and place.
    pub metadata: Meta,
    /// What it asks for.
    pub spec: Spec,
    /// What became of it.
    pub status: Status,
}

/// What a resource asks for, of all kinds together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// A FluxInstance's source of the cluster's state.
    pub sync: Option<Sync>,
    /// Whether reconciling is switched off.
    pub suspend: bool,
    /// A source's address.
    pub url: Option<String>,
    /// A source's reference.
    pub r#ref: Option<Reference>,
    /// The Kustomizations that one waits for.
    pub depends_on: Vec<Dependency>,
    /// The source of a Kustomization.
    pub source_ref: Option<SourceRef>,
}

/// The source of a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SourceRef {
    /// `GitRepository`, `OCIRepository`, `Bucket` or `ExternalArtifact`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; that of the Kustomization when absent.
    pub namespace: Option<String>,
}

/// A FluxInstance's source of the cluster's state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sync {
    /// `GitRepository`, `OCIRepository` or `Bucket`.
    pub kind: String,
    /// Its address.
    pub url: String,
    /// The full name of its reference, such as `refs/heads/main`.
    pub r#ref: Option<String>,
    /// The name of the objects that are made of it; the namespace's when absent.
    pub name: Option<String>,
}

/// A GitRepository's reference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// The full name of a reference.
    pub name: Option<String>,
}

/// A Kustomization that another waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the one that waits when absent.
    pub namespace: Option<String>,
    /// A CEL expression that is true when it is ready; its own conditions do not count then.
    pub ready_expr: Option<String>,
}

/// What became of a resource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// The generation that this speaks of.
    pub observed_generation: i64,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// The revision that a Kustomization applied last, and that was healthy where its health is checked.
    pub last_applied_revision: Option<String>,
    /// The revision that a Kustomization built last.
    pub last_attempted_revision: Option<String>,
    /// The last request to reconcile that was answered.
    pub last_handled_reconcile_at: Option<String>,
    /// What a source has fetched.
    pub artifact: Option<Artifact>,
}

/// What a source has fetched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Artifact {
    /// Its revision, such as `main@sha1:…`.
    pub revision: String,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// The generation that it speaks of; a FluxInstance tells it here alone.
    pub observed_generation: i64,
    /// `Ready`, `Stalled`, …
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A word for it.
    pub reason: String,
    /// A sentence for it.
    pub message: String,
}

impl Resource {
    /// `Kind namespace/name`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{} {}/{}", self.kind, self.metadata.namespace, self.metadata.name)
    }

    /// A condition that speaks of the present spec.
    #[must_use]
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        let found = self.status.conditions.iter().find(|condition| condition.r#type == name)?;
        let of = [found.observed_generation, self.status.observed_generation].into_iter().find(|of| *of > 0);
        (of == Some(self.metadata.generation)).then_some(found)
    }

    /// The status of `Ready`, if it speaks of the present spec.
    #[must_use]
    pub fn ready(&self) -> Option<&str> {
        self.condition("Ready").map(|condition| condition.status.as_str())
    }

    /// Whether a condition of this name has this status, for the present spec.
    #[must_use]
    pub fn has(&self, name: &str, status: &str) -> bool {
        self.condition(name).is_some_and(|condition| condition.status == status)
    }

    /// Whether a Kustomization has applied its objects and waits for their health. kustomize-controller sets `Healthy` to
    /// `Unknown` when it begins with that (`checkHealth` in `internal/controller/kustomization_controller.go`), while
    /// `Ready` is `Unknown` during the whole reconciliation.
    #[must_use]
    pub fn is_checking_health(&self) -> bool {
        self.has("Ready", "Unknown") && self.has("Healthy", "Unknown")
    }

    /// What it reports about itself, for people. The step of a reconciliation that is running is in `Reconciling`.
    #[must_use]
    pub fn words(&self) -> String {
        let running = self.condition("Reconciling").filter(|_| self.has("Ready", "Unknown"));
        match running.or_else(|| self.condition("Ready")) {
            Some(Condition { reason, message, .. }) => format!("{}: {reason}: {message}", self.id()),
            None => format!("{}: not reconciled yet", self.id()),
        }
    }

    /// The Kustomization that applied it, as namespace and name.
    #[must_use]
    pub fn applied_by(&self) -> Option<(&str, &str)> {
        made_by(KUSTOMIZE, |label| self.metadata.labels.get(label).map(String::as_str))
    }
}

/// The controller of HelmReleases, as labels name it.
pub const HELM: &str = "helm";

/// The controller of Kustomizations, as labels name it.
pub const KUSTOMIZE: &str = "kustomize";

/// Namespace and name of what a controller of Flux has made an object for: it marks all that it makes with both.
pub fn made_by<'a>(controller: &str, label: impl Fn(&str) -> Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let label = |what: &str| label(&format!("{controller}.toolkit.fluxcd.io/{what}"));
    Some((label("namespace")?, label("name")?))
}

/// Flux's objects in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Flux {
    /// The FluxInstance, if there is one.
    pub instance: Option<Resource>,
    /// Sources and Kustomizations.
    pub resources: Vec<Resource>,
}

/// Kustomizations, as `plural.group`.
pub const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";

/// What is read of Flux, as `plural.group`; kinds that a cluster does not know yet have no objects.
pub const KINDS: [&str; 5] = [
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
    pub async fn observe_flux(&self) -> Result<Flux, Error> {
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
        fn no_answer_makes_it_panic(answer: Vec<u8>, odd in crate::base::odd::odd(LIST)) {
            _ = serde_json::from_slice::<List<Resource>>(&answer).map(drop);
            if let Ok(list) = serde_json::from_value::<List<Resource>>(odd) {
                for resource in &list.items {
                    _ = (resource.words(), resource.is_checking_health());
                }
            }
        }
    }
}
