//! Finds the cause of a failed release in the cluster.

use std::time::Duration;

use serde::de::IgnoredAny;

use super::webhooks;
use crate::base::diagnosis::Diagnosis;
use crate::base::error::{Error, ReleaseFailure};
use crate::base::known_failures::find;
use crate::base::object_ref::ObjectRef;
use crate::base::release_id::ReleaseId;
use crate::diagnose::pods::{PodProblem, Stage, Warnings};
use crate::diagnose::release::{of_workload, problems_of};
use crate::diagnose::taints;
use crate::observed::events::Event;
use crate::observed::pods::Pod;
use crate::observed::workloads::{Workload, unready_workloads};
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};

/// The timeout for the search: the failure itself is already known.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of lines that are read of a crashed container.
const MAX_LOG_LINES: usize = 20;

/// The maximum number of bytes that are read of a crashed container.
const MAX_LOG_BYTES: usize = 64 * 1024;

/// The maximum number of other events that are reported of an object.
const MAX_EVENTS: usize = 3;

/// The label of the controllers of Flux (fluxcd/flux2, `manifests/install`).
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "flux");

/// Finds the cause of a failure: from Helm's message, or from the pods that are not ready. What cannot be read is omitted,
/// and so are events until `before` (RFC 3339, by the clock of the cluster).
pub(crate) async fn find_cause(tools: &Toolbox, failure: &ReleaseFailure, before: &str) -> Diagnosis {
    // A hook has its own error, which the pods of its release did not cause.
    let Some(release) = failure.release.as_ref().filter(|_| failure.hook.is_none()) else {
        let release = failure.release.clone().unwrap_or_default();
        return failure.known().map(|known| Diagnosis::known(&release, None, known)).unwrap_or_default();
    };
    let by_words = failure.known().map(|known| Diagnosis::known(release, None, known));
    // Unless helm timed out, its message has the cause.
    if let Some(diagnosis) = by_words.as_ref().filter(|_| !failure.timed_out) {
        return Diagnosis {
            object: webhooks::find_configuration(tools, &failure.reason).await,
            ..diagnosis.clone()
        };
    }
    let looked = tokio::time::timeout(TIMEOUT, look(tools, release, &failure.reason, before)).await;
    let by_words = || Diagnosis { object: waited_for(&failure.reason), ..by_words.unwrap_or_default() };
    looked.ok().and_then(Result::ok).flatten().unwrap_or_else(by_words)
}

/// The first object that helm waited for (Helm 4.2.4 and 3.21.4: `resource KIND/NAMESPACE/NAME not ready`).
fn waited_for(reason: &str) -> Option<String> {
    let (_, rest) = reason.split_once("resource ")?;
    let (object, _) = rest.split_once(" not ready")?;
    let (kind, name) = object.split_once('/').filter(|_| !object.contains(' '))?;
    Some(format!("{kind} {name}"))
}

/// Why a release that is not synced is not ready; empty if that is unknown.
pub(crate) async fn of_unchanged(tools: &Toolbox, release: &ReleaseId) -> Diagnosis {
    let looked = tokio::time::timeout(TIMEOUT, worst(tools, release)).await;
    looked.ok().and_then(Result::ok).flatten().unwrap_or_default()
}

async fn worst(tools: &Toolbox, release: &ReleaseId) -> Result<Option<Diagnosis>, Error> {
    let seen = Seen::of(tools, release).await?;
    let problem = seen.problems(tools, release, "").await?.into_iter().next();
    Ok(match problem {
        Some(problem) => Some(diagnose(tools, release, problem, &seen.events).await),
        None => None,
    })
}

