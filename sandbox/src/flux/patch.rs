//! The patches of a FluxInstance (`spec.kustomize.patches`), on the objects that the operator makes.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

/// Applies the patches whose target is `object`.
pub(super) fn apply(object: &mut Value, patches: &[Value]) -> Result<()> {
    for patch in patches {
        if !is_target(&patch["target"], object) {
            continue;
        }
        let text = patch["patch"].as_str().context("a patch has no `patch`")?;
        match serde_yaml::from_str(text).context("cannot read a patch")? {
            Value::Array(operations) => {
                for operation in &operations {
                    operate(object, operation)?;
                }
            }
            // As kustomize, also where the target is named.
            merge @ Value::Object(_) if merge["kind"].is_string() => merge_into(object, merge),
            _ => bail!("unable to parse SM or JSON patch from [patch: {text:?}]"),
        }
    }
    Ok(())
}

/// A field that the target does not set matches everything, as in kustomize; names are compared literally.
fn is_target(target: &Value, object: &Value) -> bool {
    let matches = |expected: &Value, found: &Value| expected.is_null() || expected == "" || expected == found;
    let (group, version) =
        object["apiVersion"].as_str().and_then(|of| of.split_once('/')).unwrap_or_default();
    matches(&target["kind"], &object["kind"])
        && matches(&target["name"], &object["metadata"]["name"])
        && matches(&target["namespace"], &object["metadata"]["namespace"])
        && matches(&target["group"], &Value::from(group))
        && matches(&target["version"], &Value::from(version))
}

/// One operation of RFC 6902.
fn operate(object: &mut Value, operation: &Value) -> Result<()> {
    let path = operation["path"].as_str().context("an operation has no `path`")?;
    let (parent, key) = path.rsplit_once('/').with_context(|| format!("`{path}` is not a path"))?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let missing = || format!("doc is missing path: \"{path}\"");
    let parent = object.pointer_mut(parent).with_context(missing)?;
    let value = operation["value"].clone();
    match (operation["op"].as_str().unwrap_or_default(), parent) {
        ("add", Value::Object(parent)) => drop(parent.insert(key, value)),
        ("add", Value::Array(parent)) if key == "-" => parent.push(value),
        ("add", Value::Array(parent)) => {
            let index: usize = key.parse()?;
            if index > parent.len() {
                bail!(missing());
            }
            parent.insert(index, value);
        }
        ("replace", Value::Object(parent)) => *parent.get_mut(&key).with_context(missing)? = value,
        ("replace", Value::Array(parent)) => {
            *parent.get_mut(key.parse::<usize>()?).with_context(missing)? = value;
        }
        ("remove", Value::Object(parent)) => drop(parent.remove(&key).with_context(missing)?),
        ("remove", Value::Array(parent)) => {
            let index: usize = key.parse()?;
            if index >= parent.len() {
                bail!(missing());
            }
            parent.remove(index);
        }
        ("test", Value::Object(parent)) if parent.get(&key) == Some(&value) => {}
        (other, _) => bail!("the sandbox does not support the operation `{other}` at `{path}`"),
    }
    Ok(())
}

/// RFC 7386.
fn merge_into(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(&key);
            } else {
                merge_into(target.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kustomization() -> Value {
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "flux-system"}, "spec": {"prune": true},
        })
    }

    #[test]
    fn operations_change_their_target_only() {
        let patches = [json!({
            "target": {"kind": "Kustomization"},
            "patch": "- op: add\n  path: /spec/decryption\n  value: {provider: sops}\n- {op: remove, path: /spec/prune}\n",
        })];
        let mut object = kustomization();
        apply(&mut object, &patches).unwrap();
        assert_eq!(object["spec"], json!({"decryption": {"provider": "sops"}}));
        let mut other = json!({"kind": "GitRepository", "spec": {}});
        apply(&mut other, &patches).unwrap();
        assert_eq!(other["spec"], json!({}));
    }

    #[test]
    fn objects_are_merged() {
        let patches = [json!({
            "target": {"kind": "Kustomization", "name": "flux-system"},
            "patch": "kind: Kustomization\nmetadata: {name: flux-system}\nspec: {wait: true, prune: null}",
        })];
        let mut object = kustomization();
        apply(&mut object, &patches).unwrap();
        assert_eq!(object["spec"], json!({"wait": true}));
    }

    #[test]
    fn a_part_of_an_object_is_an_error() {
        let patches = [json!({"target": {"kind": "Kustomization"}, "patch": "spec: {wait: true}"})];
        assert!(apply(&mut kustomization(), &patches).is_err());
    }

    #[test]
    fn a_path_that_does_not_exist_is_an_error() {
        let patches = [json!({"patch": "[{op: replace, path: /spec/a/b, value: 1}]"})];
        assert!(apply(&mut kustomization(), &patches).is_err());
    }
}
