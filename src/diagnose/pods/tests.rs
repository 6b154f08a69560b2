use super::*;

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
    let known = problem.known().map_or("", |known| known.id);
    (problem.state, known)
}

#[test]
fn the_state_of_a_pod_is_a_known_failure() {
    let unschedulable = Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned());
    let none = Pod { unschedulable, ..pod("a") };
    assert_eq!(state_of(&none, &[]).1, "cpu");
    let image = Pod { containers: vec![waiting("ImagePullBackOff", "Back-off pulling image")], ..pod("b") };
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
    let failed = event(
        "Failed",
        "Failed to pull image \"a/x:v9\": failed to pull and unpack image \"a/x:v9\": failed to resolve reference \"a/x:v9\": a/x:v9: not found",
        "1",
    );
    let again = event("Failed", "Error: ImagePullBackOff", "2");
    assert_eq!(state_of(&image, &[failed.clone(), again.clone()]).1, "image-missing");
    let message = "Back-off pulling image \"x\": ErrImagePull: failed to pull and unpack image \"x\": failed to resolve reference \"x\": failed to authorize: \
                   failed to fetch anonymous token: unexpected status from GET request to https://x/token: 403 Forbidden";
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
const RECORDED: &str = include_str!("../recorded/pods-k3s-1.36.3.json");

const NO_NAME: &str = "lookup registry-1.docker.io: Temporary failure in name resolution";

/// The pod, how far it got, the begin and the end of its state, and whether the logs of the previous instance count.
const CASES: &[(&str, Stage, &str, &str, Option<bool>)] = &[
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
    ("noimage", Stage::Unstarted, "container main: ErrImagePull: failed to pull", NO_NAME, None),
    (
        "noimage-refused",
        Stage::Unstarted,
        "container main: ImagePullBackOff: Back-off pulling",
        "connection refused",
        None,
    ),
    ("initnoimage", Stage::Unstarted, "init container setup: ErrImagePull: failed to pull", NO_NAME, None),
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

/// The known failures of the recorded pods.
const KNOWN: &[(&str, &str)] = &[
    ("crash", "crash-loop"),
    ("oom", "memory-limit"),
    ("badcmd", "command-missing"),
    ("badname", "image-name"),
    ("cmref", "config-missing"),
    ("nonroot", "runs-as-root"),
    ("neverpull", "image-policy"),
    ("noimage", "image-dns"),
    ("noimage-refused", "image-unreachable"),
    ("initnoimage", "image-dns"),
    ("sysctl", "sysctl"),
    ("secretvol", "config-missing"),
    ("unready-http", "readiness"),
    ("inithang", "init-container"),
];

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
    for (name, stage, begin, end, logs) in CASES {
        let problem = found(name).unwrap();
        assert_eq!(problem.stage, *stage, "{name}");
        assert!(
            problem.state.starts_with(begin) && problem.state.ends_with(end),
            "{name}: {}",
            problem.state
        );
        assert_eq!(problem.logs.map(|logs| logs.is_previous), *logs, "{name}");
    }
    for (name, id) in KNOWN {
        let known = found(name).unwrap().known().map(|known| known.id);
        assert_eq!(known, Some(*id), "{name}");
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
        let phase = if waits { Phase::Waiting } else { Phase::Terminated };
        let container = Container { waiting, ended, restarts, phase, ..now };
        let problem = worst([&Pod { containers: vec![container], ..pod("a") }], Warnings::default()).unwrap();
        (problem.stage, problem.is_crash(), problem.state)
    };
    assert_eq!(crash(true, 2), crash(false, 2));
    let (stage, is_crash, words) = crash(false, 0);
    assert_eq!((stage, is_crash), (Stage::Ended, true), "it may be restarted well");
    assert_eq!(words, "container main, exited with code 3 (Error), 0 restarts");
}

proptest::proptest! {
    #[test]
    fn no_pod_makes_it_panic(pod in crate::observed::pods::tests::odd_pods()) {
        let event = Event { kind: "Pod".to_owned(), namespace: "n".to_owned(), name: "p".to_owned(), ..Event::default() };
        let warnings = Warnings { events: &[event], before: "" };
        let problem = pod.as_ref().and_then(|pod| worst([pod], warnings));
        _ = problem.map(|problem| problem.known().map(|known| known.fix(&problem.object.to_string().into(), None)));
    }
}
