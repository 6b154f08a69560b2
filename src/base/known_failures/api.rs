//! Known failures of the API server.

use crate::base::known_failures::Origin::{Api, Flux, Release, State};
use crate::base::known_failures::shape::{API, CLIENTS, RELEASE, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "api-starting",
        outlook: Outlook::Transient,
        shapes: &[
            shape(CLIENTS, "apiserver not ready"),
            shape(CLIENTS, "the request has been made before all known HTTP paths have been installed"),
            shape(CLIENTS, "storage is (re)initializing"),
        ],
        samples: &[
            sample(Api, "k3s v1.36.3+k3s1", "Error from server (ServiceUnavailable): apiserver not ready"),
            sample(
                Api,
                "k3s v1.36.3+k3s1",
                "Error from server (TooManyRequests): storage is (re)initializing",
            ),
        ],
        cause: "the API server is starting and does not serve everything yet",
        fix: "retry when `kubectl get --raw /readyz` prints ok",
    },
    KnownFailure {
        id: "service-address",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            API,
            "Service \"*\" is invalid: spec.clusterIPs: Invalid value: …provided IP is already allocated",
        )],
        samples: &[sample(
            Release,
            "Kubernetes 1.36.3",
            "Service \"kube-dns\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.0.10\"]: failed to allocate IP 10.43.0.10: provided IP is already allocated",
        )],
        cause: "another Service already has this cluster IP",
        fix: "kubectl get services --all-namespaces  # delete that Service, or change `clusterIP` in the values",
    },
    KnownFailure {
        id: "service-range",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(
                API,
                "Service \"*\" is invalid: spec.clusterIPs: Invalid value: …the provided network does not match the current range",
            ),
            // Until Kubernetes 1.32.
            shape(
                API,
                "Service \"*\" is invalid: spec.clusterIPs: Invalid value: …is not in the valid range. The range of valid IPs is ",
            ),
        ],
        samples: &[sample(
            Release,
            "helm 4.2.4, Kubernetes 1.36.3",
            "server-side apply failed for object rec/sv /v1, Kind=Service: Service \"sv\" is invalid: spec.clusterIPs: Invalid value: [\"10.99.0.10\"]: failed to allocate IP 10.99.0.10: the provided network does not match the current range",
        )],
        cause: "the cluster IP in the values is outside of the Service network of the cluster",
        fix: "kubectl get servicecidrs  # set `clusterIP` in the values to an address of this network; for the cluster DNS of k3s, the tenth",
    },
    KnownFailure {
        id: "service-port",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            API,
            "Service \"*\" is invalid: spec.ports[*].nodePort: Invalid value: *: provided port is already allocated",
        )],
        samples: &[sample(
            Release,
            "Kubernetes 1.36.3",
            "Service \"traefik\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        )],
        cause: "another Service already has this node port",
        fix: "kubectl get services --all-namespaces  # delete that Service, or change `nodePort` in the values",
    },
    KnownFailure {
        id: "immutable",
        outlook: Outlook::Unknown,
        shapes: &[fallback(API, "* \"*\" is invalid: …: field is immutable")],
        samples: &[sample(
            Release,
            "helm 3.21.4",
            "cannot patch \"coredns\" with kind Deployment: Deployment.apps \"coredns\" is invalid: spec.selector: Invalid value: {}: field is immutable",
        )],
        cause: "the chart changes a field that is immutable once the object exists",
        fix: "delete the named object, then retry: helm recreates it (never a CRD or a PersistentVolumeClaim: their data would be lost)",
    },
    KnownFailure {
        id: "immutable-data",
        outlook: Outlook::Unknown,
        shapes: &[shape(API, "data: Forbidden: field is immutable when `immutable` is set")],
        samples: &[sample(
            Release,
            "Kubernetes 1.36.3",
            "Secret \"x\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
        )],
        cause: "the Secret or ConfigMap is marked as immutable",
        fix: "delete the named object and retry, so that helm recreates it",
    },
    KnownFailure {
        id: "webhook-certificate",
        outlook: Outlook::Transient,
        shapes: &[shape(
            API,
            "failed calling webhook \"*\": failed to call webhook: Post \"*\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        )],
        samples: &[sample(
            Release,
            "Kubernetes 1.29, cert-manager/cert-manager#6873",
            "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://cert-manager-webhook.cert-manager.svc:443/validate?timeout=30s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        )],
        cause: "the webhook answers, but its configuration does not have its certificate authority yet",
        fix: "retry; if it stays, check what injects it: kubectl -n cert-manager logs deployment/cert-manager-cainjector",
    },
    KnownFailure {
        id: "webhook",
        outlook: Outlook::Transient,
        shapes: &[
            shape(
                API,
                "failed calling webhook \"*\": failed to call webhook: Post \"*\": no endpoints available for service \"*\"",
            ),
            shape(API, "failed calling webhook \"*\": failed to call webhook: Post \"*\": dial tcp"),
            shape(API, "failed calling webhook \"*\": failed to call webhook: Post \"*\": read tcp"),
            shape(API, "failed calling webhook \"*\": failed to call webhook: Post \"*\": EOF"),
            shape(
                API,
                "failed calling webhook \"*\": failed to call webhook: Post \"*\": context deadline exceeded",
            ),
            shape(
                API,
                "failed calling webhook \"*\": failed to call webhook: Post \"*\": service \"*\" not found",
            ),
            fallback(API, "failed calling webhook \"*\": "),
        ],
        samples: &[
            sample(
                Release,
                "Kubernetes 1.36.3",
                "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://cert-manager-webhook.cert-manager.svc:443/mutate?timeout=30s\": no endpoints available for service \"cert-manager-webhook\"",
            ),
            sample(
                Release,
                "Kubernetes 1.36.3",
                "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://cert-manager-webhook.cert-manager.svc:443/mutate?timeout=30s\": dial tcp 10.43.12.7:443: connect: connection refused",
            ),
        ],
        cause: "the API server calls a webhook whose pods are not ready or not reachable",
        fix: "retry when the webhook's pods are ready; if the webhook was uninstalled, delete its webhook configuration",
    },
    KnownFailure {
        id: "quota-unset",
        outlook: Outlook::Unknown,
        shapes: &[shape(API, "* \"*\" is forbidden: failed quota: *: must specify ")],
        samples: &[sample(
            State,
            "kube-controller-manager 1.36.3",
            "FailedCreate: Error creating: pods \"cert-manager-webhook-6f\" is forbidden: failed quota: q2: must specify limits.memory for: cert-manager-webhook; requests.cpu for: cert-manager-webhook",
        )],
        cause: "a ResourceQuota of the namespace requires requests or limits that the pod does not set",
        fix: "set what the message names under `resources` in the values, or add a LimitRange with defaults to {namespace}",
    },
    KnownFailure {
        id: "limit-range",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(API, "pods \"*\" is forbidden: …minimum * usage per "),
            shape(API, "pods \"*\" is forbidden: …maximum * usage per "),
            shape(API, "pods \"*\" is forbidden: …* max limit to request ratio per "),
        ],
        samples: &[
            sample(
                State,
                "kube-controller-manager 1.36.3",
                "FailedCreate: Error creating: pods \"coredns-5d\" is forbidden: minimum memory usage per Container is 1Gi, but request is 32Mi",
            ),
            sample(
                State,
                "kube-controller-manager 1.36.3",
                "FailedCreate: Error creating: pods \"coredns-5d\" is forbidden: [maximum cpu usage per Pod is 1, but limit is 2, memory max limit to request ratio per Container is 2, but provided ratio is 4.000000]",
            ),
        ],
        cause: "a LimitRange of the namespace forbids the resources of the pod",
        fix: "kubectl -n {namespace} describe limitrange  # change the LimitRange, or `resources` in the values",
    },
    KnownFailure {
        id: "quota",
        outlook: Outlook::Unknown,
        shapes: &[shape(API, "* \"*\" is forbidden: exceeded quota: *, requested: ")],
        samples: &[sample(
            State,
            "kube-controller-manager 1.36.3",
            "FailedCreate: Error creating: pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=5, limited: pods=5",
        )],
        cause: "a ResourceQuota of the namespace is exhausted",
        fix: "kubectl -n {namespace} describe resourcequota  # raise it",
    },
    KnownFailure {
        id: "terminating",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            API,
            "* \"*\" is forbidden: unable to create new content in namespace * because it is being terminated",
        )],
        samples: &[sample(
            Release,
            "Kubernetes 1.36.3",
            "configmaps \"x\" is forbidden: unable to create new content in namespace media because it is being terminated",
        )],
        cause: "the namespace is being deleted",
        fix: "wait until it is deleted, then retry; `kubectl get namespace {namespace} -o yaml` shows what blocks the deletion",
    },
    KnownFailure {
        id: "etcd",
        outlook: Outlook::Transient,
        // Helm 4 retries such a request itself, with an empty body, which gives the last message.
        shapes: &[
            shape(API, "etcdserver: leader changed"),
            shape(API, "etcdserver: request timed out"),
            shape(RELEASE, "request declared a Content-Length of * but only wrote 0 bytes"),
        ],
        samples: &[
            sample(Api, "Kubernetes 1.36.3", "Error from server: etcdserver: leader changed"),
            sample(
                Release,
                "helm 4.2.4",
                "server-side apply failed for object cert-manager/cert-manager-webhook apps/v1, Kind=Deployment: request declared a Content-Length of 2512 but only wrote 0 bytes",
            ),
        ],
        cause: "etcd lost its leader, or its disk is too slow",
        fix: "run it again",
    },
    KnownFailure {
        id: "etcd-space",
        outlook: Outlook::Unknown,
        shapes: &[shape(API, "etcdserver: mvcc: database space exceeded")],
        samples: &[sample(
            Flux,
            "etcd 3.6, api/v3/rpctypes",
            "Kustomization flux-system/apps: ReconciliationFailed: etcdserver: mvcc: database space exceeded",
        )],
        cause: "the database of etcd is full, and the API server accepts no changes",
        fix: "defragment etcd and disarm its alarm on a server (etcdctl defrag; etcdctl alarm disarm), or raise `quota-backend-bytes`",
    },
    KnownFailure {
        id: "raced",
        outlook: Outlook::Transient,
        shapes: &[shape(
            API,
            "Operation cannot be fulfilled on *: the object has been modified; please apply your changes to the latest version and try again",
        )],
        samples: &[sample(
            Release,
            "Kubernetes 1.36.3",
            "Operation cannot be fulfilled on deployments.apps \"cilium-operator\": the object has been modified; please apply your changes to the latest version and try again",
        )],
        cause: "another client changed the object at the same time",
        fix: "run it again",
    },
    KnownFailure {
        id: "logged-out",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(CLIENTS, "the server has asked for the client to provide credentials"),
            shape(CLIENTS, "You must be logged in to the server"),
        ],
        samples: &[
            sample(Release, "helm 4.2.4", "the server has asked for the client to provide credentials"),
            sample(Api, "kubectl 1.36.3", "error: You must be logged in to the server (Unauthorized)"),
        ],
        cause: "the kubeconfig belongs to another cluster, or the cluster was reinstalled",
        fix: "copy the administrator's kubeconfig from the cluster again",
    },
    KnownFailure {
        id: "api-certificate",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(CLIENTS, "kubernetes cluster unreachable: …x509: certificate signed by unknown authority"),
            shape(CLIENTS, "kubernetes cluster unreachable: …x509: certificate is valid for "),
            shape(CLIENTS, "kubernetes cluster unreachable: …x509: cannot validate certificate for "),
            shape(CLIENTS, "Unable to connect to the server: …x509: certificate signed by unknown authority"),
            shape(CLIENTS, "Unable to connect to the server: …x509: certificate is valid for "),
            shape(CLIENTS, "Unable to connect to the server: …x509: cannot validate certificate for "),
        ],
        samples: &[
            sample(
                Release,
                "helm 3.21.4",
                "Kubernetes cluster unreachable: Get \"https://10.0.0.10:6443/version\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
            sample(
                Release,
                "helm 4.2.4",
                "kubernetes cluster unreachable: Get \"https://k3s.example.org:6443/version\": tls: failed to verify certificate: x509: certificate is valid for kubernetes, kubernetes.default, not k3s.example.org",
            ),
            sample(
                Api,
                "kubectl 1.36.3",
                "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
        ],
        cause: "the kubeconfig belongs to another cluster, or the API server's certificate does not cover its address",
        fix: "copy the administrator's kubeconfig from the cluster again; to use another address, add it to the API server's certificate (`tls-san` or `certSANs`)",
    },
    KnownFailure {
        id: "api-clock",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(
                CLIENTS,
                "kubernetes cluster unreachable: …x509: certificate has expired or is not yet valid: ",
            ),
            shape(
                CLIENTS,
                "Unable to connect to the server: …x509: certificate has expired or is not yet valid: ",
            ),
        ],
        samples: &[sample(
            Api,
            "kubectl 1.36.3",
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-11-24T00:00:00Z",
        )],
        cause: "the API server's certificate has expired, or a clock is wrong",
        fix: "date  # on this machine and on the servers",
    },
    KnownFailure {
        id: "aggregated-api",
        outlook: Outlook::Transient,
        shapes: &[shape(
            CLIENTS,
            "…unable to retrieve the complete list of server APIs: *: the server is currently unable to handle the request",
        )],
        samples: &[sample(
            Release,
            "helm 3, kubernetes-sigs/metrics-server#1697",
            "unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: the server is currently unable to handle the request",
        )],
        cause: "an aggregated API has no ready pods",
        fix: "kubectl get apiservices  # those that are not Available have no ready pods; retry when they are",
    },
    KnownFailure {
        id: "api-busy",
        outlook: Outlook::Transient,
        shapes: &[
            shape(CLIENTS, "the server has received too many requests and has asked us to try again later"),
            fallback(CLIENTS, "the server is currently unable to handle the request"),
        ],
        samples: &[
            sample(
                Release,
                "Kubernetes 1.36.3",
                "the server has received too many requests and has asked us to try again later (get deployments.apps cilium-operator)",
            ),
            sample(
                Api,
                "kubectl, k3s v1.36.3+k3s1",
                "Error from server (ServiceUnavailable): the server is currently unable to handle the request (get nodes)",
            ),
        ],
        cause: "the API server is starting or overloaded, or an aggregated API is not available",
        fix: "kubectl get apiservices  # all must be Available; then retry",
    },
    KnownFailure {
        id: "api-gone",
        outlook: Outlook::Transient,
        shapes: &[
            fallback(CLIENTS, "kubernetes cluster unreachable: Get \"*\": "),
            shape(
                CLIENTS,
                "The connection to the server * was refused - did you specify the right host or port?",
            ),
            fallback(CLIENTS, "dial tcp *: connect: connection refused"),
            fallback(CLIENTS, "read tcp *: read: connection reset by peer"),
            fallback(CLIENTS, "http2: client connection lost"),
            fallback(CLIENTS, "net/http: TLS handshake timeout"),
            fallback(CLIENTS, "unexpected EOF"),
        ],
        samples: &[
            sample(
                Release,
                "helm 3.21.4",
                "Kubernetes cluster unreachable: Get \"https://10.0.0.10:6443/version\": dial tcp 10.0.0.10:6443: connect: connection refused",
            ),
            sample(
                Release,
                "helm 4.2.4",
                "failed to get CustomResource: Get \"https://10.0.0.10:6443/apis/cilium.io/v2/ciliumnodes\": dial tcp 10.0.0.10:6443: connect: connection refused",
            ),
            sample(
                Api,
                "kubectl, k3s v1.36.3+k3s1",
                "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
            ),
        ],
        cause: "the API server became unavailable: it restarts, or its node is down",
        fix: "retry when `kubectl get --raw /readyz` prints ok",
    },
];
