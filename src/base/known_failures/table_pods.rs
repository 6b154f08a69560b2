//! Known failures of pods, nodes and registries, specific ones first.

use crate::base::known_failures::KnownFailure;

pub(super) const PODS: &[KnownFailure] = &[
    // Scheduling. Nodes that are not ready come first: once ready, they may accept what the others do not.
    KnownFailure {
        id: "node-not-ready",
        words: &[
            &["{node.kubernetes.io/not-ready"],
            &["{node.kubernetes.io/unreachable"],
            &["{node.kubernetes.io/network-unavailable"],
        ],
        cause: "no suitable node is ready: a node is down, or there is no network plugin yet",
        fix: "kubectl describe nodes  # the condition Ready shows why",
    },
    KnownFailure {
        id: "node-pressure",
        words: &[
            &["{node.kubernetes.io/disk-pressure"],
            &["{node.kubernetes.io/memory-pressure"],
            &["{node.kubernetes.io/pid-pressure"],
        ],
        cause: "a node is out of disk, memory or PIDs and accepts no new pods",
        fix: "kubectl describe nodes  # the conditions show which; free it, and Kubernetes removes the taint",
    },
    KnownFailure {
        id: "node-uninitialized",
        words: &[&["{node.cloudprovider.kubernetes.io/uninitialized"]],
        cause: "a node waits for a cloud controller to initialize it",
        fix: "do not disable the one of k3s (`disable-cloud-controller`), or install the one that the kubelet is configured for",
    },
    KnownFailure {
        id: "node-cordoned",
        words: &[&["{node.kubernetes.io/unschedulable"], &["node(s) were unschedulable"]],
        cause: "a node is cordoned and accepts no new pods",
        fix: "kubectl get nodes; kubectl uncordon NODE",
    },
    KnownFailure {
        id: "anti-affinity",
        words: &[
            &["didn't match pod anti-affinity rules"],
            &["didn't satisfy existing pods anti-affinity rules"],
        ],
        cause: "the replicas must run on different nodes, and there are not enough nodes",
        fix: "set fewer replicas in the values (cilium: `operator.replicas: 1`), or add a node",
    },
    KnownFailure {
        id: "pod-affinity",
        words: &[&["didn't match pod affinity rules"]],
        cause: "the pod must run next to another pod, which does not run yet",
        fix: "kubectl -n {namespace} get pods -o wide  # fix the other pod first",
    },
    KnownFailure {
        id: "host-port",
        words: &[&["didn't have free ports for the requested pod ports"]],
        cause: "another pod, or another replica, already uses the host port",
        fix: "set fewer replicas in the values (cilium: `operator.replicas: 1`), or add a node",
    },
    KnownFailure {
        id: "storage-class",
        words: &[&["there is no storageclass"], &["storageclass.storage.k8s.io", "not found"]],
        cause: "the volume cannot be provisioned: there is no such StorageClass",
        fix: "kubectl -n {namespace} get pvc; kubectl get storageclass  # k3s includes `local-path` unless it is disabled",
    },
    KnownFailure {
        id: "volume",
        words: &[
            &["unbound immediate persistentvolumeclaims"],
            &["persistentvolumeclaim not bound"],
            &["provisioningfailed"],
        ],
        cause: "the volume is not provisioned yet",
        fix: "kubectl -n {namespace} describe pvc  # its events show why",
    },
    KnownFailure {
        id: "node-selector",
        words: &[&["didn't match pod's node affinity/selector"]],
        cause: "no node has the labels that the pod requires",
        fix: "correct `nodeSelector` or `affinity` in the values, or label a node",
    },
    KnownFailure {
        id: "cpu",
        words: &[&["insufficient cpu"]],
        cause: "no node has enough free CPU for the requests of the pod",
        fix: "lower `resources.requests.cpu` in the values, or add a node",
    },
    KnownFailure {
        id: "memory",
        words: &[&["insufficient memory"]],
        cause: "no node has enough free memory for the requests of the pod",
        fix: "lower `resources.requests.memory` in the values, or add a node",
    },
    KnownFailure {
        id: "taint",
        words: &[&["untolerated taint"]],
        cause: "every node has a taint that the pod does not tolerate",
        fix: "add a toleration in the values, or remove the taint: kubectl taint nodes --all KEY-",
    },
    KnownFailure {
        id: "memory-limit",
        words: &[&["oomkilled"]],
        cause: "the container exceeded its memory limit",
        fix: "raise `resources.limits.memory` in the values",
    },
    KnownFailure {
        id: "config-missing",
        words: &[&["createcontainerconfigerror"], &["failedmount"]],
        cause: "a Secret, ConfigMap or volume that the container needs does not exist",
        fix: "create what the message names",
    },
    KnownFailure {
        id: "gone",
        words: &[
            &["status: notfound", "resource not found"],
            &["the object was deleted after it was created"],
        ],
        cause: "the object was deleted while the release was being installed",
        fix: "run k3s-boot again: it recreates missing objects",
    },
    KnownFailure {
        id: "unmade",
        words: &[&["createcontainererror"], &["runcontainererror"], &["starterror"], &["containercannotrun"]],
        cause: "the node cannot create or start the container",
        fix: "kubectl -n {namespace} describe pod {pod}  # its events show why: a missing command, mount or device",
    },
    KnownFailure {
        id: "cni",
        words: &[
            &["failedcreatepodsandbox", "network"],
            &["failedcreatepodsandbox", "cni"],
            &["failedcreatepodsandbox", "plugin type"],
            &["cni plugin not initialized"],
        ],
        cause: "the network plugin of the node does not work",
        fix: "kubectl -n kube-system get pods -l k8s-app=cilium -o wide  # the one on that node must be ready",
    },
    KnownFailure {
        id: "node-down",
        words: &[&["nodenotready"]],
        cause: "the node does not respond: it is off, or k3s does not run on it",
        fix: "kubectl describe nodes  # and `journalctl -u k3s -u k3s-agent` on that node",
    },
    KnownFailure {
        id: "sandbox",
        words: &[&["failedcreatepodsandbox"]],
        cause: "the node cannot create the pod",
        fix: "kubectl -n {namespace} describe pod {pod}  # and `journalctl -u k3s -u k3s-agent` on that node",
    },
    // Both images and charts come from registries.
    KnownFailure {
        id: "rate-limit",
        words: &[&["toomanyrequests"], &["too many requests"], &["status code 429"]],
        cause: "rate limited by the registry",
        fix: "wait, or log in to the registry",
    },
    KnownFailure {
        id: "image-denied",
        words: &[
            &["errimagepull", "403 forbidden"],
            &["errimagepull", "401 unauthorized"],
            &["errimagepull", "denied"],
            &["errimagepull", "authorization failed"],
            &["imagepullbackoff", "403 forbidden"],
            &["imagepullbackoff", "401 unauthorized"],
            &["imagepullbackoff", "denied"],
            &["imagepullbackoff", "authorization failed"],
        ],
        cause: "the registry denies the node access to the image",
        fix: "make the image public, or set a pull secret in the values (`imagePullSecrets`)",
    },
    KnownFailure {
        id: "image-missing",
        words: &[
            &["errimagepull", "not found"],
            &["imagepullbackoff", "not found"],
            &["errimagepull", "manifest unknown"],
        ],
        cause: "the image or tag does not exist in the registry",
        fix: "correct the image tag in the values, or the chart version",
    },
    KnownFailure {
        id: "image",
        words: &[&["errimagepull"], &["imagepullbackoff"], &["invalidimagename"]],
        cause: "the node cannot pull the image",
        fix: "kubectl -n {namespace} describe pods  # its events show why",
    },
    KnownFailure {
        id: "crash-loop",
        words: &[&["crashloopbackoff"]],
        cause: "the container is crash-looping",
        fix: "kubectl -n {namespace} logs {pod} --previous  # the last lines show why",
    },
    KnownFailure {
        id: "ended",
        words: &[&["exited with code"]],
        cause: "the container exited with an error",
        fix: "kubectl -n {namespace} logs {pod} --previous  # the last lines show why",
    },
    KnownFailure {
        id: "readiness",
        words: &[
            &["readiness probe failed"],
            &["startup probe failed"],
            &["liveness probe failed"],
            &["running but not ready"],
        ],
        cause: "the container runs but does not become ready",
        fix: "kubectl -n {namespace} logs {pod}  # shows what it waits for",
    },
    KnownFailure {
        id: "clock",
        words: &[&["certificate has expired or is not yet valid"]],
        cause: "a certificate has expired, or a clock is wrong",
        fix: "date  # on this machine and on the servers",
    },
    KnownFailure {
        id: "certificate",
        words: &[&["x509:"]],
        cause: "the certificate does not match the server, or its issuer is not trusted here",
        fix: "check the address, the proxy, and SSL_CERT_FILE",
    },
    KnownFailure {
        id: "chart-gone",
        words: &[&["manifest unknown"], &["manifest_unknown"], &["chart cannot be fetched", "not found"]],
        cause: "the chart or version does not exist in the registry",
        fix: "correct `chart` or `version` of {release} in the helmfile",
    },
    KnownFailure {
        id: "registry-denied",
        words: &[
            &["denied: denied"],
            &["failed to fetch oauth token"],
            &["status code 401"],
            &["status code 403"],
        ],
        cause: "the registry rejects the stored login, or requires one",
        fix: "helm registry logout HOST; docker logout HOST  # for a public chart; for a private one: helm registry login HOST",
    },
    KnownFailure {
        id: "registry-down",
        words: &[&["status code 500"], &["status code 502"], &["status code 503"], &["status code 504"]],
        cause: "the registry returned 5xx",
        fix: "retry later",
    },
    KnownFailure {
        id: "registry-gone",
        words: &[
            &["/v2/", "dial tcp"],
            &["/v2/", "connection reset by peer"],
            &["/v2/", "eof"],
            &["/v2/", "timeout"],
            &["fetchreference", "dial tcp"],
        ],
        cause: "the registry cannot be reached or does not respond in time",
        fix: "check the network of this machine, and its proxy (HTTPS_PROXY)",
    },
    KnownFailure {
        id: "api-gone",
        words: &[
            &["kubernetes cluster unreachable"],
            &["connect: connection refused"],
            &["was refused - did you specify the right host or port"],
            &["connection reset by peer"],
        ],
        cause: "the API server became unavailable: it restarts, or its node is down",
        fix: "retry when `kubectl get --raw /readyz` prints ok",
    },
];
