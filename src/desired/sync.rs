//! The objects that flux-operator creates from `sync`: a source and a Kustomization, changed by the patches of the FluxInstance.
//!
//! The fields are those of flux-operator 0.59 (`internal/builder/templates.go`), the patches those of kustomize.

use regex::Regex;
use serde_json::{Value, json};

use crate::base::yaml::{self, WRITTEN};

/// The objects for the cluster itself. An object is unknown if a patch may change it in a way that is not simulated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SyncObjects {
    pub source: Option<Value>,
    pub kustomization: Option<Value>,
}

/// The objects of a FluxInstance. `spec` is its specification, or `instance` in the values of flux-instance.
pub(crate) fn objects(spec: &Value, namespace: &str) -> SyncObjects {
    let text = |key: &str| spec["sync"].get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("kind").unwrap_or("GitRepository");
    let object = |group: &str, kind: &str, fields: &[(&str, Option<Value>)]| {
        let fields = fields.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
        json!({"apiVersion": format!("{group}.toolkit.fluxcd.io/v1"), "kind": kind,
            "metadata": {"name": text("name").unwrap_or(namespace), "namespace": namespace},
            "spec": fields.collect::<serde_json::Map<_, _>>()})
    };
    let value = |key: &str| text(key).map(Value::from);
    let is_bucket = kind == "Bucket";
    let reference = |field: &str| text("ref").map(|reference| json!({ field: reference }));
    let source = [
        (if is_bucket { "endpoint" } else { "url" }, value("url")),
        match kind {
            "Bucket" => ("bucketName", value("ref")),
            "OCIRepository" => ("ref", reference("tag")),
            _ => ("ref", reference("name")),
        },
        ("secretRef", text("pullSecret").map(|name| json!({ "name": name }))),
        ("provider", value("provider")),
        ("interval", value("interval")),
    ];
    let kustomization = [("path", value("path")), ("prune", Some(Value::Bool(true)))];
    let patches = spec.pointer("/kustomize/patches").and_then(Value::as_array);
    let patches = patches.map_or(&[][..], Vec::as_slice);
    SyncObjects {
        source: patched(object("source", kind, &source), patches),
        kustomization: patched(object("kustomize", "Kustomization", &kustomization), patches),
    }
}

/// An object after all patches; `None` if that is unknown.
fn patched(mut object: Value, patches: &[Value]) -> Option<Value> {
    for patch in patches {
        let body = || yaml::parse::<Value>(patch.get("patch")?.as_str()?, WRITTEN).ok();
        let target = patch.get("target").filter(|target| !target.is_null());
        let is_meant = if let Some(target) = target {
            is_selected(target, &object)?
        } else {
            // A strategic merge patch names its object itself.
            let body = body()?;
            body.get("kind")? == &object["kind"]
                && body.pointer("/metadata/name")? == &object["metadata"]["name"]
        };
        if is_meant {
            apply(&mut object, &body()?)?;
        }
    }
    Some(object)
}

/// Whether a target selects an object; `None` if that is unknown. Its texts are regular expressions for the whole text.
fn is_selected(target: &Value, object: &Value) -> Option<bool> {
    let text = |key: &str| target.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (group, version) = object["apiVersion"].as_str()?.split_once('/')?;
    let metadata = |key: &str| object["metadata"][key].as_str();
    let known = [
        ("kind", object["kind"].as_str()?),
        ("group", group),
        ("name", metadata("name")?),
        ("namespace", metadata("namespace")?),
    ];
    let is_match = |key: &str, has: &str| {
        let pattern = text(key).map(|pattern| Regex::new(&format!("^{pattern}$"))).transpose().ok()?;
        Some(pattern.is_none_or(|pattern| pattern.is_match(has)))
    };
    for (key, has) in known {
        if !is_match(key, has)? {
            return Some(false);
        }
    }
    // The version depends on the operator, the labels on the operator and the values.
    let is_certain =
        is_match("version", version)? && text("labelSelector").or(text("annotationSelector")).is_none();
    is_certain.then_some(true)
}

/// Applies a JSON patch or a strategic merge patch; `None` if it does not apply, or is not simulated.
fn apply(object: &mut Value, patch: &Value) -> Option<()> {
    match patch {
        Value::Array(operations) => operations.iter().try_for_each(|operation| operate(object, operation)),
        Value::Object(_) => merge(object, patch),
        _ => None,
    }
}

fn operate(object: &mut Value, operation: &Value) -> Option<()> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let (parent, key) = text("path")?.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let value = operation.get("value").cloned();
    match (text("op")?, object.pointer_mut(parent)?) {
        ("add", Value::Object(map)) => _ = map.insert(key, value?),
        ("add", Value::Array(list)) if key == "-" => list.push(value?),
        ("replace", Value::Object(map)) => *map.get_mut(&key)? = value?,
        ("remove", Value::Object(map)) => _ = map.remove(&key)?,
        _ => return None,
    }
    Some(())
}

