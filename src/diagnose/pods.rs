//! Which pod is in a bad state, and what it says of it.

use crate::observed::events::{Event, latest};
use crate::observed::pods::{Container, Pod};

/// What is wrong with an object: the less it has got to, the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No node takes the pod.
    Unplaced,
    /// A container cannot be started.
    Unstarted,
    /// There is no pod, for the API server refuses it.
    Refused,
    /// A container has ended, and should not have.
    Ended,
    /// The node on which it is does not answer.
    Node,
    /// Somebody has warned of it.
    Warned,
    /// It runs, and does not say that it is ready.
    Unready,
    /// It has to run beside a pod that does not run yet.
    Follows,
}

/// An object in a bad state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `Pod namespace/name`.
    pub object: String,
    /// What is wrong with it.
    pub stage: Stage,
    /// Its state, in the words of the scheduler, the kubelet or the last warning about it.
    pub state: String,
    /// The container whose last words tell more.
    pub crashed: Option<String>,
    /// Whether it is about what is rolled out now. A pod of another revision, or of one that cannot be known, never ends a
    /// run.
    pub is_current: bool,
}

impl Trouble {
    /// Whether it is one of this pod.
    #[must_use]
    pub fn is_of(&self, pod: &Pod) -> bool {
        self.object == object(pod)
    }

    /// The name of the pod, if it is one.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.object.strip_prefix("Pod ")?.split_once('/').map(|(_, name)| name)
    }

    /// Tells more of its state.
    pub fn add(&mut self, words: &str) {
        self.state.truncate(self.state.trim_end_matches('.').len());
        self.state.push_str("; ");
        self.state.push_str(words);
    }
}

fn object(pod: &Pod) -> String {
    format!("Pod {}/{}", pod.namespace, pod.name)
}

/// The scheduler's words about a pod that has to run beside one which does not run yet.
const FOLLOWS: &str = "didn't match pod affinity rules";

/// What the cluster has warned of, and what of that is old.
#[derive(Clone, Copy, Debug, Default)]
pub struct Warnings<'a> {
    /// All warnings.
    pub events: &'a [Event],
    /// When the last one came before the release was begun, as RFC 3339; a state that was over then tells nothing of now.
    pub before: &'a str,
}

impl<'a> Warnings<'a> {
    /// Those that came since.
    pub fn of_now(self) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.last.is_empty() || event.last.as_str() > self.before)
    }
}

/// The worst of the pods, if any of them is in a bad state: the one that is the furthest from running.
#[must_use]
pub fn worst<'a>(pods: impl IntoIterator<Item = &'a Pod>, warnings: Warnings<'_>) -> Option<Trouble> {
    let troubles = pods.into_iter().filter_map(|pod| trouble(pod, warnings));
    troubles.min_by_key(|trouble| trouble.stage)
}

/// What is wrong with a pod.
fn trouble(pod: &Pod, warnings: Warnings<'_>) -> Option<Trouble> {
    if pod.ready {
        return None;
    }
    let with = |stage, state: String, crashed: Option<&Container>| Trouble {
        object: object(pod),
        stage,
        state,
        crashed: crashed.map(|container| container.name.clone()),
        is_current: true,
    };
    if let Some(message) = &pod.unschedulable {
        // One that only has to run beside another tells nothing of what that waits for.
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

/// A container that waits for nothing but its turn is well.
fn is_bad(reason: &str) -> bool {
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

/// `pull_error` is why its image could not be pulled, as far as an event tells.
fn container_state(container: &Container, pull_error: Option<&Event>) -> String {
    let Container { name, init, waiting, message, ended, restarts, .. } = container;
    let kind = if *init { "init container" } else { "container" };
    let mut state = format!("{kind} {name}");
    if let Some(waiting) = waiting {
        state = format!("{state}: {waiting}");
        // Since Kubernetes 1.31 a back-off tells what was before; until then it told only that there was something.
        let untold = waiting == "ImagePullBackOff" && !message.contains("ErrImagePull");
        let said = pull_error.filter(|_| untold).map_or(message, |event| &event.message);
        if !said.is_empty() {
            state = format!("{state}: {said}");
        }
    }
    if let Some((code, reason)) = ended.as_ref().filter(|(code, _)| *code != 0) {
        state = format!("{state}, exited with code {code} ({reason}), {restarts} restarts");
    }
    state
}

/// The kubelet's words are `Failed to pull image "…": …`, and then, of the same reason, `Error: ImagePullBackOff` again and
/// again (Kubernetes 1.36, `pkg/kubelet/images/image_manager.go` and `kuberuntime_container.go`).
fn pull_error<'a>(pod: &Pod, events: &'a [Event]) -> Option<&'a Event> {
    let tells = |event: &&Event| event.reason == "Failed" && !event.message.starts_with("Error: ");
    latest(events.iter().filter(tells).filter(|event| is_about(event, pod)))
}

fn last_warning<'a>(pod: &Pod, events: impl Iterator<Item = &'a Event>) -> Option<&'a Event> {
    // What kept it from a node is over once it has one.
    let over = |event: &&Event| event.reason == "FailedScheduling" && pod.node.is_some();
    latest(events.filter(|event| is_about(event, pod) && !over(event)))
}

fn is_about(event: &Event, pod: &Pod) -> bool {
    event.kind == "Pod" && event.namespace == pod.namespace && event.name == pod.name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::known::find;

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

    fn told(pod: &Pod, events: &[Event]) -> (String, &'static str) {
        let trouble = worst([pod], Warnings { events, before: "" }).unwrap();
        let known = find(&trouble.state).map_or("", |known| known.id);
        (trouble.state, known)
    }

    #[test]
    fn the_state_is_told_and_known() {
        let unschedulable = Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned());
        let none = Pod { unschedulable, ..pod("a") };
        assert_eq!(told(&none, &[]).1, "cpu");
        let image =
            Pod { containers: vec![waiting("ImagePullBackOff", "Back-off pulling image")], ..pod("b") };
        assert_eq!(told(&image, &[]).1, "image");
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
        assert_eq!(told(&image, &[failed.clone(), again.clone()]).1, "image-missing");
        let message = "Back-off pulling image \"x\": ErrImagePull: failed to authorize: 403 Forbidden";
        let telling = Pod { containers: vec![waiting("ImagePullBackOff", message)], ..pod("b") };
        assert_eq!(told(&telling, &[failed, again]).1, "image-denied");
        let mut container = waiting("CrashLoopBackOff", "back-off 40s");
        container.ended = Some((1, "Error".to_owned()));
        container.init = true;
        container.restarts = 4;
        let crash = Pod { containers: vec![container], ..pod("c") };
        let expected =
            "init container main: CrashLoopBackOff: back-off 40s, exited with code 1 (Error), 4 restarts";
        assert_eq!(told(&crash, &[]), (expected.to_owned(), "crash-loop"));
        assert_eq!(worst([&crash], Warnings::default()).unwrap().crashed.as_deref(), Some("main"));
        let unready = event("Unhealthy", "Readiness probe failed: 503", "3");
        assert_eq!(told(&pod("b"), std::slice::from_ref(&unready)).1, "readiness");
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
        assert_eq!(told(&follower, &[]).1, "pod-affinity");
        assert_eq!(
            worst([&follower, &none], Warnings::default()).unwrap().object,
            "Pod n/a",
            "not who follows another"
        );
        assert_eq!(worst([&follower, &crash], Warnings::default()).unwrap().object, "Pod n/c");
    }
}
