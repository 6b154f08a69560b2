//! What is in the way of a release: a pure judgement of what was seen.

use super::pods::{Stage, Trouble, worst};
use crate::observed::events::{Event, last_about};
use crate::observed::pods::Pod;
use crate::observed::workloads::{CLAIM, Workload, lacking};

/// What is in the way of a release (`namespace/name`), the worst first: of each of its workloads that lacks pods the worst
/// pod, or what the cluster says of the workload itself.
#[must_use]
pub fn in_the_way(release: &str, workloads: &[Workload], pods: &[Pod], events: &[Event]) -> Vec<Trouble> {
    let troubles = lacking(workloads, release).filter_map(|workload| of_workload(workload, pods, events));
    let mut troubles: Vec<_> = troubles.collect();
    troubles.sort_by_key(|trouble| trouble.stage);
    troubles
}

fn of_workload(workload: &Workload, pods: &[Pod], events: &[Event]) -> Option<Trouble> {
    if let Some(trouble) = worst(pods.iter().filter(|pod| workload.has_pod(pod)), events) {
        return Some(trouble);
    }
    // There may be no pod at all: a quota, or an admission that refuses it, is told of the workload.
    let event = last_about(events, workload);
    let said = event.map(|event| format!("{}: {}", event.reason, event.message));
    // Where nothing gives volumes, nothing warns of it either.
    let unsaid = (workload.kind == CLAIM).then(|| format!("{CLAIM} not bound"));
    let refused = event.is_some_and(|event| event.reason == "FailedCreate");
    Some(Trouble {
        object: format!("{} {}/{}", workload.kind, workload.namespace, workload.name),
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
            ..Event::default()
        };
        let done = Workload { have: 1, ..workload("Deployment", "other") };
        let workloads = [workload("DaemonSet", "cilium"), workload("Deployment", "cilium-operator"), done];
        let told = in_the_way("n/cilium", &workloads, &[unplaced, strange], &[refused]);
        let told: Vec<_> = told.iter().map(|one| (one.object.as_str(), one.stage)).collect();
        let expected =
            [("Pod n/cilium-operator-6f5d4c-x2x4z", Stage::Unplaced), ("DaemonSet n/cilium", Stage::Refused)];
        assert_eq!(told, expected);
        assert!(in_the_way("n/other", &workloads, &[], &[]).is_empty());
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
            ..Event::default()
        };
        let told = |events: &[Event]| {
            let told = in_the_way("n/cilium", &workloads, &[], events);
            told.into_iter().map(|one| format!("{}: {}", one.object, one.state)).collect::<Vec<_>>()
        };
        let claim = "PersistentVolumeClaim n/data: ";
        assert_eq!(told(&[]), [format!("{claim}PersistentVolumeClaim not bound")]);
        let said = "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found";
        assert_eq!(told(&[failed]), [format!("{claim}{said}")]);
    }
}
