//! What is in the way of a release: a pure judgement of what was seen.

use super::pods::{Stage, Trouble, Warnings, worst};
use crate::observed::events::{Event, latest};
use crate::observed::pods::Pod;
use crate::observed::revisions::Revision;
use crate::observed::workloads::{CLAIM, Workload, lacking};

/// What is in the way of a release (`namespace/name`), the worst first: of each of its workloads that lacks pods the worst
/// pod, or what the cluster says of the workload itself.
#[must_use]
pub fn in_the_way(
    release: &str,
    workloads: &[Workload],
    pods: &[Pod],
    warnings: Warnings<'_>,
) -> Vec<Trouble> {
    let troubles = lacking(workloads, release).filter_map(|workload| of_workload(workload, pods, warnings));
    let mut troubles: Vec<_> = troubles.collect();
    troubles.sort_by_key(|trouble| trouble.stage);
    troubles
}

/// What is wrong with one of its pods, or with itself.
#[must_use]
pub fn of_workload(workload: &Workload, pods: &[Pod], warnings: Warnings<'_>) -> Option<Trouble> {
    // Whatever else failed is replaced by now, and only its name is left.
    let counts = |pod: &&Pod| !pod.leaving && (!pod.failed || workload.kind == "Job");
    // A Deployment removes what is not ready of its older revisions first. A StatefulSet waits for such a pod.
    let blocks = |pod: &&Pod| workload.kind != "Deployment" || workload.revision_of(pod) != Revision::Old;
    let pods = pods.iter().filter(|pod| workload.has_pod(pod)).filter(counts).filter(blocks);
    let (current, others): (Vec<&Pod>, Vec<&Pod>) =
        pods.partition(|pod| workload.revision_of(pod) == Revision::Current);
    if let Some(trouble) = worst(current.iter().copied(), warnings) {
        return Some(trouble);
    }
    if let Some(trouble) = worst(others.iter().copied(), warnings) {
        return Some(Trouble { is_current: false, ..trouble });
    }
    // There may be no pod at all: a quota, or an admission that refuses it, is told of the workload. Once all pods that it
    // lacks are there, that is over. What was said of a pod that is gone is over, too.
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
    // Where nothing gives volumes, nothing warns of it either.
    let unsaid = (workload.kind == CLAIM).then(|| format!("{CLAIM} not bound"));
    let refused = event.is_some_and(|event| event.reason == "FailedCreate");
    Some(Trouble {
        object: workload.object(),
        stage: if refused { Stage::Refused } else { Stage::Warned },
        state: said.or(unsaid)?,
        crashed: None,
        is_current: !workload.is_unchanged,
    })
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
    fn each_workload_that_lacks_pods_is_told() {
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
        let told = in_the_way("n/cilium", &workloads, &[unplaced, strange], warnings(""));
        let told: Vec<_> = told.iter().map(|one| (one.object.as_str(), one.stage)).collect();
        let expected =
            [("Pod n/cilium-operator-6f5d4c-x2x4z", Stage::Unplaced), ("DaemonSet n/cilium", Stage::Refused)];
        assert_eq!(told, expected);
        assert!(in_the_way("n/other", &workloads, &[], Warnings::default()).is_empty());
        let told =
            |pods: &[Pod], before| in_the_way("n/cilium", &workloads[..1], pods, warnings(before)).len();
        assert_eq!(told(&[], "2026-11-26T07:59:59Z"), 1);
        assert_eq!(told(&[], "2026-11-26T08:00:00Z"), 0, "it was so before the release was begun");
        let comes = Pod { owner: Some(("DaemonSet".to_owned(), "cilium".to_owned())), ..pod("c-x2x4z") };
        assert_eq!(told(std::slice::from_ref(&comes), ""), 0, "its pod is there");
        let ready = Pod { ready: true, ..comes.clone() };
        assert_eq!(told(&[ready], ""), 1, "one that is to be replaced is not the new one");
        let leaving = Pod { leaving: true, ..comes };
        assert_eq!(told(&[leaving], ""), 1, "nor is one that goes");
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
            let trouble = of_workload(workload, pods, Warnings::default())?;
            Some((trouble.object, trouble.is_current))
        };
        let deployment = rolled("Deployment", "d");
        let [old, new] =
            ["a", "b"].map(|hash| pod("ReplicaSet", &format!("d-{hash}-x"), "pod-template-hash", hash));
        assert_eq!(judged(&deployment, std::slice::from_ref(&old)), None, "it is being replaced");
        assert_eq!(judged(&deployment, &[old.clone(), new]), Some(("Pod n/d-b-x".to_owned(), true)));
        let unknown = Workload { revision: None, ..deployment.clone() };
        assert_eq!(judged(&unknown, &[old]), Some(("Pod n/d-a-x".to_owned(), false)));
        let set = rolled("StatefulSet", "s");
        let [old, new] =
            ["a", "b"].map(|hash| pod("StatefulSet", &format!("s-{hash}"), "controller-revision-hash", hash));
        assert_eq!(
            judged(&set, std::slice::from_ref(&old)),
            Some(("Pod n/s-a".to_owned(), false)),
            "it blocks the next"
        );
        assert_eq!(judged(&set, &[old, new]), Some(("Pod n/s-b".to_owned(), true)));
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
            let trouble = of_workload(workload, &[], Warnings { events: &events, before: "" })?;
            Some(trouble.is_current)
        };
        assert_eq!(refused(&deployment, "a"), None, "that one is given up");
        assert_eq!(refused(&deployment, "b"), Some(true));
        let unchanged = Workload { is_unchanged: true, ..deployment };
        assert_eq!(refused(&unchanged, "b"), Some(false));
    }

    #[test]
    fn a_claim_that_gets_no_volume_is_told() {
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
        let told = |events: &[Event]| {
            let told = in_the_way("n/cilium", &workloads, &[], Warnings { events, before: "" });
            told.into_iter().map(|one| format!("{}: {}", one.object, one.state)).collect::<Vec<_>>()
        };
        let claim = "PersistentVolumeClaim n/data: ";
        assert_eq!(told(&[]), [format!("{claim}PersistentVolumeClaim not bound")]);
        let said = "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found";
        assert_eq!(told(&[failed]), [format!("{claim}{said}")]);
    }
}
