//! Compares objects without keeping their content.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The SHA-256 hash, in lower-case hexadecimal digits.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The key of the hashes, which is random for each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashKey(RandomState);

impl HashKey {
    /// The keyed hash of a text.
    pub(crate) fn hash(&self, text: &str) -> u64 {
        self.0.hash_one(text)
    }

    /// The fingerprint of an object: a manifest, or an object of the API server.
    pub(crate) fn fingerprint(&self, object: &Value) -> Fingerprint {
        let mut fields = BTreeMap::new();
        let object = normalized(object);
        self.add(&mut fields, String::new(), &object);
        Fingerprint(fields)
    }

    fn add(&self, fields: &mut BTreeMap<String, u64>, path: String, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    self.add(fields, format!("{path}/{key}"), value);
                }
            }
            Value::Array(items) => {
                fields.insert(format!("{path}/#"), items.len() as u64);
                for (index, value) in items.iter().enumerate() {
                    self.add(fields, format!("{path}/{index}"), value);
                }
            }
            // To the API server, null is the same as an absent field.
            Value::Null => {}
            other => _ = fields.insert(path, self.hash(&other.to_string())),
        }
    }
}

/// Removes the status, and moves a Secret's write-only `stringData` into `data`, as the API server does.
pub(crate) fn normalized(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(map) = object.as_object_mut() else {
        return object;
    };
    map.remove("status");
    if let Some(Value::Object(texts)) = map.remove("stringData") {
        let data = map.entry("data").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(data) = data.as_object_mut() {
            for (key, text) in texts {
                let text = text.as_str().map_or_else(|| text.to_string(), ToOwned::to_owned);
                data.insert(key, Value::String(STANDARD.encode(text)));
            }
        }
    }
    object
}

/// The paths of an object's fields with a keyed hash of each value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<String, u64>);

impl Fingerprint {
    /// The fields of this manifest that are missing in `live` or have another value: `data.age\\.agekey`.
    pub(crate) fn differs_from(&self, live: &Self) -> Vec<String> {
        let differing = self.0.iter().filter(|(path, hash)| live.0.get(*path) != Some(*hash));
        let mut names: Vec<_> = differing.map(|(path, _)| path.trim_end_matches("/#").to_owned()).collect();
        names.dedup();
        names
            .into_iter()
            .map(|path| path.trim_start_matches('/').replace('.', "\\.").replace('/', "."))
            .collect()
    }

    /// Whether the object has this key in its data.
    pub(crate) fn sets(&self, key: &str) -> bool {
        self.0.contains_key(&format!("/data/{key}"))
    }

    /// Whether the data of the two objects differs.
    pub(crate) fn data_differs(&self, other: &Self) -> bool {
        let data = |fields: &Self| {
            let fields = fields.0.iter().filter(|(path, _)| path.starts_with("/data/"));
            fields.map(|(path, hash)| (path.clone(), *hash)).collect::<Vec<_>>()
        };
        data(self) != data(other)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn compares_manifest_with_live_object() {
        let key = HashKey::default();
        let manifest = json!({"kind": "Secret", "metadata": {"name": "a", "creationTimestamp": null},
            "stringData": {"k": "v"}, "data": {"b": "Yg=="}});
        let live = json!({"kind": "Secret", "metadata": {"name": "a", "uid": "1"},
            "data": {"k": "dg==", "b": "Yg==", "more": "eA=="}, "type": "Opaque"});
        assert!(key.fingerprint(&manifest).differs_from(&key.fingerprint(&live)).is_empty());
        let changed =
            json!({"kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "dw==", "b": "Yg=="}});
        assert!(key.fingerprint(&manifest).data_differs(&key.fingerprint(&changed)));
        let list = |items: &[i32]| key.fingerprint(&json!({"l": items}));
        assert_eq!(list(&[1]).differs_from(&list(&[1, 2])), ["l"], "a longer list differs");
        assert_eq!(key.fingerprint(&manifest).differs_from(&key.fingerprint(&changed)), ["data.k"]);
    }

    #[test]
    fn hashes_differ_between_runs() {
        assert_ne!(HashKey::default().hash("x"), HashKey::default().hash("x"));
    }

    const SECRET: &str = r#"{"kind":"Secret","metadata":{"name":"a","creationTimestamp":null},"stringData":{"k":"v"},"data":{"b":"Yg=="},"status":{"a":[1]}}"#;

    proptest::proptest! {
        #[test]
        fn comparing_never_panics(manifest in crate::base::mutate::json(SECRET), live in crate::base::mutate::json(SECRET)) {
            let key = HashKey::default();
            let (manifest, live) = (key.fingerprint(&manifest), key.fingerprint(&live));
            _ = (manifest.differs_from(&live), manifest.data_differs(&live), manifest.sets("k"));
        }
    }
}
