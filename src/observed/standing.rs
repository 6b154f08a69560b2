//! How the objects of installed releases stand: whether all are there, with the fields that helm set.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Live;
use super::flux::{HELM, KUSTOMIZE, made_by};
use super::helm::Record;
use super::inventory::{Inventory, Meta, Partial, Which};
use super::kinds::Kinds;
use crate::base::error::Error;
use crate::base::fact::{Known, known};
use crate::base::fingerprint::normalized;
use crate::desired::manifests::diff::{as_helm_applies, fields};
use crate::desired::manifests::drift::{Cause, Difference, differences};
use crate::desired::objects::ObjectId;
use crate::desired::releases::Release;
use crate::observed::run_state::Synced;
use crate::tools::Toolbox;
use crate::tools::api::{Call, METADATA_OF_ONE, WHOLE, segment};

/// How the objects of a release stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Those that are not there, but for Jobs that are deleted when they have finished.
    pub missing: Vec<String>,
    /// Fields that somebody changed.
    pub drift: Vec<Drift>,
    /// Why there may be more of those: the API server would not say what helm would make of an object.
    pub uncompared: Option<String>,
    /// Who manages it, by the labels that Flux gives to all that it makes: `HelmRelease namespace/name`.
    pub owner: Option<String>,
    /// What is noted of its objects after a sync, so that the next run need not look at them (see [`stamp`]).
    pub stamps: String,
}

/// A field that somebody changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// `Kind namespace/name`.
    pub object: String,
    /// Where in it.
    pub path: String,
    /// Who: `kubectl-edit`; nobody when the field was taken away.
    pub by: Option<String>,
}

/// Tells whether what somebody wants of an object was changed: a short hash of which object it is and of what is counted
/// or noted when it is written to. Equal to every build of k3s-boot.
#[must_use]
pub fn stamp(meta: &Meta) -> String {
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
        // Kinds without a spec of their own are written to by nobody but those who want them otherwise.
        hasher.update(resource_version);
    }
    let mut hash = format!("{:x}", hasher.finalize());
    hash.truncate(STAMP);
    hash
}

/// So many hexadecimal digits of a hash tell one write from the next.
const STAMP: usize = 8;

/// Stands where the stamp of an object would, which is not there. No hash looks like it.
const NO_STAMP: &str = "--------";

