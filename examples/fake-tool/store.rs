//! The objects of the simulated API server.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::scenario::{Scenario, ScenarioObject, matches_args};
use crate::transcript::read_calls;

/// Kinds of every cluster: group, version, kind, plural, and whether they are namespaced.
const BUILT_IN: [(&str, &str, &str, &str, bool); 11] = [
    ("apps", "v1", "DaemonSet", "daemonsets", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("apps", "v1", "StatefulSet", "statefulsets", true),
    ("batch", "v1", "Job", "jobs", true),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("coordination.k8s.io", "v1", "Lease", "leases", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "Node", "nodes", false),
    ("", "v1", "Service", "services", true),
];

pub(crate) struct Store {
    objects: Vec<ScenarioObject>,
    /// Written objects by path; `None` for deleted ones.
    written: Mutex<BTreeMap<String, Option<Value>>>,
}

/// HTTP status and body.
pub(crate) type Answer = (u16, String);

impl Store {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { objects: scenario.objects.clone(), written: Mutex::default() }
    }

    pub(crate) fn answer(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer, Box<dyn Error>> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match method {
            "GET" if path == "/apis" => Ok((200, self.discovery()?.to_string())),
            "GET" => self.read(path, query),
            _ => self.write(method, path, body, query.contains("dryRun=All")),
        }
    }

    /// The current objects by path.
    fn current(&self) -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
        let calls = read_calls()?;
        let was_called = |patterns: &Vec<String>| {
            calls.iter().any(|call| {
                let args = call["argv"].as_array().into_iter().flatten();
                let args: Vec<_> = args.filter_map(Value::as_str).map(ToOwned::to_owned).collect();
                matches_args(&args, patterns)
            })
        };
        let existing = self.objects.iter().filter(|one| one.after.as_ref().is_none_or(was_called));
        let mut current: BTreeMap<_, _> =
            existing.map(|one| (path_of(&one.object), with_version(one, calls.len()))).collect();
        for (path, object) in self.written.lock().map_err(|_| "poisoned")?.iter() {
            match object {
                Some(object) => current.insert(path.clone(), object.clone()),
                None => current.remove(path),
            };
        }
        Ok(current)
    }

    fn read(&self, path: &str, query: &str) -> Result<Answer, Box<dyn Error>> {
        let current = self.current()?;
        if let Some(object) = current.get(path) {
            return Ok((200, answered(object).to_string()));
        }
        let below = |found: &str| {
            // `/api/v1/secrets` lists all of `/api/v1/namespaces/*/secrets/*`.
            let mut words: Vec<_> = found.split('/').collect();
            words.pop();
            let list = words.join("/");
            let everywhere = list
                .split_once("/namespaces/")
                .and_then(|(root, rest)| Some(format!("{root}/{}", rest.split_once('/')?.1)));
            list == path || everywhere.as_deref() == Some(path)
        };
        // `/api/v1/nodes` is a list, `/api/v1/nodes/x` an object; paths below `/apis` have a group in addition.
        if path.split('/').count() % 2 == usize::from(path.starts_with("/api/")) {
            return Ok((404, json!({"kind": "Status", "message": "not found"}).to_string()));
        }
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
        let selector = selector.map(percent_decode).unwrap_or_default();
        let items: Vec<_> = current
            .iter()
            .filter(|(found, object)| below(found) && selected(object, &selector))
            .map(|(_, object)| answered(object))
            .collect();
        Ok((200, json!({"items": items}).to_string()))
    }

    fn write(&self, method: &str, path: &str, body: &[u8], dry_run: bool) -> Result<Answer, Box<dyn Error>> {
        let mut current = self.current()?;
        let body: Value = serde_json::from_slice(body)?;
        let path = match (method, body["metadata"]["name"].as_str()) {
            ("POST", Some(name)) => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        let before = current.remove(&path);
        let error = |status: u16, message: &str| {
            Ok((status, json!({"kind": "Status", "code": status, "message": message}).to_string()))
        };
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(ToOwned::to_owned);
        let mut written = self.written.lock().map_err(|_| "poisoned")?;
        let mut object = match (method, before) {
            // Access reviews have a rule.
            ("POST", Some(_)) => return error(409, "already exists"),
            ("PUT" | "PATCH", Some(before))
                if version(&body).is_some() && version(&body) != version(&before) =>
            {
                return error(409, "the object has been modified");
            }
            ("DELETE", Some(_)) => {
                written.insert(path, None);
                return Ok((200, json!({"kind": "Status", "status": "Success"}).to_string()));
            }
            ("PATCH", Some(mut object)) => {
                merge(&mut object, body);
                object
            }
            ("POST" | "PUT", _) => body,
            _ => return error(404, "not found"),
        };
        let last = written.values().flatten().filter_map(|object| version(object)?.parse().ok());
        object["metadata"]["resourceVersion"] = (last.max().unwrap_or(1000_u64) + 1).to_string().into();
        if !dry_run {
            written.insert(path, Some(object.clone()));
        }
        Ok((200, object.to_string()))
    }

    /// All kinds, including those of the current objects.
    fn discovery(&self) -> Result<Value, Box<dyn Error>> {
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut add = |group: &str, version: &str, kind: &str, plural: &str, namespaced: bool| {
            let scope = if namespaced { "Namespaced" } else { "Cluster" };
            let resource = json!({"resource": plural, "responseKind": {"kind": kind}, "scope": scope});
            groups
                .entry(group.to_owned())
                .or_default()
                .push(json!({"version": version, "resources": [resource]}));
        };
        for (group, version, kind, plural, namespaced) in BUILT_IN {
            if !group.is_empty() {
                add(group, version, kind, plural, namespaced);
            }
        }
        for object in self.current()?.values() {
            let (group, version) = group_of(object);
            let kind = object["kind"].as_str().unwrap_or_default();
            let known = BUILT_IN.iter().any(|(_, _, known, ..)| *known == kind);
            if !known && !group.is_empty() {
                let namespaced = object["metadata"]["namespace"].is_string();
                add(group, version, kind, &plural(kind), namespaced);
            }
        }
        let groups =
            groups.iter().map(|(name, versions)| json!({"metadata": {"name": name}, "versions": versions}));
        Ok(json!({"kind": "APIGroupDiscoveryList", "items": groups.collect::<Vec<_>>()}))
    }
}

