//! What `k3s-boot diff` prints: for people, or as JSON.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::failure::FailureReport;
use super::{ClusterReport, ProblemReport};
use crate::base::error::Error;
use crate::base::escape::escaped;
use crate::base::redact::{REDACTED, Redactor};
use crate::base::url::Url;
use crate::desired::manifests::diff::{ObjectChange, ObjectDiff};
use crate::desired::values::ValueChange;
use crate::plan::releases::{ReleaseAction, ReleasePlan};
use crate::plan::{NamespaceAction, ObjectAction, Plan};

/// What `apps` would do, as `-o json` prints it.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub struct DiffReport {
    /// Whether `apps` would change anything; not there when that could not be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<bool>,
    /// The exit code.
    pub exit_code: u8,
    /// Why it could not be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// The problems that keep `apps` from doing anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
    /// Namespaces.
    pub namespaces: Vec<NamespaceDiff>,
    /// Secrets and other objects of encrypted files.
    pub objects: Vec<SecretDiff>,
    /// Releases.
    pub releases: Vec<ReleaseDiff>,
    /// Objects of releases, with `--manifests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestDiff>>,
}

/// A namespace.
#[derive(Debug, JsonSchema, Serialize)]
pub struct NamespaceDiff {
    /// Its name.
    pub name: String,
    /// `create` or `unchanged`.
    pub action: &'static str,
}

/// An object of an encrypted file; never its contents.
#[derive(Debug, JsonSchema, Serialize)]
pub struct SecretDiff {
    /// Its kind.
    pub kind: String,
    /// `namespace/name`.
    pub name: String,
    /// `create`, `change`, `unchanged` or `skip`.
    pub action: &'static str,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A release.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ReleaseDiff {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `install`, `upgrade`, `change`, `repair`, `remove`, `unchanged` or `skip`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// The chart.
    pub chart: String,
    /// The version that is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_version: Option<String>,
    /// The version that is wanted.
    pub new_version: String,
    /// The values that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueDiff>,
}

/// A value that differs.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ValueDiff {
    /// Where, as in `operator.replicas`.
    pub path: String,
    /// What is installed; `[redacted]` where it may be secret. Not there for releases with decrypted values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Whether neither is shown.
    #[serde(rename = "hidden", skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

/// An object of a release.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ManifestDiff {
    /// The release.
    pub release: String,
    /// `Kind namespace/name`.
    pub object: String,
    /// `create`, `change` or `unknown`.
    pub action: &'static str,
    /// The fields that would differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<ValueDiff>,
    /// Why it could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether what stands at this path may be secret, by its words.
fn may_be_secret(path: &str) -> bool {
    let path = path.to_lowercase();
    let words = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "api_key",
        "privatekey",
        "private_key",
        "credential",
        "agekey",
    ];
    words.iter().any(|word| path.contains(word))
}

/// What may be seen of a value: below a map that is told as a whole, key by key.
fn shown(path: &str, value: &Value, redactor: &Redactor) -> Value {
    // That a secret is named is no secret: `pullSecret`, `secretName`, `existingSecret` hold names.
    let names_one = ["secretname", "pullsecret", "existingsecret", "secretref", "secretsname"];
    let key = path.rsplit('.').next().unwrap_or(path).to_lowercase();
    if may_be_secret(path) && !names_one.iter().any(|name| key.ends_with(name)) && !value.is_boolean() {
        return REDACTED.into();
    }
    match value {
        Value::Object(map) => {
            let below = |(key, value): (&String, &Value)| {
                (key.clone(), shown(&format!("{path}.{key}"), value, redactor))
            };
            Value::Object(map.iter().map(below).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| shown(path, item, redactor)).collect()),
        Value::String(text) => {
            let clean = redactor.apply(text);
            if clean.contains(REDACTED) { REDACTED.into() } else { Value::String(without_credentials(text)) }
        }
        other => other.clone(),
    }
}

/// An address is told without its credentials, and so that it can be seen that there are some.
fn without_credentials(text: &str) -> String {
    match Url::parse(text) {
        Some(url) if url.secret().is_some() => format!("{}://{REDACTED}@{}", url.scheme, url.rest),
        _ => text.to_owned(),
    }
}

