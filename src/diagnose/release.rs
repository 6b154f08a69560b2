//! What is in the way of a release: a pure judgement of what was seen.

use super::pods::{Stage, Trouble, Warnings, worst};
use crate::observed::events::{Event, latest};
use crate::observed::pods::Pod;
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
    let pods: Vec<_> = pods.iter().filter(|pod| workload.has_pod(pod)).filter(counts).collect();
    if let Some(trouble) = worst(pods.iter().copied(), warnings) {
        return Some(trouble);
    }
    // There may be no pod at all: a quota, or an admission that refuses it, is told of the workload. Once all pods that it
    // lacks are there, that is over. What was said of a pod that is gone is over, too.
    let coming = pods.iter().filter(|pod| !pod.ready).count();
    let complete = i64::try_from(coming).is_ok_and(|coming| coming >= workload.want - workload.have);
    let about = |event: &&Event| {
        event.kind != "Pod" && event.is_about(workload) && !(complete && event.reason == "FailedCreate")
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
