//! Finds drift: fields of an object that differ from the manifest, and who changed them.
//!
//! The API server records who set which field (`metadata.managedFields`). A field that helm still manages is unchanged,
//! even if its value looks different: the API server writes `1000m` as `1`, and drops fields that a kind does not know.

use serde_json::{Map, Value};

/// The field manager of helm.
const HELM: &str = "helm";

/// A field that differs from the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The path, such as `spec.template.spec.containers[cilium-agent].image`.
    pub path: String,
    /// Why it differs.
    pub cause: Cause,
}

/// Why a field differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another field manager set it, such as `kubectl-edit`.
    Set(String),
    /// No manager owns it: it was removed, or the API server never accepted it.
    Removed,
}

/// The fields of the manifest that differ in the object, except those that helm still manages and those that a controller
/// adjusts on purpose. The result contains no values, which may be secret.
pub(crate) fn differences(manifest: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let (Some(manifest), Some(fields)) = (manifest.as_object(), live.as_object()) else { return found };
    let owners = owners(live);
    for (key, desired) in manifest {
        // These fields identify the object, or belong to its controller.
        if !matches!(key.as_str(), "apiVersion" | "kind" | "status") {
            let below = narrow(&owners, |set| set.field(key));
            compare(&mut found, &Place::top(key), desired, fields.get(key), &below);
        }
    }
    found
}

/// A field manager.
#[derive(Clone, Copy)]
struct Owner<'a> {
    name: &'a str,
    /// The subresource that was written to; autoscalers use `scale`.
    subresource: &'a str,
    set: Set<'a>,
}

/// The fields at a place that a manager owns.
#[derive(Clone, Copy)]
enum Set<'a> {
    Some(&'a Map<String, Value>),
    All,
}

impl<'a> Set<'a> {
    fn new(node: &'a Value) -> Self {
        match node.as_object() {
            Some(map) if map.keys().any(|key| key != ".") => Self::Some(map),
            _ => Self::All,
        }
    }

    /// The owned part of a field.
    fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::All => Some(self),
            Self::Some(map) => map.get(&format!("f:{name}")).map(Self::new),
        }
    }

    /// The owned part of a list item, which is identified by some of its fields, by its value, or by its index.
    fn item(self, index: usize, item: &Value) -> Option<Self> {
        let Self::Some(map) = self else { return Some(self) };
        let matches_item = |key: &str| match key.split_once(':') {
            Some(("k", fields)) => serde_json::from_str::<Map<String, Value>>(fields)
                .is_ok_and(|fields| fields.iter().all(|(name, value)| item.get(name) == Some(value))),
            Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
            Some(("i", number)) => number.parse() == Ok(index),
            _ => false,
        };
        map.iter().find(|(key, _)| matches_item(key)).map(|(_, node)| Self::new(node))
    }
}

fn owners(live: &Value) -> Vec<Owner<'_>> {
    let all = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|entry| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let set = Set::new(entry.get("fieldsV1")?);
            Some(Owner { name: text("manager"), subresource: text("subresource"), set })
        })
        .collect()
}

fn narrow<'a>(owners: &[Owner<'a>], below: impl Fn(Set<'a>) -> Option<Set<'a>>) -> Vec<Owner<'a>> {
    owners.iter().filter_map(|owner| Some(Owner { set: below(owner.set)?, ..*owner })).collect()
}

/// A place in an object.
struct Place {
    path: String,
    /// Whether values here are quantities.
    is_quantity: bool,
}

/// The fields whose values are quantities.
const QUANTITY_FIELDS: [&str; 8] =
    ["limits", "requests", "capacity", "hard", "sizeLimit", "storage", "divisor", "averageValue"];

impl Place {
    fn top(name: &str) -> Self {
        Self { path: name.to_owned(), is_quantity: false }
    }

    fn field(&self, name: &str) -> Self {
        // Escape dots in a key.
        let path = format!("{}.{}", self.path, name.replace('.', "\\."));
        Self { path, is_quantity: self.is_quantity || QUANTITY_FIELDS.contains(&name) }
    }

    fn item(&self, name: impl std::fmt::Display) -> Self {
        Self { path: format!("{}[{name}]", self.path), is_quantity: self.is_quantity }
    }
}

