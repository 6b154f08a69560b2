//! Problems of pods.

use crate::base::object_ref::ObjectRef;
use crate::observed::events::{Event, latest};
use crate::observed::pods::{Container, Pod};

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
    /// The crashed container, whose logs show more.
    pub crashed: Option<String>,
    /// Whether it is about the revision that is being rolled out. Pods of other or unknown revisions never end a run.
    pub is_current: bool,
}

impl PodProblem {
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

/// The worst problem of some pods: that of the pod which is furthest from running.
pub(crate) fn worst<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    warnings: Warnings<'_>,
) -> Option<PodProblem> {
    let problems = pods.into_iter().filter_map(|pod| problem(pod, warnings));
    problems.min_by_key(|problem| problem.stage)
}

fn problem(pod: &Pod, warnings: Warnings<'_>) -> Option<PodProblem> {
    if pod.ready {
        return None;
    }
    let with = |stage, state: String, crashed: Option<&Container>| PodProblem {
        object: object(pod),
        stage,
        state,
        crashed: crashed.map(|container| container.name.clone()),
        is_current: true,
    };
    if let Some(message) = &pod.unschedulable {
        // The cause is the problem of the pod next to which it must run.
        let stage = if message.contains(FOLLOWS) { Stage::Follows } else { Stage::Unplaced };
        return Some(with(stage, message.clone(), None));
    }
    if let Some(container) = pod.containers.iter().find(|one| one.waiting.as_deref().is_some_and(is_bad)) {
        let crashed = container.ended.as_ref().map(|_| container);
        let state = container_state(container, pull_error(pod, warnings.events));
        return Some(with(Stage::Unstarted, state, crashed));
    }
    let failed = |one: &&Container| !one.ready && one.ended.as_ref().is_some_and(|(code, _)| *code != 0);
    if let Some(container) = pod.containers.iter().find(failed) {
        return Some(with(Stage::Ended, container_state(container, None), Some(container)));
    }
    if let Some(warning) = last_warning(pod, warnings.of_now()) {
        return Some(with(Stage::Warned, format!("{}: {}", warning.reason, warning.message), None));
    }
    let unready = pod.containers.iter().find(|one| one.running && !one.ready && !one.init)?;
    Some(with(Stage::Unready, format!("container {}: running but not ready", unready.name), None))
}

/// Containers that are being created are not a problem.
fn is_bad(reason: &str) -> bool {
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

/// `pull_error` is the event that says why the image could not be pulled.
fn container_state(container: &Container, pull_error: Option<&Event>) -> String {
    let Container { name, init, waiting, message, ended, restarts, .. } = container;
    let kind = if *init { "init container" } else { "container" };
    let mut state = format!("{kind} {name}");
    if let Some(waiting) = waiting {
        state = format!("{state}: {waiting}");
        // Since Kubernetes 1.31 the message of a back-off contains the error; before that only the event does.
        let is_missing = waiting == "ImagePullBackOff" && !message.contains("ErrImagePull");
        let said = pull_error.filter(|_| is_missing).map_or(message, |event| &event.message);
        if !said.is_empty() {
            state = format!("{state}: {said}");
        }
    }
    if let Some((code, reason)) = ended.as_ref().filter(|(code, _)| *code != 0) {
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
mod tests {
    use super::*;
    use crate::base::known_failures::find;

    fn pod(name: &str) -> Pod {
        Pod { namespace: "n".to_owned(), name: name.to_owned(), ..Pod::default() }
    }

    fn waiting(reason: &str, message: &str) -> Container {
        Container {
            name: "main".to_owned(),
            waiting: Some(reason.to_owned()),
            message: message.to_owned(),
            ..Container::default()
        }
    }

    fn state_of(pod: &Pod, events: &[Event]) -> (String, &'static str) {
        let problem = worst([pod], Warnings { events, before: "" }).unwrap();
        let known = find(&problem.state).map_or("", |known| known.id);
        (problem.state, known)
    }

    #[test]
    fn the_state_of_a_pod_is_a_known_failure() {
        let unschedulable = Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned());
        let none = Pod { unschedulable, ..pod("a") };
        assert_eq!(state_of(&none, &[]).1, "cpu");
        let image =
            Pod { containers: vec![waiting("ImagePullBackOff", "Back-off pulling image")], ..pod("b") };
        assert_eq!(state_of(&image, &[]).1, "image");
        let event = |reason: &str, message: &str, last: &str| Event {
            kind: "Pod".to_owned(),
            namespace: "n".to_owned(),
            name: "b".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last: last.to_owned(),
            ..Event::default()
        };
        let failed = event("Failed", "Failed to pull image: v9: not found", "1");
        let again = event("Failed", "Error: ImagePullBackOff", "2");
        assert_eq!(state_of(&image, &[failed.clone(), again.clone()]).1, "image-missing");
        let message = "Back-off pulling image \"x\": ErrImagePull: failed to authorize: 403 Forbidden";
        let telling = Pod { containers: vec![waiting("ImagePullBackOff", message)], ..pod("b") };
        assert_eq!(state_of(&telling, &[failed, again]).1, "image-denied");
        let mut container = waiting("CrashLoopBackOff", "back-off 40s");
        container.ended = Some((1, "Error".to_owned()));
        container.init = true;
        container.restarts = 4;
        let crash = Pod { containers: vec![container], ..pod("c") };
        let expected =
            "init container main: CrashLoopBackOff: back-off 40s, exited with code 1 (Error), 4 restarts";
        assert_eq!(state_of(&crash, &[]), (expected.to_owned(), "crash-loop"));
        assert_eq!(worst([&crash], Warnings::default()).unwrap().crashed.as_deref(), Some("main"));
        let unready = event("Unhealthy", "Readiness probe failed: 503", "3");
        assert_eq!(state_of(&pod("b"), std::slice::from_ref(&unready)).1, "readiness");
        let old = Warnings { events: &[unready], before: "3" };
        assert_eq!(worst([&pod("b")], old), None, "it was so before the release was begun");
        let unplaced = event("FailedScheduling", "no node", "4");
        let placed = Pod { node: Some("node-1".to_owned()), ..pod("b") };
        assert_eq!(worst([&placed], Warnings { events: &[unplaced], before: "" }), None);
        let creating = Pod { containers: vec![waiting("ContainerCreating", "")], ..pod("d") };
        assert_eq!(worst([&creating, &Pod { ready: true, ..crash.clone() }], Warnings::default()), None);
        assert_eq!(
            worst([&crash, &none], Warnings::default()).unwrap().object,
            "Pod n/a",
            "the furthest from running"
        );
        let beside = Some("0/1 nodes are available: 1 node(s) didn't match pod affinity rules.".to_owned());
        let follower = Pod { unschedulable: beside, ..pod("a-follower") };
        assert_eq!(state_of(&follower, &[]).1, "pod-affinity");
        assert_eq!(
            worst([&follower, &none], Warnings::default()).unwrap().object,
            "Pod n/a",
            "not who follows another"
        );
        assert_eq!(worst([&follower, &crash], Warnings::default()).unwrap().object, "Pod n/c");
    }

    proptest::proptest! {
        #[test]
        fn no_pod_makes_it_panic(pod in crate::observed::pods::tests::odd_pods()) {
            let event = Event { kind: "Pod".to_owned(), namespace: "n".to_owned(), name: "p".to_owned(), ..Event::default() };
            let warnings = Warnings { events: &[event], before: "" };
            let problem = pod.as_ref().and_then(|pod| worst([pod], warnings));
            _ = problem.map(|problem| find(&problem.state).map(|known| known.fix(&problem.object.to_string().into(), None)));
        }
    }
}
