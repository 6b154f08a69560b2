//! Objects that k3s-boot applies itself: the age key, and the objects of the repository's encrypted files.

pub(crate) mod sops_age;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use self::sops_age::SopsAge;
use super::repository::{FLUX_NAMESPACE, is_subdomain};
use crate::base::finding::Finding;
use crate::base::fingerprint::{Fingerprint, HashKey, normalized};
use crate::base::redact::Redactor;
use crate::base::yaml::{self, PRINTED};
use crate::desired::age::Selection;
use crate::desired::object_source::ObjectSource;

/// The key of the age key in its Secret; kustomize-controller reads every key that ends in `.agekey`.
pub(crate) const AGE_KEY: &str = "age.agekey";

/// The API groups of a fresh cluster: those of Kubernetes 1.36 (`pkg/controlplane/instance.go` and
/// `apiserver/apis.go`, `kubectl api-versions`), and those of the CRDs that k3s creates at startup. Other groups below
/// `k8s.io`, as `gateway.networking.k8s.io` and `snapshot.storage.k8s.io`, are those of CRDs.
const BUILT_IN: [&str; 23] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "helm.cattle.io",
    "k3s.cattle.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// The identity of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub api_version: String,
    pub kind: String,
    /// The namespace, if it is set.
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectId {
    /// The Secret with the age key.
    pub(crate) fn sops_age() -> Self {
        Self {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            namespace: Some(FLUX_NAMESPACE.to_owned()),
            name: "sops-age".to_owned(),
        }
    }

    /// Reads the identity of a manifest.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        Some(Self {
            api_version: text(object.get("apiVersion")?)?,
            kind: text(object.get("kind")?)?,
            namespace: object.pointer("/metadata/namespace").and_then(text),
            name: object.pointer("/metadata/name").and_then(text)?,
        })
    }

    /// The API group; empty for the core group.
    pub(crate) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version within the API group.
    pub(crate) fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// Whether it is a Secret or a ConfigMap: their API path is known without discovery, and the API server adds no
    /// fields to them.
    pub(crate) fn is_core(&self) -> bool {
        self.api_version == "v1" && (self.kind == "Secret" || self.kind == "ConfigMap")
    }

    /// Whether the API server accepts the name: that of a role may be any part of a path (`apimachinery/pkg/api/validation/path`).
    fn has_valid_name(&self) -> bool {
        if self.group() == "rbac.authorization.k8s.io" {
            return !matches!(self.name.as_str(), "" | "." | "..") && !self.name.contains(['/', '%']);
        }
        is_subdomain(&self.name)
    }

    /// Whether it is a custom resource definition.
    pub(crate) fn is_crd(&self) -> bool {
        self.group() == "apiextensions.k8s.io" && self.kind == "CustomResourceDefinition"
    }

    /// Whether every fresh k3s cluster has its API group.
    pub(crate) fn is_built_in(&self) -> bool {
        BUILT_IN.contains(&self.group())
    }

    /// `namespace/name`, or `name`.
    pub(crate) fn path(&self) -> String {
        self.namespace.iter().chain([&self.name]).map(String::as_str).collect::<Vec<_>>().join("/")
    }

    /// `Kind namespace/name`.
    pub(crate) fn words(&self) -> String {
        format!("{} {}", self.kind, self.path())
    }

    /// A manifest with nothing but the identity.
    pub(crate) fn manifest(&self) -> Value {
        json!({"apiVersion": self.api_version, "kind": self.kind,
            "metadata": {"name": self.name, "namespace": self.namespace}})
    }
}

/// An object to apply. Has no `Debug`: it is secret.
pub(crate) struct Object {
    /// The identity.
    pub id: ObjectId,
    /// The manifest as JSON.
    pub manifest: SecretString,
    /// A fingerprint of the fields that it sets.
    pub fingerprint: Fingerprint,
    /// Hashes of its age identities, if it is the Secret with the age key.
    pub identities: Vec<u64>,
    /// Its other properties, if it is that Secret.
    sops_age: Option<SopsAge>,
    pub source: ObjectSource,
}

