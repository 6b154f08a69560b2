//! The effects of a plan and of a run in the same format, so that they can be compared. Those of a run are read with
//! kubectl and helm, without k3s-boot.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::fixture::Fixture;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The parts of a cluster that a bootstrap can change.
#[derive(Default)]
pub(super) struct State {
    namespaces: BTreeSet<String>,
    secrets: BTreeMap<String, Secret>,
    pub(super) releases: BTreeMap<String, Release>,
}

/// A Secret that does not come from a Helm release.
#[derive(PartialEq)]
struct Secret {
    /// A hash of each value.
    keys: BTreeMap<String, String>,
    /// Whether client-side apply left the last-applied annotation.
    copied: bool,
}

/// A Helm release, as helm reports it.
#[derive(Clone, PartialEq)]
pub(super) struct Release {
    pub(super) revision: u64,
    pub(super) status: String,
    chart: String,
    version: String,
    values: Value,
}

impl State {
    /// Reads a release. Values of a revision never change, so they are taken from `known` if possible.
    pub(super) fn read(fixture: &Fixture, known: &Self) -> Self {
        let namespaces = objects(fixture, "namespaces").into_iter().map(|one| text(&one["metadata"]["name"]));
        let secrets = objects(fixture, "secrets");
        let ours = |secret: &&Value| {
            let of_helm = secret["type"] == "helm.sh/release.v1";
            !of_helm && secret["metadata"]["annotations"]["meta.helm.sh/release-name"].is_null()
        };
        let secrets =
            secrets.iter().filter(ours).map(|secret| (id(&secret["metadata"]), Secret::new(secret)));
        let releases = fixture.sandbox.helm_list().unwrap();
        let releases = releases.iter().map(|release| {
            let id = id(release);
            let revision = text(&release["revision"]).parse().unwrap();
            let status = text(&release["status"]);
            let old = known.releases.get(&id).filter(|old| old.revision == revision);
            let values = old.map_or_else(|| values(fixture, &id), |old| old.values.clone());
            let chart = text(&release["chart"]);
            let (chart, version) = chart.rsplit_once('-').unwrap();
            let (chart, version) = (chart.to_owned(), version.to_owned());
            (id, Release { revision, status, chart, version, values })
        });
        Self { namespaces: namespaces.collect(), secrets: secrets.collect(), releases: releases.collect() }
    }

    /// The effects as lines, and the numbers of revisions for the table.
    pub(super) fn effect(&self, after: &Self) -> (Vec<String>, Vec<String>) {
        let mut lines = Vec::new();
        let (old, new) = (&self.namespaces, &after.namespaces);
        lines.extend(new.difference(old).map(|name| format!("namespace {name} created")));
        lines.extend(old.difference(new).map(|name| format!("namespace {name} deleted")));
        for id in union(&self.secrets, &after.secrets) {
            lines.extend(secret_effect(&id, self.secrets.get(&id), after.secrets.get(&id)));
        }
        let mut revisions = Vec::new();
        for id in union(&self.releases, &after.releases) {
            let (old, new) = (self.releases.get(&id), after.releases.get(&id));
            if old != new {
                let number = |release: Option<&Release>| release.map_or(0, |release| release.revision);
                revisions.push(format!("{id} revision {} → {}", number(old), number(new)));
                lines.push(release_effect(&id, old, new));
            }
        }
        lines.sort();
        (lines, revisions)
    }
}

fn union<T>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> BTreeSet<String> {
    old.keys().chain(new.keys()).cloned().collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn id(metadata: &Value) -> String {
    format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]))
}

/// All objects of these kinds.
pub(super) fn objects(fixture: &Fixture, kinds: &str) -> Vec<Value> {
    let output = fixture.sandbox.kubectl(&["get", kinds, "--all-namespaces", "--output", "json"]).unwrap();
    let mut list: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(list["items"].take()).unwrap()
}

