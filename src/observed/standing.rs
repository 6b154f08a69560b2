//! The state of the objects of installed releases: whether all of them exist, with the fields that helm set.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Live;
use super::helm::Record;
use super::inventory::{Inventory, Meta, Partial, Which};
use super::kinds::Kinds;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::fingerprint::normalized;
use crate::base::release_id::ReleaseId;
use crate::desired::manifests::diff::{as_helm_applies, fields};
use crate::desired::manifests::drift::{Cause, Difference, differences};
use crate::desired::objects::ObjectId;
use crate::desired::releases::Release;
use crate::observed::manager::Manager;
use crate::observed::run_state::Synced;
use crate::tools::Toolbox;
use crate::tools::api::{Call, METADATA_OF_ONE, WHOLE, segment};

/// The state of the objects of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectState {
    /// The missing objects, except Jobs that are deleted after they finish.
    pub missing: Vec<String>,
    /// The fields that were changed manually or by another program.
    pub drift: Vec<Drift>,
    /// Why there may be more drift: the API server rejected the dry run of an object.
    pub uncompared: Option<String>,
    /// The Flux object that manages the release, from Flux's labels.
    pub owner: Option<Manager>,
    /// The stamps of the objects, which are noted after a sync, so that the next run need not compare them (see [`stamp`]).
    pub stamps: String,
}

/// A field that was changed manually or by another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// `Kind namespace/name`.
    pub object: String,
    /// The path of the field.
    pub path: String,
    /// The field manager that changed it, such as `kubectl-edit`; none if the field was removed.
    pub by: Option<String>,
}

