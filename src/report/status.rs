//! The report of `k3s-boot status`, as JSON or text ([`text`]).

mod problems;
mod text;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use self::problems::{StatusPart, StatusProblem, Unknown};
pub(crate) use self::text::{View, text};
use super::SchemaVersion;
use crate::base::fact::Fact;
use crate::base::finding::Finding;
use crate::base::redact::Redactor;
use crate::base::release_id::ReleaseId;
use crate::gather::{Named, Snapshot};
use crate::observed::claims::Claims;
use crate::observed::events::{Event, last_about};
use crate::observed::flux::Resource;
use crate::observed::helm::Stored;
use crate::observed::node::Node;
use crate::observed::workloads::Workload;
use crate::tools::kubeconfig::Target;

/// The state of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StatusResult {
    /// Everything is ready, except what is cordoned or suspended.
    Ready,
    /// Something is not ready.
    NotReady,
    /// Releases or Flux could not be read.
    Unknown,
    /// The cluster does not respond.
    Failed,
}

words! {
    /// The role of a node.
    NodeRole {
        /// It runs the control plane.
        Server = "server",
        /// It does not.
        Agent = "agent",
    }
}

/// The status of the condition `Ready` of an object of Flux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) enum FluxReady {
    /// It is ready.
    True,
    /// It has failed.
    False,
    /// It is being reconciled.
    Unknown,
    /// Flux has not reconciled it yet.
    #[serde(rename = "absent")]
    Absent,
}

/// The report of `k3s-boot status`, as `-o json` prints it. Times are in RFC 3339.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct StatusReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// The state of the cluster.
    pub result: StatusResult,
    /// The exit code.
    pub exit_code: u8,
    /// The cluster; null if it could not be reached.
    pub cluster: Option<ClusterStatus>,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// The Helm releases, those of the helmfiles first; null if they could not be read.
    pub releases: Option<Vec<ReleaseStatus>>,
    /// The objects of Flux; null if they could not be read.
    pub flux: Option<Vec<FluxStatus>>,
    /// Workloads that are not ready and belong to no release.
    pub workloads: Vec<Unready>,
    /// What is not ready, cordoned or suspended, and why; the most important first.
    pub problems: Vec<StatusProblem>,
    /// What is unknown.
    pub unknown: Vec<Unknown>,
}

/// The cluster.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct ClusterStatus {
    /// The context of the kubeconfig.
    pub context: String,
    /// The URL of the API server.
    pub server: String,
    /// The version of the API server.
    pub version: String,
    /// The UID of the kube-system namespace.
    pub uid: String,
    /// When the kube-system namespace was created.
    pub created: String,
}

/// A node.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct NodeStatus {
    pub name: String,
    pub role: NodeRole,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it accepts no new pods.
    pub cordoned: bool,
    /// The reason of its condition `Ready`, if it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The message of its condition `Ready`, if it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version of the kubelet.
    pub version: String,
    /// The internal IP address, else the external one.
    pub address: Option<String>,
}

/// A Helm release.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct ReleaseStatus {
    pub namespace: String,
    pub name: String,
    /// The name of the chart, if known.
    pub chart: Option<String>,
    /// The version of the chart, if known.
    pub version: Option<String>,
    /// The status in Helm: `deployed`, `failed`, `pending-install`, …
    pub status: String,
    pub revision: u64,
    /// `helmfile`, `HelmRelease NAMESPACE/NAME`, `HelmChart NAMESPACE/NAME` (k3s), `other` or `unknown`.
    pub owner: String,
    /// Whether a helmfile of the repository contains it.
    pub in_helmfile: bool,
    /// Since when an operation is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<String>,
    /// The description that Helm recorded for a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is deployed and all its workloads are ready.
    pub ready: bool,
    /// The first of its workloads that is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unready: Option<Unready>,
}

/// A workload that is not ready.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct Unready {
    /// The workload, as `KIND NAMESPACE/NAME`.
    pub object: String,
    /// The number of ready pods.
    pub ready: i64,
    /// The number of desired pods.
    pub desired: i64,
    /// The latest warning event of the workload or one of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventStatus>,
}

/// A warning event.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct EventStatus {
    /// The object, as `KIND NAMESPACE/NAME`.
    pub object: String,
    pub reason: String,
    pub message: String,
    /// How often the event occurred.
    pub count: u64,
    /// When the event occurred last.
    pub last: String,
}

