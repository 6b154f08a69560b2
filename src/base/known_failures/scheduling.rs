//! Known failures of the scheduler. If nodes reject a pod for several reasons, the first row here is the one to report: nodes
//! that are not ready may accept the pod later.

use crate::base::known_failures::Origin::State;
use crate::base::known_failures::shape::{STATE, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "node-not-ready",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "…{node.kubernetes.io/not-ready: "),
            shape(STATE, "…{node.kubernetes.io/unreachable: "),
            shape(STATE, "…{node.kubernetes.io/network-unavailable: "),
        ],
        samples: &[
            sample(
                State,
                "kube-scheduler 1.36.3; k3s-boot adds the taint",
                "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            ),
            sample(
                State,
                "kube-scheduler 1.36.3; k3s-boot adds the taint",
                "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient cpu. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.",
            ),
        ],
        cause: "no suitable node is ready: a node is down, or there is no network plugin yet",
        fix: "kubectl describe nodes  # the condition Ready shows why",
    },
    KnownFailure {
        id: "node-pressure",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "…{node.kubernetes.io/disk-pressure: "),
            shape(STATE, "…{node.kubernetes.io/memory-pressure: "),
            shape(STATE, "…{node.kubernetes.io/pid-pressure: "),
        ],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3; k3s-boot adds the taint",
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "a node is out of disk, memory or PIDs and accepts no new pods",
        fix: "kubectl describe nodes  # the conditions show which; free it, and Kubernetes removes the taint",
    },
    KnownFailure {
        id: "node-uninitialized",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "…{node.cloudprovider.kubernetes.io/uninitialized: ")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3; k3s-boot adds the taint",
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.cloudprovider.kubernetes.io/uninitialized: true}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "a node waits for a cloud controller to initialize it",
        fix: "install the cloud controller that the kubelet is configured for; if the distribution includes one, do not disable it",
    },
    KnownFailure {
        id: "node-cordoned",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "…{node.kubernetes.io/unschedulable: "),
            shape(STATE, "node(s) were unschedulable"),
        ],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3",
            "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "a node is cordoned and accepts no new pods",
        fix: "kubectl get nodes; kubectl uncordon NODE",
    },
    KnownFailure {
        id: "anti-affinity",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "node(s) didn't match pod anti-affinity rules"),
            shape(STATE, "node(s) didn't satisfy existing pods anti-affinity rules"),
        ],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3",
            "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        )],
        cause: "the replicas must run on different nodes, and there are not enough nodes",
        fix: "set fewer replicas in the values (cilium: `operator.replicas: 1`), or add a node",
    },
    KnownFailure {
        id: "pod-affinity",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "node(s) didn't match pod affinity rules")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3",
            "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "the pod must run next to another pod, which does not run yet",
        fix: "kubectl -n {namespace} get pods -o wide  # fix the other pod first",
    },
    KnownFailure {
        id: "host-port",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "node(s) didn't have free ports for the requested pod ports")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3",
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        )],
        cause: "another pod, or another replica, already uses the host port",
        fix: "set fewer replicas in the values (cilium: `operator.replicas: 1`), or add a node",
    },
    KnownFailure {
        id: "claim-missing",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "persistentvolumeclaim \"*\" not found")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3, k3s v1.36.3+k3s1",
            "0/1 nodes are available: persistentvolumeclaim \"nope\" not found. not found",
        )],
        cause: "the pod uses a PersistentVolumeClaim that does not exist",
        fix: "create the claim, or correct its name in the values (such as `existingClaim`)",
    },
    KnownFailure {
        id: "storage-class",
        outlook: Outlook::Unknown,
        shapes: &[
            // k3s-boot appends it: the scheduler and the claim show only that there is no volume.
            shape(STATE, "there is no StorageClass"),
            shape(STATE, "storageclass.storage.k8s.io \"*\" not found"),
        ],
        samples: &[
            sample(
                State,
                "kube-controller-manager 1.36.3, k3s v1.36.3+k3s1",
                "ProvisioningFailed: storageclass.storage.k8s.io \"no-such-class\" not found",
            ),
            sample(
                State,
                "kube-scheduler 1.36.3 and k3s-boot",
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found; there is no StorageClass",
            ),
        ],
        cause: "the volume cannot be provisioned: there is no such StorageClass",
        fix: "kubectl -n {namespace} get pvc; kubectl get storageclass  # install a provisioner, or enable the one of the distribution",
    },
    KnownFailure {
        id: "volume",
        outlook: Outlook::Unknown,
        shapes: &[
            fallback(STATE, "pod has unbound immediate PersistentVolumeClaims"),
            fallback(STATE, "PersistentVolumeClaim not bound"),
            fallback(STATE, "ProvisioningFailed: "),
        ],
        samples: &[
            sample(State, "k3s-boot, for a claim without an event", "PersistentVolumeClaim not bound"),
            sample(
                State,
                "kube-scheduler 1.36.3, k3s v1.36.3+k3s1",
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            ),
        ],
        cause: "the volume is not provisioned yet",
        fix: "kubectl -n {namespace} describe pvc  # its events show why",
    },
    KnownFailure {
        id: "node-selector",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "node(s) didn't match Pod's node affinity/selector")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3, k3s v1.36.3+k3s1",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "no node has the labels that the pod requires",
        fix: "correct `nodeSelector` or `affinity` in the values, or label a node",
    },
    KnownFailure {
        id: "cpu",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "Insufficient cpu")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3, k3s v1.36.3+k3s1",
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "no node has enough free CPU for the requests of the pod",
        fix: "lower `resources.requests.cpu` in the values, or add a node",
    },
    KnownFailure {
        id: "memory",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "Insufficient memory")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3",
            "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        )],
        cause: "no node has enough free memory for the requests of the pod",
        fix: "lower `resources.requests.memory` in the values, or add a node",
    },
    KnownFailure {
        id: "taint",
        outlook: Outlook::Unknown,
        shapes: &[fallback(STATE, "node(s) had untolerated taint {")],
        samples: &[sample(
            State,
            "kube-scheduler 1.36.3; k3s-boot adds the taint",
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )],
        cause: "every node has a taint that the pod does not tolerate",
        fix: "add a toleration in the values, or remove the taint: kubectl taint nodes --all KEY-",
    },
];
