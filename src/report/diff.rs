//! The report of `k3s-boot diff`, as text or JSON.

mod crds;
mod namespaces;
mod objects;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use self::crds::CrdDiff;
use self::namespaces::NamespaceDiff;
use self::objects::AppliedDiff;
use super::failure::FailureReport;
use super::{ClusterReport, ProblemReport, SchemaVersion};
use crate::base::error::Error;
use crate::base::escape::escaped;
use crate::base::redact::Redactor;
use crate::base::release_id::ReleaseId;
use crate::base::stages::Stage;
use crate::desired::manifests::diff::{ObjectChange, ObjectDiff};
use crate::desired::values::{ValueChange, cut, shown};
use crate::plan::Plan;
use crate::plan::releases::{ReleaseAction, ReleasePlan};

words! {
    /// What would happen to a namespace, an object or a custom resource definition.
    ItemChange {
        /// It would be created.
        Create = "create",
        /// Some of its fields would change.
        Change = "change",
        /// It is up to date.
        Unchanged = "unchanged",
        /// It is newer or managed elsewhere, or cannot be applied.
        Skip = "skip",
    }
}

words! {
    /// What would happen to a release.
    ReleaseChange {
        /// It would be installed.
        Install = "install",
        /// Its chart or version would change.
        Upgrade = "upgrade",
        /// Its values would change.
        Change = "change",
        /// It would be synced for another reason.
        Resync = "resync",
        /// It would be uninstalled.
        Uninstall = "uninstall",
        /// It is up to date.
        Unchanged = "unchanged",
        /// It is skipped, newer, or managed elsewhere.
        Skip = "skip",
    }
}

words! {
    /// What would happen to an object of a release.
    ManifestChange {
        /// It would be created.
        Create = "create",
        /// Some of its fields would change.
        Change = "change",
        /// It could not be compared.
        Unknown = "unknown",
    }
}

/// The report of `k3s-boot diff`, as `-o json` prints it.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub(crate) struct DiffReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// Whether `apps` would change anything; absent if that is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<bool>,
    /// The exit code.
    pub exit_code: u8,
    /// Details of the failure, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    /// Problems that block `apps`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterReport>,
    /// Namespaces.
    pub namespaces: Vec<NamespaceDiff>,
    /// Secrets, and the objects of encrypted files, commands and manifests.
    pub objects: Vec<AppliedDiff>,
    /// Custom resource definitions of a helmfile that is only rendered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crds: Vec<CrdDiff>,
    /// Releases.
    pub releases: Vec<ReleaseDiff>,
    /// HelmCharts of k3s that would be removed, as `namespace/name`; their releases would stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub helm_charts: Vec<String>,
    /// Objects of releases, with `--manifests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestDiff>>,
}

/// A release.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ReleaseDiff {
    pub namespace: String,
    pub name: String,
    /// What would happen to it.
    pub action: ReleaseChange,
    /// Why.
    pub reason: String,
    /// The chart.
    pub chart: String,
    /// The version that is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_version: Option<String>,
    /// The desired version.
    pub new_version: String,
    /// The values that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueDiff>,
}

/// A value that differs.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ValueDiff {
    /// The path, such as `operator.replicas`.
    pub path: String,
    /// The installed value; `[redacted]` if it may be secret, absent if `hidden` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The desired value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Whether both values are hidden because the release has decrypted values.
    #[serde(rename = "hidden", skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

/// An object of a release.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ManifestDiff {
    /// The release.
    pub release: String,
    /// `Kind namespace/name`.
    pub object: String,
    /// What would happen to it.
    pub action: ManifestChange,
    /// The fields that would change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<ValueDiff>,
    /// Why it could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ValueDiff {
    fn new(change: &ValueChange, redactor: &Redactor) -> Self {
        let show = |value: &Option<Value>| value.as_ref().map(|value| shown(&change.path, value, redactor));
        Self { path: change.path.clone(), old: show(&change.old), new: show(&change.new), is_hidden: false }
    }

    /// A value of which only the path is shown.
    fn path_of(change: &ValueChange) -> Self {
        Self { path: change.path.clone(), old: None, new: None, is_hidden: true }
    }
}

impl ReleaseDiff {
    fn new(plan: &ReleasePlan, redactor: &Redactor) -> Self {
        let ReleaseId { namespace, name } = &plan.id;
        let action = match &plan.action {
            ReleaseAction::Install => ReleaseChange::Install,
            ReleaseAction::Upgrade => ReleaseChange::Upgrade,
            ReleaseAction::Change => ReleaseChange::Change,
            ReleaseAction::Resync(_) => ReleaseChange::Resync,
            ReleaseAction::Uninstall => ReleaseChange::Uninstall,
            ReleaseAction::UpToDate => ReleaseChange::Unchanged,
            ReleaseAction::Newer | ReleaseAction::ManagedElsewhere(_) | ReleaseAction::Skip(_) => {
                ReleaseChange::Skip
            }
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
            ObjectChange::Create => (ManifestChange::Create, &[][..], None),
            ObjectChange::Change(fields) => (ManifestChange::Change, fields.as_slice(), None),
            ObjectChange::Unknown(reason) => {
                (ManifestChange::Unknown, &[][..], Some(redactor.apply(reason).into_owned()))
            }
        };
        let hidden = hidden || diff.secret;
        let shown =
            |change| if hidden { ValueDiff::path_of(change) } else { ValueDiff::new(change, redactor) };
        Self {
            release: diff.release.to_string(),
            object: diff.object.clone(),
            action,
            fields: fields.iter().map(shown).collect(),
            reason,
        }
    }
}

