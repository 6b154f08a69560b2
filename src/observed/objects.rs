//! Those of the wanted objects that exist: hashes of what is in them, never the contents.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::Value;

use super::flux::{KUSTOMIZE, made_by};
use super::kinds::Kinds;
use crate::desired::objects::{Object, ObjectId, identities};
use crate::error::Error;
use crate::fingerprint::{Fingerprint, HashKey};
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
    /// Reads those of the objects that exist, of the kinds that every cluster knows.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn observe_objects(
        &self,
        objects: &[Object],
        key: &HashKey,
    ) -> Result<BTreeMap<ObjectId, LiveObject>, Error> {
        let kinds = Kinds::core();
        let core = objects.iter().filter(|object| object.id.is_core());
        let found = self.observe_whole(&kinds, core.map(|object| &object.id)).await?;
        Ok(found.into_iter().map(|(id, object)| (id, LiveObject::new(&object, key))).collect())
    }

    /// Those of the objects that exist, whole, and with who set which field. They may hold secrets. Kinds that are not
    /// among `kinds` have none.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    async fn observe_whole<'a>(
        &self,
        kinds: &Kinds,
        objects: impl Iterator<Item = &'a ObjectId>,
    ) -> Result<BTreeMap<ObjectId, Value>, Error> {
        let asked = objects.filter_map(|id| {
            let resource = kinds.of(&id.kind, id.group())?;
            let path = resource.object(id.namespace.as_deref(), &id.name);
            Some(async move { Ok::<_, Error>((id.clone(), self.api_read(Call::get(&path).listed()).await?)) })
        });
        let found: Result<Vec<(_, Option<Value>)>, _> = join_all(asked).await.into_iter().collect();
        Ok(found?.into_iter().filter_map(|(id, object)| Some((id, object?))).collect())
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
        fn no_object_makes_it_panic(odd in crate::observed::odd::odd(r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b",
            "annotations":{"a":"b"},"labels":{"kustomize.toolkit.fluxcd.io/name":"c"}},"data":{"age.agekey":"IyBt"},"stringData":{"x":"y"}}"#)) {
            _ = LiveObject::new(&odd, &HashKey::default());
            _ = ObjectId::of(&odd).map(|id| (id.path(), id.is_built_in()));
        }
    }
}