fn values(fixture: &Fixture, id: &str) -> Value {
    let (namespace, name) = id.split_once('/').unwrap();
    let output = fixture.helm(&["get", "values", name, "--namespace", namespace, "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Secret {
    fn new(secret: &Value) -> Self {
        let data = secret["data"].as_object().into_iter().flatten();
        let hash = |value: &Value| format!("{:x}", Sha256::digest(value.as_str().unwrap()));
        Self {
            keys: data.map(|(key, value)| (key.clone(), hash(value))).collect(),
            copied: !secret["metadata"]["annotations"][LAST_APPLIED].is_null(),
        }
    }
}

fn secret_effect(id: &str, old: Option<&Secret>, new: Option<&Secret>) -> Option<String> {
    let (old, new) = match (old, new) {
        (None, _) => return Some(format!("Secret {id} created")),
        (_, None) => return Some(format!("Secret {id} deleted")),
        (Some(old), Some(new)) if old == new => return None,
        (Some(old), Some(new)) => (old, new),
    };
    let differs = |key: &String| old.keys.get(key) != new.keys.get(key);
    let keys = union(&old.keys, &new.keys).into_iter().filter(differs);
    let mut fields: Vec<_> = keys.map(|key| format!("data.{}", key.replace('.', "\\."))).collect();
    if old.copied != new.copied {
        fields.push("the last-applied annotation".to_owned());
    }
    Some(secret_line(id, &fields))
}

/// A Secret with these changed fields.
pub(super) fn secret_line(id: &str, fields: &[String]) -> String {
    format!("Secret {id} changed: {}", fields.join(", "))
}

fn release_effect(id: &str, old: Option<&Release>, new: Option<&Release>) -> String {
    match (old, new) {
        (None, Some(new)) if new.revision == 1 => installed(id, &new.chart, &new.version),
        (Some(old), Some(new)) if new.revision == old.revision + 1 => {
            let (was, is) = (leaves(&old.values), leaves(&new.values));
            let differs = |path: &String| was.get(path) != is.get(path);
            let paths = union(&was, &is).into_iter().filter(differs);
            let values = paths.map(|path| value_line(&path, was.get(&path), is.get(&path)));
            synced(id, (&old.version, &new.version), &values.collect::<Vec<_>>())
        }
        _ => format!("release {id} in another way"),
    }
}

/// A new release.
pub(super) fn installed(id: &str, chart: &str, version: &str) -> String {
    format!("release {id} installed: {chart} {version}")
}

/// A release with a new revision, and its differences.
pub(super) fn synced(id: &str, (old, new): (&str, &str), values: &[String]) -> String {
    let version = (old != new).then(|| format!("version {old} → {new}"));
    let differs: Vec<_> = version.iter().chain(values).map(String::as_str).collect();
    [&[format!("release {id} synced").as_str()], &differs[..]].concat().join("; ")
}

/// A changed value.
pub(super) fn value_line(path: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    let show = |value: Option<&Value>| match value {
        None => "(not set)".to_owned(),
        Some(_) if path.contains("password") => "\"[redacted]\"".to_owned(),
        Some(value) => value.to_string(),
    };
    format!("{path}: {} → {}", show(old), show(new))
}

/// The values by path; a list is one value.
fn leaves(values: &Value) -> BTreeMap<String, Value> {
    fn add(found: &mut BTreeMap<String, Value>, path: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let key = key.replace('.', "\\.");
                    let below = if path.is_empty() { key } else { format!("{path}.{key}") };
                    add(found, &below, value);
                }
            }
            value => _ = found.insert(path.to_owned(), value.clone()),
        }
    }
    let mut found = BTreeMap::new();
    if !values.is_null() {
        add(&mut found, "", values);
    }
    found
}

/// The effects in `diff -o json`: the same lines, and its summary for the table.
pub(super) fn planned(report: &Value) -> (Vec<String>, Vec<String>) {
    let list = |name: &str| report[name].as_array().unwrap().clone();
    let texts = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text).collect() };
    let (mut lines, mut words) = (Vec::new(), Vec::new());
    for one in list("namespaces").iter().filter(|one| one["action"] != "unchanged") {
        lines.push(format!("namespace {} created", text(&one["name"])));
        words.push(format!("{} namespace {}", text(&one["action"]), text(&one["name"])));
    }
    for one in list("objects").iter().filter(|one| one["action"] != "unchanged") {
        let (kind, name, fields) = (text(&one["kind"]), text(&one["name"]), texts(&one["fields"]));
        match one["action"].as_str().unwrap() {
            "create" => lines.push(format!("{kind} {name} created")),
            "change" => lines.push(secret_line(&name, &fields)),
            other => assert_eq!(other, "skip"),
        }
        words.push(format!("{} {kind} {name} {}", text(&one["action"]), fields.join(", ")));
    }
    for one in list("releases").iter().filter(|one| one["action"] != "unchanged") {
        let id = id(one);
        let new = text(&one["new_version"]);
        match one["action"].as_str().unwrap() {
            "install" => lines.push(installed(&id, &text(&one["chart"]), &new)),
            "upgrade" | "change" | "resync" => {
                let values = one["values"].as_array().into_iter().flatten();
                let values =
                    values.map(|value| value_line(&text(&value["path"]), value.get("old"), value.get("new")));
                let old = text(&one["old_version"]);
                lines.push(synced(&id, (&old, &new), &values.collect::<Vec<_>>()));
            }
            other => assert_eq!(other, "skip"),
        }
        words.push(format!("{} {id}: {}", text(&one["action"]), text(&one["reason"])));
    }
    lines.sort();
    (lines, words)
}