/// A short hash that changes with the desired state of an object, but not with its status. It is the same in every build of
/// k3s-boot.
pub(crate) fn stamp(meta: &Meta) -> String {
    let Meta { uid, generation, resource_version, labels, annotations, .. } = meta;
    let mut hasher = Sha256::new();
    hasher.update(uid);
    if *generation > 0 {
        hasher.update(generation.to_le_bytes());
        for (name, value) in labels.iter().chain(annotations) {
            for part in [name, value] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
    } else {
        // Objects without a generation have no status, so every write changes the desired state.
        hasher.update(resource_version);
    }
    let mut hash = format!("{:x}", hasher.finalize());
    hash.truncate(STAMP_LENGTH);
    hash
}

/// The number of hexadecimal digits of a stamp.
const STAMP_LENGTH: usize = 8;

/// The stamp of a missing object. No hash looks like it.
const NO_STAMP: &str = "--------";

/// Whether the cluster deletes this Job after it finishes (`spec.ttlSecondsAfterFinished` of `k8s.io/api/batch/v1`).
fn is_deleted_when_finished(job: &Value) -> bool {
    job.pointer("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_u64)
}

impl Toolbox {
    /// Compares the objects of these releases with their records; compares fields only if `drift` is set.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted, or the API server does not answer.
    pub(crate) async fn observe_object_states(
        &self,
        live: &Live,
        releases: &[&Release],
        drift: bool,
    ) -> Result<BTreeMap<ReleaseId, Fact<ObjectState>>, Error> {
        let (Ok(records), Ok(kinds)) = (&live.records, &live.kinds) else { return Ok(BTreeMap::new()) };
        let recorded = || {
            releases.iter().filter_map(|release| {
                let id = release.id();
                let record = records.get(&id)?;
                Some((*release, id, record))
            })
        };
        let all = recorded().filter_map(|(_, _, record)| record.objects.as_ref().ok()).flatten();
        let inventory = self.observe_inventory(kinds, all, Which::Helms, live.inventory()).await?;
        let compared = recorded().map(async |(release, id, record)| {
            let objects = match &record.objects {
                Ok(objects) => objects,
                Err(reason) => return Ok((id, Err(reason.clone()))),
            };
            let revision = record.stored.revision;
            let noted = live.notes.synced(&id, revision);
            let release = ReleaseRef {
                id: &id,
                has_secret_values: release.has_secret_values || live.notes.had_secret_values(&id, revision),
            };
            let (mut standing, changed) = self.standing(kinds, &inventory, record, objects, noted).await?;
            // Objects that Flux manages may differ from helm's record.
            if drift && standing.owner.is_none() && standing.missing.is_empty() {
                let manifests = match record.whole(&changed) {
                    Ok(manifests) => manifests,
                    Err(reason) => return Ok((id, Err(reason))),
                };
                let changed = changed.iter().map(|index| &objects[*index]).zip(&manifests);
                let drift = changed.map(|(id, manifest)| self.drift(kinds, release, id, manifest));
                for drift in join_all(drift).await {
                    match drift? {
                        Ok(mut drift) => standing.drift.append(&mut drift),
                        Err(reason) => standing.uncompared = standing.uncompared.or(Some(reason)),
                    }
                }
            }
            Ok((id, Ok(standing)))
        });
        join_all(compared).await.into_iter().collect()
    }

    /// Reads the metadata of a release's objects. Also returns the indexes of those that changed since the sync that `noted`
    /// is about.
    async fn standing(
        &self,
        kinds: &Kinds,
        inventory: &Inventory,
        record: &Record,
        objects: &[ObjectId],
        noted: Option<&Synced>,
    ) -> Result<(ObjectState, Vec<usize>), Error> {
        let metas = objects.iter().map(async |id| match inventory.find(id) {
            Some(meta) => Ok(Some(meta.clone())),
            // helm's label may have been removed.
            None => self.metadata(kinds, id).await,
        });
        let metas: Result<Vec<_>, Error> = join_all(metas).await.into_iter().collect();
        let metas = metas?;
        let is_absent_job = |index: &usize| {
            let id = &objects[*index];
            metas[*index].is_none() && id.kind == "Job" && id.group() == "batch"
        };
        let jobs: Vec<_> = (0..objects.len()).filter(is_absent_job).collect();
        // If the manifest cannot be read, the Jobs count as missing.
        let manifests = record.whole(&jobs).unwrap_or_default();
        let deleted = jobs.iter().zip(&manifests).filter(|(_, job)| is_deleted_when_finished(job));
        let deleted: BTreeSet<_> = deleted.map(|(index, _)| *index).collect();
        let mut standing = ObjectState::default();
        let mut changed = Vec::new();
        for (index, (id, meta)) in objects.iter().zip(&metas).enumerate() {
            let Some(meta) = meta else {
                if !deleted.contains(&index) {
                    standing.missing.push(id.words());
                }
                standing.stamps.push_str(NO_STAMP);
                continue;
            };
            standing.owner = standing.owner.or_else(|| Manager::of(meta));
            let stamp = stamp(meta);
            let at = index * stamp.len();
            if noted.and_then(|noted| noted.objects.get(at..at + stamp.len())) != Some(&stamp) {
                changed.push(index);
            }
            standing.stamps.push_str(&stamp);
        }
        Ok((standing, changed))
    }

    async fn metadata(&self, kinds: &Kinds, id: &ObjectId) -> Result<Option<Meta>, Error> {
        let Some(resource) = kinds.of(&id.kind, id.group()) else { return Ok(None) };
        let path = resource.object(id.namespace.as_deref(), &id.name);
        let found: Option<Partial> = self.api_read(Call::get(&path).accept(METADATA_OF_ONE).listed()).await?;
        Ok(found.map(|found| found.metadata))
    }

    /// The drift of an object; unknown if the API server rejects the dry run of the manifest.
    async fn drift(
        &self,
        kinds: &Kinds,
        release: ReleaseRef<'_>,
        id: &ObjectId,
        manifest: &Value,
    ) -> Result<Fact<Vec<Drift>>, Error> {
        let Some(resource) = kinds.of(&id.kind, id.group()) else { return Ok(Ok(Vec::new())) };
        // Use the version of the manifest: another version may have other fields.
        let path = resource.object_in(id.version(), id.namespace.as_deref(), &id.name);
        let Some(live) = self.api_get::<Value>(&path).await? else { return Ok(Ok(Vec::new())) };
        let manifest = if id.kind == "Secret" { normalized(manifest) } else { manifest.clone() };
        let mut found = differences(&manifest, &live);
        if found.iter().any(|one| one.cause == Cause::Removed) {
            let would_change = match self
                .dry_run(
                    &path,
                    &as_helm_applies(id, release.id, &manifest, &live),
                    HELM_MANAGER,
                    release.withholds(id),
                )
                .await?
            {
                Ok(applied) => fields(&live, &applied),
                Err(reason) => return Ok(Err(format!("{}: {reason}", id.words()))),
            };
            found.retain(|one| {
                one.cause != Cause::Removed
                    || would_change.iter().any(|change| {
                        one.path.starts_with(&change.path) || change.path.starts_with(&one.path)
                    })
            });
        }
        let drift = |Difference { path, cause }| Drift {
            object: id.words(),
            path,
            by: match cause {
                Cause::Set(name) => Some(name),
                Cause::Removed => None,
            },
        };
        Ok(Ok(found.into_iter().map(drift).collect()))
    }

    /// Applies the object at `path` as `manager` in a dry run. Returns the resulting object, or why the API server rejects
    /// it. The reason is withheld if the object may contain secret values, because it repeats the invalid value.
    ///
    /// # Errors
    ///
    /// The API server does not answer, or k3s-boot was interrupted.
    pub(crate) async fn dry_run(
        &self,
        path: &str,
        object: &Value,
        manager: &str,
        is_secret: bool,
    ) -> Result<Fact<Value>, Error> {
        let path = format!("{path}?dryRun=All&force=true&fieldManager={}", segment(manager));
        let answer = self.ask(Call::apply(&path, object).accept(WHOLE)).await?;
        let reason = |reason| if is_secret { SECRET_REJECTED.to_owned() } else { reason };
        Ok(known(answer.read())?.map_err(reason))
    }
}

/// The field manager of helm (helm 4, `pkg/kube/client.go`).
pub(crate) const HELM_MANAGER: &str = "helm";

/// The release of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleaseRef<'a> {
    pub id: &'a ReleaseId,
    /// Whether some of its values were decrypted or printed by a program.
    pub has_secret_values: bool,
}

impl ReleaseRef<'_> {
    /// Whether the reason why the API server rejects an object of the release may contain secret values.
    pub(crate) fn withholds(&self, id: &ObjectId) -> bool {
        id.kind == "Secret" || self.has_secret_values
    }
}

