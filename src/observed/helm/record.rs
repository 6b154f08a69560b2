//! Helm's record of a revision.

use std::borrow::Cow;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Stored;
use crate::base::fact::Fact;
use crate::desired::chart::content::Content;
use crate::desired::manifests::stored::{Made, objects};
use crate::desired::objects::ObjectId;
use crate::observed::inventory::Meta;

/// The maximum size of an unpacked record; a stored record has at most 1 MiB.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// The full record of a release's newest revision. `Debug` does not print the values, which may be secret.
pub(crate) struct Record {
    /// The release, from the labels of the record.
    pub stored: Stored,
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub version: String,
    /// helm's description of the last operation.
    pub description: String,
    /// The user's values.
    pub values: Value,
    /// The chart's default values.
    pub defaults: Value,
    /// The objects of the manifest, in their order. An object without a namespace has that of the release, even if it is
    /// cluster-scoped.
    pub objects: Fact<Vec<ObjectId>>,
    /// The compressed record, which is unpacked again for the parts that are rarely needed.
    pub packed: Packed,
    /// The content of the chart's files, without subcharts, which helm does not store.
    pub content: Content,
    /// Whether helm used server-side apply, so that fields of other managers are conflicts.
    pub server_side: bool,
}

/// A record as helm stores it: JSON, compressed with gzip.
#[derive(Default)]
pub(crate) struct Packed(Vec<u8>);

impl Default for Record {
    /// An empty record.
    fn default() -> Self {
        Self {
            stored: Stored::default(),
            chart: String::new(),
            version: String::new(),
            description: String::new(),
            values: Value::Null,
            defaults: Value::Null,
            objects: Ok(Vec::new()),
            packed: Packed::default(),
            content: Content::default(),
            server_side: false,
        }
    }
}

impl Record {
    /// The full objects with these indexes; the others are not parsed.
    ///
    /// # Errors
    ///
    /// The manifest cannot be read.
    pub(crate) fn whole(&self, indexes: &[usize]) -> Fact<Vec<Value>> {
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = inflate(&self.packed.0)?;
        let release = read(&bytes)?;
        let made = release.made()?;
        let object = |index: &usize| {
            made.get(*index).and_then(Made::object).ok_or_else(|| "its manifest cannot be read".to_owned())
        };
        indexes.iter().map(object).collect()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Record");
        shown.field("stored", &self.stored).field("chart", &self.chart).field("version", &self.version);
        shown.finish_non_exhaustive()
    }
}

/// The JSON of a record. Large parts are borrowed: a record has megabytes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Release<'a> {
    name: String,
    namespace: String,
    version: u64,
    info: Info,
    #[serde(borrow)]
    chart: Chart<'a>,
    config: Value,
    #[serde(borrow)]
    manifest: Option<&'a RawValue>,
    /// `ssa` or `csa`; empty for helm 3.
    apply_method: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    status: String,
    description: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chart<'a> {
    metadata: ChartMetadata,
    /// Go writes an empty list as null.
    #[serde(borrow)]
    templates: Option<Vec<File<'a>>>,
    #[serde(borrow)]
    files: Option<Vec<File<'a>>>,
    values: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File<'a> {
    name: String,
    #[serde(borrow)]
    data: Base64<'a>,
}

impl Release<'_> {
    fn made(&self) -> Fact<Vec<Made<'_>>> {
        let text = self.manifest.map_or("", RawValue::get);
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        objects(text.unwrap_or_default())
    }
}

/// Bytes as Go encodes them: base64, or null if empty.
#[derive(Default)]
pub(super) struct Base64<'a>(pub(super) Cow<'a, str>);

impl Base64<'_> {
    fn decode(&self) -> Result<Vec<u8>, String> {
        STANDARD.decode(self.0.as_bytes()).map_err(|_| "not base64".to_owned())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Base64<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64Visitor;
        impl<'de> Visitor<'de> for Base64Visitor {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(""))
            }
        }
        deserializer.deserialize_any(Base64Visitor).map(Base64)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ChartMetadata {
    name: String,
    version: String,
}

