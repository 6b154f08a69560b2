//! What `k3s-boot status` tells: as JSON, or for people ([`mod@text`]).

mod problems;
mod text;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::problems::{StatusProblem, Unknown};
pub use self::text::{View, text};
use crate::base::fact::Known;
use crate::base::finding::Finding;
use crate::base::redact::Redactor;
use crate::gather::{Named, Snapshot};
use crate::observed::claims::Claims;
use crate::observed::events::{Event, last_about};
use crate::observed::flux::Resource;
use crate::observed::helm::Stored;
use crate::observed::node::Node;
use crate::observed::workloads::Workload;
use crate::tools::kubeconfig::Target;

/// The result of `k3s-boot status`, as `-o json` prints it. Times are RFC 3339.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct StatusReport {
    /// `ready` when all that stands is ready, but for what was stopped on purpose; `not-ready`; `unknown` when releases or
    /// Flux could not be read; `failed` when the cluster does not answer.
    pub result: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// The cluster; none when it does not answer.
    pub cluster: Option<ClusterStatus>,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// The Helm releases, those of the helmfiles first; none when they could not be read.
    pub releases: Option<Vec<ReleaseStatus>>,
    /// Flux's objects; none when they could not be read.
    pub flux: Option<Vec<FluxStatus>>,
    /// Workloads of no release that are not ready.
    pub workloads: Vec<Unready>,
    /// What is not ready or was stopped on purpose, and why; the most important first.
    pub problems: Vec<StatusProblem>,
    /// What could not be found out.
    pub unknown: Vec<Unknown>,
}

/// The cluster.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ClusterStatus {
    /// The kubeconfig's context.
    pub context: String,
    /// The API server's address.
    pub server: String,
    /// The API server's version.
    pub version: String,
    /// The UID of kube-system.
    pub uid: String,
    /// When kube-system was made.
    pub created: String,
}

/// A node.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// `server` or `agent`.
    pub role: &'static str,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it takes no new pods.
    pub cordoned: bool,
    /// The word for why it is not Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The sentence for why it is not Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The kubelet's version.
    pub version: String,
    /// Its address in the cluster.
    pub address: Option<String>,
}

/// A Helm release.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ReleaseStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its chart's name, where that is known.
    pub chart: Option<String>,
    /// Its chart's version, where that is known.
    pub version: Option<String>,
    /// Helm's word for it: `deployed`, `failed`, `pending-install`, …
    pub status: String,
    /// The number of its revision.
    pub revision: u64,
    /// `helmfile`, `HelmRelease NAMESPACE/NAME`, `HelmChart NAMESPACE/NAME` (k3s), `other` or `unknown`.
    pub owner: String,
    /// Whether a helmfile of the repository names it.
    pub in_helmfile: bool,
    /// Since when an operation has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<String>,
    /// What Helm noted about a failure.
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
pub struct Unready {
    /// The workload, as `KIND NAMESPACE/NAME`.
    pub object: String,
    /// How many of its pods are ready.
    pub have: i64,
    /// How many it wants.
    pub want: i64,
    /// The last warning about it or one of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventStatus>,
}

/// A warning.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct EventStatus {
    /// What it is about, as `KIND NAMESPACE/NAME`.
    pub object: String,
    /// A word for what happened.
    pub reason: String,
    /// A sentence for it.
    pub message: String,
    /// How often it happened.
    pub count: u64,
    /// When it happened last.
    pub last: String,
}

/// An object of Flux.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct FluxStatus {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The status of its condition `Ready`: `True`, `False`, `Unknown`; or `absent`, as long as Flux has not looked at it.
    pub ready: &'static str,
    /// Whether reconciling is switched off.
    pub suspended: bool,
    /// The condition's word.
    pub reason: String,
    /// The condition's sentence.
    pub message: String,
    /// The revision that was fetched or applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// What a report is made of.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Which cluster was asked.
    pub target: &'a Target,
    /// Its answer.
    pub standing: &'a Snapshot,
    /// What the helmfiles name.
    pub named: &'a Named,
}

impl StatusReport {
    /// Tells what was seen, without secrets.
    #[must_use]
    pub fn new(seen: &Seen<'_>, redactor: &Redactor) -> Self {
        let make = Make { seen: *seen, clean: |text: &str| redactor.apply(text).into_owned() };
        let live = &seen.standing.live;
        let mut report = Self {
            result: "ready",
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
            report.result = "not-ready";
        } else if report.releases.is_none() || report.flux.is_none() {
            report.result = "unknown";
        }
        report
    }

    /// Whether all that was seen is ready. What somebody has stopped on purpose does not count.
    fn is_ready(&self) -> bool {
        !self.nodes.is_empty()
            && self.nodes.iter().all(|node| node.ready)
            && self.releases.iter().flatten().all(|release| release.ready)
            && self.flux.iter().flatten().all(|object| object.suspended || object.ready == "True")
            && self.workloads.is_empty()
    }

    /// Tells why nothing could be seen, without secrets.
    #[must_use]
    pub fn failed(findings: &[Finding], exit_code: u8, redactor: &Redactor) -> Self {
        Self {
            result: "failed",
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

/// Makes the parts of a report; `clean` takes secrets out of what the cluster says.
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
            role: if node.is_server() { "server" } else { "agent" },
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
        // Those of the helmfiles in their order, then the others; within these the order stays.
        stored.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
        Some(stored.into_iter().map(|(place, one)| self.release(one, place.is_some())).collect())
    }

    fn place(&self, id: &str) -> Option<usize> {
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

    fn owner(&self, id: &str, in_helmfile: bool) -> String {
        match &self.seen.standing.live.claims {
            Err(_) => "unknown".to_owned(),
            Ok(claims) => match claims.owner_of(id) {
                Some(claim) => format!("{} {}", claim.kind, claim.owner),
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
            object: workload.object(),
            have: workload.have,
            want: workload.want,
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
            Some("True") => "True",
            Some("False") => "False",
            Some(_) => "Unknown",
            None => "absent",
        };
        let (reason, message) = present.map_or(("", "Flux has not looked at it yet"), |condition| {
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

/// Name and version of a chart as most charts note them on what they install: `cert-manager-v1.19.2`. A label takes no
/// `+`, so `_` stands for it.
fn labelled_chart(workload: &Workload) -> Option<(String, String)> {
    let label = workload.labels.get("helm.sh/chart")?.replace('_', "+");
    label.match_indices('-').find_map(|(at, _)| {
        let (name, version) = (&label[..at], &label[at + 1..]);
        let number = version.strip_prefix('v').unwrap_or(version);
        semver::Version::parse(number).ok().map(|_| (name.to_owned(), version.to_owned()))
    })
}

/// Why something could not be found out, if so.
fn reason<T>(known: &Known<T>) -> Option<&str> {
    known.as_ref().err().map(String::as_str)
}

#[cfg(test)]
mod tests;