impl DiffReport {
    /// The changes of a plan.
    pub(crate) fn new(
        plan: &Plan,
        manifests: Option<&[ObjectDiff]>,
        cluster: Option<ClusterReport>,
        redactor: &Redactor,
    ) -> Self {
        Self {
            changes: Some(!plan.is_empty()),
            cluster,
            namespaces: plan.namespaces.iter().map(|one| NamespaceDiff::new(one, redactor)).collect(),
            objects: plan.objects.iter().map(AppliedDiff::new).collect(),
            crds: plan.crds.iter().map(|crd| CrdDiff::new(crd, redactor)).collect(),
            releases: plan.releases().map(|release| ReleaseDiff::new(release, redactor)).collect(),
            helm_charts: (plan.helm_charts.iter())
                .map(|chart| format!("{}/{}", chart.meta.namespace, chart.meta.name))
                .collect(),
            manifests: manifests.map(|all| {
                let show = |diff: &ObjectDiff| {
                    ManifestDiff::new(diff, plan.has_secret_values(&diff.release), redactor)
                };
                all.iter().map(show).collect()
            }),
            ..Self::default()
        }
    }

    /// The report of a failure, without secrets.
    pub(crate) fn failed(error: &Error, failure: FailureReport, redactor: &Redactor) -> Self {
        Self {
            exit_code: error.exit_code(false),
            failure: Some(failure),
            problems: ProblemReport::all(error, redactor),
            ..Self::default()
        }
    }

    /// Whether `apps` is known to change anything.
    pub(crate) fn changes(&self) -> bool {
        self.changes == Some(true)
    }

    /// The report as text: a line for each change, and the number of unchanged items.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let namespaces: Vec<_> = self.namespaces.iter().map(NamespaceDiff::lines).collect();
        section(&mut text, "Namespaces", &namespaces);
        let of_stage = |stage: Stage| {
            let objects = self.objects.iter().filter(move |one| one.stage == stage);
            objects.map(AppliedDiff::lines).collect::<Vec<_>>()
        };
        section(&mut text, "Secrets", &of_stage(Stage::Secrets));
        let manifests = of_stage(Stage::Manifests);
        if !manifests.is_empty() {
            section(&mut text, "Manifests", &manifests);
        }
        if !self.crds.is_empty() {
            section(&mut text, "CRDs", &self.crds.iter().map(CrdDiff::lines).collect::<Vec<_>>());
        }
        let releases: Vec<_> = self.releases.iter().map(ReleaseDiff::lines).collect();
        section(&mut text, "Releases", &releases);
        if !self.helm_charts.is_empty() {
            let line = |name: &String| (format!("{name}, and keep the release"), "remove", Vec::new());
            section(&mut text, "HelmCharts", &self.helm_charts.iter().map(line).collect::<Vec<_>>());
        }
        if let Some(manifests) = &self.manifests {
            let objects = manifests.iter().map(|one| {
                let reason = after_colon(one.reason.as_deref());
                let fields = one.fields.iter().map(ValueDiff::line).collect();
                (format!("{} ({}){reason}", one.object, one.release), one.action.word(), fields)
            });
            section(&mut text, "Objects", &objects.collect::<Vec<_>>());
        }
        text.push_str(if self.changes() {
            "Run `k3s-boot apps` to apply these changes\n"
        } else {
            "Nothing to change\n"
        });
        text
    }
}

impl ReleaseDiff {
    fn lines(&self) -> (String, &'static str, Vec<String>) {
        let Self { namespace, name, new_version, .. } = self;
        let version = match &self.old_version {
            Some(old) if old != new_version && self.action != ReleaseChange::Skip => {
                format!("{old} → {new_version}")
            }
            _ => new_version.clone(),
        };
        // Versions show an upgrade, values a change.
        let reason = match self.action {
            ReleaseChange::Resync | ReleaseChange::Skip => format!(": {}", self.reason),
            _ => String::new(),
        };
        let values = self.values.iter().map(ValueDiff::line).collect();
        (format!("{namespace}/{name} {version}{reason}"), self.action.word(), values)
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

/// The end of a line with this reason, if there is one.
fn after_colon(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

/// A section with a line for each change; unchanged items are counted.
fn section(text: &mut String, title: &str, lines: &[(String, &str, Vec<String>)]) {
    let unchanged = lines.iter().filter(|(_, action, _)| *action == "unchanged").count();
    _ = writeln!(text, "{title}");
    for (line, action, below) in lines.iter().filter(|(_, action, _)| *action != "unchanged") {
        let (sign, word) = match *action {
            "create" => ("+", "create"),
            "install" => ("+", "install"),
            "uninstall" => ("-", "uninstall"),
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