fn compare(
    found: &mut Vec<Difference>,
    place: &Place,
    desired: &Value,
    live: Option<&Value>,
    owners: &[Owner<'_>],
) {
    match (desired, live) {
        // The API server drops empty values.
        (desired, None) if is_empty(desired) => {}
        (Value::Null, _) => {}
        (Value::Object(desired), Some(Value::Object(live))) => {
            for (key, desired) in desired {
                let below = narrow(owners, |set| set.field(key));
                compare(found, &place.field(key), desired, live.get(key), &below);
            }
        }
        (Value::Array(desired), Some(Value::Array(live))) => {
            compare_lists(found, place, desired, live, owners);
        }
        (desired, Some(live)) if same(desired, live, place.is_quantity) => {}
        _ => found.extend(cause(owners).map(|cause| Difference { path: place.path.clone(), cause })),
    }
}

fn compare_lists(
    found: &mut Vec<Difference>,
    place: &Place,
    desired: &[Value],
    live: &[Value],
    owners: &[Owner<'_>],
) {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(ToOwned::to_owned);
    let names: Vec<_> = desired.iter().filter_map(name).collect();
    let unique = names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len();
    if !desired.is_empty() && names.len() == desired.len() && unique {
        // Items that others added are ignored.
        for (item, name) in desired.iter().zip(names) {
            let index = live.iter().position(|live| live.get("name") == item.get("name"));
            let below = narrow(owners, |set| {
                set.item(index.unwrap_or(usize::MAX), index.map_or(item, |at| &live[at]))
            });
            compare(found, &place.item(name), item, index.map(|at| &live[at]), &below);
        }
        return;
    }
    if desired.len() != live.len() {
        found.extend(cause(owners).map(|cause| Difference { path: place.path.clone(), cause }));
        return;
    }
    for (index, (desired, live)) in desired.iter().zip(live).enumerate() {
        let below = narrow(owners, |set| set.item(index, live));
        compare(found, &place.item(index), desired, Some(live), &below);
    }
}

/// Why a field differs; none if helm still manages it, or if a controller adjusts it on purpose.
fn cause(owners: &[Owner<'_>]) -> Option<Cause> {
    if owners.iter().any(|owner| owner.name == HELM) {
        return None;
    }
    match owners.first() {
        None => Some(Cause::Removed),
        Some(Owner { name, subresource: "scale", .. }) if !name.starts_with("kubectl") => None,
        Some(owner) => Some(Cause::Set(owner.name.to_owned())),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// Whether two scalar values are the same to the API server.
fn same(desired: &Value, live: &Value, is_quantity: bool) -> bool {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match (desired, live) {
        _ if desired == live => true,
        (Value::Number(_), Value::Number(_)) => number(desired) == number(live),
        _ if is_quantity => {
            match (
                text(desired).and_then(|text| quantity(&text)),
                text(live).and_then(|text| quantity(&text)),
            ) {
                (Some(desired), Some(live)) => (desired - live).abs() <= desired.abs() * 1e-12,
                _ => false,
            }
        }
        _ => false,
    }
}

/// A quantity as Kubernetes writes it: `100m`, `1.5Gi`, `1e3`.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    let (digits, factor) = suffix.unwrap_or((text, &1.0));
    let plain = digits.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    digits.parse::<f64>().ok().filter(|_| plain).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As recorded by the API server of Kubernetes 1.36, shortened.
    fn deployment(managers: &[(&str, &str, Value)]) -> Value {
        let managed: Vec<_> = managers
            .iter()
            .map(|(name, subresource, fields)| {
                json!({"manager": name, "operation": "Apply", "subresource": subresource, "fieldsV1": fields})
            })
            .collect();
        json!({"metadata": {"name": "d", "managedFields": managed, "labels": {"a": "b", "c": "d"}},
            "spec": {"replicas": 3, "paused": true, "template": {"spec": {"volumes": [{"name": "v", "secret": {"defaultMode": 256}}],
                "containers": [{"name": "x", "image": "other", "args": ["a", "b"], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                    "env": [{"name": "E", "value": "1"}]}, {"name": "sidecar", "image": "s"}]}}}})
    }

    fn manifest() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"a": "b"}, "annotations": {}},
            "spec": {"replicas": 1, "template": {"spec": {"volumes": [{"name": "v", "secret": {"defaultMode": 256}}],
                "containers": [{"name": "x", "image": "i", "args": ["a", "b"], "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
                    "securityContext": {}, "env": [{"name": "E", "value": "1"}]}]}}}})
    }

    fn lines(found: &[Difference]) -> Vec<String> {
        let cause = |cause: &Cause| match cause {
            Cause::Set(name) => name.clone(),
            Cause::Removed => "removed".to_owned(),
        };
        found.iter().map(|one| format!("{} {}", one.path, cause(&one.cause))).collect()
    }

    #[test]
    fn reports_who_changed_a_field() {
        let image = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"x\"}": {".": {}, "f:image": {}}}}}}});
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let edited =
            deployment(&[("kubectl-edit", "", image.clone()), ("kubectl", "scale", replicas.clone())]);
        let found = differences(&manifest(), &edited);
        assert_eq!(
            lines(&found),
            ["spec.replicas kubectl", "spec.template.spec.containers[x].image kubectl-edit"]
        );
        // Autoscalers may scale, and helm still manages the image.
        let scaled =
            deployment(&[("kube-controller-manager", "scale", replicas.clone()), ("helm", "", image)]);
        assert!(differences(&manifest(), &scaled).is_empty());
        let removed = differences(&manifest(), &deployment(&[("helm", "", replicas)]));
        assert_eq!(lines(&removed), ["spec.template.spec.containers[x].image removed"]);
    }

    #[test]
    fn equivalent_values_do_not_differ() {
        let mut live = deployment(&[]);
        live["spec"]["replicas"] = 1.into();
        live["spec"]["template"]["spec"]["containers"][0]["image"] = "i".into();
        assert_eq!(lines(&differences(&manifest(), &live)), [""; 0]);
        let cases = [
            (json!("yes"), json!(true), false, false),
            (json!("0644"), json!(420), false, false),
            (json!(1.0), json!(1), false, true),
            (json!("1000m"), json!("1"), false, false),
            (json!("1000m"), json!(1), true, true),
            (json!("0.5"), json!("500m"), true, true),
            (json!("1Gi"), json!("1G"), true, false),
            (json!("x"), json!("y"), true, false),
        ];
        for (desired, live, is_quantity, expected) in cases {
            assert_eq!(same(&desired, &live, is_quantity), expected, "{desired} {live}");
        }
    }

    #[test]
    fn lists_without_names_are_compared_by_index() {
        let object = |args: Value| json!({"spec": {"args": args}});
        let differs = |desired: Value, live: Value| lines(&differences(&object(desired), &object(live)));
        assert_eq!(differs(json!(["a"]), json!(["a"])), [""; 0]);
        assert_eq!(differs(json!(["a"]), json!(["b"])), ["spec.args[0] removed"]);
        assert_eq!(differs(json!(["a"]), json!(["a", "b"])), ["spec.args removed"]);
        assert_eq!(differs(json!([{"port": 1}]), json!([{"port": 1, "protocol": "TCP"}])), [""; 0]);
        let named = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
        assert_eq!(differs(named, json!([{"name": "b", "port": 2}])), ["spec.args[a] removed"]);
    }

    proptest::proptest! {
        #[test]
        fn comparing_never_panics(manifest in crate::base::mutate::json(
            r#"{"metadata":{"name":"a"},"spec":{"replicas":1,"list":[{"name":"a","limits":{"cpu":"1"}},{"name":"b"}],"args":["a"]}}"#),
            live in crate::base::mutate::json(
            r#"{"metadata":{"managedFields":[{"manager":"a","subresource":"scale","fieldsV1":{"f:spec":{"f:list":{"k:{\"name\":\"a\"}":{".":{}},"v:1":{},"i:0":{}}}}}]},
                "spec":{"replicas":2,"list":[{"name":"a","limits":{"cpu":"2"}}],"args":["b"]}}"#), text: String) {
            _ = differences(&manifest, &live);
            _ = quantity(&text);
        }
    }
}
