//! Known failures of Helm, the API server and Flux, specific ones first; `table_pods` follows.

use crate::base::known_failures::{KnownFailure, Outlook};

pub(super) const TABLE: &[KnownFailure] = &[
    // Helm and the API server.
    KnownFailure {
        id: "coredns-bundled",
        outlook: Outlook::Unknown,
        words: &[&["invalid ownership metadata", "coredns", "kube-system"]],
        messages: &[
            "UPGRADE FAILED: Unable to continue with install: Deployment \"coredns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: key \"app.kubernetes.io/managed-by\" must equal \"Helm\"",
        ],
        cause: "a CoreDNS that the distribution bundles already uses this name",
        fix: "disable it where the distribution is configured (k3s: `disable: [coredns]`, Talos: `cluster.coreDNS.disabled`), or keep it: k3s-boot apps --skip-release {release}",
    },
    KnownFailure {
        id: "ownership",
        outlook: Outlook::Unknown,
        words: &[&["invalid ownership metadata"]],
        messages: &[
            "Unable to continue with install: ConfigMap \"cilium-config\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata",
        ],
        cause: "the object already exists and is not part of this release",
        fix: "k3s-boot check  # shows its owner; delete the object, or adopt it: k3s-boot apps --release {release} --force --adopt {release}",
    },
    KnownFailure {
        id: "service-address",
        outlook: Outlook::Unknown,
        words: &[&["provided ip is already allocated"]],
        messages: &[
            "Service \"kube-dns\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.0.10\"]: failed to allocate IP 10.43.0.10: provided IP is already allocated",
        ],
        cause: "another Service already has this cluster IP",
        fix: "kubectl get services --all-namespaces  # delete that Service, or change `clusterIP` in the values",
    },
    KnownFailure {
        id: "immutable",
        outlook: Outlook::Unknown,
        words: &[&["field is immutable"]],
        messages: &[
            "cannot patch \"coredns\" with kind Deployment: Deployment.apps \"coredns\" is invalid: spec.selector: Invalid value: {}: field is immutable",
        ],
        cause: "the chart changes a field that is immutable once the object exists",
        fix: "delete the named object, then retry: helm recreates it (never a CRD or a PersistentVolumeClaim: their data would be lost)",
    },
    KnownFailure {
        id: "crd-missing",
        outlook: Outlook::Unknown,
        words: &[
            &["no matches for kind"],
            &["ensure crds are installed first"],
            &["requires monitoring.coreos.com/v1 crds"],
        ],
        messages: &[
            "resource mapping not found for name: \"flux-operator\" namespace: \"flux-system\" from \"\": no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"; ensure CRDs are installed first",
        ],
        cause: "the CRD for this kind is not installed",
        fix: "install the CRDs in 00-crds.yaml, or disable what uses them in the values (such as `serviceMonitor`)",
    },
    KnownFailure {
        id: "locked",
        outlook: Outlook::Unknown,
        words: &[&["another operation (install/upgrade/rollback) is in progress"]],
        messages: &["UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"],
        cause: "an earlier Helm operation on the release is still running or was killed",
        fix: "if nothing else is working on the release, `k3s-boot recover` recovers it",
    },
    KnownFailure {
        id: "startupapicheck",
        outlook: Outlook::Unknown,
        words: &[
            &["failed post-install", "startupapicheck"],
            &["startupapicheck", "crashloopbackoff"],
            &["startupapicheck", "exited with code 1 "],
        ],
        messages: &[
            "INSTALLATION FAILED: failed post-install: 1 error occurred: * job cert-manager-startupapicheck failed: BackoffLimitExceeded",
        ],
        cause: "the cert-manager webhook did not respond in time: its pods, DNS or the network are not ready",
        fix: "kubectl -n {namespace} get pods  # retry when they are ready",
    },
    KnownFailure {
        id: "webhook",
        outlook: Outlook::Transient,
        words: &[
            &["failed calling webhook"],
            &["failed to call webhook"],
            &["no endpoints available for service"],
        ],
        messages: &[
            "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://cert-manager-webhook.cert-manager.svc:443/validate?timeout=30s\": no endpoints available for service \"cert-manager-webhook\"",
        ],
        cause: "the API server calls a webhook whose pods are not ready or not reachable",
        fix: "retry when the webhook's pods are ready; if the webhook was uninstalled, delete its webhook configuration",
    },
    KnownFailure {
        id: "values-schema",
        outlook: Outlook::Unknown,
        words: &[&["values don't meet the specifications of the schema"]],
        messages: &[
            "values don't meet the specifications of the schema(s) in the following chart(s): flux-instance: - at '/instance/sync/kind': value must be one of",
        ],
        cause: "a value violates the schema of the chart",
        fix: "correct the value that the message names; `helm show values CHART` shows the defaults",
    },
    KnownFailure {
        id: "template",
        outlook: Outlook::Unknown,
        words: &[
            &["execution error at ("],
            &["template: ", "executing "],
            // Helm 4 has no `template:` in front.
            &["executing \"", "\" at <"],
            &["parse error at ("],
            &["yaml parse error on "],
        ],
        messages: &[
            "execution error at (cilium/templates/validate.yaml:3:4): k8sServiceHost is required",
            "template: small/templates/all.yaml:7:20: executing \"small/templates/all.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
            "small/templates/all.yaml:7:20; executing \"small/templates/all.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
            "YAML parse error on small/templates/all.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
        ],
        cause: "a template of the chart fails with these values",
        fix: "set or correct the value that the message names",
    },
    KnownFailure {
        id: "quota-unset",
        outlook: Outlook::Unknown,
        words: &[&["failed quota", "must specify"]],
        messages: &[
            "FailedCreate: pods \"cert-manager-webhook-6f\" is forbidden: failed quota: q2: must specify limits.memory for: cert-manager-webhook; requests.cpu for: cert-manager-webhook",
        ],
        cause: "a ResourceQuota of the namespace requires requests or limits that the pod does not set",
        fix: "set what the message names under `resources` in the values, or add a LimitRange with defaults to {namespace}",
    },
    KnownFailure {
        id: "limit-range",
        outlook: Outlook::Unknown,
        words: &[&["minimum", "usage per"], &["maximum", "usage per"], &["max limit to request ratio per"]],
        messages: &[
            "FailedCreate: pods \"coredns-5d\" is forbidden: minimum memory usage per Container is 1Gi, but request is 32Mi",
            "FailedCreate: pods \"coredns-5d\" is forbidden: [maximum cpu usage per Pod is 1, but limit is 2, memory max limit to request ratio per Container is 2, but provided ratio is 4.000000]",
        ],
        cause: "a LimitRange of the namespace forbids the resources of the pod",
        fix: "kubectl -n {namespace} describe limitrange  # change the LimitRange, or `resources` in the values",
    },
    KnownFailure {
        id: "quota",
        outlook: Outlook::Unknown,
        words: &[&["exceeded quota"]],
        messages: &[
            "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=5, limited: pods=5",
        ],
        cause: "a ResourceQuota of the namespace is exhausted",
        fix: "kubectl -n {namespace} describe resourcequota  # raise it",
    },
    KnownFailure {
        id: "pod-security",
        outlook: Outlook::Permanent,
        words: &[&["violates podsecurity"]],
        messages: &[
            "pods \"cilium-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)",
        ],
        cause: "the Pod Security level of the namespace forbids this pod",
        fix: "kubectl label --overwrite namespace {namespace} pod-security.kubernetes.io/enforce=privileged  # from then on, every pod of {namespace} may take over its node: use it for a network plugin only; otherwise correct `securityContext` in the values, or move the release to a namespace of its own",
    },
    KnownFailure {
        id: "refused",
        outlook: Outlook::Permanent,
        words: &[
            &["admission webhook", "denied the request"],
            &["validatingadmissionpolicy", "denied request"],
        ],
        messages: &[
            "FailedCreate: Error creating: admission webhook \"validate.kyverno.svc-fail\" denied the request: policy Pod/x for resource violation",
        ],
        cause: "a policy of the cluster rejects the object",
        fix: "change what the message names in the values, or change the policy",
    },
    KnownFailure {
        id: "terminating",
        outlook: Outlook::Unknown,
        words: &[&["because it is being terminated"]],
        messages: &[
            "configmaps \"x\" is forbidden: unable to create new content in namespace media because it is being terminated",
        ],
        cause: "the namespace is being deleted",
        fix: "wait until it is deleted, then retry; `kubectl get namespace {namespace} -o yaml` shows what blocks the deletion",
    },
    KnownFailure {
        id: "record-too-large",
        outlook: Outlook::Unknown,
        words: &[&["too long", "sh.helm.release"], &["request entity too large"]],
        messages: &[
            "create: failed to create: Secret \"sh.helm.release.v1.x.v1\" is invalid: data: Too long: may not be more than 1048576 bytes",
            "create: failed to create: Request entity too large: limit is 3145728",
        ],
        cause: "the chart is too large: helm cannot store the release in a Secret",
        fix: "use a smaller chart, or split it",
    },
    KnownFailure {
        id: "node-disk",
        outlook: Outlook::Unknown,
        words: &[
            &["errimagepull", "no space left on device"],
            &["failed to pull image", "no space left on device"],
            &["failedcreatepodsandbox", "no space left on device"],
        ],
        messages: &[
            "container c: ErrImagePull: failed to pull and unpack image \"x:1\": write /var/lib/rancher/k3s/agent/containerd/x: no space left on device",
        ],
        cause: "a disk of the node is full",
        fix: "df -h /var/lib/rancher  # on that node; free some space",
    },
    KnownFailure {
        id: "disk-full",
        outlook: Outlook::Unknown,
        words: &[&["no space left on device"]],
        messages: &["write /tmp/k3s-boot-x/values.yaml: no space left on device"],
        cause: "a disk of this machine is full",
        fix: "df -h /tmp ~  # free some space, or set TMPDIR",
    },
    KnownFailure {
        id: "etcd",
        outlook: Outlook::Transient,
        // Helm 4 retries such a request itself, with an empty body, which gives the last message (helm 4.2.4).
        words: &[
            &["etcdserver: leader changed"],
            &["etcdserver: request timed out"],
            &["request declared a content-length", "but only wrote 0 bytes"],
        ],
        messages: &[
            "etcdserver: leader changed",
            "server-side apply failed for object cert-manager/cert-manager-webhook apps/v1, Kind=Deployment: request declared a Content-Length of 2512 but only wrote 0 bytes",
        ],
        cause: "etcd lost its leader, or its disk is too slow",
        fix: "run it again",
    },
    KnownFailure {
        id: "conflict",
        outlook: Outlook::Unknown,
        words: &[&["conflict with", "using", ": ."], &["apply failed with", "conflicts with \""]],
        messages: &[
            "conflict occurred while applying object kube-system/coredns apps/v1, Kind=Deployment: Apply failed with 3 conflicts: conflicts with \"kubectl\":; - .spec.replicas; - .spec.selector",
            "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas",
        ],
        cause: "another field manager owns fields that the chart sets",
        fix: "k3s-boot apps --fix-drift {release}  # reverts manual changes to the release",
    },
    KnownFailure {
        id: "raced",
        outlook: Outlook::Transient,
        words: &[&["the object has been modified", "apply your changes to the latest version"]],
        messages: &[
            "Operation cannot be fulfilled on deployments.apps \"cilium-operator\": the object has been modified; please apply your changes to the latest version and try again",
        ],
        cause: "another client changed the object at the same time",
        fix: "run it again",
    },
    KnownFailure {
        id: "logged-out",
        outlook: Outlook::Unknown,
        words: &[&["asked for the client to provide credentials"], &["you must be logged in to the server"]],
        messages: &["the server has asked for the client to provide credentials"],
        cause: "the kubeconfig belongs to another cluster, or the cluster was reinstalled",
        fix: "copy the administrator's kubeconfig from the cluster again",
    },
    KnownFailure {
        id: "api-certificate",
        outlook: Outlook::Unknown,
        words: &[
            &["kubernetes cluster unreachable", "x509:", "certificate signed by unknown authority"],
            &["kubernetes cluster unreachable", "x509:", "certificate is valid for"],
            &["kubernetes cluster unreachable", "x509:", "doesn't contain any ip sans"],
        ],
        messages: &[
            "Kubernetes cluster unreachable: Get \"https://10.0.0.10:6443/version\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "Kubernetes cluster unreachable: Get \"https://k3s.example.org:6443/version\": tls: failed to verify certificate: x509: certificate is valid for kubernetes, kubernetes.default, not k3s.example.org",
        ],
        cause: "the kubeconfig belongs to another cluster, or the API server's certificate does not cover its address",
        fix: "copy the administrator's kubeconfig from the cluster again; to use another address, add it to the API server's certificate (`tls-san` or `certSANs`)",
    },
    KnownFailure {
        id: "api-busy",
        outlook: Outlook::Transient,
        words: &[
            &["the server has received too many requests"],
            &["the server is currently unable to handle the request"],
        ],
        messages: &[
            "the server has received too many requests and has asked us to try again later (get deployments.apps cilium-operator)",
        ],
        cause: "the API server or an aggregated API is overloaded",
        fix: "kubectl get apiservices  # all must be Available; then retry",
    },
    KnownFailure {
        id: "killed",
        outlook: Outlook::Unknown,
        words: &[&["signal: killed"], &["signal: 9 (sigkill)"]],
        messages: &[
            "helmfile was terminated: signal: 9 (SIGKILL)",
            "command \"/usr/bin/helm\" exited with non-zero status: signal: killed",
        ],
        cause: "the system killed a program, most likely because it ran out of memory",
        fix: "dmesg | tail  # then retry with more memory",
    },
    // Flux.
    KnownFailure {
        id: "flux-pair",
        outlook: Outlook::Unknown,
        words: &[&["doc is missing path", "/spec/versions/"]],
        messages: &[
            "BuildFailed: build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema/openAPIV3Schema/properties/spec\": missing value",
        ],
        cause: "flux-operator is older than the Flux version that it installs",
        fix: "pin `instance.distribution.artifact` in the values to the version of flux-operator, or upgrade both charts together",
    },
    KnownFailure {
        id: "git-denied",
        outlook: Outlook::Unknown,
        words: &[
            &["unable to authenticate"],
            &["unable to clone", "authentication required"],
            &["unable to clone", "invalid credentials"],
            &["failed to get secret", "gitrepository"],
        ],
        messages: &[
            "failed to checkout and determine revision: unable to clone 'ssh://git@example.org/home.git': ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
            "GitRepository flux-system/flux-system: AuthenticationFailed: failed to get secret 'flux-system/deploy-key': secrets \"deploy-key\" not found",
        ],
        cause: "the Git server rejects the credentials of Flux, or Flux has none",
        fix: "add the deploy key to bootstrap/*.sops.yaml as a Secret in flux-system, name it in FLUX_GIT_PULL_SECRET, then retry",
    },
    KnownFailure {
        id: "git-gone",
        outlook: Outlook::Unknown,
        words: &[&["unable to clone"], &["unable to list remote"]],
        messages: &[
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'https://git.example.org/home.git': dial tcp 10.0.0.3:443: connect: connection refused",
        ],
        cause: "Flux cannot read the Git repository: its URL or branch is wrong, or pods cannot reach the server",
        fix: "check `instance.sync.url` and `instance.sync.ref` in the values of flux-instance, and the DNS and network of the pods",
    },
    KnownFailure {
        id: "age-key-missing",
        outlook: Outlook::Unknown,
        words: &[
            &["secrets \"sops-age\" not found"],
            &["failed to get decryption secret"],
            &["cannot get", "decryption secret"],
        ],
        messages: &[
            "Kustomization flux-system/flux-system: BuildFailed: failed to get decryption Secret 'flux-system/sops-age': secrets \"sops-age\" not found",
        ],
        cause: "Flux needs the age key, and the cluster has none",
        fix: "put the age key that this repository is encrypted for into age.key, then retry",
    },
    KnownFailure {
        id: "age-key-wrong",
        outlook: Outlook::Unknown,
        words: &[
            &["decryption failed"],
            &["failed to decrypt"],
            &["cannot get sops data key"],
            &["failed to import", "decryption secret"],
        ],
        messages: &[
            "Kustomization flux-system/apps: BuildFailed: decryption failed for 'cluster-secrets': failed to decrypt and format 'media/cluster-secrets' Secret data: cannot get sops data key",
        ],
        cause: "the file is not encrypted for the age key in the cluster",
        fix: "put the age key that this repository is encrypted for into age.key, then retry with --rotate-age-key",
    },
];
