//! Known failures of Helm, the API server and Flux, specific ones first; `table_pods` follows.

use crate::base::known_failures::KnownFailure;

pub(super) const TABLE: &[KnownFailure] = &[
    // Helm and the API server.
    KnownFailure {
        id: "coredns-bundled",
        words: &[&["invalid ownership metadata", "coredns", "kube-system"]],
        cause: "the CoreDNS bundled with k3s already uses this name",
        fix: "add `coredns` to `disable` in /etc/rancher/k3s/config.yaml on all servers and restart k3s; or keep the bundled one: k3s-boot apps --skip-release {release}",
    },
    KnownFailure {
        id: "ownership",
        words: &[&["invalid ownership metadata"]],
        cause: "the object already exists and is not part of this release",
        fix: "k3s-boot check  # shows its owner; delete the object, or adopt it: k3s-boot apps --release {release} --force --adopt {release}",
    },
    KnownFailure {
        id: "service-address",
        words: &[&["provided ip is already allocated"]],
        cause: "another Service already has this cluster IP",
        fix: "kubectl get services --all-namespaces  # delete that Service, or change `clusterIP` in the values",
    },
    KnownFailure {
        id: "immutable",
        words: &[&["field is immutable"]],
        cause: "the chart changes a field that is immutable once the object exists",
        fix: "delete the named object, then retry: helm recreates it (never a CRD or a PersistentVolumeClaim: their data would be lost)",
    },
    KnownFailure {
        id: "crd-missing",
        words: &[
            &["no matches for kind"],
            &["ensure crds are installed first"],
            &["requires monitoring.coreos.com/v1 crds"],
        ],
        cause: "the CRD for this kind is not installed",
        fix: "install the CRDs in 00-crds.yaml, or disable what uses them in the values (such as `serviceMonitor`)",
    },
    KnownFailure {
        id: "locked",
        words: &[&["another operation (install/upgrade/rollback) is in progress"]],
        cause: "an earlier Helm operation on the release is still running or was killed",
        fix: "if nothing else is working on the release, `k3s-boot recover` recovers it",
    },
    KnownFailure {
        id: "startupapicheck",
        words: &[
            &["failed post-install", "startupapicheck"],
            &["startupapicheck", "crashloopbackoff"],
            &["startupapicheck", "exited with code 1 "],
        ],
        cause: "the cert-manager webhook did not respond in time: its pods, DNS or the network are not ready",
        fix: "kubectl -n {namespace} get pods  # retry when they are ready",
    },
    KnownFailure {
        id: "webhook",
        words: &[
            &["failed calling webhook"],
            &["failed to call webhook"],
            &["no endpoints available for service"],
        ],
        cause: "the API server calls a webhook whose pods are not ready or not reachable",
        fix: "retry when the webhook's pods are ready; if the webhook was uninstalled, delete its webhook configuration",
    },
    KnownFailure {
        id: "values-schema",
        words: &[&["values don't meet the specifications of the schema"]],
        cause: "a value violates the schema of the chart",
        fix: "correct the value that the message names; `helm show values CHART` shows the defaults",
    },
    KnownFailure {
        id: "template",
        words: &[
            &["execution error at ("],
            &["template: ", "executing "],
            // Helm 4 has no `template:` in front.
            &["executing \"", "\" at <"],
            &["parse error at ("],
            &["yaml parse error on "],
        ],
        cause: "a template of the chart fails with these values",
        fix: "set or correct the value that the message names",
    },
    KnownFailure {
        id: "quota-unset",
        words: &[&["failed quota", "must specify"]],
        cause: "a ResourceQuota of the namespace requires requests or limits that the pod does not set",
        fix: "set what the message names under `resources` in the values, or add a LimitRange with defaults to {namespace}",
    },
    KnownFailure {
        id: "limit-range",
        words: &[&["minimum", "usage per"], &["maximum", "usage per"], &["max limit to request ratio per"]],
        cause: "a LimitRange of the namespace forbids the resources of the pod",
        fix: "kubectl -n {namespace} describe limitrange  # change the LimitRange, or `resources` in the values",
    },
    KnownFailure {
        id: "quota",
        words: &[&["exceeded quota"]],
        cause: "a ResourceQuota of the namespace is exhausted",
        fix: "kubectl -n {namespace} describe resourcequota  # raise it",
    },
    KnownFailure {
        id: "pod-security",
        words: &[&["violates podsecurity"]],
        cause: "the Pod Security level of the namespace forbids this pod",
        fix: "kubectl label --overwrite namespace {namespace} pod-security.kubernetes.io/enforce=privileged  # from then on, every pod of {namespace} may take over its node: use it for a network plugin only; otherwise correct `securityContext` in the values, or move the release to a namespace of its own",
    },
    KnownFailure {
        id: "refused",
        words: &[
            &["admission webhook", "denied the request"],
            &["validatingadmissionpolicy", "denied request"],
        ],
        cause: "a policy of the cluster rejects the object",
        fix: "change what the message names in the values, or change the policy",
    },
    KnownFailure {
        id: "terminating",
        words: &[&["because it is being terminated"]],
        cause: "the namespace is being deleted",
        fix: "wait until it is deleted, then retry; `kubectl get namespace {namespace} -o yaml` shows what blocks the deletion",
    },
    KnownFailure {
        id: "record-too-large",
        words: &[&["too long", "sh.helm.release"], &["request entity too large"]],
        cause: "the chart is too large: helm cannot store the release in a Secret",
        fix: "use a smaller chart, or split it",
    },
    KnownFailure {
        id: "node-disk",
        words: &[
            &["errimagepull", "no space left on device"],
            &["failed to pull image", "no space left on device"],
            &["failedcreatepodsandbox", "no space left on device"],
        ],
        cause: "a disk of the node is full",
        fix: "df -h /var/lib/rancher  # on that node; free some space",
    },
    KnownFailure {
        id: "disk-full",
        words: &[&["no space left on device"]],
        cause: "a disk of this machine is full",
        fix: "df -h /tmp ~  # free some space, or set TMPDIR",
    },
    KnownFailure {
        id: "etcd",
        // Helm 4 retries such a request itself, with an empty body, which gives the last message (helm 4.2.4).
        words: &[
            &["etcdserver: leader changed"],
            &["etcdserver: request timed out"],
            &["request declared a content-length", "but only wrote 0 bytes"],
        ],
        cause: "etcd lost its leader, or its disk is too slow",
        fix: "run it again",
    },
    KnownFailure {
        id: "conflict",
        words: &[&["conflict with", "using", ": ."], &["apply failed with", "conflicts with \""]],
        cause: "another field manager owns fields that the chart sets",
        fix: "k3s-boot apps --fix-drift {release}  # reverts manual changes to the release",
    },
    KnownFailure {
        id: "raced",
        words: &[&["the object has been modified", "apply your changes to the latest version"]],
        cause: "another client changed the object at the same time",
        fix: "run it again",
    },
    KnownFailure {
        id: "logged-out",
        words: &[&["asked for the client to provide credentials"], &["you must be logged in to the server"]],
        cause: "the kubeconfig belongs to another cluster, or the cluster was reinstalled",
        fix: "copy /etc/rancher/k3s/k3s.yaml from a server again",
    },
    KnownFailure {
        id: "api-certificate",
        words: &[
            &["kubernetes cluster unreachable", "x509:", "certificate signed by unknown authority"],
            &["kubernetes cluster unreachable", "x509:", "certificate is valid for"],
            &["kubernetes cluster unreachable", "x509:", "doesn't contain any ip sans"],
        ],
        cause: "the kubeconfig belongs to another cluster, or the API server's certificate does not cover its address",
        fix: "copy /etc/rancher/k3s/k3s.yaml from a server again; to use another address, add it to `tls-san` in /etc/rancher/k3s/config.yaml on all servers",
    },
    KnownFailure {
        id: "api-busy",
        words: &[
            &["the server has received too many requests"],
            &["the server is currently unable to handle the request"],
        ],
        cause: "the API server or an aggregated API is overloaded",
        fix: "kubectl get apiservices  # all must be Available; then retry",
    },
    KnownFailure {
        id: "killed",
        words: &[&["signal: killed"], &["signal: 9 (sigkill)"]],
        cause: "the system killed a program, most likely because it ran out of memory",
        fix: "dmesg | tail  # then retry with more memory",
    },
    // Flux.
    KnownFailure {
        id: "flux-pair",
        words: &[&["doc is missing path", "/spec/versions/"]],
        cause: "flux-operator is older than the Flux version that it installs",
        fix: "pin `instance.distribution.artifact` in the values to the version of flux-operator, or upgrade both charts together",
    },
    KnownFailure {
        id: "git-denied",
        words: &[
            &["unable to authenticate"],
            &["unable to clone", "authentication required"],
            &["unable to clone", "invalid credentials"],
            &["failed to get secret", "gitrepository"],
        ],
        cause: "the Git server rejects the credentials of Flux, or Flux has none",
        fix: "add the deploy key to bootstrap/*.sops.yaml as a Secret in flux-system, name it in FLUX_GIT_PULL_SECRET, then retry",
    },
    KnownFailure {
        id: "git-gone",
        words: &[&["unable to clone"], &["unable to list remote"]],
        cause: "Flux cannot read the Git repository: its URL or branch is wrong, or pods cannot reach the server",
        fix: "check `instance.sync.url` and `instance.sync.ref` in the values of flux-instance, and the DNS and network of the pods",
    },
    KnownFailure {
        id: "age-key-missing",
        words: &[
            &["secrets \"sops-age\" not found"],
            &["failed to get decryption secret"],
            &["cannot get", "decryption secret"],
        ],
        cause: "Flux needs the age key, and the cluster has none",
        fix: "put the age key that this repository is encrypted for into age.key, then retry",
    },
    KnownFailure {
        id: "age-key-wrong",
        words: &[
            &["decryption failed"],
            &["failed to decrypt"],
            &["cannot get sops data key"],
            &["failed to import", "decryption secret"],
        ],
        cause: "the file is not encrypted for the age key in the cluster",
        fix: "put the age key that this repository is encrypted for into age.key, then retry with --rotate-age-key",
    },
];