/// Unpacks a record: base64 of the API, base64 of helm, gzip, JSON.
///
/// # Errors
///
/// The record is malformed. The error never contains its content.
pub(crate) fn unpack(data: &str) -> Result<Record, String> {
    let decode = |bytes: &[u8]| STANDARD.decode(bytes).map_err(|_| "not base64".to_owned());
    let packed = decode(&decode(data.as_bytes())?)?;
    let bytes = inflate(&packed)?;
    let release = read(&bytes)?;
    let ids = release.made().map(|made| {
        let namespace = Some(&release.namespace).filter(|namespace| !namespace.is_empty());
        let id = |id: ObjectId| ObjectId { namespace: id.namespace.or(namespace.cloned()), ..id };
        made.into_iter().map(|made| id(made.id)).collect()
    });
    let mut content = Content::default();
    for File { name, data } in release.chart.templates.into_iter().chain(release.chart.files).flatten() {
        content.add(name, &data.decode()?);
    }
    Ok(Record {
        content,
        stored: Stored {
            namespace: release.namespace,
            name: release.name,
            status: release.info.status,
            revision: release.version,
            modified: None,
            secret: Meta::default(),
        },
        chart: release.chart.metadata.name,
        version: release.chart.metadata.version,
        description: release.info.description,
        values: release.config,
        server_side: release.apply_method == "ssa",
        defaults: release.chart.values,
        objects: ids,
        packed: Packed(packed),
    })
}

fn read(bytes: &[u8]) -> Result<Release<'_>, String> {
    serde_json::from_slice(bytes).map_err(|_| "not a release of Helm 3 or 4".to_owned())
}

fn inflate(packed: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !packed.starts_with(&[0x1f, 0x8b]) {
        // Helm also reads records that are not compressed, from helm 3.0.
        return Ok(Cow::Borrowed(packed));
    }
    // The last four bytes are the size (RFC 1952), which is only used to reserve memory.
    let size = packed.last_chunk().map_or(0, |size| u64::from(u32::from_le_bytes(*size)));
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(MAX_SIZE)).unwrap_or_default());
    let mut decoder = GzDecoder::new(packed).take(MAX_SIZE + 1);
    decoder.read_to_end(&mut bytes).map_err(|_| "not gzip".to_owned())?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(format!("larger than {MAX_SIZE} bytes"));
    }
    Ok(Cow::Owned(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const RECORD: &str = r#"{"name":"cilium","namespace":"kube-system","version":2,"info":{"status":"deployed","last_deployed":"2026-11-23T08:00:00Z","description":"Upgrade complete"},
            "chart":{"metadata":{"name":"cilium","version":"1.18.6","appVersion":"1.18.6"},"templates":[{"name":"x","data":"eA=="}]},
            "config":{"k":"CANARY"},"manifest":"---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata: {a: b}\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: y\n"}"#;

    fn pack(json: &str) -> String {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(json.as_bytes()).unwrap();
        STANDARD.encode(STANDARD.encode(encoder.finish().unwrap()))
    }

    #[test]
    fn unpacks_record() {
        let record = unpack(&pack(RECORD)).unwrap();
        assert_eq!((record.stored.id(), record.stored.revision), ("kube-system/cilium".into(), 2));
        assert_eq!((record.chart.as_str(), record.version.as_str()), ("cilium", "1.18.6"));
        assert_eq!(record.values["k"], "CANARY");
        assert!(!format!("{record:?}").contains("CANARY"));
        let ids: Vec<_> = record.objects.as_ref().unwrap().iter().map(ObjectId::words).collect();
        assert_eq!(ids, ["ConfigMap kube-system/x", "Namespace kube-system/y"]);
        assert_eq!(record.whole(&[0]).unwrap()[0]["data"]["a"], "b");
        assert!(record.whole(&[2]).is_err());
        let empty =
            r#"{"name":"a","chart":{"metadata":{"name":"a","version":"1"},"templates":null},"config":null}"#;
        assert!(unpack(&pack(empty)).is_ok());
        for broken in ["", "!", &STANDARD.encode("!"), &pack("1"), &pack("{")] {
            assert!(unpack(broken).is_err(), "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn unpacking_never_panics(data: Vec<u8>, odd in crate::base::mutate::json(RECORD)) {
            _ = unpack(&pack(&odd.to_string())).map(|record| record.whole(&[0]));
            _ = unpack(&STANDARD.encode(STANDARD.encode(&data)));
            _ = unpack(&String::from_utf8_lossy(&data));
        }
    }
}
