//! Problems of a release: a pure function of the observed state.

use std::time::Duration;

use super::pods::{PodProblem, Stage, Warnings, problems};
use crate::base::release_id::ReleaseId;
use crate::observed::events::{Event, latest};
use crate::observed::pods::Pod;
use crate::observed::revisions::Revision;
use crate::observed::workloads::{CLAIM, Workload, unready_workloads};

/// The problems of a release, the worst first: for each unready workload those of its pods, or its own.
pub(crate) fn problems_of(
    release: &ReleaseId,
    workloads: &[Workload],
    pods: &[Pod],
    warnings: Warnings<'_>,
) -> Vec<PodProblem> {
    let problems =
        unready_workloads(workloads, release).flat_map(|workload| of_workload(workload, pods, warnings));
    let mut problems: Vec<_> = problems.collect();
    problems.sort_by_key(|problem| problem.stage);
    problems
}

/// How long a new pod may wait for what an old pod still uses, such as a host port: a rollout removes that.
const ROLLOUT_PATIENCE: Duration = Duration::from_mins(1);

/// The problems of the pods of a workload, or its own; the worst first.
pub(crate) fn of_workload(workload: &Workload, pods: &[Pod], warnings: Warnings<'_>) -> Vec<PodProblem> {
    let all: Vec<_> = pods.iter().filter(|pod| workload.has_pod(pod)).collect();
    // Failed pods of other kinds have been replaced.
    let counts = |pod: &&Pod| !pod.leaving && (!pod.failed || workload.kind == "Job");
    // A Deployment removes unready pods of older revisions first. A StatefulSet waits for such a pod.
    let blocks = |pod: &&Pod| workload.kind != "Deployment" || workload.revision_of(pod) != Revision::Old;
    let (current, others): (Vec<&Pod>, Vec<&Pod>) = all
        .iter()
        .copied()
        .filter(counts)
        .filter(blocks)
        .partition(|pod| workload.revision_of(pod) == Revision::Current);
    let is_replacing = all.iter().any(|pod| pod.leaving || workload.revision_of(pod) == Revision::Old);
    let complete_problem = |mut problem: PodProblem| {
        problem.is_single = workload.want <= 1;
        if is_replacing && problem.stage == Stage::Unplaced {
            problem.patience = ROLLOUT_PATIENCE;
        }
        problem
    };
    let found = problems(current.iter().copied(), warnings);
    if !found.is_empty() {
        return found.into_iter().map(complete_problem).collect();
    }
    let found = problems(others.iter().copied(), warnings);
    if !found.is_empty() {
        let old = |problem| PodProblem { is_current: false, ..complete_problem(problem) };
        return found.into_iter().map(old).collect();
    }
    // The kubelet rejects each replacement for the same reason, so one is enough.
    let rejected = all.iter().copied().filter(|pod| pod.rejected.is_some() && !pod.leaving);
    let rejected = rejected.filter(|pod| workload.revision_of(pod) == Revision::Current);
    if let Some(problem) = problems(rejected, warnings).into_iter().next().filter(|_| current.is_empty()) {
        return vec![problem];
    }
    // Without pods the event is that of the workload, for example if a quota or admission rejects them. Once all pods
    // exist, it is over, and so are events of deleted pods.
    let coming = current.iter().chain(&others).filter(|pod| !pod.ready).count();
    let complete = i64::try_from(coming).is_ok_and(|coming| coming >= workload.want - workload.have);
    let newest = workload.revision.as_ref().map(|hash| format!("{}-{hash}", workload.name));
    let is_old =
        |event: &Event| event.kind == "ReplicaSet" && newest.as_ref().is_some_and(|name| *name != event.name);
    let about = |event: &&Event| {
        event.kind != "Pod"
            && event.is_about(workload)
            && !(complete && event.reason == "FailedCreate")
            && !is_old(event)
    };
    let event = latest(warnings.of_now().filter(about));
    let said = event.map(|event| format!("{}: {}", event.reason, event.message));
    // Without a provisioner there is no event.
    let unsaid = (workload.kind == CLAIM).then(|| format!("{CLAIM} not bound"));
    let Some(words) = said.or(unsaid) else { return Vec::new() };
    let refused = event.is_some_and(|event| event.reason == "FailedCreate");
    let stage = if refused { Stage::Refused } else { Stage::Warned };
    let problem = PodProblem::new(workload.object(), stage, words);
    vec![PodProblem { is_current: !workload.is_unchanged, ..problem }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: &str, name: &str) -> Workload {
        let annotations = [
            ("meta.helm.sh/release-name".to_owned(), "cilium".to_owned()),
            ("meta.helm.sh/release-namespace".to_owned(), "n".to_owned()),
        ];
        Workload {
            kind: kind.to_owned(),
            namespace: "n".to_owned(),
            name: name.to_owned(),
            annotations: annotations.into(),
            want: 1,
            ..Workload::default()
        }
    }

    #[test]
    fn each_unready_workload_is_told() {
        let pod = |name: &str| Pod { namespace: "n".to_owned(), name: name.to_owned(), ..Pod::default() };
        let unplaced =
            Pod { unschedulable: Some("no node".to_owned()), ..pod("cilium-operator-6f5d4c-x2x4z") };
        let strange = Pod { unschedulable: Some("no node".to_owned()), ..pod("other-6f5d4c-x2x4z") };
        let refused = Event {
            kind: "DaemonSet".to_owned(),
            namespace: "n".to_owned(),
            name: "cilium".to_owned(),
            reason: "FailedCreate".to_owned(),
            message: "exceeded quota".to_owned(),
            last: "2026-11-26T08:00:00Z".to_owned(),
            ..Event::default()
        };
        let refused = [refused];
        let warnings = |before| Warnings { events: &refused, before };
        let done = Workload { have: 1, ..workload("Deployment", "other") };
        let workloads = [workload("DaemonSet", "cilium"), workload("Deployment", "cilium-operator"), done];
        let found = problems_of(&"n/cilium".into(), &workloads, &[unplaced, strange], warnings(""));
        let found: Vec<_> = found.iter().map(|one| (one.object.clone(), one.stage)).collect();
        let expected = [
            ("Pod n/cilium-operator-6f5d4c-x2x4z".into(), Stage::Unplaced),
            ("DaemonSet n/cilium".into(), Stage::Refused),
        ];
        assert_eq!(found, expected);
        assert!(problems_of(&"n/other".into(), &workloads, &[], Warnings::default()).is_empty());
        let found = |pods: &[Pod], before| {
            problems_of(&"n/cilium".into(), &workloads[..1], pods, warnings(before)).len()
        };
        assert_eq!(found(&[], "2026-11-26T07:59:59Z"), 1);
        assert_eq!(found(&[], "2026-11-26T08:00:00Z"), 0, "the event is older than the sync");
        let comes = Pod { owner: Some(("DaemonSet".to_owned(), "cilium".to_owned())), ..pod("c-x2x4z") };
        assert_eq!(found(std::slice::from_ref(&comes), ""), 0, "its pod is there");
        let ready = Pod { ready: true, ..comes.clone() };
        assert_eq!(found(&[ready], ""), 1, "a pod that is being replaced is not the new one");
        let leaving = Pod { leaving: true, ..comes };
        assert_eq!(found(&[leaving], ""), 1, "nor is a terminating one");
    }

    #[test]
    fn a_pod_of_another_revision_is_not_current() {
        let pod = |kind: &str, name: &str, label: &str, value: &str| Pod {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            owner: Some((kind.to_owned(), name.rsplit_once('-').unwrap().0.to_owned())),
            unschedulable: Some("no node".to_owned()),
            labels: [(label.to_owned(), value.to_owned())].into(),
            ..Pod::default()
        };
        let rolled =
            |kind: &str, name: &str| Workload { revision: Some("b".to_owned()), ..workload(kind, name) };
        let judged = |workload: &Workload, pods: &[Pod]| {
            let problem = of_workload(workload, pods, Warnings::default()).into_iter().next()?;
            Some((problem.object, problem.is_current))
        };
        let deployment = rolled("Deployment", "d");
        let [old, new] =
            ["a", "b"].map(|hash| pod("ReplicaSet", &format!("d-{hash}-x"), "pod-template-hash", hash));
        assert_eq!(judged(&deployment, std::slice::from_ref(&old)), None, "it is being replaced");
        assert_eq!(judged(&deployment, &[old.clone(), new]), Some(("Pod n/d-b-x".into(), true)));
        let unknown = Workload { revision: None, ..deployment.clone() };
        assert_eq!(judged(&unknown, &[old]), Some(("Pod n/d-a-x".into(), false)));
        let set = rolled("StatefulSet", "s");
        let [old, new] =
            ["a", "b"].map(|hash| pod("StatefulSet", &format!("s-{hash}"), "controller-revision-hash", hash));
        assert_eq!(
            judged(&set, std::slice::from_ref(&old)),
            Some(("Pod n/s-a".into(), false)),
            "it blocks the next"
        );
        assert_eq!(judged(&set, &[old, new]), Some(("Pod n/s-b".into(), true)));
        let refused = |hash: &str| Event {
            kind: "ReplicaSet".to_owned(),
            namespace: "n".to_owned(),
            name: format!("d-{hash}"),
            reason: "FailedCreate".to_owned(),
            last: "2026-11-26T08:00:00Z".to_owned(),
            ..Event::default()
        };
        let refused = |workload: &Workload, hash: &str| {
            let events = [refused(hash)];
            let found = of_workload(workload, &[], Warnings { events: &events, before: "" });
            found.first().map(|problem| problem.is_current)
        };
        assert_eq!(refused(&deployment, "a"), None, "that revision is obsolete");
        assert_eq!(refused(&deployment, "b"), Some(true));
        let unchanged = Workload { is_unchanged: true, ..deployment };
        assert_eq!(refused(&unchanged, "b"), Some(false));
    }

    #[test]
    fn a_rollout_gets_time_to_free_what_an_old_pod_uses() {
        let pod = |hash: &str| Pod {
            namespace: "n".to_owned(),
            name: format!("d-{hash}-x"),
            owner: Some(("ReplicaSet".to_owned(), format!("d-{hash}"))),
            labels: [("pod-template-hash".to_owned(), hash.to_owned())].into(),
            ..Pod::default()
        };
        let ports = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
        let new = Pod { unschedulable: Some(ports.to_owned()), ..pod("b") };
        let deployment = Workload { revision: Some("b".to_owned()), ..workload("Deployment", "d") };
        let found = |pods: &[Pod]| {
            let problem = of_workload(&deployment, pods, Warnings::default()).remove(0);
            (problem.patience, problem.is_single)
        };
        assert_eq!(found(std::slice::from_ref(&new)), (Duration::ZERO, true));
        let old = Pod { ready: true, ..pod("a") };
        assert_eq!(found(&[old.clone(), new.clone()]), (ROLLOUT_PATIENCE, true));
        assert_eq!(found(&[Pod { leaving: true, ..old }, new]), (ROLLOUT_PATIENCE, true));
    }

    #[test]
    fn all_broken_pods_are_found() {
        let pod = |name: &str, message: &str| Pod {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            owner: Some(("DaemonSet".to_owned(), "cilium".to_owned())),
            unschedulable: Some(message.to_owned()),
            ..Pod::default()
        };
        let pods = [
            pod("cilium-a", "cpu"),
            pod("cilium-b", "node(s) didn't match pod affinity rules"),
            pod("cilium-c", "memory"),
        ];
        let set = Workload { want: 3, ..workload("DaemonSet", "cilium") };
        let found = of_workload(&set, &pods, Warnings::default());
        let names: Vec<_> = found.iter().map(|problem| problem.object.name.as_str()).collect();
        assert_eq!(names, ["cilium-a", "cilium-c"], "not the one that follows another");
        assert!(!found[0].is_single);
    }

    #[test]
    fn a_pod_that_the_kubelet_rejects_is_the_problem_of_its_workload() {
        let rejected = Some(("SysctlForbidden".to_owned(), "Pod was rejected: forbidden sysctl".to_owned()));
        let pod = Pod {
            namespace: "n".to_owned(),
            name: "d-b-x".to_owned(),
            owner: Some(("ReplicaSet".to_owned(), "d-b".to_owned())),
            labels: [("pod-template-hash".to_owned(), "b".to_owned())].into(),
            failed: true,
            rejected,
            ..Pod::default()
        };
        let deployment = Workload { revision: Some("b".to_owned()), ..workload("Deployment", "d") };
        let found = |pods: &[Pod]| of_workload(&deployment, pods, Warnings::default());
        let replacement = Pod { failed: false, rejected: None, name: "d-b-y".to_owned(), ..pod.clone() };
        let many = [pod.clone(), pod];
        assert_eq!(found(&many).len(), 1);
        assert_eq!(found(&many)[0].state, "SysctlForbidden: Pod was rejected: forbidden sysctl");
        assert_eq!(found(&[many[0].clone(), replacement]), [], "its replacement starts");
    }

    #[test]
    fn a_claim_without_a_volume_is_told() {
        let workloads = [workload(CLAIM, "data")];
        let failed = Event {
            kind: CLAIM.to_owned(),
            namespace: "n".to_owned(),
            name: "data".to_owned(),
            reason: "ProvisioningFailed".to_owned(),
            message: "storageclass.storage.k8s.io \"fast\" not found".to_owned(),
            last: "2026-11-26T08:00:00Z".to_owned(),
            ..Event::default()
        };
        let found = |events: &[Event]| {
            let found = problems_of(&"n/cilium".into(), &workloads, &[], Warnings { events, before: "" });
            found.into_iter().map(|one| format!("{}: {}", one.object, one.state)).collect::<Vec<_>>()
        };
        let claim = "PersistentVolumeClaim n/data: ";
        assert_eq!(found(&[]), [format!("{claim}PersistentVolumeClaim not bound")]);
        let said = "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found";
        assert_eq!(found(&[failed]), [format!("{claim}{said}")]);
    }
}
