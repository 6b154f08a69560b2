//! Problems of pods.

use std::time::Duration;

use crate::base::known_failures::{KnownFailure, Origin, find};
use crate::base::object_ref::ObjectRef;
use crate::observed::events::{Event, latest};
use crate::observed::pods::{Container, Phase, Pod};

/// How far an object got, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// No node can run the pod.
    Unplaced,
    /// A container cannot be started.
    Unstarted,
    /// The API server rejects the pod.
    Refused,
    /// A container has exited unexpectedly.
    Ended,
    /// The node does not respond.
    Node,
    /// There is a warning event.
    Warned,
    /// It runs but is not ready.
    Unready,
    /// It must run next to a pod that does not run yet.
    Follows,
}

/// A problem of an object, mostly of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodProblem {
    pub object: ObjectRef,
    pub stage: Stage,
    /// The message of the scheduler, the kubelet or the latest event.
    pub state: String,
    /// The container whose logs show more.
    pub logs: Option<LogSource>,
    /// Whether it is about the revision that is being rolled out. Pods of other or unknown revisions never end a run.
    pub is_current: bool,
    /// How long it is normal: because probes allow it, or because the rollout resolves it.
    pub patience: Duration,
    /// Whether its workload wants one pod only.
    pub is_single: bool,
}

/// A container that has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSource {
    pub container: String,
    /// Whether its current instance has not run yet.
    pub is_previous: bool,
}

impl PodProblem {
    pub(crate) fn new(object: ObjectRef, stage: Stage, words: String) -> Self {
        Self {
            object,
            stage,
            state: words,
            logs: None,
            is_current: true,
            patience: Duration::ZERO,
            is_single: false,
        }
    }

    /// The known failure that its state fits.
    pub(crate) fn known(&self) -> Option<&'static KnownFailure> {
        find(Origin::State, &self.state)
    }

    /// Whether a container has exited, once or repeatedly.
    pub(crate) fn is_crash(&self) -> bool {
        self.logs.is_some() && matches!(self.stage, Stage::Unstarted | Stage::Ended)
    }

    /// Whether it is a problem of this pod.
    pub(crate) fn is_of(&self, pod: &Pod) -> bool {
        self.object == object(pod)
    }

    /// The name of the pod, if the object is one.
    pub(crate) fn pod(&self) -> Option<&str> {
        (self.object.kind == "Pod").then_some(self.object.name.as_str())
    }

    /// Appends to the state.
    pub(crate) fn add(&mut self, words: &str) {
        self.state.truncate(self.state.trim_end_matches('.').len());
        self.state.push_str("; ");
        self.state.push_str(words);
    }
}

fn object(pod: &Pod) -> ObjectRef {
    ObjectRef::new("Pod", &pod.namespace, &pod.name)
}

/// The scheduler's message about a pod that must run next to another one.
const FOLLOWS: &str = "didn't match pod affinity rules";

/// Warning events, and which of them are old.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Warnings<'a> {
    pub events: &'a [Event],
    /// When the last event before the sync occurred, as RFC 3339: older ones may describe a state that is over.
    pub before: &'a str,
}

impl<'a> Warnings<'a> {
    /// The events since the sync.
    pub(crate) fn of_now(self) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.last.is_empty() || event.last.as_str() > self.before)
    }
}

/// The problems of some pods, the worst first: that of the pod which is furthest from running.
pub(crate) fn problems<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    warnings: Warnings<'_>,
) -> Vec<PodProblem> {
    let mut problems: Vec<_> = pods.into_iter().filter_map(|pod| problem(pod, warnings)).collect();
    if problems.iter().any(|problem| problem.stage != Stage::Follows) {
        problems.retain(|problem| problem.stage != Stage::Follows);
    }
    problems.sort_by_key(|problem| problem.stage);
    problems
}

fn problem(pod: &Pod, warnings: Warnings<'_>) -> Option<PodProblem> {
    if pod.ready {
        return None;
    }
    let new = |stage, state| PodProblem::new(object(pod), stage, state);
    if let Some((reason, message)) = &pod.rejected {
        return Some(new(Stage::Refused, format!("{reason}: {message}")));
    }
    if let Some(message) = &pod.unschedulable {
        // The cause is the problem of the pod next to which it must run.
        let stage = if message.contains(FOLLOWS) { Stage::Follows } else { Stage::Unplaced };
        return Some(new(stage, message.clone()));
    }
    let is_bad = |one: &&Container| one.waiting.as_deref().is_some_and(is_bad) || is_crash_looping(one);
    if let Some(container) = pod.containers.iter().find(is_bad) {
        let state = container_state(container, pull_error(pod, warnings.events));
        return Some(PodProblem { logs: crash_logs(container), ..new(Stage::Unstarted, state) });
    }
    let failed = |one: &&Container| !one.ready && one.ended.as_ref().is_some_and(|(code, _)| *code != 0);
    if let Some(container) = pod.containers.iter().find(failed) {
        let state = container_state(container, None);
        return Some(PodProblem { logs: crash_logs(container), ..new(Stage::Ended, state) });
    }
    let unready = pod.containers.iter().find(|one| one.phase == Phase::Running && !one.ready);
    let is_initializing = unready.is_some_and(|one| one.init);
    let patience = if is_initializing {
        INIT_PATIENCE
    } else {
        unready
            .map(|one| one.patience)
            .filter(|patience| !patience.is_zero())
            .map_or(Duration::ZERO, |it| it + PROBE_SLACK)
    };
    let logs = unready.map(|one| LogSource { container: one.name.clone(), is_previous: false });
    if let Some(warning) = last_warning(pod, warnings.of_now()) {
        let problem = new(Stage::Warned, format!("{}: {}", warning.reason, warning.message));
        let is_of_probe = warning.reason == "Unhealthy";
        return Some(if is_of_probe { PodProblem { logs, patience, ..problem } } else { problem });
    }
    let Container { name, .. } = unready?;
    let state = if is_initializing {
        format!("init container {name}: running, the other containers wait for its end")
    } else {
        format!("container {name}: running but not ready")
    };
    Some(PodProblem { logs, patience, ..new(Stage::Unready, state) })
}

