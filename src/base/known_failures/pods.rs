//! Known failures of pods that have a node.

use crate::base::known_failures::Origin::{Api, Release, State};
use crate::base::known_failures::shape::{API, RELEASE, STATE, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        // Every namespace gets it after it was created (`plugin/pkg/admission/serviceaccount` of Kubernetes 1.36).
        id: "service-account",
        outlook: Outlook::Transient,
        shapes: &[shape(API, "error looking up service account *: serviceaccount \"default\" not found")],
        samples: &[
            sample(
                Api,
                "kubectl 1.36.3, k3s v1.36.3+k3s1",
                "Error from server (Forbidden): error when creating \"pods.json\": pods \"ok\" is forbidden: error looking up service account lab/default: serviceaccount \"default\" not found",
            ),
            sample(
                State,
                "kube-controller-manager 1.36.3",
                "FailedCreate: Error creating: pods \"cilium-t8xnd\" is forbidden: error looking up service account kube-system/default: serviceaccount \"default\" not found",
            ),
        ],
        cause: "the ServiceAccount `default` does not exist yet: the controller manager creates it shortly after the namespace",
        fix: "kubectl -n {namespace} get serviceaccount default  # when it exists, retry; if it does not appear, check the logs of the control plane",
    },
    KnownFailure {
        id: "startupapicheck",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(RELEASE, "failed post-install: …job cert-manager-startupapicheck failed"),
            shape(
                RELEASE,
                "failed post-install: resource not ready, name: cert-manager-startupapicheck, kind: Job",
            ),
            shape(STATE, "container cert-manager-startupapicheck: CrashLoopBackOff"),
            // With another code it was killed, or could not start.
            shape(STATE, "container cert-manager-startupapicheck, exited with code 1 (Error)"),
        ],
        samples: &[
            sample(
                Release,
                "helm 3, devenkulkarni/suse-ai-tf#30",
                "failed post-install: 1 error occurred:; * job cert-manager-startupapicheck failed: BackoffLimitExceeded",
            ),
            sample(
                Release,
                "helm 4, NVIDIA/aicr#51",
                "INSTALLATION FAILED: failed post-install: resource not ready, name: cert-manager-startupapicheck, kind: Job, status: InProgress; context deadline exceeded",
            ),
            sample(
                State,
                "kubelet 1.36.3",
                "container cert-manager-startupapicheck: CrashLoopBackOff, exited with code 1 (Error), 3 restarts",
            ),
        ],
        cause: "the cert-manager webhook did not respond in time: its pods, DNS or the network are not ready",
        fix: "kubectl -n {namespace} get pods  # retry when they are ready",
    },
    KnownFailure {
        id: "memory-limit",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "…, exited with code * (OOMKilled)")],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main: CrashLoopBackOff, exited with code 137 (OOMKilled), 5 restarts",
        )],
        cause: "the container exceeded its memory limit",
        fix: "raise `resources.limits.memory` in the values",
    },
    KnownFailure {
        id: "config-missing",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "CreateContainerConfigError: secret \"*\" not found"),
            shape(STATE, "CreateContainerConfigError: configmap \"*\" not found"),
            shape(STATE, "CreateContainerConfigError: couldn't find key * in "),
            shape(STATE, "FailedMount: MountVolume.SetUp failed for volume \"*\" : secret \"*\" not found"),
            shape(
                STATE,
                "FailedMount: MountVolume.SetUp failed for volume \"*\" : configmap \"*\" not found",
            ),
            shape(
                STATE,
                "FailedMount: MountVolume.SetUp failed for volume \"*\" : references non-existent * key: ",
            ),
        ],
        samples: &[
            sample(
                State,
                "kubelet of k3s v1.36.3+k3s1",
                "container main: CreateContainerConfigError: configmap \"absent\" not found",
            ),
            sample(
                State,
                "kubelet of k3s v1.36.3+k3s1",
                "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"absent\" not found",
            ),
        ],
        cause: "a Secret or ConfigMap that the container needs does not exist, or has no such key",
        fix: "create what the message names",
    },
    KnownFailure {
        id: "runs-as-root",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            STATE,
            "CreateContainerConfigError: container has runAsNonRoot and image will run as root",
        )],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main: CreateContainerConfigError: container has runAsNonRoot and image will run as root (pod: \"nonroot_lab(1ea716c7-418c-4693-92b9-bcdc7e5b7ad8)\", container: main)",
        )],
        cause: "the pod must not run as root, and its image does",
        fix: "set `runAsUser` in the `securityContext` of the values",
    },
    KnownFailure {
        id: "object-deleted",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(RELEASE, "resource * not ready. status: NotFound, message: Resource not found"),
            shape(STATE, "the object was deleted after it was created"),
        ],
        samples: &[
            sample(
                Release,
                "helm 4.2.4",
                "resource Deployment/cert-manager/cert-manager-webhook not ready. status: NotFound, message: Resource not found; context deadline exceeded",
            ),
            sample(State, "k3s-boot", "the object was deleted after it was created"),
        ],
        cause: "the object was deleted while the release was being installed",
        fix: "run k3s-boot again: it recreates missing objects",
    },
    KnownFailure {
        id: "command-missing",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "exec: \"*\": stat *: no such file or directory"),
            shape(STATE, "exec: \"*\": executable file not found in $PATH"),
        ],
        samples: &[sample(
            State,
            "containerd of k3s v1.36.3+k3s1",
            "container main: StartError: failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory, 6 restarts",
        )],
        cause: "the image does not contain the command of the container",
        fix: "correct the image, or `command` and `args`, in the values",
    },
    KnownFailure {
        id: "start-error",
        outlook: Outlook::Unknown,
        shapes: &[
            fallback(STATE, "container *: StartError"),
            fallback(STATE, "…, exited with code * (StartError)"),
            fallback(STATE, "…, exited with code * (ContainerCannotRun)"),
            fallback(STATE, "container *: RunContainerError"),
            fallback(STATE, "container *: CreateContainerError"),
        ],
        samples: &[sample(
            State,
            "containerd, cilium/cilium#32357",
            "init container mount-bpf-fs: CreateContainerError: failed to generate container \"0eb1c6808d6ba4bddd5465211a2501909f8d720ab9a850a0568203a8aae8214e\" spec: failed to generate spec: path \"/sys/fs/bpf\" is mounted on \"/sys/fs/bpf\" but it is not a shared mount",
        )],
        cause: "the node cannot create or start the container",
        fix: "kubectl -n {namespace} describe pod {pod}  # its events show why: a missing mount or device, or no permission",
    },
    KnownFailure {
        id: "sysctl",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "SysctlForbidden: …forbidden sysctl: ")],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "SysctlForbidden: Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        )],
        cause: "the kubelet does not allow a sysctl of the pod",
        fix: "allow it on the nodes (k3s: `kubelet-arg: [allowed-unsafe-sysctls=NAME]`), or remove it in the values",
    },
    KnownFailure {
        id: "init-container",
        outlook: Outlook::Unknown,
        shapes: &[shape(STATE, "init container *: running, the other containers wait for its end")],
        samples: &[sample(
            State,
            "k3s-boot",
            "init container wait: running, the other containers wait for its end",
        )],
        cause: "an init container does not end",
        fix: "kubectl -n {namespace} logs {pod} --all-containers --prefix  # shows what it waits for",
    },
    KnownFailure {
        id: "cni",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(
                STATE,
                "FailedCreatePodSandBox: Failed to create pod sandbox: …failed to setup network for sandbox \"*\": ",
            ),
            shape(STATE, "…cni plugin not initialized"),
        ],
        samples: &[
            sample(
                State,
                "kubelet of k3s v1.36.3+k3s1",
                "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"85ad3cece0faab7d9215075b86b8d4507cd515b1ce3003a97da007b0e8551b82\": plugin type=\"flannel\" failed (add): failed to load flannel 'subnet.env' file: open /run/flannel/subnet.env: no such file or directory. Check the flannel pod log for this node.",
            ),
            sample(
                State,
                "kubelet of k3s v1.36.3+k3s1",
                "NetworkNotReady: network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
            ),
        ],
        cause: "the network plugin of the node does not work",
        fix: "kubectl -n kube-system get pods -l k8s-app=cilium -o wide  # the one on that node must be ready",
    },
    KnownFailure {
        id: "node-down",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "NodeNotReady: Kubelet stopped posting node status"),
            shape(STATE, "NodeNotReady: Node is not ready"),
        ],
        samples: &[
            sample(
                State,
                "kube-controller-manager 1.36.3",
                "NodeNotReady: Kubelet stopped posting node status.",
            ),
            sample(State, "kube-controller-manager 1.36.3", "NodeNotReady: Node is not ready"),
        ],
        cause: "the node does not respond: it is off, or its kubelet does not run",
        fix: "kubectl describe nodes  # and the log of the kubelet on that node",
    },
    KnownFailure {
        id: "sandbox",
        outlook: Outlook::Unknown,
        shapes: &[fallback(STATE, "FailedCreatePodSandBox: ")],
        samples: &[sample(
            State,
            "containerd 2.3, k3s v1.36.1, k3s-io/k3s#14187",
            "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = NotFound desc = failed to start sandbox \"47a726e8e25cf6684228a20232c703ac2f0f3889e0984564aa6576c25d8cacb9\": failed to get sandbox image \"rancher/mirrored-pause:3.6\": image \"rancher/mirrored-pause:3.6\": not found",
        )],
        cause: "the node cannot create the pod",
        fix: "kubectl -n {namespace} describe pod {pod}  # and the log of the kubelet on that node",
    },
    KnownFailure {
        id: "crash-loop",
        outlook: Outlook::Unknown,
        shapes: &[fallback(STATE, "container *: CrashLoopBackOff")],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main: CrashLoopBackOff, exited with code 3 (Error), 6 restarts",
        )],
        cause: "the container is crash-looping",
        fix: "kubectl -n {namespace} logs {pod} --previous  # the last lines show why",
    },
    KnownFailure {
        id: "ended",
        outlook: Outlook::Unknown,
        shapes: &[fallback(STATE, "container *, exited with code ")],
        samples: &[sample(
            State,
            "kubelet of k3s v1.36.3+k3s1",
            "container main, exited with code 3 (Error), 1 restarts",
        )],
        cause: "the container exited with an error",
        fix: "kubectl -n {namespace} logs {pod} --previous  # the last lines show why",
    },
    KnownFailure {
        id: "readiness",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(STATE, "Unhealthy: Readiness probe failed: "),
            shape(STATE, "Unhealthy: Startup probe failed: "),
            shape(STATE, "Unhealthy: Liveness probe failed: "),
            shape(STATE, "container *: running but not ready"),
        ],
        samples: &[
            sample(
                State,
                "kubelet of k3s v1.36.3+k3s1",
                "Unhealthy: Readiness probe failed: Get \"http://10.42.0.24:8080/healthz\": dial tcp 10.42.0.24:8080: connect: connection refused",
            ),
            sample(State, "kubelet of k3s v1.36.3+k3s1", "Unhealthy: Liveness probe failed: not alive"),
            sample(
                State,
                "kubelet of k3s v1.36.3+k3s1",
                "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503",
            ),
            sample(State, "k3s-boot, for a pod without events", "container main: running but not ready"),
        ],
        cause: "the container runs but does not become ready",
        fix: "kubectl -n {namespace} logs {pod}  # shows what it waits for",
    },
];
