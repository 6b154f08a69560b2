//! Problems of pods.

use std::time::Duration;

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
    pub(crate) fn new(object: ObjectRef, stage: Stage, state: String) -> Self {
        Self {
            object,
            stage,
            state,
            logs: None,
            is_current: true,
            patience: Duration::ZERO,
            is_single: false,
        }
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
    let unready = pod.containers.iter().find(|one| one.running && !one.ready);
    let is_initializing = unready.is_some_and(|one| one.init && !one.is_sidecar);
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
    let Container { waiting, ended, is_terminated, restarts, ready, .. } = container;
    let has_failed = ended.as_ref().is_some_and(|(code, _)| *code != 0);
    waiting.as_deref() == Some(CRASH_LOOP) || (*is_terminated && *restarts > 0 && !ready && has_failed)
}

/// Why the runtime could not start a container that has been restarted since (containerd; `ContainerCannotRun` of older runtimes).
fn start_error(container: &Container) -> Option<&str> {
    let (_, reason) = container.ended.as_ref()?;
    ["StartError", "ContainerCannotRun"].contains(&reason.as_str()).then_some(reason)
}

/// The logs of a container that has crashed; none if it did not run.
fn crash_logs(container: &Container) -> Option<LogSource> {
    container.ended.as_ref().filter(|_| start_error(container).is_none())?;
    Some(LogSource { container: container.name.clone(), is_previous: !container.is_terminated })
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
mod tests {
    use super::*;
    use crate::base::known_failures::find;

    fn worst<'a>(pods: impl IntoIterator<Item = &'a Pod>, warnings: Warnings<'_>) -> Option<PodProblem> {
        problems(pods, warnings).into_iter().next()
    }

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
        let expected = "init container main: CrashLoopBackOff, exited with code 1 (Error), 4 restarts";
        assert_eq!(state_of(&crash, &[]), (expected.to_owned(), "crash-loop"));
        let logs = worst([&crash], Warnings::default()).unwrap().logs.unwrap();
        assert_eq!((logs.container.as_str(), logs.is_previous), ("main", true));
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

    /// Pods as the kubelet of k3s v1.36.3 reports them, four minutes after they were created.
    const RECORDED: &str = include_str!("recorded/pods-k3s-1.36.3.json");

    #[test]
    fn recorded_pods_of_k3s_are_diagnosed() {
        let recorded: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
        let all = |key: &str| recorded[key].as_array().unwrap().clone();
        let pods: Vec<_> = all("items").iter().map(crate::observed::pods::tests::read).collect();
        let events: Vec<_> = all("events").iter().map(crate::observed::events::tests::read).collect();
        let warnings = Warnings { events: &events, before: "" };
        let found = |name: &str| {
            let pod = pods.iter().find(|pod| pod.name.starts_with(name)).unwrap();
            worst([pod], warnings)
        };
        let no_name = "lookup registry-1.docker.io: Temporary failure in name resolution";
        // The pod, how far it got, the begin and the end of its state, and whether the logs of the previous instance count.
        let cases: &[(&str, Stage, &str, &str, Option<bool>)] = &[
            (
                "crash",
                Stage::Unstarted,
                "container main: CrashLoopBackOff, exited with code 3 (Error)",
                "6 restarts",
                Some(false),
            ),
            (
                "deploy-crash",
                Stage::Unstarted,
                "container main: CrashLoopBackOff, exited with code 9",
                "",
                Some(false),
            ),
            (
                "oom",
                Stage::Unstarted,
                "container main: CrashLoopBackOff, exited with code 137 (OOMKilled)",
                "",
                Some(false),
            ),
            (
                "initfail",
                Stage::Unstarted,
                "init container setup: CrashLoopBackOff, exited with code 7",
                "",
                Some(false),
            ),
            (
                "badcmd",
                Stage::Unstarted,
                "container main: StartError: failed to create",
                "\"/nope\": stat /nope: no such file or directory, 6 restarts",
                None,
            ),
            (
                "badname",
                Stage::Unstarted,
                "container main: InvalidImageName: Failed to apply",
                "must be lowercase",
                None,
            ),
            (
                "cmref",
                Stage::Unstarted,
                "container main: CreateContainerConfigError: configmap \"absent\" not found",
                "",
                None,
            ),
            (
                "nonroot",
                Stage::Unstarted,
                "container main: CreateContainerConfigError: container has runAsNonRoot",
                "",
                None,
            ),
            (
                "neverpull",
                Stage::Unstarted,
                "container main: ErrImageNeverPull: Container image",
                "pull policy of Never",
                None,
            ),
            ("noimage", Stage::Unstarted, "container main: ErrImagePull: failed to pull", no_name, None),
            (
                "noimage-refused",
                Stage::Unstarted,
                "container main: ImagePullBackOff: Back-off pulling",
                "connection refused",
                None,
            ),
            (
                "initnoimage",
                Stage::Unstarted,
                "init container setup: ErrImagePull: failed to pull",
                no_name,
                None,
            ),
            (
                "sysctl",
                Stage::Refused,
                "SysctlForbidden: Pod was rejected: forbidden sysctl",
                "not allowlisted",
                None,
            ),
            (
                "secretvol",
                Stage::Warned,
                "FailedMount: MountVolume.SetUp failed",
                "secret \"absent\" not found",
                None,
            ),
            (
                "unready-http",
                Stage::Warned,
                "Unhealthy: Readiness probe failed: Get",
                "connection refused",
                Some(false),
            ),
            ("inithang", Stage::Unready, "init container wait: running", "", Some(false)),
            (
                "pvc-missing",
                Stage::Unplaced,
                "0/1 nodes are available: persistentvolumeclaim \"nope\" not found",
                "",
                None,
            ),
            ("unsched-cpu", Stage::Unplaced, "0/1 nodes are available: 1 Insufficient cpu", "", None),
        ];
        for (name, stage, begin, end, logs) in cases {
            let problem = found(name).unwrap();
            assert_eq!(problem.stage, *stage, "{name}");
            assert!(
                problem.state.starts_with(begin) && problem.state.ends_with(end),
                "{name}: {}",
                problem.state
            );
            assert_eq!(problem.logs.map(|logs| logs.is_previous), *logs, "{name}");
        }
        assert_eq!(found("done"), None);
        assert_eq!(found("unlive"), None, "it is ready between two restarts");
    }

    #[test]
    fn both_states_of_a_crash_loop_are_one() {
        let crash = |waits: bool, restarts: u64| {
            let ended = Some((3, "Error".to_owned()));
            let now = if waits { waiting(CRASH_LOOP, "back-off 20s restarting") } else { waiting("", "") };
            let waiting = now.waiting.clone().filter(|_| waits);
            let container = Container { waiting, ended, restarts, is_terminated: !waits, ..now };
            let problem =
                worst([&Pod { containers: vec![container], ..pod("a") }], Warnings::default()).unwrap();
            (problem.stage, problem.is_crash(), problem.state)
        };
        assert_eq!(crash(true, 2), crash(false, 2));
        let (stage, is_crash, state) = crash(false, 0);
        assert_eq!((stage, is_crash), (Stage::Ended, true), "it may be restarted well");
        assert_eq!(state, "container main, exited with code 3 (Error), 0 restarts");
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
