//! Finds the cause of a failed release in the cluster.

use std::time::Duration;

use serde::de::IgnoredAny;

use super::webhooks;
use crate::base::diagnosis::{Diagnosis, shortened};
use crate::base::error::{Error, ReleaseFailure};
use crate::base::known_failures::{Origin, find};
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
    if let Some(problem) = problems.first() {
        let also_blocked = others(&problems, problem);
        let diagnosis = diagnose(tools, release, problem.clone(), &seen.events).await;
        return Ok(Some(Diagnosis { also_blocked, ..diagnosis }));
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
        let is = |problem: &PodProblem, id| problem.known().is_some_and(|known| known.id == id);
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
        problems.extend(down.map(|node| {
            let state = format!("NodeNotReady: {}", node.message);
            PodProblem::new(ObjectRef::new("Node", "", &node.name), Stage::Node, state)
        }));
        problems.sort_by_key(|problem| problem.stage);
        Ok(problems)
    }

    /// The problems of the controllers of Flux, the worst first. They belong to no release: flux-operator creates them.
    pub(crate) fn flux_problems(&self, before: &str) -> Vec<PodProblem> {
        let warnings = Warnings { events: &self.events, before };
        let mut problems: Vec<_> = self
            .unready_controllers()
            .flat_map(|workload| of_workload(workload, &self.pods, warnings))
            .collect();
        problems.sort_by_key(|problem| problem.stage);
        problems
    }

    /// The controllers of Flux that are not ready.
    pub(super) fn unready_controllers(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.iter().filter(|workload| {
            workload.labels.get(PART_OF.0).is_some_and(|part_of| part_of == PART_OF.1)
                && workload.release().is_none()
                && workload.have < workload.want
        })
    }

    /// The nodes of the pods of a release that are not ready.
    pub(super) fn nodes_of_waiting(&self, release: &ReleaseId) -> Vec<&str> {
        let unready_workloads: Vec<_> = unready_workloads(&self.workloads, release).collect();
        let ours = |pod: &&Pod| !pod.ready && unready_workloads.iter().any(|workload| workload.has_pod(pod));
        self.pods.iter().filter(ours).filter_map(|pod| pod.node.as_deref()).collect()
    }
}

/// The diagnosis of a problem, with other events of the object and the logs of its container. The transcript keeps all of it.
pub(crate) async fn diagnose(
    tools: &Toolbox,
    release: &ReleaseId,
    problem: PodProblem,
    events: &[Event],
) -> Diagnosis {
    let known = problem.known();
    let mut diagnosis =
        known.map(|known| Diagnosis::known(release, problem.pod(), known)).unwrap_or_default();
    if let Some(fix) = known.filter(|_| problem.is_single).and_then(|known| fix_of_single(known.id)) {
        diagnosis.fix = Some(fix.to_owned());
    }
    let warnings = warnings_about(&problem, events);
    let last_words = last_words(tools, namespace_of(release), &problem).await;
    // Why the container ended or is not ready.
    if let Some(known) = last_words.iter().rev().find_map(|line| find(Origin::Log, line)) {
        diagnosis = Diagnosis::known(release, problem.pod(), known);
    }
    let PodProblem { object, state, .. } = problem;
    let seen = std::iter::once(&state).chain(&warnings).chain(&last_words);
    tools.runner.transcript().seen(&object.to_string(), seen.map(String::as_str));
    let (object, state) = (Some(object.to_string()), Some(state));
    Diagnosis { object, state, warnings, last_words, ..diagnosis }
}

/// The fix for the pod of a workload that wants only one, if that of the known failure is to have fewer.
fn fix_of_single(known: &str) -> Option<&'static str> {
    match known {
        "host-port" => Some("stop the pod or program that uses the host port on the node, or add a node"),
        "anti-affinity" => Some("stop the other pod on the node, or add a node"),
        _ => None,
    }
}

/// The maximum number of other blocked objects that are named.
const MAX_OTHERS: usize = 5;

/// The other objects that are blocked, with their states.
pub(super) fn others(problems: &[PodProblem], first: &PodProblem) -> Vec<String> {
    let others: Vec<_> = problems.iter().filter(|problem| problem.object != first.object).collect();
    let words = |problem: &&PodProblem| format!("{}: {}", problem.object, shortened(&problem.state));
    let mut named: Vec<_> = others.iter().take(MAX_OTHERS).map(words).collect();
    if others.len() > MAX_OTHERS {
        named.push(format!("and {} more", others.len() - MAX_OTHERS));
    }
    named
}