impl Object {
    fn new(mut manifest: Value, source: &ObjectSource, key: &HashKey, redactor: &Redactor) -> Option<Self> {
        let mut id = ObjectId::of(&manifest)?;
        if id.is_core() {
            set_namespace(&mut id, &mut manifest, source);
        }
        if id.kind == "Secret" {
            let texts = secret_texts(&manifest);
            redactor.add(texts.iter().map(String::as_str));
            // A key applied as `stringData` has no field manager, and would stay after it was removed from the file.
            manifest = normalized(&manifest);
        }
        let sops_age = (id == ObjectId::sops_age()).then(|| SopsAge::new(&manifest, source));
        Some(Self {
            fingerprint: key.fingerprint(&manifest),
            identities: sops_age.iter().flat_map(|_| sops_age::identities(&manifest, key)).collect(),
            sops_age,
            manifest: SecretString::from(manifest.to_string()),
            source: source.clone(),
            id,
        })
    }

    /// Sets the namespace of an object of a namespaced kind that has none.
    pub(crate) fn place_in_namespace(&mut self) {
        if let Ok(mut manifest) = serde_json::from_str(self.manifest.expose_secret()) {
            set_namespace(&mut self.id, &mut manifest, &self.source);
            self.manifest = SecretString::from(manifest.to_string());
        }
    }

    /// Creates the Secret with the age key.
    pub(crate) fn sops_age(
        selection: &Selection,
        source: &Path,
        key: &HashKey,
        redactor: &Redactor,
    ) -> Option<Self> {
        let mut manifest = ObjectId::sops_age().manifest();
        manifest["type"] = "Opaque".into();
        manifest["data"] = json!({AGE_KEY: STANDARD.encode(selection.text.expose_secret())});
        let source = ObjectSource::Encrypted(source.to_owned());
        let mut object = Self::new(manifest, &source, key, redactor)?;
        object.sops_age.iter_mut().for_each(|secret| secret.is_key_file = true);
        Some(object)
    }
}

fn set_namespace(id: &mut ObjectId, manifest: &mut Value, source: &ObjectSource) {
    if id.namespace.is_none() {
        id.namespace = Some(source.namespace().to_owned());
        manifest["metadata"]["namespace"] = source.namespace().into();
    }
}

/// The decoded values of a Secret, without those that are not text.
fn secret_texts(secret: &Value) -> Vec<String> {
    let map = |name: &str| secret.get(name).and_then(Value::as_object).into_iter().flatten();
    let plain = map("stringData").filter_map(|(_, value)| value.as_str().map(ToOwned::to_owned));
    let decoded =
        map("data").filter_map(|(_, value)| String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok());
    plain.chain(decoded).collect()
}

