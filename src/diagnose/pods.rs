//! Which pod is in a bad state, and what it says of it.

use crate::observed::events::Event;
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
}

impl Trouble {
    /// The name of the pod, if it is one.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.object.strip_prefix("Pod ")?.split_once('/').map(|(_, name)| name)
    }
}

/// The scheduler's words about a pod that has to run beside one which does not run yet.
const FOLLOWS: &str = "didn't match pod affinity rules";

/// The worst of the pods, if any of them is in a bad state: the one that is the furthest from running.
#[must_use]
pub fn worst<'a>(pods: impl IntoIterator<Item = &'a Pod>, events: &[Event]) -> Option<Trouble> {
    let troubles = pods.into_iter().filter_map(|pod| trouble(pod, events));
    troubles.min_by_key(|trouble| trouble.stage)
}

/// What is wrong with a pod.
fn trouble(pod: &Pod, events: &[Event]) -> Option<Trouble> {
    if pod.ready {
        return None;
    }
    let with = |stage, state: String, crashed: Option<&Container>| Trouble {
        object: format!("Pod {}/{}", pod.namespace, pod.name),
        stage,
        state,
        crashed: crashed.map(|container| container.name.clone()),
    };
    if let Some(message) = &pod.unschedulable {
        // One that only has to run beside another tells nothing of what that waits for.
        let stage = if message.contains(FOLLOWS) { Stage::Follows } else { Stage::Unplaced };
        return Some(with(stage, message.clone(), None));
    }
    if let Some(container) = pod.containers.iter().find(|one| one.waiting.as_deref().is_some_and(is_bad)) {
        let crashed = container.ended.as_ref().map(|_| container);
        let state = container_state(container, last_warning(pod, events));
        return Some(with(Stage::Unstarted, state, crashed));
    }
    let failed = |one: &&Container| !one.ready && one.ended.as_ref().is_some_and(|(code, _)| *code != 0);
    if let Some(container) = pod.containers.iter().find(failed) {
        return Some(with(Stage::Ended, container_state(container, None), Some(container)));
    }
    if let Some(warning) = last_warning(pod, events) {
        return Some(with(Stage::Warned, format!("{}: {}", warning.reason, warning.message), None));
    }
    let unready = pod.containers.iter().find(|one| one.running && !one.ready && !one.init)?;
    Some(with(Stage::Unready, format!("container {}: runs, and is not ready", unready.name), None))
}

/// A container that waits for nothing but its turn is well.
fn is_bad(reason: &str) -> bool {
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

fn container_state(container: &Container, warning: Option<&Event>) -> String {
    let Container { name, init, waiting, message, ended, restarts, .. } = container;
    let kind = if *init { "init container" } else { "container" };
    let mut state = format!("{kind} {name}");
    if let Some(waiting) = waiting {
        state = format!("{state}: {waiting}");
        // A back-off tells only that there was something before.
        let said = warning.filter(|warning| warning.reason == "Failed").map(|warning| &warning.message);
        let said = said.filter(|_| waiting.ends_with("BackOff") && ended.is_none()).unwrap_or(message);
        if !said.is_empty() {
            state = format!("{state}: {said}");
        }
    }
    if let Some((code, reason)) = ended.as_ref().filter(|(code, _)| *code != 0) {
        state = format!("{state}, ended with exit code {code} ({reason}), {restarts} restarts");
    }
    state
}

fn last_warning<'a>(pod: &Pod, events: &'a [Event]) -> Option<&'a Event> {
    let of =
        |event: &&Event| event.kind == "Pod" && event.namespace == pod.namespace && event.name == pod.name;
    events.iter().filter(of).max_by(|one, other| one.last.cmp(&other.last))
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
        let trouble = worst([pod], events).unwrap();
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
        let event = |reason: &str, message: &str| Event {
            kind: "Pod".to_owned(),
            namespace: "n".to_owned(),
            name: "b".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Event::default()
        };
        let failed = event("Failed", "Failed to pull image: ErrImagePull: v9: not found");
        assert_eq!(told(&image, &[failed]).1, "image-missing");
        let mut container = waiting("CrashLoopBackOff", "back-off 40s");
        container.ended = Some((1, "Error".to_owned()));
        container.init = true;
        container.restarts = 4;
        let crash = Pod { containers: vec![container], ..pod("c") };
        let expected =
            "init container main: CrashLoopBackOff: back-off 40s, ended with exit code 1 (Error), 4 restarts";
        assert_eq!(told(&crash, &[]), (expected.to_owned(), "crash-loop"));
        assert_eq!(worst([&crash], &[]).unwrap().crashed.as_deref(), Some("main"));
        let unready = event("Unhealthy", "Readiness probe failed: 503");
        assert_eq!(told(&pod("b"), &[unready]).1, "readiness");
        let creating = Pod { containers: vec![waiting("ContainerCreating", "")], ..pod("d") };
        assert_eq!(worst([&creating, &Pod { ready: true, ..crash.clone() }], &[]), None);
        assert_eq!(worst([&crash, &none], &[]).unwrap().object, "Pod n/a", "the furthest from running");
        let beside = Some("0/1 nodes are available: 1 node(s) didn't match pod affinity rules.".to_owned());
        let follower = Pod { unschedulable: beside, ..pod("a-follower") };
        assert_eq!(told(&follower, &[]).1, "pod-affinity");
        assert_eq!(worst([&follower, &none], &[]).unwrap().object, "Pod n/a", "not who follows another");
        assert_eq!(worst([&follower, &crash], &[]).unwrap().object, "Pod n/c");
    }
}