impl ValueDiff {
    fn new(change: &ValueChange, redactor: &Redactor) -> Self {
        let show = |value: &Option<Value>| value.as_ref().map(|value| shown(&change.path, value, redactor));
        Self { path: change.path.clone(), old: show(&change.old), new: show(&change.new), is_hidden: false }
    }

    /// The path alone.
    fn path_of(change: &ValueChange) -> Self {
        Self { path: change.path.clone(), old: None, new: None, is_hidden: true }
    }
}

impl ReleaseDiff {
    fn new(plan: &ReleasePlan, redactor: &Redactor) -> Self {
        let (namespace, name) = plan.id.split_once('/').unwrap_or(("", &plan.id));
        let action = match &plan.action {
            ReleaseAction::Install => "install",
            ReleaseAction::Upgrade => "upgrade",
            ReleaseAction::Change => "change",
            ReleaseAction::Repair(_) => "repair",
            ReleaseAction::Uninstall => "remove",
            ReleaseAction::Keep => "unchanged",
            ReleaseAction::Newer | ReleaseAction::LeaveTo(_) | ReleaseAction::Skip(_) => "skip",
        };
        let values = if plan.action.syncs() { plan.values.as_slice() } else { &[] };
        let shown = |change| {
            if plan.has_secret_values { ValueDiff::path_of(change) } else { ValueDiff::new(change, redactor) }
        };
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            action,
            reason: plan.reason(),
            chart: plan.to.chart.clone(),
            old_version: plan.from.as_ref().map(|from| from.version.clone()),
            new_version: plan.to.version.clone(),
            values: values.iter().map(shown).collect(),
        }
    }
}

impl ManifestDiff {
    fn new(diff: &ObjectDiff, hidden: bool, redactor: &Redactor) -> Self {
        let (action, fields, reason) = match &diff.change {
            ObjectChange::Create => ("create", &[][..], None),
            ObjectChange::Change(fields) => ("change", fields.as_slice(), None),
            ObjectChange::Unknown(reason) => ("unknown", &[][..], Some(redactor.apply(reason).into_owned())),
        };
        let hidden = hidden || diff.secret;
        let shown =
            |change| if hidden { ValueDiff::path_of(change) } else { ValueDiff::new(change, redactor) };
        Self {
            release: diff.release.clone(),
            object: diff.object.clone(),
            action,
            fields: fields.iter().map(shown).collect(),
            reason,
        }
    }
}

impl DiffReport {
    /// What a plan would do.
    #[must_use]
    pub fn new(
        plan: &Plan,
        manifests: Option<&[ObjectDiff]>,
        cluster: Option<ClusterReport>,
        redactor: &Redactor,
    ) -> Self {
        let namespaces = plan.namespaces.iter().map(|(name, action)| NamespaceDiff {
            name: name.clone(),
            action: if *action == NamespaceAction::Create { "create" } else { "unchanged" },
        });
        let objects = plan.objects.iter().map(|(id, action)| {
            let (action, fields, reason) = match action {
                ObjectAction::Create => ("create", Vec::new(), None),
                ObjectAction::Change(fields) => ("change", fields.clone(), None),
                ObjectAction::Keep => ("unchanged", Vec::new(), None),
                ObjectAction::LeaveToFlux(owner) => {
                    ("skip", Vec::new(), Some(format!("left to Kustomization {owner}")))
                }
            };
            SecretDiff { kind: id.kind.clone(), name: id.path(), action, fields, reason }
        });
        Self {
            changes: Some(!plan.is_empty()),
            cluster,
            namespaces: namespaces.collect(),
            objects: objects.collect(),
            releases: plan.releases().map(|release| ReleaseDiff::new(release, redactor)).collect(),
            manifests: manifests.map(|all| {
                let show = |diff: &ObjectDiff| {
                    ManifestDiff::new(diff, plan.has_secret_values(&diff.release), redactor)
                };
                all.iter().map(show).collect()
            }),
            ..Self::default()
        }
    }

    /// Tells why it could not be found out, without secrets.
    #[must_use]
    pub fn failed(error: &Error, failure: FailureReport, redactor: &Redactor) -> Self {
        Self {
            exit_code: error.exit_code(false),
            failure: Some(failure),
            problems: ProblemReport::all(error, redactor),
            ..Self::default()
        }
    }