async fn look(
    tools: &Toolbox,
    release: &ReleaseId,
    reason: &str,
    before: &str,
) -> Result<Option<Diagnosis>, Error> {
    let seen = Seen::of(tools, release).await?;
    let mut problems = seen.problems(tools, release, before).await?;
    if problems.is_empty() {
        problems = seen.flux_problems(before);
    }
    if let Some(problem) = problems.into_iter().next() {
        return Ok(Some(diagnose(tools, release, problem, &seen.events).await));
    }
    if let Some(workload) = unready_workloads(&seen.workloads, release).next() {
        return Ok(Some(Diagnosis { object: Some(workload.words()), ..Diagnosis::default() }));
    }
    let named = waited_for(reason);
    let is_named = |workload: &&Workload| {
        named.as_ref().is_some_and(|named| {
            *named == format!("{} {}/{}", workload.kind, namespace_of(release), workload.name)
        })
    };
    // Helm's watcher missed that it became ready, or that was after its timeout.
    let ready = seen.workloads.iter().find(is_named);
    Ok(ready.map(|workload| Diagnosis {
        object: named.clone(),
        state: Some(workload.words()),
        fix: Some(LEGACY_FIX.to_owned()),
        ..Diagnosis::default()
    }))
}

/// The fix if helm waits for what is ready. `trackMode` sets `--wait=legacy` (helmfile 1.7.4 and 1.8.0, `appendWaitFlags` in
/// `pkg/state/helmx.go`).
const LEGACY_FIX: &str = "the object is ready now: run k3s-boot again; if helm 4 times out again, set `trackMode: helm-legacy` for the release in the helmfile, so that it waits as helm 3 does";

/// The state of the namespace of a release.
pub(crate) struct Seen {
    pub workloads: Vec<Workload>,
    pub pods: Vec<Pod>,
    /// Recent warning events.
    pub events: Vec<Event>,
}

impl Seen {
    /// Reads the namespace of a release.
    ///
    /// # Errors
    ///
    /// The API server does not respond.
    pub(crate) async fn of(tools: &Toolbox, release: &ReleaseId) -> Result<Self, Error> {
        let namespace = namespace_of(release);
        let (workloads, pods, events) = tokio::join!(
            tools.observe_workloads(namespace),
            tools.observe_pods(namespace),
            tools.observe_warnings_in(namespace)
        );
        Ok(Self { workloads: workloads?, pods: pods?, events: events? })
    }

    /// The problems of the release, the worst first. Nodes are read only if they are needed. Events until `before` are
    /// ignored.
    ///
    /// # Errors
    ///
    /// The API server does not respond.
    pub(crate) async fn problems(
        &self,
        tools: &Toolbox,
        release: &ReleaseId,
        before: &str,
    ) -> Result<Vec<PodProblem>, Error> {
        let warnings = Warnings { events: &self.events, before };
        let mut problems = problems_of(release, &self.workloads, &self.pods, warnings);
        let is = |problem: &PodProblem, id| find(&problem.state).is_some_and(|known| known.id == id);
        let needs_volume = |problem: &PodProblem| is(problem, "volume");
        // If storage classes cannot be read, the rest is still worth reporting.
        if problems.iter().any(needs_volume) && !tools.has_storage_class().await.unwrap_or(true) {
            for problem in problems.iter_mut().filter(|problem| needs_volume(problem)) {
                problem.add("there is no StorageClass");
            }
        }
        // Until Kubernetes 1.33 the scheduler names the taints.
        let needs_node = |problem: &PodProblem| is(problem, "node-not-ready");
        let open = |problem: &PodProblem| taints::are_unnamed(&problem.state) || needs_node(problem);
        let vague = problems.iter().all(|problem| problem.stage >= Stage::Warned);
        let waiting = if vague { self.nodes_of_waiting(release) } else { Vec::new() };
        if !problems.iter().any(open) && waiting.is_empty() {
            return Ok(problems);
        }
        let nodes = tools.observe_nodes().await?;
        for problem in problems.iter_mut().filter(|problem| open(problem)) {
            let pod = self.pods.iter().find(|pod| problem.is_of(pod));
            let tolerations = pod.map(|pod| pod.tolerations.as_slice()).unwrap_or_default();
            problem.state = taints::named(&problem.state, &nodes, tolerations);
            if let Some(unready) = taints::unready(&nodes).filter(|_| needs_node(problem)) {
                problem.add(&unready);
            }
        }
        let down = nodes.iter().find(|node| !node.ready && waiting.contains(&node.name.as_str()));
        problems.extend(down.map(|node| PodProblem {
            object: ObjectRef::new("Node", "", &node.name),
            stage: Stage::Node,
            state: format!("NodeNotReady: {}", node.message),
            crashed: None,
            is_current: true,
        }));
        problems.sort_by_key(|problem| problem.stage);
        Ok(problems)
    }

