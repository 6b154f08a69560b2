//! Pods that cannot be scheduled, cannot start or do not become ready.

use super::{CILIUM, COREDNS, expect, fault};
use crate::faults::Fault;
use crate::faults::injection::{Injection, When};
use crate::faults::verdict::{Expected, Plain};
use crate::stages::{PodBehavior, PodState};

const TAINT: Injection = Injection::Kubectl(
    &[&["taint", "nodes", "--all", "gpu=yes:NoSchedule"]],
    &[&["taint", "nodes", "--all", "gpu-"]],
);

/// A pod whose image cannot be pulled.
const fn pull_error(message: &'static str) -> PodBehavior {
    PodBehavior { state: PodState::Waiting("ErrImagePull", message), warning: ("Failed", message), log: "" }
}

const CRASH_EVENT: (&str, &str) = ("BackOff", "Back-off restarting failed container");
/// A container log in the format of the kubelet.
const CRASH_LOG: &str = "2026-11-25T20:00:00Z stdout F level=info starting\n\
                       2026-11-25T20:00:01Z stderr F flag provided but not defined: -no-such-flag\n";

pub(super) const FAULTS: &[Fault] = &[
    // Pods that cannot be scheduled.
    fault(
        "second-operator",
        "second cilium-operator on one node",
        &[Injection::Values(&[("  replicas: 1\n", "  replicas: 2\n")])],
        expect(
            1,
            "Deployment/cilium-operator",
            &["More replicas than nodes, and they cannot share a node"],
            "replicas: 1",
        ),
        Plain::Fails("cilium-operator"),
    ),
    Fault {
        args: &["--skip-check", "replicas"],
        ..fault(
            "second-operator-unchecked",
            "the same, check skipped",
            &[Injection::Values(&[("  replicas: 1\n", "  replicas: 2\n")])],
            expect(
                6,
                "Pod kube-system/cilium-operator-",
                &["another pod, or another replica, already uses the host port"],
                "operator.replicas: 1",
            ),
            Plain::Fails("cilium-operator"),
        )
    },
    fault(
        "taint",
        "taint without toleration",
        &[TAINT],
        expect(1, "cilium-operator", &["taint", "gpu"], "tolerations"),
        Plain::Fails("cilium-operator"),
    ),
    Fault {
        args: &["--skip-check", "taints"],
        ..fault(
            "taint-unchecked",
            "the same, check skipped",
            &[TAINT],
            expect(
                6,
                "Pod kube-system/cilium-operator-",
                &["every node has a taint that the pod does not tolerate"],
                "kubectl taint nodes --all KEY-",
            ),
            Plain::Fails("cilium-operator"),
        )
    },
    fault(
        "cpu",
        "not enough CPU",
        &[Injection::Values(&[(
            CILIUM,
            "rollOutCiliumPods: true\nresources: {requests: {cpu: \"1000\"}}\n",
        )])],
        expect(
            6,
            "Pod kube-system/cilium-",
            &["no node has enough free CPU for the requests of the pod"],
            "resources.requests.cpu",
        ),
        Plain::Fails("DaemonSet/kube-system/cilium"),
    ),
    fault(
        "volume",
        "PersistentVolumeClaim not bound",
        &[
            Injection::Values(&[(
                COREDNS,
                "priorityClassName: system-cluster-critical\n\
                 extraVolumes: [{name: data, persistentVolumeClaim: {claimName: data}}]\n",
            )]),
            Injection::Objects(
                "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: kube-system}\n\
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n",
            ),
        ],
        expect(
            6,
            "Pod kube-system/coredns-",
            &["the volume cannot be provisioned: there is no such StorageClass"],
            "kubectl get storageclass",
        ),
        Plain::Fails("Deployment/kube-system/coredns"),
    ),
    // Pods that cannot start.
    fault(
        "image-missing",
        "image not found (404)",
        &[Injection::Pods(
            "kube-system",
            "cilium-operator",
            pull_error(
                "rpc error: code = NotFound desc = failed to pull and unpack image \"quay.io/cilium/operator-generic:v1\": \
                 failed to resolve reference \"quay.io/cilium/operator-generic:v1\": quay.io/cilium/operator-generic:v1: not found",
            ),
        )],
        expect(
            6,
            "Pod kube-system/cilium-operator-",
            &["the image or tag does not exist in the registry"],
            "correct the image tag in the values",
        ),
        Plain::Fails("cilium-operator"),
    ),
    Fault {
        upgrade: true,
        ..fault(
            "image-missing-upgrade",
            "the same in an upgrade, with the old pod still running",
            &[
                Injection::Values(&[(
                    "  create: false\n",
                    "  create: false\npodAnnotations: {upgraded: \"yes\"}\n",
                )]),
                Injection::Pods(
                    "flux-system",
                    "flux-operator",
                    pull_error(
                        "failed to pull and unpack image \"ghcr.io/x/flux-operator:v9\": ghcr.io/x/flux-operator:v9: not found",
                    ),
                ),
            ],
            expect(
                6,
                "Pod flux-system/flux-operator-",
                &["the image or tag does not exist in the registry"],
                "correct the image tag in the values",
            ),
            Plain::Fails("Deployment/flux-system/flux-operator"),
        )
    },
    fault(
        "image-denied",
        "image denied (403)",
        &[Injection::Pods(
            "kube-system",
            "coredns",
            pull_error(
                "failed to pull and unpack image \"docker.io/coredns/coredns:1.13.1\": failed to resolve reference \
                 \"docker.io/coredns/coredns:1.13.1\": failed to authorize: failed to fetch anonymous token: unexpected \
                 status from GET request to https://auth.docker.io/token: 403 Forbidden",
            ),
        )],
        expect(
            6,
            "Pod kube-system/coredns-",
            &["the registry denies the node access to the image"],
            "set a pull secret in the values",
        ),
        Plain::Fails("Deployment/kube-system/coredns"),
    ),
    fault(
        "image-rate-limit",
        "image rate limit (429)",
        &[Injection::Pods(
            "cert-manager",
            "cert-manager-webhook",
            pull_error(
                // As in suxess-it/kubriX#1075.
                "failed to pull and unpack image \"docker.io/x/y:1\": failed to copy: httpReadSeeker: failed open: unexpected \
                 status code https://registry-1.docker.io/v2/x/y/manifests/sha256:bb01: 429 Too Many Requests - Server \
                 message: toomanyrequests: You have reached your unauthenticated pull rate limit. \
                 https://www.docker.com/increase-rate-limit",
            ),
        )],
        expect(
            6,
            "Pod cert-manager/cert-manager-webhook-",
            &["the registry limits the rate of the node's requests"],
            "wait, or log the nodes in to the registry",
        ),
        Plain::Fails("Deployment/cert-manager/cert-manager-webhook"),
    ),
    fault(
        "crash-loop",
        "container in a crash loop",
        &[Injection::Pods(
            "flux-system",
            "flux-operator",
            PodBehavior { state: PodState::Crashing(4), warning: CRASH_EVENT, log: CRASH_LOG },
        )],
        Expected {
            also: "flag provided but not defined: -no-such-flag",
            ..expect(
                6,
                "Pod flux-system/flux-operator-",
                &["the container is crash-looping", "exited with code 1"],
                "kubectl -n flux-system logs flux-operator-",
            )
        },
        Plain::Fails("Deployment/flux-system/flux-operator"),
    ),
    fault(
        "readiness",
        "readiness probe fails",
        &[Injection::Pods(
            "kube-system",
            "coredns",
            PodBehavior {
                state: PodState::Unready,
                warning: ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
                log: "",
            },
        )],
        expect(
            6,
            "Pod kube-system/coredns-",
            &["the container runs but does not become ready"],
            "kubectl -n kube-system logs coredns-",
        ),
        Plain::Fails("Deployment/kube-system/coredns"),
    ),
    fault(
        "init-container",
        "init container fails",
        &[Injection::Pods(
            "kube-system",
            "cilium-",
            PodBehavior { state: PodState::InitCrashing(4), warning: CRASH_EVENT, log: "" },
        )],
        expect(
            6,
            "Pod kube-system/cilium-",
            &["init container config: CrashLoopBackOff", "the container is crash-looping"],
            "kubectl -n kube-system logs cilium-",
        ),
        Plain::Fails("DaemonSet/kube-system/cilium"),
    ),
    fault(
        "cni",
        "network plugin does not work",
        &[Injection::Pods(
            "kube-system",
            "coredns",
            PodBehavior {
                state: PodState::Waiting("ContainerCreating", ""),
                warning: (
                    "FailedCreatePodSandBox",
                    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \
                     \"0\": plugin type=\"cilium-cni\" failed (add): unable to connect to Cilium agent",
                ),
                log: "",
            },
        )],
        expect(
            6,
            "Pod kube-system/coredns-",
            &["the network plugin of the node does not work"],
            "kubectl -n kube-system get pods -l k8s-app=cilium",
        ),
        Plain::Fails("Deployment/kube-system/coredns"),
    ),
    fault(
        "startupapicheck",
        "startupapicheck never succeeds",
        &[Injection::Pods(
            "cert-manager",
            "cert-manager-startupapicheck",
            PodBehavior { state: PodState::Crashing(1), warning: CRASH_EVENT, log: "" },
        )],
        expect(
            6,
            "cert-manager/cert-manager-startupapicheck",
            &["the cert-manager webhook did not respond in time"],
            "kubectl -n cert-manager get pods",
        ),
        Plain::Fails("startupapicheck"),
    ),
    Fault {
        when: When::Release("kube-system", "coredns"),
        ..fault(
            "node-not-ready",
            "node becomes NotReady during the run",
            &[Injection::NodeNotReady],
            expect(
                6,
                "Pod ",
                &[
                    "no suitable node is ready: a node is down, or there is no network plugin yet",
                    "not ready: node-1 (KubeletNotReady: CNI)",
                ],
                "kubectl describe nodes",
            ),
            Plain::Fails("cert-manager/cert-manager"),
        )
    },
];