    /// Whether `apps` would change anything, as far as that is known.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.changes == Some(true)
    }

    /// What people read: a line for each thing that would change, and how many stay as they are.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let namespaces: Vec<_> =
            self.namespaces.iter().map(|one| (one.name.clone(), one.action, Vec::new())).collect();
        section(&mut text, "Namespaces", &namespaces);
        let objects = self.objects.iter().map(|one| {
            let fields =
                if one.fields.is_empty() { String::new() } else { format!(": {}", one.fields.join(", ")) };
            let reason = one.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            (format!("{} {}{fields}{reason}", one.kind, one.name), one.action, Vec::new())
        });
        section(&mut text, "Secrets", &objects.collect::<Vec<_>>());
        let releases: Vec<_> = self.releases.iter().map(ReleaseDiff::lines).collect();
        section(&mut text, "Releases", &releases);
        if let Some(manifests) = &self.manifests {
            let objects = manifests.iter().map(|one| {
                let reason = one.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                let fields = one.fields.iter().map(ValueDiff::line).collect();
                (format!("{} ({}){reason}", one.object, one.release), one.action, fields)
            });
            section(&mut text, "Objects", &objects.collect::<Vec<_>>());
        }
        text.push_str(if self.changes() { "`k3s-boot apps` would do this\n" } else { "Nothing to change\n" });
        text
    }
}

impl ReleaseDiff {
    fn lines(&self) -> (String, &'static str, Vec<String>) {
        let Self { namespace, name, new_version, .. } = self;
        let version = match &self.old_version {
            Some(old) if old != new_version && self.action != "skip" => format!("{old} → {new_version}"),
            _ => new_version.clone(),
        };
        // The versions tell an upgrade, and the values a change.
        let reason = match self.action {
            "repair" | "skip" => format!(": {}", self.reason),
            _ => String::new(),
        };
        let values = self.values.iter().map(ValueDiff::line).collect();
        (format!("{namespace}/{name} {version}{reason}"), self.action, values)
    }
}

impl ValueDiff {
    fn line(&self) -> String {
        if self.is_hidden {
            return self.path.clone();
        }
        let show =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "(not set)".to_owned(), Value::to_string);
        format!("{}: {} → {}", self.path, cut(&show(&self.old)), cut(&show(&self.new)))
    }
}

/// A long value is told by its beginning.
fn cut(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Lines of a kind, each with its sign; what stays is counted.
fn section(text: &mut String, title: &str, lines: &[(String, &str, Vec<String>)]) {
    let unchanged = lines.iter().filter(|(_, action, _)| *action == "unchanged").count();
    _ = writeln!(text, "{title}");
    for (line, action, below) in lines.iter().filter(|(_, action, _)| *action != "unchanged") {
        let (sign, word) = match *action {
            "create" => ("+", "create"),
            "install" => ("+", "install"),
            "remove" => ("-", "remove"),
            "skip" => ("!", "skip"),
            "unknown" => ("?", "unknown"),
            other => ("~", other),
        };
        _ = writeln!(text, "  {sign} {word} {}", escaped(line));
        for line in below {
            _ = writeln!(text, "      {}", escaped(line));
        }
    }
    if unchanged > 0 || lines.is_empty() {
        _ = writeln!(text, "  = {unchanged} unchanged");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_secret_is_hidden() {
        let redactor = Redactor::default();
        redactor.add(["CANARY-known"]);
        let cases = [
            ("db.password", json!("CANARY"), json!(REDACTED)),
            ("a", json!({"apiToken": "CANARY", "b": 1}), json!({"apiToken": REDACTED, "b": 1})),
            ("env", json!(["x=CANARY-known"]), json!([REDACTED])),
            ("instance.sync.pullSecret", json!("github"), json!("github")),
            ("secret.create", json!(true), json!(true)),
            ("url", json!("https://me:CANARY@host/x"), json!("https://[redacted]@host/x")),
            ("url", json!("ssh://git@host/x"), json!("ssh://git@host/x")),
            ("replicas", json!(2), json!(2)),
        ];
        for (path, value, expected) in cases {
            assert_eq!(shown(path, &value, &redactor), expected, "{path}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(200)).chars().count(), 80);
    }
}