/// Replaces `{requested}` in `lastHandledReconcileAt` by the time of the last request for a reconciliation.
fn answered(object: &Value) -> Value {
    let mut object = object.clone();
    let requested = object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"].clone();
    if object.pointer("/status/lastHandledReconcileAt").is_some_and(|handled| handled == "{requested}") {
        object["status"]["lastHandledReconcileAt"] = requested;
    }
    object
}

/// Adds a `resourceVersion`.
fn with_version(one: &ScenarioObject, calls: usize) -> Value {
    let mut object = one.object.clone();
    let version = &mut object["metadata"]["resourceVersion"];
    if one.updates {
        *version = calls.to_string().into();
    } else if version.is_null() {
        *version = "1".into();
    }
    object
}

fn group_of(object: &Value) -> (&str, &str) {
    let version = object["apiVersion"].as_str().unwrap_or("v1");
    version.split_once('/').unwrap_or(("", version))
}

fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    }
}

/// The path of an object. Built-in kinds need no `apiVersion`.
fn path_of(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    let built_in = BUILT_IN.iter().find(|(_, _, known, ..)| *known == kind);
    let (group, version) = match built_in {
        Some((group, version, ..)) => (*group, *version),
        None => group_of(object),
    };
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{}/{name}", plural(kind)),
        None => format!("{root}/{}/{name}", plural(kind)),
    }
}

/// Whether the labels of an object match a selector such as `a=b,c!=d,e in (f,g)`.
fn selected(object: &Value, selector: &str) -> bool {
    let label = |name: &str| object["metadata"]["labels"][name.trim()].as_str();
    let mut rest = selector;
    while !rest.is_empty() {
        let (term, others) = match rest.find(" in (") {
            Some(at) if !rest[..at].contains(',') => {
                let end = rest.find(')').map_or(rest.len(), |end| end + 1);
                (&rest[..end], rest[end..].trim_start_matches(','))
            }
            _ => rest.split_once(',').unwrap_or((rest, "")),
        };
        let matches = if let Some((name, values)) = term.split_once(" in (") {
            label(name).is_some_and(|value| values.trim_end_matches(')').split(',').any(|one| one == value))
        } else if let Some((name, value)) = term.split_once("!=") {
            label(name) != Some(value)
        } else if let Some((name, value)) = term.split_once('=') {
            label(name) == Some(value)
        } else {
            label(term).is_some()
        };
        if !matches {
            return false;
        }
        rest = others;
    }
    true
}

/// Decodes percent-encoding.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex =
            (*first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Applies a JSON merge patch.
fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    _ = into.as_object_mut().map(|into| into.remove(&name));
                } else {
                    merge(&mut into[&name], value);
                }
            }
        }
        other => *into = other,
    }
}