/// How long init containers may run: many wait for something that is being installed.
const INIT_PATIENCE: Duration = Duration::from_mins(1);

/// From the success of a probe until the kubelet reports it.
const PROBE_SLACK: Duration = Duration::from_secs(5);

/// Containers that are being created are not a problem.
fn is_bad(reason: &str) -> bool {
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

/// The reason of the kubelet for a container that it restarts with growing pauses.
const CRASH_LOOP: &str = "CrashLoopBackOff";

/// Whether a container has crashed after a restart. Until the kubelet waits for the next restart, it reports only the exit.
fn is_crash_looping(container: &Container) -> bool {
    let Container { waiting, ended, phase, restarts, ready, .. } = container;
    let has_failed = ended.as_ref().is_some_and(|(code, _)| *code != 0);
    waiting.as_deref() == Some(CRASH_LOOP)
        || (*phase == Phase::Terminated && *restarts > 0 && !ready && has_failed)
}

/// Why the runtime could not start a container that has been restarted since (containerd; `ContainerCannotRun` of older runtimes).
fn start_error(container: &Container) -> Option<&str> {
    let (_, reason) = container.ended.as_ref()?;
    ["StartError", "ContainerCannotRun"].contains(&reason.as_str()).then_some(reason)
}

/// The logs of a container that has crashed; none if it did not run.
fn crash_logs(container: &Container) -> Option<LogSource> {
    container.ended.as_ref().filter(|_| start_error(container).is_none())?;
    Some(LogSource { container: container.name.clone(), is_previous: container.phase != Phase::Terminated })
}

/// `pull_error` is the event that says why the image could not be pulled.
fn container_state(container: &Container, pull_error: Option<&Event>) -> String {
    let Container { name, init, waiting, message, ended, ended_message, restarts, .. } = container;
    let kind = if *init { "init container" } else { "container" };
    let mut state = format!("{kind} {name}");
    let loops = is_crash_looping(container);
    if let Some(reason) = start_error(container).filter(|_| loops || waiting.is_none()) {
        return format!("{state}: {reason}: {ended_message}, {restarts} restarts");
    }
    if loops {
        // The kubelet's message only counts the seconds of the pause.
        state = format!("{state}: {CRASH_LOOP}");
    } else if let Some(waiting) = waiting {
        state = format!("{state}: {waiting}");
        // Since Kubernetes 1.31 the message of a back-off contains the error; before that only the event does.
        let is_missing = waiting == "ImagePullBackOff" && !message.contains("ErrImagePull");
        let said = pull_error.filter(|_| is_missing).map_or(message, |event| &event.message);
        if !said.is_empty() {
            state = format!("{state}: {said}");
        }
    }
    if let Some((code, reason)) = ended.as_ref().filter(|(code, _)| loops || *code != 0) {
        state = format!("{state}, exited with code {code} ({reason}), {restarts} restarts");
    }
    state
}

/// The kubelet's first event is `Failed to pull image "…": …`; then, with the same reason, `Error: ImagePullBackOff` repeats
/// (Kubernetes 1.36, `pkg/kubelet/images/image_manager.go` and `kuberuntime_container.go`).
fn pull_error<'a>(pod: &Pod, events: &'a [Event]) -> Option<&'a Event> {
    let has_error = |event: &&Event| event.reason == "Failed" && !event.message.starts_with("Error: ");
    latest(events.iter().filter(has_error).filter(|event| is_about(event, pod)))
}

fn last_warning<'a>(pod: &Pod, events: impl Iterator<Item = &'a Event>) -> Option<&'a Event> {
    // Scheduling problems are over once the pod has a node.
    let over = |event: &&Event| event.reason == "FailedScheduling" && pod.node.is_some();
    latest(events.filter(|event| is_about(event, pod) && !over(event)))
}

fn is_about(event: &Event, pod: &Pod) -> bool {
    event.kind == "Pod" && event.namespace == pod.namespace && event.name == pod.name
}

#[cfg(test)]
mod tests;