/// Merges maps; lists of custom resources are replaced.
fn merge(object: &mut Value, patch: &Value) -> Option<()> {
    let (Value::Object(object), Value::Object(patch)) = (&mut *object, patch) else {
        patch.clone_into(object);
        return Some(());
    };
    for (key, value) in patch {
        // A directive, such as `$patch: delete`.
        if key.starts_with('$') {
            return None;
        }
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: &str) -> SyncObjects {
        objects(&serde_yaml::from_str(spec).unwrap(), "flux-system")
    }

    #[test]
    fn each_kind_has_its_fields() {
        let git = of(
            "sync: {kind: GitRepository, url: u, ref: refs/heads/main, path: k, pullSecret: s, provider: github}",
        );
        let source = git.source.unwrap();
        assert_eq!(source["metadata"], json!({"name": "flux-system", "namespace": "flux-system"}));
        let spec = json!({"url": "u", "ref": {"name": "refs/heads/main"}, "secretRef": {"name": "s"}, "provider": "github"});
        assert_eq!(source["spec"], spec);
        assert_eq!(git.kustomization.unwrap()["spec"], json!({"path": "k", "prune": true}));
        let oci = of("sync: {kind: OCIRepository, url: u, ref: latest, name: n}").source.unwrap();
        assert_eq!(oci["metadata"]["name"], "n");
        assert_eq!(oci["spec"], json!({"url": "u", "ref": {"tag": "latest"}}));
        let bucket = of("sync: {kind: Bucket, url: u, ref: b, pullSecret: ''}").source.unwrap();
        assert_eq!(bucket["spec"], json!({"endpoint": "u", "bucketName": "b"}));
    }

    #[test]
    fn patches_change_the_objects_that_they_select() {
        let source = |patch: &str| {
            let spec = format!(
                "{{sync: {{url: u, ref: refs/heads/main, path: k}}, kustomize: {{patches: [{patch}]}}}}"
            );
            of(&spec).source.map(|source| source["spec"].clone())
        };
        let plain = json!({"url": "u", "ref": {"name": "refs/heads/main"}});
        let branch = json!({"url": "u", "ref": {"branch": "main"}});
        let op = |op: &str| format!("'[{{op: {op}, path: /spec/ref, value: {{branch: main}}}}]'");
        let cases = [
            (format!("{{target: {{kind: GitRepository}}, patch: {}}}", op("replace")), Some(&branch)),
            (format!("{{target: {{kind: '(Git|OCI)Repository', name: flux-.*}}, patch: {}}}", op("add")), Some(&branch)),
            (format!("{{target: {{kind: Kustomization}}, patch: {}}}", op("replace")), Some(&plain)),
            (format!("{{target: {{kind: GitRepository, name: flux}}, patch: {}}}", op("replace")), Some(&plain)),
            ("{patch: '{kind: GitRepository, metadata: {name: flux-system}, spec: {ref: {name: null, branch: main}}}'}".to_owned(), Some(&branch)),
            ("{patch: '{kind: Deployment, metadata: {name: source-controller}, spec: {ref: 1}}'}".to_owned(), Some(&plain)),
            // What is not simulated makes the object unknown.
            (format!("{{target: {{kind: GitRepository}}, patch: {}}}", op("move")), None),
            (format!("{{target: {{labelSelector: a=b}}, patch: {}}}", op("add")), None),
            (format!("{{target: {{kind: '('}}, patch: {}}}", op("add")), None),
            ("{target: {kind: GitRepository}, patch: '['}".to_owned(), None),
            ("{target: {kind: GitRepository}, patch: '[{op: replace, path: /spec/none/x, value: 1}]'}".to_owned(), None),
            ("{target: {kind: GitRepository}, patch: '{spec: {$patch: delete}}'}".to_owned(), None),
        ];
        for (patch, expected) in cases {
            assert_eq!(source(&patch).as_ref(), expected, "{patch}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_instance_makes_it_panic(spec in crate::base::mutate::json(
            r#"{"sync": {"kind": "Bucket", "url": "u", "ref": "r", "path": "p", "pullSecret": "s"}, "kustomize": {"patches": [
                {"target": {"kind": "Bucket", "name": "flux.*"}, "patch": "[{op: add, path: /spec/a~1b, value: 1}, {op: remove, path: /spec/prune}]"},
                {"patch": "kind: Kustomization\nmetadata: {name: a}\nspec: {wait: null}"}]}}"#)) {
            _ = objects(&spec, "flux-system");
        }
    }
}