/// The latest events of the object of a problem, except those that its state repeats.
fn warnings_about(problem: &PodProblem, events: &[Event]) -> Vec<String> {
    let about = |event: &&Event| problem.object == event.object();
    // The events of the scheduler, and the kubelet's of restarts, repeat the state; refusals differ only in the name of the pod.
    let placing = matches!(problem.stage, Stage::Unplaced | Stage::Follows);
    let starting = matches!(problem.stage, Stage::Unstarted | Stage::Ended);
    let is_redundant = |event: &Event| {
        placing && event.reason == "FailedScheduling"
            || starting && event.reason == "BackOff"
            || starting && is_repeated(&problem.state, &event.message)
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

/// Whether a state contains the error of a kubelet's event: `Error: ERROR`, or `Failed to pull image "IMAGE": ERROR`. Only
/// the last of several pulls may be in the state.
fn is_repeated(state: &str, message: &str) -> bool {
    if let Some(pulled) = message.strip_prefix("Failed to pull image ") {
        return pulled.split_once(": ").is_some_and(|(_, error)| state.contains(error));
    }
    message
        .strip_prefix("Error: ")
        .is_some_and(|error| state.contains(error) || ["ErrImagePull", "ImagePullBackOff"].contains(&error))
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

/// The last lines of the container; none if the kubelet does not return them. It may have deleted one instance of a
/// crashed container.
async fn last_words(tools: &Toolbox, namespace: &str, problem: &PodProblem) -> Vec<String> {
    let (Some(source), Some(pod)) = (&problem.logs, problem.pod()) else {
        return Vec::new();
    };
    let lines = read_logs(tools, namespace, pod, &source.container, source.is_previous).await;
    if lines.is_empty() && problem.is_crash() {
        return read_logs(tools, namespace, pod, &source.container, !source.is_previous).await;
    }
    lines
}

async fn read_logs(
    tools: &Toolbox,
    namespace: &str,
    pod: &str,
    container: &str,
    is_previous: bool,
) -> Vec<String> {
    let [namespace, pod, container] = [namespace, pod, container].map(segment);
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={is_previous}&tailLines={MAX_LOG_LINES}&limitBytes={MAX_LOG_BYTES}"
    );
    let answer = match tools.ask(Call::get(&path).soon()).await {
        Ok(answer) => answer.found(),
        Err(_) => return Vec::new(),
    };
    let text = answer.ok().flatten().unwrap_or_default();
    log_lines(&String::from_utf8_lossy(&text))
}

/// What the kubelet returns with status 200 instead of logs that it no longer has (Kubernetes 1.36, seen on k3s).
const NO_LOGS: &str = "unable to retrieve container logs for ";

/// The lines that a container has printed.
fn log_lines(text: &str) -> Vec<String> {
    if text.trim().is_empty() || text.starts_with(NO_LOGS) {
        return Vec::new();
    }
    text.lines().map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_kubelet_are_no_logs() {
        let no_logs = "unable to retrieve container logs for containerd://98404cb4e006a98f9344116f718928aa44e830e50c14eee1c408b9bd3518332e";
        for text in [no_logs, "", "\n", " \n\n"] {
            assert!(log_lines(text).is_empty(), "{text}");
        }
        assert_eq!(log_lines("a\nb\n"), ["a", "b"]);
    }

    #[test]
    fn events_that_repeat_the_state_are_omitted() {
        let error = "failed to resolve reference \"x\": not found";
        let state =
            format!("container main: ImagePullBackOff: Back-off pulling image \"x\": ErrImagePull: {error}");
        let problem = |state: &str| PodProblem::new("Pod n/p".into(), Stage::Unstarted, state.to_owned());
        let event = |reason: &str, message: &str| Event {
            kind: "Pod".to_owned(),
            namespace: "n".to_owned(),
            name: "p".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            count: 1,
            ..Event::default()
        };
        let events = [
            event("Failed", &format!("Failed to pull image \"x\": {error}")),
            event("Failed", "Error: ErrImagePull"),
            event("BackOff", "Back-off restarting failed container main in pod p_n(a44ea2ab)"),
            event("FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"absent\" not found"),
            event("Failed", "Failed to pull image \"x\": 429 Too Many Requests"),
        ];
        let left = warnings_about(&problem(&state), &events);
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].starts_with("FailedMount: ") && left[1].ends_with("Too Many Requests"), "{left:?}");
    }

    #[test]
    fn the_other_blocked_objects_are_named() {
        let problem =
            |name: &str| PodProblem::new(ObjectRef::new("Pod", "n", name), Stage::Unstarted, "s".to_owned());
        let problems: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(problem).to_vec();
        assert_eq!(others(&problems[..1], &problems[0]), [""; 0]);
        assert_eq!(others(&problems[..3], &problems[0]), ["Pod n/b: s", "Pod n/c: s"]);
        let many = others(&problems, &problems[0]);
        assert_eq!((many.len(), many[5].as_str()), (6, "and 2 more"));
    }

    #[test]
    fn a_single_pod_is_not_advised_to_have_fewer_replicas() {
        for known in ["host-port", "anti-affinity"] {
            assert!(fix_of_single(known).is_some_and(|fix| !fix.contains("replicas")), "{known}");
        }
        assert_eq!(fix_of_single("cpu"), None);
    }
}