/// Reads the objects of a decrypted file, or of the output of a command.
///
/// # Errors
///
/// A document is not an object. The error never contains the content.
pub(crate) fn parse(
    source: &ObjectSource,
    text: &SecretString,
    key: &HashKey,
    redactor: &Redactor,
) -> Result<Vec<Object>, Finding> {
    let problem = |reason: String| source.problem("contains no Kubernetes object").with("reason", reason);
    let mut objects = Vec::new();
    for (index, document) in yaml::documents::<Value>(text.expose_secret(), PRINTED).enumerate() {
        let document = document.map_err(|error| {
            let reason = if error.is_refused() {
                error.without_content("")
            } else {
                "cannot be read as JSON".to_owned()
            };
            problem(format!("document {} {reason}", index + 1))
        })?;
        let items = match document.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None if document.is_null() => Vec::new(),
            None => vec![document],
        };
        for item in items {
            if item.get("sops").is_some() {
                return Err(source
                    .problem("is encrypted")
                    .fix("name the file in `secrets.files` of k3s-boot.yaml, which decrypts it"));
            }
            if let Some(what) = invalid_field(&item) {
                return Err(problem(format!("document {} {what}", index + 1)));
            }
            let object = Object::new(item, source, key, redactor).ok_or_else(|| {
                problem(format!("document {} has no `apiVersion`, `kind` or `metadata.name`", index + 1))
            })?;
            if !object.id.has_valid_name() {
                return Err(problem(format!("document {} has an invalid `metadata.name`", index + 1)));
            }
            let is_manifest = matches!(source, ObjectSource::Manifest(_));
            if !is_manifest && !object.id.is_built_in() {
                return Err(source
                    .problem("contains an object whose CRD may be missing")
                    .with("kind", format!("{} {}", object.id.api_version, object.id.kind))
                    .fix("remove it and let Flux apply it: its CRD is not installed yet when secrets are applied"));
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

/// A field of a Secret or ConfigMap that the API server would reject or silently drop. Contains names, never values.
fn invalid_field(object: &Value) -> Option<String> {
    let known: &[&str] = match object.get("kind")?.as_str()? {
        "Secret" => &["apiVersion", "kind", "metadata", "data", "stringData", "type", "immutable"],
        "ConfigMap" => &["apiVersion", "kind", "metadata", "data", "binaryData", "immutable"],
        _ => return None,
    };
    let fields = object.as_object()?;
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Some(format!("has an unknown field `{name}`; known fields are {}", known.join(", ")));
    }
    let texts =
        ["data", "stringData", "binaryData"].into_iter().filter_map(|map| Some((map, fields.get(map)?)));
    for (map, values) in texts.filter(|(_, values)| !values.is_null()) {
        let Some(values) = values.as_object() else {
            return Some(format!("has a `{map}` that is not a map"));
        };
        for (key, value) in values {
            let Some(text) = value.as_str() else {
                return Some(format!("has a value other than text in `{map}.{key}`; put it in quotes"));
            };
            let encoded = map == "binaryData" || (map == "data" && object["kind"] == "Secret");
            if encoded && STANDARD.decode(text.replace(['\n', '\r'], "")).is_err() {
                return Some(format!(
                    "has invalid base64 in `{map}.{key}`; plain text goes into `stringData`"
                ));
            }
        }
    }
    None
}

/// Merges all objects. An object that two sources define equally is applied once.
///
/// # Errors
///
/// Two sources define the same object differently, or Flux cannot use the age key.
pub(crate) fn merge(objects: impl IntoIterator<Item = Object>) -> Result<Vec<Object>, Vec<Finding>> {
    let mut merged: Vec<Object> = Vec::new();
    let mut findings = Vec::new();
    for object in objects {
        if let Some(finding) = sops_age::check(&object) {
            findings.push(finding);
            continue;
        }
        match merged.iter_mut().find(|known| known.id == object.id) {
            None => merged.push(object),
            Some(known) if known.fingerprint.data_differs(&object.fingerprint) => {
                match replacement(known, &object) {
                    Ok(true) => *known = object,
                    Ok(false) => {}
                    Err(finding) => findings.push(finding),
                }
            }
            // The object of the file may have additional labels.
            Some(known) => *known = object,
        }
    }
    if findings.is_empty() { Ok(merged) } else { Err(findings) }
}

/// Whether an object replaces another with the same identity and other data.
fn replacement(known: &Object, object: &Object) -> Result<bool, Finding> {
    if known.id == ObjectId::sops_age() {
        return sops_age::replaces(known, object);
    }
    Err(Finding::error(object.source.rule(), "Two sources define the same object differently")
        .with("object", object.id.words())
        .with(known.source.key(), &known.source)
        .with("other", &object.source)
        .fix("keep the right one and remove the other"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::age;

    fn source(file: &str) -> ObjectSource {
        ObjectSource::Encrypted(file.into())
    }

    fn parsed(text: &str) -> Result<Vec<Object>, Finding> {
        parse(&source("x.sops.yaml"), &SecretString::from(text), &HashKey::default(), &Redactor::default())
    }

    #[test]
    fn objects_of_a_decrypted_file() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: CANARY-SECRET}\n---\n---\n\
            apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: media}}\n";
        let redactor = Redactor::default();
        let objects =
            parse(&source("x"), &SecretString::from(text), &HashKey::default(), &redactor).ok().unwrap();
        let paths: Vec<_> = objects.iter().map(|object| object.id.path()).collect();
        assert_eq!(paths, ["flux-system/a", "media/b"], "the default is the namespace of Flux");
        assert_eq!(redactor.apply("say CANARY-SECRET"), "say [redacted]");
    }

    #[test]
    fn fields_that_the_server_would_reject_or_drop_are_found() {
        let secret = |rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\n{rest}\n");
        for good in ["data: {k: Q0FOQVJZ}", "stringData: {k: v}\ntype: Opaque\nimmutable: true", "data:"] {
            assert!(parsed(&secret(good)).is_ok(), "{good}");
        }
        let cases = [
            ("stringdata: {k: CANARY}", "document 1 has an unknown field `stringdata`; known fields are"),
            ("data: {k: 'CANARY!'}", "document 1 has invalid base64 in `data.k`"),
            ("stringData: {port: 8080}", "document 1 has a value other than text in `stringData.port`"),
            ("data: [CANARY]", "document 1 has a `data` that is not a map"),
            (
                "---\napiVersion: v1\nkind: Secret\nmetadata: {name: Bad_Name}",
                "document 2 has an invalid `metadata.name`",
            ),
        ];
        for (rest, reason) in cases {
            let finding = parsed(&secret(rest)).err().unwrap();
            assert!(finding.details[1].1.starts_with(reason), "{finding:?}");
            assert!(!format!("{finding:?}").contains("CANARY"));
        }
    }

    #[test]
    fn an_object_whose_crd_may_be_missing_is_an_error() {
        let text = |version: &str| format!("apiVersion: {version}\nkind: X\nmetadata: {{name: a}}\n");
        for version in ["v1", "apps/v1", "rbac.authorization.k8s.io/v1"] {
            assert!(parsed(&text(version)).is_ok(), "{version}");
        }
        for version in ["cert-manager.io/v1", "gateway.networking.k8s.io/v1", "snapshot.storage.k8s.io/v1"] {
            let finding = parsed(&text(version)).err().unwrap();
            assert_eq!(finding.summary, "Encrypted file contains an object whose CRD may be missing");
        }
    }

    #[test]
    fn errors_contain_no_content() {
        for text in
            ["CANARY-SECRET", "kind: CANARY-SECRET\n", "a: [CANARY-SECRET\n", "? [CANARY-SECRET]\n: x\n"]
        {
            let finding = parsed(text).err().unwrap();
            assert!(!format!("{finding:?}").contains("CANARY"), "{finding:?}");
        }
    }

    #[test]
    fn the_same_object_from_two_sources() {
        let key = HashKey::default();
        let redactor = Redactor::default();
        let file = age::parse("AGE-PLUGIN-X-1ABCDEF\n").ok().unwrap();
        let selection = age::select(&file, &std::collections::BTreeSet::new());
        let ours = || Object::sops_age(&selection, Path::new("age.key"), &key, &redactor).unwrap();
        let theirs = |value: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: sops-age, namespace: flux-system, labels: {{a: b}}}}\n\
                 stringData:\n  age.agekey: {value}\n"
            );
            parse(&source("y"), &SecretString::from(text), &key, &redactor).ok().unwrap().remove(0)
        };
        let merged = merge([ours(), theirs("\"AGE-PLUGIN-X-1ABCDEF\\n\"")]).ok().unwrap();
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].identities, [key.hash("AGE-PLUGIN-X-1ABCDEF")]);
        let findings = merge([ours(), theirs("AGE-PLUGIN-X-1OTHER")]).err().unwrap();
        assert_eq!(findings[0].summary, "Two files define different age keys");
    }

    proptest::proptest! {
        #[test]
        fn nothing_decrypted_makes_it_panic(text: String, near in crate::base::mutate::text(&[
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  namespace: b\nstringData: {x: y}\ntype: Opaque\nsops: {age: []}\n---\nkind: List\nitems:\n- {kind: ConfigMap}\n",
        ]), odd in crate::base::mutate::json(
            r#"{"items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b"},"data":{"a":"QQ=="},"stringData":{"x":"y"},"type":"Opaque"}]}"#)) {
            for text in [text, near, odd.to_string()] {
                _ = super::parse(&source("a"), &text.into(), &HashKey::default(), &Redactor::default());
            }
        }

        /// Valid base64 that is not text.
        #[test]
        fn no_bytes_of_a_secret_make_it_panic(bytes: Vec<u8>, key in "[a-z.]{0,9}|age.agekey") {
            let data = serde_json::json!({key: STANDARD.encode(&bytes)});
            let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}, "data": data});
            _ = super::parse(&source("a"), &secret.to_string().into(), &HashKey::default(), &Redactor::default());
        }
    }
}