    /// The problems of the controllers of Flux, the worst first. They belong to no release: flux-operator creates them.
    pub(crate) fn flux_problems(&self, before: &str) -> Vec<PodProblem> {
        let warnings = Warnings { events: &self.events, before };
        let of_flux = self.workloads.iter().filter(|workload| {
            workload.labels.get(PART_OF.0).is_some_and(|part_of| part_of == PART_OF.1)
                && workload.release().is_none()
                && workload.have < workload.want
        });
        let mut problems: Vec<_> =
            of_flux.filter_map(|workload| of_workload(workload, &self.pods, warnings)).collect();
        problems.sort_by_key(|problem| problem.stage);
        problems
    }

    /// The nodes of the pods of a release that are not ready.
    fn nodes_of_waiting(&self, release: &ReleaseId) -> Vec<&str> {
        let unready_workloads: Vec<_> = unready_workloads(&self.workloads, release).collect();
        let ours = |pod: &&Pod| !pod.ready && unready_workloads.iter().any(|workload| workload.has_pod(pod));
        self.pods.iter().filter(ours).filter_map(|pod| pod.node.as_deref()).collect()
    }
}

/// The diagnosis of a problem, with other events of the object and the logs of a crashed container. The transcript keeps
/// all of it.
pub(crate) async fn diagnose(
    tools: &Toolbox,
    release: &ReleaseId,
    problem: PodProblem,
    events: &[Event],
) -> Diagnosis {
    let known = find(&problem.state).map(|known| Diagnosis::known(release, problem.pod(), known));
    let warnings = warnings_about(&problem, events);
    let last_words = last_words(tools, namespace_of(release), &problem).await;
    let PodProblem { object, state, .. } = problem;
    let seen = std::iter::once(&state).chain(&warnings).chain(&last_words);
    tools.runner.transcript().seen(&object.to_string(), seen.map(String::as_str));
    let (object, state) = (Some(object.to_string()), Some(state));
    Diagnosis { object, state, warnings, last_words, ..known.unwrap_or_default() }
}

/// The latest events of the object of a problem, except those that its state repeats.
fn warnings_about(problem: &PodProblem, events: &[Event]) -> Vec<String> {
    let about = |event: &&Event| problem.object == event.object();
    // The scheduler's event repeats the state; refusals differ only in the name of the pod.
    let placing = matches!(problem.stage, Stage::Unplaced | Stage::Follows);
    let is_redundant = |event: &Event| {
        placing && event.reason == "FailedScheduling"
            || problem.stage == Stage::Refused && problem.state.starts_with(&format!("{}: ", event.reason))
    };
    let mut about: Vec<_> = events
        .iter()
        .filter(about)
        .filter(|event| !is_redundant(event))
        .filter(|event| !event.message.is_empty() && !problem.state.contains(&event.message))
        .collect();
    about.sort_by(|one, other| other.last.cmp(&one.last));
    let words = |event: &Event| {
        let times = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
        format!("{}: {}{times}", event.reason, event.message)
    };
    about.into_iter().take(MAX_EVENTS).map(words).collect()
}

impl Toolbox {
    async fn has_storage_class(&self) -> Result<bool, Error> {
        let classes: Vec<IgnoredAny> =
            self.api_list("/apis/storage.k8s.io/v1/storageclasses?limit=1").await?;
        Ok(!classes.is_empty())
    }
}

fn namespace_of(release: &ReleaseId) -> &str {
    if release.namespace.is_empty() { "default" } else { &release.namespace }
}

/// The last lines of the crashed container; none if the kubelet does not return them.
async fn last_words(tools: &Toolbox, namespace: &str, problem: &PodProblem) -> Vec<String> {
    let (Some(container), Some(pod)) = (&problem.crashed, problem.pod()) else {
        return Vec::new();
    };
    let [namespace, pod, container] = [namespace, pod, container].map(segment);
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous=true&tailLines={MAX_LOG_LINES}&limitBytes={MAX_LOG_BYTES}"
    );
    let answer = match tools.ask(Call::get(&path).soon()).await {
        Ok(answer) => answer.found(),
        Err(_) => return Vec::new(),
    };
    let text = answer.ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect()
}
