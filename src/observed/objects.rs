//! The desired objects that exist in the cluster: hashes of their content, never the content itself.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde::Deserialize as _;
use serde_json::Value;

use super::crds::Comparison;
use super::inventory::Meta;
use super::kinds::Kinds;
use super::manager::Manager;
use crate::base::error::Error;
use crate::base::fact::Fact;
use crate::base::fingerprint::{Fingerprint, HashKey};
use crate::base::stages::Stage;
use crate::desired::manifests::diff::fields;
use crate::desired::objects::sops_age::identities;
use crate::desired::objects::{Object, ObjectId};
use crate::desired::secret_keys::SecretKeys;
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};
use crate::tools::kubectl::FIELD_MANAGER;

/// The annotation in which client-side apply keeps a copy of the object, even of a Secret.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The kind of the networks of Services.
const SERVICE_NETWORKS: &str = "servicecidrs.networking.k8s.io";

/// An object in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveObject {
    /// The hashes of the fields.
    pub fingerprint: Fingerprint,
    /// The data keys that k3s-boot manages: the next apply removes those that the manifest no longer has.
    pub ours: Vec<String>,
    /// Whether client-side apply left a copy in an annotation.
    pub last_applied: bool,
    /// What manages it: a Kustomization or HelmRelease of Flux, or a Helm release.
    pub owner: Option<String>,
    /// The hashes of its age identities, if it is the Secret with the age key.
    pub identities: Vec<u64>,
    /// The fields that applying the object would change, from a dry run, because the API server adds defaults and
    /// normalizes values. `None` for core kinds, and if the API server rejects the object.
    pub would_change: Option<Vec<String>>,
    /// Why the API server rejects the object, if it does.
    pub rejected: Option<String>,
    /// How the definition differs, if it is a CRD.
    pub crd: Option<Comparison>,
}

impl LiveObject {
    fn new(object: &Value, key: &HashKey) -> Self {
        let meta: Meta =
            object.get("metadata").and_then(|meta| Meta::deserialize(meta).ok()).unwrap_or_default();
        Self {
            fingerprint: key.fingerprint(object),
            ours: ours(object),
            last_applied: meta.annotations.contains_key(LAST_APPLIED),
            owner: Manager::owner(&meta),
            identities: identities(object, key),
            would_change: None,
            rejected: None,
            crd: None,
        }
    }
}

/// The data keys that k3s-boot manages, from the managed fields.
fn ours(object: &Value) -> Vec<String> {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_ours = |one: &&Value| one["manager"] == FIELD_MANAGER && one["operation"] == "Apply";
    let data =
        managers.into_iter().flatten().filter(is_ours).filter_map(|one| one.pointer("/fieldsV1/f:data"));
    let keys = data.filter_map(Value::as_object).flat_map(|data| data.keys());
    keys.filter_map(|key| key.strip_prefix("f:")).map(ToOwned::to_owned).collect()
}

impl Toolbox {
    /// Reads the objects that exist, except those of kinds that are missing in `kinds`.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_objects(
        &self,
        objects: &[Object],
        kinds: &Kinds,
        key: &HashKey,
    ) -> Result<BTreeMap<ObjectId, LiveObject>, Error> {
        let found = join_all(objects.iter().map(|object| self.observe_object(object, kinds, key))).await;
        let found: Result<Vec<_>, Error> = found.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// Reads a Secret without its values, if it exists.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_secret_keys(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<SecretKeys>, Error> {
        let path = format!("/api/v1/namespaces/{}/secrets/{}", segment(namespace), segment(name));
        let secret = self.api_read::<Value>(Call::get(&path)).await?;
        Ok(secret.as_ref().and_then(SecretKeys::of))
    }

    /// Reads the networks of Services. Until Kubernetes 1.33, the API server does not list them.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_service_networks(&self, kinds: &Fact<Kinds>) -> Result<Vec<String>, Error> {
        let named = kinds.as_ref().ok().and_then(|kinds| kinds.named(SERVICE_NETWORKS));
        let Some((_, resource)) = named else { return Ok(Vec::new()) };
        let networks: Vec<Value> = self.api_list(&resource.path(None)).await?;
        let texts = networks.iter().filter_map(|one| one.pointer("/spec/cidrs")?.as_array()).flatten();
        Ok(texts.filter_map(Value::as_str).map(ToOwned::to_owned).collect())
    }

    async fn observe_object(
        &self,
        object: &Object,
        kinds: &Kinds,
        key: &HashKey,
    ) -> Result<Option<(ObjectId, LiveObject)>, Error> {
        let id = &object.id;
        let Some(resource) = kinds.of(&id.kind, id.group()) else { return Ok(None) };
        // Use the version of the manifest: another version may have other fields.
        let path = resource.object_in(id.version(), id.namespace.as_deref(), &id.name);
        let Some(live) = self.api_read::<Value>(Call::get(&path).listed()).await? else { return Ok(None) };
        let mut found = LiveObject::new(&live, key);
        if !id.is_core() {
            let manifest: Value = serde_json::from_str(object.manifest.expose_secret()).unwrap_or_default();
            let is_secret = object.source.stage() == Stage::Secrets;
            let applied = self.dry_run(&path, &manifest, FIELD_MANAGER, is_secret).await?;
            found.rejected = applied.as_ref().err().cloned();
            if id.is_crd() {
                found.crd = Some(Comparison::new(&live, applied.clone()));
            }
            let paths = |applied| fields(&live, &applied).into_iter().map(|change| change.path).collect();
            found.would_change = applied.ok().map(paths);
        }
        Ok(Some((id.clone(), found)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_only_hashes_of_a_secret() {
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
        assert_eq!(live.owner.as_deref(), Some("Kustomization flux-system/cluster"));
        assert_eq!(live.identities, [key.hash("AGE-A"), key.hash("AGE-B")]);
        assert!(!format!("{live:?}").contains("AGE-A"));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(odd in crate::base::mutate::json(r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b",
            "annotations":{"a":"b"},"labels":{"kustomize.toolkit.fluxcd.io/name":"c"}},"data":{"age.agekey":"IyBt"},"stringData":{"x":"y"}}"#)) {
            _ = LiveObject::new(&odd, &HashKey::default());
            _ = ObjectId::of(&odd).map(|id| (id.path(), id.is_built_in()));
        }
    }
}
