//! Those of the wanted objects that exist: hashes of what is in them, never the contents.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::flux::{KUSTOMIZE, made_by};
use super::kinds::Kinds;
use crate::base::error::Error;
use crate::base::fingerprint::{Fingerprint, HashKey};
use crate::desired::manifests::diff::fields;
use crate::desired::objects::{Object, ObjectId, identities};
use crate::tools::Toolbox;
use crate::tools::api::Call;
use crate::tools::kubectl::FIELD_MANAGER;

/// Where client-side apply keeps a second copy of what it applied, of a Secret too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveObject {
    /// What it holds.
    pub fingerprint: Fingerprint,
    /// The keys of its data that k3s-boot set: those that the manifest no longer has go away with the next apply.
    pub ours: Vec<String>,
    /// Whether client-side apply left a copy in an annotation.
    pub last_applied: bool,
    /// The Kustomization of Flux that manages it, as `namespace/name`.
    pub flux_owner: Option<String>,
    /// Hashes of the age identities in it, if it is the Secret with the age key.
    pub identities: Vec<u64>,
    /// The fields that would change if it were applied, as the API server says; it adds defaults, and writes values in its own
    /// way. `None` for kinds that hold data alone, and where it refuses the object.
    pub would_change: Option<Vec<String>>,
}

impl LiveObject {
    fn new(object: &Value, key: &HashKey) -> Self {
        let metadata = |kind: &str, name: &str| object.get("metadata")?.get(kind)?.get(name)?.as_str();
        let flux_owner = made_by(KUSTOMIZE, |label| metadata("labels", label));
        Self {
            fingerprint: key.fingerprint(object),
            ours: ours(object),
            last_applied: metadata("annotations", LAST_APPLIED).is_some(),
            flux_owner: flux_owner.map(|(namespace, name)| format!("{namespace}/{name}")),
            identities: identities(object, key),
            would_change: None,
        }
    }
}

/// The keys of its data that k3s-boot applied, as the API server notes.
fn ours(object: &Value) -> Vec<String> {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_ours = |one: &&Value| one["manager"] == FIELD_MANAGER && one["operation"] == "Apply";
    let data =
        managers.into_iter().flatten().filter(is_ours).filter_map(|one| one.pointer("/fieldsV1/f:data"));
    let keys = data.filter_map(Value::as_object).flat_map(|data| data.keys());
    keys.filter_map(|key| key.strip_prefix("f:")).map(ToOwned::to_owned).collect()
}

impl Toolbox {
    /// Reads those of the objects that exist. Kinds that are not among `kinds` have none.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn observe_objects(
        &self,
        objects: &[Object],
        kinds: &Kinds,
        key: &HashKey,
    ) -> Result<BTreeMap<ObjectId, LiveObject>, Error> {
        let found = join_all(objects.iter().map(|object| self.observe_object(object, kinds, key))).await;
        let found: Result<Vec<_>, Error> = found.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }

    async fn observe_object(
        &self,
        object: &Object,
        kinds: &Kinds,
        key: &HashKey,
    ) -> Result<Option<(ObjectId, LiveObject)>, Error> {
        let id = &object.id;
        let Some(resource) = kinds.of(&id.kind, id.group()) else { return Ok(None) };
        // In the version of the manifest: another one may have other fields.
        let path = resource.object_in(id.version(), id.namespace.as_deref(), &id.name);
        let Some(live) = self.api_read::<Value>(Call::get(&path).listed()).await? else { return Ok(None) };
        let mut found = LiveObject::new(&live, key);
        if !id.is_core() {
            let manifest: Value = serde_json::from_str(object.manifest.expose_secret()).unwrap_or_default();
            let applied = self.dry_run(&path, &manifest, FIELD_MANAGER, true).await?.ok();
            let paths = |applied| fields(&live, &applied).into_iter().map(|change| change.path).collect();
            found.would_change = applied.map(paths);
        }
        Ok(Some((id.clone(), found)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_of_a_secret() {
        let key = HashKey::default();
        let live = LiveObject::new(
            &json!({"metadata": {"annotations": {LAST_APPLIED: "x"}, "labels": {
                "kustomize.toolkit.fluxcd.io/name": "cluster", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:other": {}}}},
                    {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:data": {".": {}, "f:age.agekey": {}}}}]},
                "data": {"age.agekey": "IyBtaW5lCkFHRS1BCkFHRS1CCg=="}}),
            &key,
        );
        assert!(live.last_applied);
        assert_eq!(live.ours, ["age.agekey"]);
        assert_eq!(live.flux_owner.as_deref(), Some("flux-system/cluster"));
        assert_eq!(live.identities, [key.hash("AGE-A"), key.hash("AGE-B")]);
        assert!(!format!("{live:?}").contains("AGE-A"));
    }

    proptest::proptest! {
        #[test]
        fn no_object_makes_it_panic(odd in crate::base::odd::odd(r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b",
            "annotations":{"a":"b"},"labels":{"kustomize.toolkit.fluxcd.io/name":"c"}},"data":{"age.agekey":"IyBt"},"stringData":{"x":"y"}}"#)) {
            _ = LiveObject::new(&odd, &HashKey::default());
            _ = ObjectId::of(&odd).map(|id| (id.path(), id.is_built_in()));
        }
    }
}