/// An object of Flux.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct FluxStatus {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// The status of its condition `Ready`.
    pub ready: FluxReady,
    /// Whether it is suspended.
    pub suspended: bool,
    /// The reason of the condition.
    pub reason: String,
    /// The message of the condition.
    pub message: String,
    /// The revision that was fetched or applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The input of a report.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub target: &'a Target,
    pub standing: &'a Snapshot,
    /// The releases of the helmfiles.
    pub named: &'a Named,
}

impl StatusReport {
    /// The report, without secrets.
    pub(crate) fn new(seen: &Seen<'_>, redactor: &Redactor) -> Self {
        let make = Make { seen: *seen, clean: |text: &str| redactor.apply(text).into_owned() };
        let live = &seen.standing.live;
        let mut report = Self {
            schema_version: SchemaVersion,
            result: StatusResult::Ready,
            exit_code: 0,
            cluster: Some(ClusterStatus {
                context: seen.target.context.clone(),
                server: seen.target.server.clone(),
                version: live.version.clone(),
                uid: live.cluster.uid.clone(),
                created: live.cluster.created.clone(),
            }),
            nodes: live.cluster.nodes.iter().map(|node| make.node(node)).collect(),
            releases: make.releases(),
            flux: live.claims.as_ref().ok().map(|claims| make.flux(claims)),
            workloads: make.loose_workloads(),
            problems: Vec::new(),
            unknown: problems::unknown(seen, redactor),
        };
        report.problems = problems::problems(&report);
        if !report.is_ready() {
            report.result = StatusResult::NotReady;
        } else if report.releases.is_none() || report.flux.is_none() {
            report.result = StatusResult::Unknown;
        }
        report
    }

    /// Whether everything is ready, except what is cordoned or suspended.
    fn is_ready(&self) -> bool {
        !self.nodes.is_empty()
            && self.nodes.iter().all(|node| node.ready)
            && self.releases.iter().flatten().all(|release| release.ready)
            && self.flux.iter().flatten().all(|object| object.suspended || object.ready == FluxReady::True)
            && self.workloads.is_empty()
    }

    /// The report for a cluster that could not be read, without secrets.
    pub(crate) fn failed(findings: &[Finding], exit_code: u8, redactor: &Redactor) -> Self {
        Self {
            schema_version: SchemaVersion,
            result: StatusResult::Failed,
            exit_code,
            cluster: None,
            nodes: Vec::new(),
            releases: None,
            flux: None,
            workloads: Vec::new(),
            problems: findings.iter().map(|finding| StatusProblem::of(finding, redactor)).collect(),
            unknown: Vec::new(),
        }
    }
}

/// Makes the parts of a report; `clean` redacts secrets in texts of the cluster.
struct Make<'a, C> {
    seen: Seen<'a>,
    clean: C,
}

