//! Whether an object still has the fields that a manifest sets, and who changed those that it has not.
//!
//! The API server notes who set which field (`metadata.managedFields`). A field that helm still owns is as helm set it,
//! also where it reads otherwise than in the manifest: `1000m` becomes `1`, and what a kind does not know is left out.

use serde_json::{Map, Value};

/// helm's name among those who set fields.
const HELM: &str = "helm";

/// A field that differs from the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `spec.template.spec.containers[cilium-agent].image`.
    pub path: String,
    /// Who set it.
    pub cause: Cause,
}

/// Why a field differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody else set it: `kubectl-edit`.
    Set(String),
    /// Nobody did: it was taken away, or the API server never took it.
    Nobody,
}

/// The fields that the manifest sets and the object has not, less those that are as helm set them and those that a
/// controller adjusts on purpose. They hold no values, which may be secret.
#[must_use]
pub fn differences(manifest: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let (Some(manifest), Some(fields)) = (manifest.as_object(), live.as_object()) else { return found };
    let owners = owners(live);
    for (key, wanted) in manifest {
        // The name tells which object it is, and its status is its controller's.
        if !matches!(key.as_str(), "apiVersion" | "kind" | "status") {
            let below = narrow(&owners, |set| set.field(key));
            compare(&mut found, &Place::top(key), wanted, fields.get(key), &below);
        }
    }
    found
}

/// Whoever set fields of an object.
#[derive(Clone, Copy)]
struct Owner<'a> {
    name: &'a str,
    /// The part of the object that was written to: `scale` is what autoscalers use.
    subresource: &'a str,
    set: Set<'a>,
}

/// Which of the fields at a place.
#[derive(Clone, Copy)]
enum Set<'a> {
    /// These.
    Some(&'a Map<String, Value>),
    /// All of them.
    All,
}

impl<'a> Set<'a> {
    fn of(node: &'a Value) -> Self {
        match node.as_object() {
            Some(map) if map.keys().any(|key| key != ".") => Self::Some(map),
            _ => Self::All,
        }
    }

    /// What of a field.
    fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::All => Some(self),
            Self::Some(map) => map.get(&format!("f:{name}")).map(Self::of),
        }
    }

    /// What of an item of a list: items are told by some of their fields, by their value, or by their place.
    fn item(self, index: usize, item: &Value) -> Option<Self> {
        let Self::Some(map) = self else { return Some(self) };
        let is_meant = |key: &str| match key.split_once(':') {
            Some(("k", fields)) => serde_json::from_str::<Map<String, Value>>(fields)
                .is_ok_and(|fields| fields.iter().all(|(name, value)| item.get(name) == Some(value))),
            Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
            Some(("i", place)) => place.parse() == Ok(index),
            _ => false,
        };
        map.iter().find(|(key, _)| is_meant(key)).map(|(_, node)| Self::of(node))
    }
}

fn owners(live: &Value) -> Vec<Owner<'_>> {
    let all = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|entry| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let set = Set::of(entry.get("fieldsV1")?);
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
    /// Whether quantities stand here.
    measured: bool,
}

/// The fields below which quantities stand.
const MEASURED: [&str; 8] =
    ["limits", "requests", "capacity", "hard", "sizeLimit", "storage", "divisor", "averageValue"];

impl Place {
    fn top(name: &str) -> Self {
        Self { path: name.to_owned(), measured: false }
    }

    fn field(&self, name: &str) -> Self {
        // A key that holds dots is one key.
        let path = format!("{}.{}", self.path, name.replace('.', "\\."));
        Self { path, measured: self.measured || MEASURED.contains(&name) }
    }

    fn item(&self, name: impl std::fmt::Display) -> Self {
        Self { path: format!("{}[{name}]", self.path), measured: self.measured }
    }
}