/// Replaces the reason why the API server rejects an object that may contain secret values.
const SECRET_REJECTED: &str = "rejected by the API server (message withheld: it may contain secret values)";

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(generation: i64, version: &str, label: &str) -> Meta {
        Meta {
            uid: "u".to_owned(),
            generation,
            resource_version: version.to_owned(),
            labels: [("l".to_owned(), label.to_owned())].into(),
            ..Meta::default()
        }
    }

    #[test]
    fn stamp_changes_with_desired_state_only() {
        assert_eq!(stamp(&meta(1, "7", "a")), stamp(&meta(1, "8", "a")), "only the status was written");
        assert_ne!(stamp(&meta(1, "7", "a")), stamp(&meta(2, "7", "a")));
        assert_ne!(stamp(&meta(1, "7", "a")), stamp(&meta(1, "7", "b")));
        assert_ne!(stamp(&meta(0, "7", "a")), stamp(&meta(0, "8", "a")));
        // Stamps are compared between builds.
        assert_eq!(stamp(&meta(1, "7", "a")), "54f1d698");
    }

    #[test]
    fn jobs_with_ttl_are_deleted_after_finishing() {
        let job = |ttl: Value| serde_json::json!({"kind": "Job", "spec": {"ttlSecondsAfterFinished": ttl}});
        assert!(is_deleted_when_finished(&job(0.into())) && is_deleted_when_finished(&job(60.into())));
        assert!(!is_deleted_when_finished(&job(Value::Null)) && !is_deleted_when_finished(&Value::Null));
        assert_eq!(NO_STAMP.len(), STAMP_LENGTH);
        assert_ne!(stamp(&meta(1, "7", "a")), NO_STAMP);
    }

    #[test]
    fn flux_labels_name_the_owner() {
        let labelled = |group: &str| {
            let label = |name: &str| (format!("{group}.toolkit.fluxcd.io/{name}"), format!("x-{name}"));
            Meta { labels: [label("name"), label("namespace")].into(), ..Meta::default() }
        };
        let manager = |labelled| Manager::of(&labelled).map(|manager| manager.to_string());
        assert_eq!(manager(labelled("helm")).as_deref(), Some("HelmRelease x-namespace/x-name"));
        assert_eq!(manager(labelled("kustomize")).as_deref(), Some("Kustomization x-namespace/x-name"));
        assert_eq!(manager(meta(1, "1", "a")), None);
    }

    proptest::proptest! {
        #[test]
        fn stamps_never_panic(odd in crate::base::mutate::json(r#"{"metadata":{"name":"a","namespace":"b","uid":"7f0c","generation":2,"resourceVersion":"17",
            "creationTimestamp":"2026-11-23T08:00:00Z","labels":{"helm.toolkit.fluxcd.io/name":"x","helm.toolkit.fluxcd.io/namespace":"y"},
            "annotations":{"meta.helm.sh/release-name":"x","meta.helm.sh/release-namespace":"y"}}}"#)) {
            if let Ok(Partial { metadata }) = serde_json::from_value(odd) {
                proptest::prop_assert_eq!(stamp(&metadata).len(), STAMP_LENGTH);
                _ = (Manager::of(&metadata), metadata.release());
            }
        }
    }
}