impl<C: Fn(&str) -> String> Make<'_, C> {
    fn node(&self, node: &Node) -> NodeStatus {
        let address = |wanted: &str| node.addresses.iter().find(|address| address.r#type == wanted);
        let why = |text: &str| Some(text).filter(|text| !node.ready && !text.is_empty()).map(&self.clean);
        NodeStatus {
            name: node.name.clone(),
            role: if node.is_server() { NodeRole::Server } else { NodeRole::Agent },
            ready: node.ready,
            cordoned: node.unschedulable,
            reason: why(&node.reason),
            message: why(&node.message),
            version: node.info.kubelet_version.clone(),
            address: address("InternalIP")
                .or_else(|| address("ExternalIP"))
                .map(|found| found.address.clone()),
        }
    }

    fn releases(&self) -> Option<Vec<ReleaseStatus>> {
        let stored = self.seen.standing.live.releases.as_ref().ok()?;
        let mut stored: Vec<_> = stored.iter().map(|one| (self.place(&one.id()), one)).collect();
        // Releases of the helmfiles in their order, then the others as they were.
        stored.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
        Some(stored.into_iter().map(|(place, one)| self.release(one, place.is_some())).collect())
    }

    fn place(&self, id: &ReleaseId) -> Option<usize> {
        self.seen.named.releases.iter().position(|name| name == id)
    }

    fn release(&self, stored: &Stored, in_helmfile: bool) -> ReleaseStatus {
        let live = &self.seen.standing.live;
        let id = stored.id();
        let record = live.records.as_ref().ok().and_then(|records| records.get(&id));
        let workloads = || live.cluster.workloads.iter().filter(|one| one.release().as_ref() == Some(&id));
        let chart = match record {
            Some(record) => Some((record.chart.clone(), record.version.clone())),
            None => workloads().find_map(labelled_chart),
        };
        let (chart, version) = chart.unzip();
        let unready = workloads().find(|workload| is_unready(workload)).map(|one| self.unready(one));
        let description =
            record.map(|record| record.description.as_str()).filter(|_| stored.status == "failed");
        ReleaseStatus {
            namespace: stored.namespace.clone(),
            name: stored.name.clone(),
            chart,
            version,
            status: stored.status.clone(),
            revision: stored.revision,
            owner: self.owner(&id, in_helmfile),
            in_helmfile,
            pending_since: stored.since().filter(|_| stored.is_pending()),
            description: description.filter(|text| !text.is_empty()).map(&self.clean),
            ready: stored.status == "deployed" && unready.is_none(),
            unready,
        }
    }

    fn owner(&self, id: &ReleaseId, in_helmfile: bool) -> String {
        match &self.seen.standing.live.claims {
            Err(_) => "unknown".to_owned(),
            Ok(claims) => match claims.owner_of(id) {
                Some(claim) => claim.manager.to_string(),
                None if in_helmfile => "helmfile".to_owned(),
                None if self.seen.named.unknown.is_some() => "unknown".to_owned(),
                None => "other".to_owned(),
            },
        }
    }

    fn loose_workloads(&self) -> Vec<Unready> {
        let live = &self.seen.standing.live;
        let stored = live.releases.as_deref().unwrap_or_default();
        let loose = |workload: &&Workload| {
            workload.release().is_none_or(|release| !stored.iter().any(|one| one.id() == release))
        };
        let workloads = live.cluster.workloads.iter().filter(|workload| is_unready(workload)).filter(loose);
        workloads.map(|workload| self.unready(workload)).collect()
    }

    fn unready(&self, workload: &Workload) -> Unready {
        let warnings = self.seen.standing.warnings.as_deref().unwrap_or_default();
        Unready {
            object: workload.object().to_string(),
            ready: workload.have,
            desired: workload.want,
            event: last_about(warnings, workload).map(|event| self.event(event)),
        }
    }

    fn event(&self, event: &Event) -> EventStatus {
        EventStatus {
            object: format!("{} {}/{}", event.kind, event.namespace, event.name),
            reason: (self.clean)(&event.reason),
            message: (self.clean)(&event.message),
            count: event.count,
            last: event.last.clone(),
        }
    }

    fn flux(&self, claims: &Claims) -> Vec<FluxStatus> {
        let objects = claims
            .instance
            .iter()
            .chain(&claims.sources)
            .chain(&claims.kustomizations)
            .chain(&claims.helm_resources);
        objects.map(|object| self.flux_object(object)).collect()
    }

    fn flux_object(&self, object: &Resource) -> FluxStatus {
        let present = object.condition("Ready");
        let ready = match present.map(|condition| condition.status.as_str()) {
            Some("True") => FluxReady::True,
            Some("False") => FluxReady::False,
            Some(_) => FluxReady::Unknown,
            None => FluxReady::Absent,
        };
        let (reason, message) = present.map_or(("", "Flux has not reconciled it yet"), |condition| {
            (condition.reason.as_str(), condition.message.as_str())
        });
        let artifact = || object.status.artifact.as_ref().map(|artifact| artifact.revision.clone());
        FluxStatus {
            kind: object.kind.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
            ready,
            suspended: object.spec.suspend,
            reason: (self.clean)(reason),
            message: (self.clean)(message),
            revision: object.status.last_applied_revision.clone().or_else(artifact),
        }
    }
}

fn is_unready(workload: &Workload) -> bool {
    workload.have < workload.want
}

/// Name and version of a chart, from the label that most charts set: `cert-manager-v1.19.2`. A label cannot contain `+`,
/// so charts write `_`.
fn labelled_chart(workload: &Workload) -> Option<(String, String)> {
    let label = workload.labels.get("helm.sh/chart")?.replace('_', "+");
    label.match_indices('-').find_map(|(at, _)| {
        let (name, version) = (&label[..at], &label[at + 1..]);
        let number = version.strip_prefix('v').unwrap_or(version);
        semver::Version::parse(number).ok().map(|_| (name.to_owned(), version.to_owned()))
    })
}

/// Why something is unknown.
fn reason<T>(known: &Fact<T>) -> Option<&str> {
    known.as_ref().err().map(String::as_str)
}

#[cfg(test)]
mod tests;
