//! The installed Helm releases, from Helm's storage: Secrets of type `helm.sh/release.v1`.

mod record;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use self::record::Base64;
pub(crate) use self::record::{Record, unpack};
use super::inventory::{Meta, Partial};
use crate::base::error::Error;
use crate::base::fact::MAX_TIMESTAMP;
use crate::base::release_id::ReleaseId;
use crate::tools::Toolbox;
use crate::tools::api::{Call, List, METADATA, parse, segment};

/// The path of helm's records, without the selector.
const RECORDS: &str = "/api/v1/secrets?labelSelector=";

/// The newest revision of a release, from the labels of its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub namespace: String,
    pub name: String,
    /// `deployed`, `failed`, `pending-install`, …
    pub status: String,
    /// The number of the revision.
    pub revision: u64,
    /// When the record was last written, in seconds since 1970.
    pub modified: Option<u64>,
    /// The metadata of the Secret with the record.
    pub secret: Meta,
}

impl Stored {
    pub(crate) fn id(&self) -> ReleaseId {
        ReleaseId::new(&self.namespace, &self.name)
    }

    /// When the record was last written, as RFC 3339.
    pub(crate) fn since(&self) -> Option<String> {
        Some(humantime::format_rfc3339_seconds(self.written()?).to_string())
    }

    /// When the record was last written; none if the time is later than [`MAX_TIMESTAMP`].
    pub(crate) fn written(&self) -> Option<SystemTime> {
        let seconds = self.modified.filter(|seconds| *seconds <= MAX_TIMESTAMP)?;
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// The age of the record. The clocks of helm's machine and this one may differ.
    pub(crate) fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.written()?).ok()
    }

    /// Whether an operation is unfinished.
    pub(crate) fn is_pending(&self) -> bool {
        self.status.starts_with("pending-") || self.status == "uninstalling"
    }
}

#[derive(Deserialize)]
struct Secret<'a> {
    metadata: Meta,
    #[serde(borrow, default)]
    data: BTreeMap<String, Base64<'a>>,
}

/// The status of a revision that was replaced by a later one. After a crash, the newest revision may have it.
const SUPERSEDED: &str = "superseded";

/// The newest revision of each release, from the labels of their records.
fn newest(records: impl IntoIterator<Item = Meta>) -> Vec<Stored> {
    let mut newest: BTreeMap<(String, String), Stored> = BTreeMap::new();
    for meta in records {
        let label = |name: &str| meta.labels.get(name).map(String::as_str);
        let (Some(name), Some(status)) = (label("name"), label("status")) else { continue };
        let Some(revision) = label("version").and_then(|version| version.parse().ok()) else { continue };
        let modified = ["modifiedAt", "createdAt"].iter().find_map(|key| label(key)?.parse().ok());
        let stored = Stored {
            namespace: meta.namespace.clone(),
            name: name.to_owned(),
            status: status.to_owned(),
            revision,
            modified,
            // The labels are in the other fields already.
            secret: Meta { labels: BTreeMap::new(), ..meta },
        };
        let key = (stored.namespace.clone(), stored.name.clone());
        if newest.get(&key).is_none_or(|known| known.revision < revision) {
            newest.insert(key, stored);
        }
    }
    newest.into_values().filter(|stored| stored.status != "uninstalled").collect()
}

impl Toolbox {
    /// All Helm releases of the cluster, from the labels of their records only.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_releases(&self) -> Result<Vec<Stored>, Error> {
        let path = format!("{RECORDS}{}", segment("owner=helm"));
        let list: Option<List<Partial>> = self.api_read(Call::get(&path).accept(METADATA).listed()).await?;
        Ok(newest(list.into_iter().flat_map(|list| list.items).map(|record| record.metadata)))
    }

    /// The full records of these releases' newest revisions. Unreadable records are skipped.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_records(
        &self,
        releases: &[&Stored],
    ) -> Result<BTreeMap<ReleaseId, Record>, Error> {
        if releases.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut names: Vec<_> = releases.iter().map(|stored| stored.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        // Superseded revisions are large, and a superseded one is rarely the newest.
        let exclude_superseded = if releases.iter().any(|stored| stored.status == SUPERSEDED) {
            ""
        } else {
            "status!=superseded,"
        };
        let selector = format!("owner=helm,{exclude_superseded}name in ({})", names.join(","));
        let path = format!("{RECORDS}{}", segment(&selector));
        let Some(answer) = self.ask(Call::get(&path).listed()).await?.found()? else {
            return Ok(BTreeMap::new());
        };
        let list: List<Secret<'_>> = parse(path, &answer)?;
        let mut records = BTreeMap::new();
        for secret in list.items {
            let label = |name: &str| secret.metadata.labels.get(name).map(String::as_str).unwrap_or_default();
            let revision: u64 = label("version").parse().unwrap_or_default();
            let stored = releases.iter().find(|stored| {
                stored.namespace == secret.metadata.namespace
                    && stored.name == label("name")
                    && stored.revision == revision
            });
            if let (Some(stored), Some(data)) = (stored, secret.data.get("release"))
                && let Ok(mut record) = unpack(&data.0)
            {
                // The status in the record is the one that helm reads. helm writes the label separately: if it was
                // interrupted between the two, they differ.
                let status = std::mem::take(&mut record.stored.status);
                record.stored = (*stored).clone();
                if !status.is_empty() {
                    record.stored.status = status;
                }
                records.insert(stored.id(), record);
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: &str = r#"{"namespace":"kube-system","labels":{"name":"cilium","owner":"helm","status":"deployed","version":"9","modifiedAt":"1763900000"}}"#;

    #[test]
    fn finds_newest_revision() {
        let record = |name: &str, status: &str, version: u64| {
            let mut meta: Meta = serde_json::from_str(LABELS).unwrap();
            let labels =
                [("name", name), ("status", status)].map(|(key, value)| (key.to_owned(), value.to_owned()));
            meta.labels.extend(labels);
            meta.labels.insert("version".to_owned(), version.to_string());
            meta
        };
        let stored = newest([
            record("cilium", "deployed", 9),
            record("cilium", "pending-upgrade", 10),
            record("gone", "uninstalled", 1),
            Meta::default(),
        ]);
        assert_eq!(stored.len(), 1);
        assert_eq!((stored[0].id(), stored[0].revision), ("kube-system/cilium".into(), 10));
        assert!(stored[0].is_pending());
        assert_eq!(stored[0].modified, Some(1_763_900_000));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(labels in crate::base::mutate::json(LABELS)) {
            _ = serde_json::from_value(labels).map(|meta: Meta| newest([meta]));
        }
    }
}
