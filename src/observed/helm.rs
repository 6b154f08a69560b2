//! What Helm has installed, from its storage: Secrets of type `helm.sh/release.v1`.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::inventory::{Meta, Partial};
use crate::desired::chart::fingerprint;
use crate::error::Error;
use crate::tools::Toolbox;
use crate::tools::api::{Call, List, METADATA, segment};

/// Where helm keeps its records, less what picks them.
const RECORDS: &str = "/api/v1/secrets?labelSelector=";

/// A record is at most 1 MiB as stored; one that grows beyond this when unpacked is none.
const LARGEST_RECORD: u64 = 64 * 1024 * 1024;

/// The newest revision of a release, as the labels of its record tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `deployed`, `failed`, `pending-install`, …
    pub status: String,
    /// The number of the revision.
    pub revision: u64,
    /// When the record was written last, in seconds since 1970; helm notes it only when it changes one.
    pub modified: Option<u64>,
}

impl Stored {
    /// `namespace/name`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether an operation has begun and not ended.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status.starts_with("pending-") || self.status == "uninstalling"
    }
}

/// The newest revision of a release in full. No `Debug` of its values: they may hold secrets.
#[derive(Default)]
pub struct Record {
    /// What its labels tell.
    pub stored: Stored,
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub version: String,
    /// The version of what the chart installs.
    pub app_version: String,
    /// When it was deployed, as RFC 3339.
    pub deployed: String,
    /// What helm noted about it.
    pub description: String,
    /// The user's values.
    pub values: Value,
    /// The chart's own values.
    pub defaults: Value,
    /// The rendered manifest.
    pub manifest: String,
    /// What the chart's own templates are (see [`crate::desired::chart::fingerprint`]).
    pub templates: u64,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Record");
        shown.field("stored", &self.stored).field("chart", &self.chart).field("version", &self.version);
        shown.finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Release {
    name: String,
    namespace: String,
    version: u64,
    info: Info,
    chart: Chart,
    config: Value,
    manifest: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    status: String,
    last_deployed: String,
    description: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chart {
    metadata: ChartMetadata,
    /// Go writes an empty list as null.
    templates: Option<Vec<Template>>,
    values: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    name: String,
    data: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ChartMetadata {
    name: String,
    version: String,
    app_version: String,
}

#[derive(Deserialize)]
struct Secret {
    metadata: super::cluster::Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// Unpacks a record: base64 of the API, base64 of helm, gzip, JSON.
///
/// # Errors
///
/// In what it is not one; never tells what stands in it.
pub fn unpack(data: &str) -> Result<Record, String> {
    let decode = |bytes: &[u8]| STANDARD.decode(bytes).map_err(|_| "not base64".to_owned());
    let packed = decode(&decode(data.as_bytes())?)?;
    let mut bytes = Vec::new();
    if packed.starts_with(&[0x1f, 0x8b]) {
        let mut decoder = GzDecoder::new(packed.as_slice()).take(LARGEST_RECORD + 1);
        decoder.read_to_end(&mut bytes).map_err(|_| "not gzip".to_owned())?;
        if bytes.len() as u64 > LARGEST_RECORD {
            return Err(format!("larger than {LARGEST_RECORD} bytes"));
        }
    } else {
        // helm 3.0 stored it so, and reads it still.
        bytes = packed;
    }
    let release: Release =
        serde_json::from_slice(&bytes).map_err(|_| "not a release of Helm 3 or 4".to_owned())?;
    let templates = release
        .chart
        .templates
        .iter()
        .flatten()
        .filter_map(|template| Some((template.name.clone(), STANDARD.decode(&template.data).ok()?)));
    Ok(Record {
        templates: fingerprint(templates),
        stored: Stored {
            namespace: release.namespace,
            name: release.name,
            status: release.info.status,
            revision: release.version,
            modified: None,
        },
        chart: release.chart.metadata.name,
        version: release.chart.metadata.version,
        app_version: release.chart.metadata.app_version,
        deployed: release.info.last_deployed,
        description: release.info.description,
        values: release.config,
        defaults: release.chart.values,
        manifest: release.manifest,
    })
}

/// The newest revision of each release, from the labels of their records.
fn newest(records: impl IntoIterator<Item = Meta>) -> Vec<Stored> {
    let mut newest: BTreeMap<(String, String), Stored> = BTreeMap::new();
    for Meta { namespace, labels, .. } in records {
        let label = |name: &str| labels.get(name).map(String::as_str);
        let (Some(name), Some(status)) = (label("name"), label("status")) else { continue };
        let Some(revision) = label("version").and_then(|version| version.parse().ok()) else { continue };
        let modified = ["modifiedAt", "createdAt"].iter().find_map(|key| label(key)?.parse().ok());
        let stored =
            Stored { name: name.to_owned(), status: status.to_owned(), revision, modified, namespace };
        let key = (stored.namespace.clone(), stored.name.clone());
        if newest.get(&key).is_none_or(|known| known.revision < revision) {
            newest.insert(key, stored);
        }
    }
    newest.into_values().filter(|stored| stored.status != "uninstalled").collect()
}

impl Toolbox {
    /// All Helm releases of the cluster, by the labels of their records: no record is read.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn observe_releases(&self) -> Result<Vec<Stored>, Error> {
        let path = format!("{RECORDS}{}", segment("owner=helm,status!=superseded"));
        let list: Option<List<Partial>> = self.api_read(Call::get(&path).accept(METADATA)).await?;
        Ok(newest(list.into_iter().flat_map(|list| list.items).map(|record| record.metadata)))
    }

    /// The newest revisions of these releases in full, by `namespace/name`. One that cannot be read is left out.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn observe_records(&self, releases: &[&Stored]) -> Result<BTreeMap<String, Record>, Error> {
        if releases.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut names: Vec<_> = releases.iter().map(|stored| stored.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let selector = format!("owner=helm,status!=superseded,name in ({})", names.join(","));
        let path = format!("{RECORDS}{}", segment(&selector));
        let mut records = BTreeMap::new();
        for secret in self.api_list::<Secret>(&path).await? {
            let label = |name: &str| secret.metadata.labels.get(name).map(String::as_str).unwrap_or_default();
            let revision: u64 = label("version").parse().unwrap_or_default();
            let wanted = releases.iter().find(|stored| {
                stored.namespace == secret.metadata.namespace
                    && stored.name == label("name")
                    && stored.revision == revision
            });
            if let (Some(stored), Some(data)) = (wanted, secret.data.get("release"))
                && let Ok(record) = unpack(data)
            {
                records.insert(stored.id(), Record { stored: (*stored).clone(), ..record });
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const RECORD: &str = r#"{"name":"cilium","namespace":"kube-system","version":2,"info":{"status":"deployed","last_deployed":"2026-11-23T08:00:00Z","description":"Upgrade complete"},
            "chart":{"metadata":{"name":"cilium","version":"1.18.6","appVersion":"1.18.6"},"templates":[{"name":"x","data":"eA=="}]},
            "config":{"k":"CANARY"},"manifest":"---\nkind: X\n"}"#;

    fn pack(json: &str) -> String {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(json.as_bytes()).unwrap();
        STANDARD.encode(STANDARD.encode(encoder.finish().unwrap()))
    }

    #[test]
    fn a_record_is_unpacked() {
        let record = unpack(&pack(RECORD)).unwrap();
        assert_eq!((record.stored.id().as_str(), record.stored.revision), ("kube-system/cilium", 2));
        assert_eq!((record.chart.as_str(), record.version.as_str()), ("cilium", "1.18.6"));
        assert_eq!(record.values["k"], "CANARY");
        assert!(!format!("{record:?}").contains("CANARY"));
        let empty =
            r#"{"name":"a","chart":{"metadata":{"name":"a","version":"1"},"templates":null},"config":null}"#;
        assert!(unpack(&pack(empty)).is_ok());
        for broken in ["", "!", &STANDARD.encode("!"), &pack("1"), &pack("{")] {
            assert!(unpack(broken).is_err(), "{broken}");
        }
    }

    const LABELS: &str = r#"{"namespace":"kube-system","labels":{"name":"cilium","owner":"helm","status":"deployed","version":"9","modifiedAt":"1763900000"}}"#;

    #[test]
    fn the_newest_revision_counts() {
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
        assert_eq!((stored[0].id().as_str(), stored[0].revision), ("kube-system/cilium", 10));
        assert!(stored[0].is_pending());
        assert_eq!(stored[0].modified, Some(1_763_900_000));
    }

    proptest::proptest! {
        #[test]
        fn no_record_makes_it_panic(data: Vec<u8>, odd in crate::observed::odd::odd(RECORD), labels in crate::observed::odd::odd(LABELS)) {
            _ = unpack(&pack(&odd.to_string()));
            _ = serde_json::from_value(labels).map(|meta: Meta| newest([meta]));
            _ = unpack(&STANDARD.encode(STANDARD.encode(&data)));
            _ = unpack(&String::from_utf8_lossy(&data));
        }
    }
}
