//! The table of known failures of pods, nodes and registries, special ones before general ones.

use crate::base::known_failures::Known;

pub(super) const PODS: &[Known] = &[
    // What pods wait for. Where a node is still to come, it may take what the others do not.
    Known {
        id: "node-not-ready",
        words: &[
            &["{node.kubernetes.io/not-ready"],
            &["{node.kubernetes.io/unreachable"],
            &["{node.kubernetes.io/network-unavailable"],
        ],
        cause: "no node is ready that could take it: one is off, or there is no network plugin yet",
        fix: "kubectl describe nodes  # the condition Ready tells why",
    },
    Known {
        id: "node-pressure",
        words: &[
            &["{node.kubernetes.io/disk-pressure"],
            &["{node.kubernetes.io/memory-pressure"],
            &["{node.kubernetes.io/pid-pressure"],
        ],
        cause: "a node has no disk, memory or process numbers left, and takes nothing new",
        fix: "kubectl describe nodes  # the conditions tell of what; make room there, and the taint goes by itself",
    },
    Known {
        id: "node-uninitialized",
        words: &[&["{node.cloudprovider.kubernetes.io/uninitialized"]],
        cause: "a node waits for a cloud controller to make itself known to it",
        fix: "do not disable that of k3s (`disable-cloud-controller`), or install the one that the kubelet was told of",
    },
    Known {
        id: "node-cordoned",
        words: &[&["{node.kubernetes.io/unschedulable"], &["node(s) were unschedulable"]],
        cause: "a node was cordoned, and takes nothing new",
        fix: "kubectl get nodes; kubectl uncordon NODE",
    },
    Known {
        id: "anti-affinity",
        words: &[
            &["didn't match pod anti-affinity rules"],
            &["didn't satisfy existing pods anti-affinity rules"],
        ],
        cause: "its replicas must not share a node, and there are not nodes enough",
        fix: "set fewer replicas in the values (cilium: `operator.replicas: 1`), or add a node",
    },
    Known {
        id: "pod-affinity",
        words: &[&["didn't match pod affinity rules"]],
        cause: "it has to run beside another pod, which does not run yet",
        fix: "kubectl -n {namespace} get pods -o wide  # see to the other pod first",
    },
    Known {
        id: "host-port",
        words: &[&["didn't have free ports for the requested pod ports"]],
        cause: "another pod uses the same port of the node, or a second replica of the same",
        fix: "set fewer replicas in the values (cilium: `operator.replicas: 1`), or add a node",
    },
    Known {
        id: "storage-class",
        words: &[&["there is no storageclass"], &["storageclass.storage.k8s.io", "not found"]],
        cause: "its volume is not there: no StorageClass makes it",
        fix: "kubectl -n {namespace} get pvc; kubectl get storageclass  # k3s brings `local-path` unless it is disabled",
    },
    Known {
        id: "volume",
        words: &[
            &["unbound immediate persistentvolumeclaims"],
            &["persistentvolumeclaim not bound"],
            &["provisioningfailed"],
        ],
        cause: "its volume is not there yet",
        fix: "kubectl -n {namespace} describe pvc  # tells what it waits for",
    },
    Known {
        id: "node-selector",
        words: &[&["didn't match pod's node affinity/selector"]],
        cause: "no node has the labels that the pod asks for",
        fix: "correct `nodeSelector` or `affinity` in the values, or label a node",
    },
    Known {
        id: "cpu",
        words: &[&["insufficient cpu"]],
        cause: "no node has the processor time left that the pod asks for",
        fix: "lower `resources.requests.cpu` in the values, or add a node",
    },
    Known {
        id: "memory",
        words: &[&["insufficient memory"]],
        cause: "no node has the memory left that the pod asks for",
        fix: "lower `resources.requests.memory` in the values, or add a node",
    },
    Known {
        id: "taint",
        words: &[&["untolerated taint"]],
        cause: "every node has a taint that the pod does not tolerate",
        fix: "add a toleration in the values, or remove the taint: kubectl taint nodes --all KEY-",
    },
    Known {
        id: "memory-limit",
        words: &[&["oomkilled"]],
        cause: "its container needs more memory than its limit",
        fix: "raise `resources.limits.memory` in the values",
    },
    Known {
        id: "config-missing",
        words: &[&["createcontainerconfigerror"], &["failedmount"]],
        cause: "a Secret, ConfigMap or volume that its container needs is not there",
        fix: "make what the message names",
    },
    Known {
        id: "gone",
        words: &[&["status: notfound", "resource not found"], &["it was deleted after it had been made"]],
        cause: "it was deleted while the release was being installed",
        fix: "run it again: what is missing is made anew",
    },
    Known {
        id: "unmade",
        words: &[&["createcontainererror"], &["runcontainererror"], &["starterror"], &["containercannotrun"]],
        cause: "its node cannot make or start the container",
        fix: "kubectl -n {namespace} describe pod {pod}  # its events tell why: a command, a mount or a device that is not there",
    },
    Known {
        id: "cni",
        words: &[
            &["failedcreatepodsandbox", "network"],
            &["failedcreatepodsandbox", "cni"],
            &["failedcreatepodsandbox", "plugin type"],
            &["cni plugin not initialized"],
        ],
        cause: "the network plugin of its node does not work",
        fix: "kubectl -n kube-system get pods -l k8s-app=cilium -o wide  # that of the node must be ready",
    },
    Known {
        id: "node-down",
        words: &[&["nodenotready"]],
        cause: "its node does not answer: it is off, or its k3s does not run",
        fix: "kubectl describe nodes  # and `journalctl -u k3s -u k3s-agent` on that node",
    },
    Known {
        id: "sandbox",
        words: &[&["failedcreatepodsandbox"]],
        cause: "its node cannot make the pod",
        fix: "kubectl -n {namespace} describe pod {pod}  # and `journalctl -u k3s -u k3s-agent` on that node",
    },
    // Both images and charts come from registries.
    Known {
        id: "rate-limit",
        words: &[&["toomanyrequests"], &["too many requests"], &["status code 429"]],
        cause: "the registry wants fewer requests",
        fix: "wait, or log in to the registry",
    },
    Known {
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
        cause: "the registry does not give the image to this node",
        fix: "make it public, or name a pull secret in the values (`imagePullSecrets`)",
    },
    Known {
        id: "image-missing",
        words: &[
            &["errimagepull", "not found"],
            &["imagepullbackoff", "not found"],
            &["errimagepull", "manifest unknown"],
        ],
        cause: "the registry has no such image or tag",
        fix: "correct the image's tag in the values, or the chart's version",
    },
    Known {
        id: "image",
        words: &[&["errimagepull"], &["imagepullbackoff"], &["invalidimagename"]],
        cause: "its node cannot pull the image",
        fix: "kubectl -n {namespace} describe pods  # its events tell why",
    },
    Known {
        id: "crash-loop",
        words: &[&["crashloopbackoff"]],
        cause: "its container ends again and again",
        fix: "kubectl -n {namespace} logs {pod} --previous  # its last words",
    },
    Known {
        id: "ended",
        words: &[&["ended with exit code"]],
        cause: "its container has ended with an error",
        fix: "kubectl -n {namespace} logs {pod} --previous  # its last words",
    },
    Known {
        id: "readiness",
        words: &[
            &["readiness probe failed"],
            &["startup probe failed"],
            &["liveness probe failed"],
            &["runs, and is not ready"],
        ],
        cause: "its container runs, and does not say that it is ready",
        fix: "kubectl -n {namespace} logs {pod}  # tells what it waits for",
    },
    Known {
        id: "clock",
        words: &[&["certificate has expired or is not yet valid"]],
        cause: "a certificate has expired, or a clock is wrong",
        fix: "date  # on this machine and on the servers",
    },
    Known {
        id: "certificate",
        words: &[&["x509:"]],
        cause: "the certificate is not that of the server, or nobody here trusts who signed it",
        fix: "check the address, the proxy, and SSL_CERT_FILE",
    },
    Known {
        id: "chart-gone",
        words: &[&["manifest unknown"], &["manifest_unknown"], &["chart cannot be fetched", "not found"]],
        cause: "the registry has no such chart or version",
        fix: "correct `chart` or `version` of {release} in the helmfile",
    },
    Known {
        id: "registry-denied",
        words: &[
            &["denied: denied"],
            &["failed to fetch oauth token"],
            &["status code 401"],
            &["status code 403"],
        ],
        cause: "the registry refuses the login that is stored here, or wants one",
        fix: "helm registry logout HOST; docker logout HOST  # for a public chart; a private one: helm registry login HOST",
    },
    Known {
        id: "registry-down",
        words: &[&["status code 500"], &["status code 502"], &["status code 503"], &["status code 504"]],
        cause: "the registry has trouble of its own",
        fix: "run it again later",
    },
    Known {
        id: "registry-gone",
        words: &[
            &["/v2/", "dial tcp"],
            &["/v2/", "connection reset by peer"],
            &["/v2/", "eof"],
            &["/v2/", "timeout"],
            &["fetchreference", "dial tcp"],
        ],
        cause: "the registry cannot be reached, or does not answer in time",
        fix: "check the network of this machine, and its proxy (HTTPS_PROXY)",
    },
    Known {
        id: "api-gone",
        words: &[
            &["kubernetes cluster unreachable"],
            &["connect: connection refused"],
            &["was refused - did you specify the right host or port"],
            &["connection reset by peer"],
        ],
        cause: "the API server went away in the middle: it restarts, or its server is down",
        fix: "run it again when `kubectl get --raw /readyz` says ok",
    },
];