/// Whether the cluster deletes this Job after it has finished (`spec.ttlSecondsAfterFinished` of `k8s.io/api/batch/v1`).
fn is_deleted_when_finished(job: &Value) -> bool {
    job.pointer("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_u64)
}

/// Who manages an object of this release, by the labels that Flux gives it.
#[must_use]
pub fn flux_owner(meta: &Meta) -> Option<String> {
    let kinds = [(HELM, "HelmRelease"), (KUSTOMIZE, "Kustomization")];
    kinds.into_iter().find_map(|(controller, kind)| {
        let (namespace, name) = made_by(controller, |label| meta.labels.get(label).map(String::as_str))?;
        Some(format!("{kind} {namespace}/{name}"))
    })
}

impl Toolbox {
    /// Looks at the objects of these releases, as their records have them; at what somebody changed of them only if `drift`
    /// is asked for.
    ///
    /// # Errors
    ///
    /// k3s-boot was told to stop, or the API server does not answer.
    pub async fn observe_standing(
        &self,
        live: &Live,
        releases: &[&Release],
        drift: bool,
    ) -> Result<BTreeMap<String, Known<Standing>>, Error> {
        let (Ok(records), Ok(kinds)) = (&live.records, &live.kinds) else { return Ok(BTreeMap::new()) };
        let wanted = || {
            releases.iter().filter_map(|release| {
                let id = release.id();
                let record = records.get(&id)?;
                Some((*release, id, record))
            })
        };
        let all = wanted().filter_map(|(_, _, record)| record.objects.as_ref().ok()).flatten();
        let inventory = self.observe_inventory(kinds, all, Which::Helms, live.inventory()).await?;
        let looked = wanted().map(async |(release, id, record)| {
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
            let (mut standing, doubtful) = self.standing(kinds, &inventory, record, objects, noted).await?;
            // What Flux manages may differ from helm's record as it likes.
            if drift && standing.owner.is_none() && standing.missing.is_empty() {
                let manifests = match record.whole(&doubtful) {
                    Ok(manifests) => manifests,
                    Err(reason) => return Ok((id, Err(reason))),
                };
                let doubtful = doubtful.iter().map(|place| &objects[*place]).zip(&manifests);
                let drift = doubtful.map(|(id, manifest)| self.drift(kinds, release, id, manifest));
                for drift in join_all(drift).await {
                    match drift? {
                        Ok(mut drift) => standing.drift.append(&mut drift),
                        Err(reason) => standing.uncompared = standing.uncompared.or(Some(reason)),
                    }
                }
            }
            Ok((id, Ok(standing)))
        });
        join_all(looked).await.into_iter().collect()
    }

    /// Looks at the metadata of a release's objects. Tells which of them are not as `noted` after its last sync.
    async fn standing(
        &self,
        kinds: &Kinds,
        inventory: &Inventory,
        record: &Record,
        objects: &[ObjectId],
        noted: Option<&Synced>,
    ) -> Result<(Standing, Vec<usize>), Error> {
        let metas = objects.iter().map(async |id| match inventory.find(id) {
            Some(meta) => Ok(Some(meta.clone())),
            // Somebody may have taken helm's label from it.
            None => self.metadata(kinds, id).await,
        });
        let metas: Result<Vec<_>, Error> = join_all(metas).await.into_iter().collect();
        let metas = metas?;
        let is_gone_job = |place: &usize| {
            let id = &objects[*place];
            metas[*place].is_none() && id.kind == "Job" && id.group() == "batch"
        };
        let jobs: Vec<_> = (0..objects.len()).filter(is_gone_job).collect();
        // Where the manifest cannot be read, they are missing.
        let manifests = record.whole(&jobs).unwrap_or_default();
        let deleted = jobs.iter().zip(&manifests).filter(|(_, job)| is_deleted_when_finished(job));
        let deleted: BTreeSet<_> = deleted.map(|(place, _)| *place).collect();
        let mut standing = Standing::default();
        let mut doubtful = Vec::new();
        for (index, (id, meta)) in objects.iter().zip(&metas).enumerate() {
            let Some(meta) = meta else {
                if !deleted.contains(&index) {
                    standing.missing.push(id.words());
                }
                standing.stamps.push_str(NO_STAMP);
                continue;
            };
            standing.owner = standing.owner.or_else(|| flux_owner(meta));
            let stamp = stamp(meta);
            let at = index * stamp.len();
            if noted.and_then(|noted| noted.objects.get(at..at + stamp.len())) != Some(&stamp) {
                doubtful.push(index);
            }
            standing.stamps.push_str(&stamp);
        }
        Ok((standing, doubtful))
    }

    async fn metadata(&self, kinds: &Kinds, id: &ObjectId) -> Result<Option<Meta>, Error> {
        let Some(resource) = kinds.of(&id.kind, id.group()) else { return Ok(None) };
        let path = resource.object(id.namespace.as_deref(), &id.name);
        let found: Option<Partial> = self.api_read(Call::get(&path).accept(METADATA_OF_ONE).listed()).await?;
        Ok(found.map(|found| found.metadata))
    }

    /// The fields of an object that somebody changed; unknown when the API server refuses to apply it as helm has it.
    async fn drift(
        &self,
        kinds: &Kinds,
        release: ReleaseRef<'_>,
        id: &ObjectId,
        manifest: &Value,
    ) -> Result<Known<Vec<Drift>>, Error> {
        let Some(resource) = kinds.of(&id.kind, id.group()) else { return Ok(Ok(Vec::new())) };
        // In the version of the manifest: another one may have other fields.
        let path = resource.object_in(id.version(), id.namespace.as_deref(), &id.name);
        let Some(live) = self.api_get::<Value>(&path).await? else { return Ok(Ok(Vec::new())) };
        let manifest = if id.kind == "Secret" { normalized(manifest) } else { manifest.clone() };
        let mut found = differences(&manifest, &live);
        if found.iter().any(|one| one.cause == Cause::Nobody) {
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
                one.cause != Cause::Nobody
                    || would_change.iter().any(|change| {
                        one.path.starts_with(&change.path) || change.path.starts_with(&one.path)
                    })
            });
        }
        let told = |Difference { path, cause }| Drift {
            object: id.words(),
            path,
            by: match cause {
                Cause::Set(name) => Some(name),
                Cause::Nobody => None,
            },
        };
        Ok(Ok(found.into_iter().map(told).collect()))
    }

    /// What the API server would make of the object at `path` if `manager` applied it now, or why it would refuse it. Nothing
    /// is changed. The reason is withheld where the object may hold secret values: it repeats the value that is wrong.
    ///
    /// # Errors
    ///
    /// The API server does not answer, or k3s-boot was told to stop.
    pub async fn dry_run(
        &self,
        path: &str,
        object: &Value,
        manager: &str,
        is_secret: bool,
    ) -> Result<Known<Value>, Error> {
        let path = format!("{path}?dryRun=All&force=true&fieldManager={}", segment(manager));
        let answer = self.ask(Call::apply(&path, object).accept(WHOLE)).await?;
        let reason = |reason| if is_secret { REFUSED_SECRET.to_owned() } else { reason };
        Ok(known(answer.read())?.map_err(reason))
    }
}

