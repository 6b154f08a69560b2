//! The custom resource definitions in the cluster that a helmfile asks for too.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;

use super::inventory::{Inventory, Meta, Which};
use super::kinds::Kinds;
use super::manager::Manager;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::desired::crds::{APPLIED, Crd, versions};
use crate::desired::manifests::diff::fields;
use crate::tools::Toolbox;
use crate::tools::api::{Call, WHOLE};
use crate::tools::kubectl::FIELD_MANAGER;

/// A custom resource definition in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveCrd {
    /// What manages it: a HelmRelease or Kustomization of Flux, or a Helm release.
    pub owner: Option<String>,
    /// Changes with the spec.
    pub generation: i64,
    /// The annotation of k3s-boot ([`APPLIED`]), if it has one.
    pub applied: Option<String>,
    /// How it differs; only read if neither owner nor annotation decide what to do.
    pub comparison: Option<Comparison>,
}

/// How a definition in the cluster differs from the desired one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// The names of its versions.
    pub versions: BTreeSet<String>,
    /// The versions in which objects may be stored: removing one would lose objects.
    pub stored: BTreeSet<String>,
    pub annotations: BTreeMap<String, String>,
    /// The fields that applying it would change, from a dry run; unknown if the API server rejects it.
    pub would_change: Fact<Vec<String>>,
    /// The generation that it would get.
    pub next_generation: i64,
}

impl LiveCrd {
    fn new(meta: &Meta) -> Self {
        Self {
            owner: Manager::owner(meta),
            generation: meta.generation,
            applied: meta.annotations.get(APPLIED).cloned(),
            comparison: None,
        }
    }

    /// Whether it is what k3s-boot has applied, unchanged since.
    pub(crate) fn is_applied(&self, crd: &Crd) -> bool {
        self.applied.as_ref().is_some_and(|applied| *applied == crd.mark(self.generation))
    }
}

impl Comparison {
    /// Compares the definition in the cluster with the result of a dry run.
    pub(super) fn new(live: &Value, applied: Fact<Value>) -> Self {
        let generation = |object: &Value| object.pointer("/metadata/generation").and_then(Value::as_i64);
        let next = applied.as_ref().ok().and_then(generation).or_else(|| generation(live));
        let texts = |pointer: &str| {
            let items = live.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
        };
        let annotations = live.pointer("/metadata/annotations").and_then(Value::as_object);
        let annotations = annotations.into_iter().flatten();
        Self {
            versions: versions(live),
            stored: texts("/status/storedVersions"),
            annotations: annotations
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            would_change: applied
                .map(|applied| fields(live, &applied).into_iter().map(|change| change.path).collect()),
            next_generation: next.unwrap_or_default(),
        }
    }
}

/// The path of a definition in the API.
pub(crate) fn path(name: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}

impl Toolbox {
    /// Reads those of the desired definitions that exist.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_crds(
        &self,
        crds: &[Crd],
        kinds: &Kinds,
        inventory: Inventory,
    ) -> Result<BTreeMap<String, LiveCrd>, Error> {
        let id = Crd::id("");
        let inventory = self.observe_inventory(kinds, std::iter::once(&id), Which::All, inventory).await?;
        let found = crds.iter().filter_map(|crd| Some((crd, inventory.find(&Crd::id(&crd.name))?)));
        let observed = found.map(async |(crd, meta)| {
            let mut live = LiveCrd::new(meta);
            if live.owner.is_none() && !live.is_applied(crd) {
                // It may have been deleted since it was listed.
                let path = path(&crd.name);
                let Some(found) = self.api_read::<Value>(Call::get(&path).accept(WHOLE).listed()).await?
                else {
                    return Ok(None);
                };
                let applied = self.dry_run(&path, &crd.object(), FIELD_MANAGER, crd.is_secret).await?;
                live.comparison = Some(Comparison::new(&found, applied));
            }
            Ok(Some((crd.name.clone(), live)))
        });
        let observed: Result<Vec<_>, Error> = join_all(observed).await.into_iter().collect();
        Ok(observed?.into_iter().flatten().collect())
    }

    /// Why a definition is not established: `None` if it is, so that its objects can be created.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn unestablished(&self, name: &str) -> Result<Option<String>, Error> {
        let crd: Option<Value> = known(self.api_get(&path(name)).await)?.ok().flatten();
        let conditions = crd.as_ref().and_then(|crd| crd.pointer("/status/conditions")?.as_array());
        let is = |kind: &str| {
            let condition = conditions?.iter().find(|condition| condition["type"] == kind)?;
            Some((
                condition["status"] == "True",
                condition["message"].as_str().unwrap_or_default().to_owned(),
            ))
        };
        Ok(match (is("Established"), is("NamesAccepted")) {
            (Some((true, _)), _) => None,
            (_, Some((false, message))) => Some(message),
            _ => Some(String::new()),
        })
    }
}