fn compare(
    found: &mut Vec<Difference>,
    place: &Place,
    wanted: &Value,
    live: Option<&Value>,
    owners: &[Owner<'_>],
) {
    match (wanted, live) {
        // To set nothing is to ask for nothing; the API server drops what is empty.
        (wanted, None) if is_empty(wanted) => {}
        (Value::Null, _) => {}
        (Value::Object(wanted), Some(Value::Object(live))) => {
            for (key, wanted) in wanted {
                let below = narrow(owners, |set| set.field(key));
                compare(found, &place.field(key), wanted, live.get(key), &below);
            }
        }
        (Value::Array(wanted), Some(Value::Array(live))) => compare_lists(found, place, wanted, live, owners),
        (wanted, Some(live)) if same(wanted, live, place.measured) => {}
        _ => found.extend(cause(owners).map(|cause| Difference { path: place.path.clone(), cause })),
    }
}

fn compare_lists(
    found: &mut Vec<Difference>,
    place: &Place,
    wanted: &[Value],
    live: &[Value],
    owners: &[Owner<'_>],
) {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(ToOwned::to_owned);
    let names: Vec<_> = wanted.iter().filter_map(name).collect();
    let unique = names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len();
    if !wanted.is_empty() && names.len() == wanted.len() && unique {
        // Others may add items of their own.
        for (item, name) in wanted.iter().zip(names) {
            let there = live.iter().position(|live| live.get("name") == item.get("name"));
            let below = narrow(owners, |set| {
                set.item(there.unwrap_or(usize::MAX), there.map_or(item, |at| &live[at]))
            });
            compare(found, &place.item(name), item, there.map(|at| &live[at]), &below);
        }
        return;
    }
    if wanted.len() != live.len() {
        found.extend(cause(owners).map(|cause| Difference { path: place.path.clone(), cause }));
        return;
    }
    for (index, (wanted, live)) in wanted.iter().zip(live).enumerate() {
        let below = narrow(owners, |set| set.item(index, live));
        compare(found, &place.item(index), wanted, Some(live), &below);
    }
}

/// Who set a field that differs; none when it is as helm set it, or when it is adjusted on purpose.
fn cause(owners: &[Owner<'_>]) -> Option<Cause> {
    if owners.iter().any(|owner| owner.name == HELM) {
        return None;
    }
    match owners.first() {
        None => Some(Cause::Nobody),
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

/// Whether two plain values are the same to the API server.
fn same(wanted: &Value, live: &Value, measured: bool) -> bool {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match (wanted, live) {
        _ if wanted == live => true,
        (Value::Number(_), Value::Number(_)) => number(wanted) == number(live),
        _ if measured => {
            match (text(wanted).and_then(|text| quantity(&text)), text(live).and_then(|text| quantity(&text)))
            {
                (Some(wanted), Some(live)) => (wanted - live).abs() <= wanted.abs() * 1e-12,
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

    /// As the API server of Kubernetes 1.36 notes it, shortened.
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

    fn told(found: &[Difference]) -> Vec<String> {
        let cause = |cause: &Cause| match cause {
            Cause::Set(name) => name.clone(),
            Cause::Nobody => "nobody".to_owned(),
        };
        found.iter().map(|one| format!("{} {}", one.path, cause(&one.cause))).collect()
    }

    #[test]
    fn whoever_changed_a_field_is_told() {
        let image = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"x\"}": {".": {}, "f:image": {}}}}}}});
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let edited =
            deployment(&[("kubectl-edit", "", image.clone()), ("kubectl", "scale", replicas.clone())]);
        let found = differences(&manifest(), &edited);
        assert_eq!(
            told(&found),
            ["spec.replicas kubectl", "spec.template.spec.containers[x].image kubectl-edit"]
        );
        // An autoscaler is meant to do that; and what helm still owns is as it set it.
        let scaled =
            deployment(&[("kube-controller-manager", "scale", replicas.clone()), ("helm", "", image)]);
        assert!(differences(&manifest(), &scaled).is_empty());
        let nobody = differences(&manifest(), &deployment(&[("helm", "", replicas)]));
        assert_eq!(told(&nobody), ["spec.template.spec.containers[x].image nobody"]);
    }

    #[test]
    fn what_reads_otherwise_is_no_difference() {
        let mut live = deployment(&[]);
        live["spec"]["replicas"] = 1.into();
        live["spec"]["template"]["spec"]["containers"][0]["image"] = "i".into();
        assert_eq!(told(&differences(&manifest(), &live)), [""; 0]);
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
        for (wanted, live, measured, expected) in cases {
            assert_eq!(same(&wanted, &live, measured), expected, "{wanted} {live}");
        }
    }

    #[test]
    fn lists_without_names_are_compared_by_place() {
        let of = |args: Value| json!({"spec": {"args": args}});
        let differs = |wanted: Value, live: Value| told(&differences(&of(wanted), &of(live)));
        assert_eq!(differs(json!(["a"]), json!(["a"])), [""; 0]);
        assert_eq!(differs(json!(["a"]), json!(["b"])), ["spec.args[0] nobody"]);
        assert_eq!(differs(json!(["a"]), json!(["a", "b"])), ["spec.args nobody"]);
        assert_eq!(differs(json!([{"port": 1}]), json!([{"port": 1, "protocol": "TCP"}])), [""; 0]);
        let named = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
        assert_eq!(differs(named, json!([{"name": "b", "port": 2}])), ["spec.args[a] nobody"]);
    }

    proptest::proptest! {
        #[test]
        fn no_object_makes_it_panic(manifest in crate::base::odd::odd(
            r#"{"metadata":{"name":"a"},"spec":{"replicas":1,"list":[{"name":"a","limits":{"cpu":"1"}},{"name":"b"}],"args":["a"]}}"#),
            live in crate::base::odd::odd(
            r#"{"metadata":{"managedFields":[{"manager":"a","subresource":"scale","fieldsV1":{"f:spec":{"f:list":{"k:{\"name\":\"a\"}":{".":{}},"v:1":{},"i:0":{}}}}}]},
                "spec":{"replicas":2,"list":[{"name":"a","limits":{"cpu":"2"}}],"args":["b"]}}"#), text: String) {
            _ = differences(&manifest, &live);
            _ = quantity(&text);
        }
    }
}