/// The field manager of helm (helm 4, `pkg/kube/client.go`).
pub const HELM_MANAGER: &str = "helm";

/// The release that an object is part of.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseRef<'a> {
    /// `namespace/name`.
    pub id: &'a str,
    /// Whether some of its values were decrypted or printed by a program.
    pub has_secret_values: bool,
}

impl ReleaseRef<'_> {
    /// Whether the reason why the API server refuses an object of it may hold secret values.
    #[must_use]
    pub fn withholds(&self, id: &ObjectId) -> bool {
        id.kind == "Secret" || self.has_secret_values
    }
}

/// The reason why the API server refuses an object that may hold secret values.
const REFUSED_SECRET: &str = "the API server refuses it (message withheld, it can hold secret values)";

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
    fn a_stamp_tells_a_changed_wish_from_a_changed_state() {
        assert_eq!(stamp(&meta(1, "7", "a")), stamp(&meta(1, "8", "a")), "its status was written");
        assert_ne!(stamp(&meta(1, "7", "a")), stamp(&meta(2, "7", "a")));
        assert_ne!(stamp(&meta(1, "7", "a")), stamp(&meta(1, "7", "b")));
        assert_ne!(stamp(&meta(0, "7", "a")), stamp(&meta(0, "8", "a")));
        // What one build notes, the next one reads.
        assert_eq!(stamp(&meta(1, "7", "a")), "54f1d698");
    }

    #[test]
    fn a_job_may_be_deleted_when_it_has_finished() {
        let job = |ttl: Value| serde_json::json!({"kind": "Job", "spec": {"ttlSecondsAfterFinished": ttl}});
        assert!(is_deleted_when_finished(&job(0.into())) && is_deleted_when_finished(&job(60.into())));
        assert!(!is_deleted_when_finished(&job(Value::Null)) && !is_deleted_when_finished(&Value::Null));
        assert_eq!(NO_STAMP.len(), STAMP);
        assert_ne!(stamp(&meta(1, "7", "a")), NO_STAMP);
    }

    #[test]
    fn flux_labels_what_it_makes() {
        let labelled = |group: &str| {
            let label = |name: &str| (format!("{group}.toolkit.fluxcd.io/{name}"), format!("x-{name}"));
            Meta { labels: [label("name"), label("namespace")].into(), ..Meta::default() }
        };
        assert_eq!(flux_owner(&labelled("helm")).as_deref(), Some("HelmRelease x-namespace/x-name"));
        assert_eq!(flux_owner(&labelled("kustomize")).as_deref(), Some("Kustomization x-namespace/x-name"));
        assert_eq!(flux_owner(&meta(1, "1", "a")), None);
    }

    proptest::proptest! {
        #[test]
        fn no_metadata_make_it_panic(odd in crate::base::odd::odd(r#"{"metadata":{"name":"a","namespace":"b","uid":"7f0c","generation":2,"resourceVersion":"17",
            "creationTimestamp":"2026-11-23T08:00:00Z","labels":{"helm.toolkit.fluxcd.io/name":"x","helm.toolkit.fluxcd.io/namespace":"y"},
            "annotations":{"meta.helm.sh/release-name":"x","meta.helm.sh/release-namespace":"y"}}}"#)) {
            if let Ok(Partial { metadata }) = serde_json::from_value(odd) {
                proptest::prop_assert_eq!(stamp(&metadata).len(), STAMP);
                _ = (flux_owner(&metadata), metadata.release());
            }
        }
    }
}
