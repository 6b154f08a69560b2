//! Known failures, recognized by the error messages of Helm, the API server, kubelets and Flux.

mod kustomize;
mod starting;
mod table;
mod table_pods;

use crate::base::known_failures::kustomize::KUSTOMIZE;
use crate::base::known_failures::starting::STARTING;
use crate::base::known_failures::table::TABLE;
use crate::base::known_failures::table_pods::PODS;
use crate::base::release_id::ReleaseId;

/// What waiting does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It may resolve itself within seconds, so that a retry helps.
    Transient,
    /// Waiting may resolve it, or not.
    Unknown,
    /// Waiting cannot resolve it: the cluster rejects the objects of the chart.
    Permanent,
}

#[derive(Debug)]
pub struct KnownFailure {
    pub id: &'static str,
    /// What waiting does about it.
    pub(super) outlook: Outlook,
    /// Signatures in lower case: a message matches if it contains all words of one group.
    pub(super) words: &'static [&'static [&'static str]],
    pub cause: &'static str,
    /// The fix; `{release}`, `{namespace}`, `{name}` and `{pod}` are placeholders.
    pub(super) fix: &'static str,
}

impl KnownFailure {
    /// Whether waiting cannot resolve it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.outlook == Outlook::Permanent
    }

    /// Whether it may resolve itself within seconds.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.outlook == Outlook::Transient
    }

    /// The fix for an object that is not of a release, if the fix names no release.
    #[must_use]
    pub fn general_fix(&self) -> Option<&'static str> {
        Some(self.fix).filter(|fix| !fix.contains('{'))
    }

    /// The fix for a release and, if known, its pod.
    #[must_use]
    pub fn fix(&self, release: &ReleaseId, pod: Option<&str>) -> String {
        let namespace = if release.namespace.is_empty() { "default" } else { &release.namespace };
        self.fix
            .replace("{release}", &release.to_string())
            .replace("{namespace}", namespace)
            .replace("{name}", &release.name)
            .replace("{pod}", pod.unwrap_or("POD"))
    }
}

/// The known failure that a message matches; of several the most specific one.
pub(crate) fn find(words: &str) -> Option<&'static KnownFailure> {
    let words = without_api_paths(&words.to_lowercase());
    let all = |group: &&[&str]| group.iter().all(|word| words.contains(word));
    table().find(|known| known.words.iter().any(all))
}

/// All known failures, specific ones first.
pub fn table() -> impl Iterator<Item = &'static KnownFailure> {
    KUSTOMIZE.iter().chain(STARTING).chain(TABLE).chain(PODS)
}

/// Removes API paths from a message: some contain `/v2/`, like the URLs of a registry.
fn without_api_paths(words: &str) -> String {
    let mut left = String::with_capacity(words.len());
    let mut rest = words;
    while let Some((before, path)) = rest.split_once("/apis/") {
        left.push_str(before);
        rest = path.find([' ', '"', '?']).map_or("", |end| &path[end..]);
    }
    left.push_str(rest);
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_of_the_table_is_valid() {
        let ids: BTreeSet<_> = table().map(|known| known.id).collect();
        assert_eq!(ids.len(), table().count(), "IDs are unique");
        for known in table() {
            let all: Vec<_> = known.words.iter().flat_map(|group| group.iter()).collect();
            assert!(!all.is_empty() && known.words.iter().all(|group| !group.is_empty()), "{}", known.id);
            assert!(all.iter().all(|word| word.to_lowercase() == **word), "{}", known.id);
            assert!(!known.cause.is_empty() && !known.fix(&"a/b".into(), None).contains('{'), "{}", known.id);
        }
    }

    /// Messages of the tools; most were seen in the sandbox, the others are from their sources.
    const MESSAGES: &[(&str, &str)] = &[
        (
            "quota-unset",
            "FailedCreate: pods \"cert-manager-webhook-6f\" is forbidden: failed quota: q2: must specify limits.memory for: cert-manager-webhook; requests.cpu for: cert-manager-webhook",
        ),
        (
            "limit-range",
            "FailedCreate: pods \"coredns-5d\" is forbidden: minimum memory usage per Container is 1Gi, but request is 32Mi",
        ),
        (
            "limit-range",
            "FailedCreate: pods \"coredns-5d\" is forbidden: [maximum cpu usage per Pod is 1, but limit is 2, memory max limit to request ratio per Container is 2, but provided ratio is 4.000000]",
        ),
        (
            "gone",
            "resource Deployment/cert-manager/cert-manager-webhook not ready. status: NotFound, message: Resource not found; context deadline exceeded",
        ),
        ("killed", "helmfile was terminated: signal: 9 (SIGKILL)"),
        (
            "coredns-bundled",
            "UPGRADE FAILED: Unable to continue with install: Deployment \"coredns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: key \"app.kubernetes.io/managed-by\" must equal \"Helm\"",
        ),
        (
            "ownership",
            "Unable to continue with install: ConfigMap \"cilium-config\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata",
        ),
        (
            "service-address",
            "Service \"kube-dns\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.0.10\"]: failed to allocate IP 10.43.0.10: provided IP is already allocated",
        ),
        (
            "immutable",
            "cannot patch \"coredns\" with kind Deployment: Deployment.apps \"coredns\" is invalid: spec.selector: Invalid value: {}: field is immutable",
        ),
        (
            "crd-missing",
            "resource mapping not found for name: \"flux-operator\" namespace: \"flux-system\" from \"\": no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"; ensure CRDs are installed first",
        ),
        (
            "chart-gone",
            "Error response from registry: manifest unknown: quay.io/cilium/charts/cilium:1.18.99: not found",
        ),
        ("chart-gone", "chart cannot be fetched: ghcr.io/coredns/charts/coredns:1.45.999: not found"),
        (
            "registry-denied",
            "GET \"https://ghcr.io/v2/x/manifests/1\": response status code 403: denied: denied",
        ),
        (
            "registry-denied",
            "failed to authorize: failed to fetch oauth token: unexpected status: 403 Forbidden",
        ),
        (
            "rate-limit",
            "Failed to pull image \"docker.io/x\": toomanyrequests: You have reached your pull rate limit",
        ),
        ("rate-limit", "response status code 429: Too Many Requests"),
        (
            "registry-down",
            "GET \"https://ghcr.io/v2/x/manifests/1\": response status code 503: Service Unavailable",
        ),
        (
            "registry-gone",
            "failed to do request: Head \"https://ghcr.io/v2/x/manifests/1\": read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer",
        ),
        (
            "registry-gone",
            "failed to perform \"FetchReference\" on source: dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (
            "clock",
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-11-24T00:00:00Z",
        ),
        (
            "certificate",
            "Get \"https://ghcr.io/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
        ("locked", "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"),
        (
            "startupapicheck",
            "INSTALLATION FAILED: failed post-install: 1 error occurred: * job cert-manager-startupapicheck failed: BackoffLimitExceeded",
        ),
        (
            "webhook",
            "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://cert-manager-webhook.cert-manager.svc:443/validate?timeout=30s\": no endpoints available for service \"cert-manager-webhook\"",
        ),
        (
            "values-schema",
            "values don't meet the specifications of the schema(s) in the following chart(s): flux-instance: - at '/instance/sync/kind': value must be one of",
        ),
        ("template", "execution error at (cilium/templates/validate.yaml:3:4): k8sServiceHost is required"),
        (
            "template",
            "template: small/templates/all.yaml:7:20: executing \"small/templates/all.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
        ),
        (
            "template",
            "small/templates/all.yaml:7:20; executing \"small/templates/all.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
        ),
        (
            "template",
            "YAML parse error on small/templates/all.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
        ),
        (
            "quota",
            "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=5, limited: pods=5",
        ),
        (
            "pod-security",
            "pods \"cilium-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)",
        ),
        (
            "service-account",
            "FailedCreate: Error creating: pods \"cilium-x\" is forbidden: error looking up service account kube-system/default: serviceaccount \"default\" not found",
        ),
        ("api-starting", "Error from server (ServiceUnavailable): apiserver not ready"),
        ("api-starting", "Error from server (TooManyRequests): storage is (re)initializing"),
        (
            "terminating",
            "configmaps \"x\" is forbidden: unable to create new content in namespace media because it is being terminated",
        ),
        (
            "record-too-large",
            "create: failed to create: Secret \"sh.helm.release.v1.x.v1\" is invalid: data: Too long: may not be more than 1048576 bytes",
        ),
        ("record-too-large", "create: failed to create: Request entity too large: limit is 3145728"),
        (
            "conflict",
            "conflict occurred while applying object kube-system/coredns apps/v1, Kind=Deployment: Apply failed with 3 conflicts: conflicts with \"kubectl\":; - .spec.replicas; - .spec.selector",
        ),
        ("disk-full", "write /tmp/k3s-boot-x/values.yaml: no space left on device"),
        ("etcd", "etcdserver: leader changed"),
        (
            "etcd",
            "server-side apply failed for object cert-manager/cert-manager-webhook apps/v1, Kind=Deployment: request declared a Content-Length of 2512 but only wrote 0 bytes",
        ),
        (
            "flux-path",
            "Kustomization flux-system/apps: ArtifactFailed: kustomization path not found: stat /tmp/kustomization-2/kubernetes/nowhere: no such file or directory",
        ),
        (
            "flux-build",
            "Kustomization flux-system/apps: BuildFailed: kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'missing.yaml': open /tmp/kustomization-2/kubernetes/apps/missing.yaml: no such file or directory'",
        ),
        (
            "flux-kind",
            "Kustomization flux-system/apps: ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"",
        ),
        (
            "flux-undecrypted",
            "Kustomization flux-system/apps: ReconciliationFailed: Secret/media/token is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
        ),
        (
            "flux-pair",
            "BuildFailed: build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema/openAPIV3Schema/properties/spec\": missing value",
        ),
        (
            "git-denied",
            "failed to checkout and determine revision: unable to clone 'ssh://git@example.org/home.git': ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
        ),
        (
            "git-denied",
            "GitRepository flux-system/flux-system: AuthenticationFailed: failed to get secret 'flux-system/deploy-key': secrets \"deploy-key\" not found",
        ),
        (
            "api-gone",
            "Kubernetes cluster unreachable: Get \"https://10.0.0.10:6443/version\": dial tcp 10.0.0.10:6443: connect: connection refused",
        ),
        (
            "raced",
            "Operation cannot be fulfilled on deployments.apps \"cilium-operator\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        ("killed", "command \"/usr/bin/helm\" exited with non-zero status: signal: killed"),
        (
            "conflict",
            "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas",
        ),
        (
            "age-key-missing",
            "Kustomization flux-system/flux-system: BuildFailed: failed to get decryption Secret 'flux-system/sops-age': secrets \"sops-age\" not found",
        ),
        ("volume", "PersistentVolumeClaim not bound"),
        ("volume", "ProvisioningFailed: failed to provision volume: rpc error: code = DeadlineExceeded"),
        ("storage-class", "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found"),
        ("logged-out", "the server has asked for the client to provide credentials"),
        (
            "anti-affinity",
            "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            "pod-affinity",
            "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            "host-port",
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
        ),
        ("taint", "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."),
        (
            "node-not-ready",
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
        ),
        ("cpu", "0/1 nodes are available: 1 Insufficient cpu."),
        ("memory", "0/1 nodes are available: 1 Insufficient memory."),
        (
            "storage-class",
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims; there is no StorageClass",
        ),
        ("volume", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        ("node-selector", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        (
            "image-missing",
            "ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"quay.io/cilium/cilium:v9\": quay.io/cilium/cilium:v9: not found",
        ),
        (
            "image-denied",
            "ImagePullBackOff: Back-off pulling image \"ghcr.io/x/y:1\": ErrImagePull: failed to authorize: 403 Forbidden",
        ),
        ("image", "ImagePullBackOff: Back-off pulling image \"ghcr.io/x/y:1\""),
        ("crash-loop", "CrashLoopBackOff: back-off 40s restarting failed container=main pod=x"),
        ("memory-limit", "CrashLoopBackOff: OOMKilled, exit code 137"),
        ("config-missing", "CreateContainerConfigError: secret \"nowhere\" not found"),
        (
            "cni",
            "FailedCreatePodSandBox: Failed to create pod sandbox: plugin type=\"cilium-cni\" failed (add): unable to connect to Cilium agent",
        ),
        ("node-down", "NodeNotReady: Kubelet stopped posting node status."),
        (
            "refused",
            "FailedCreate: Error creating: admission webhook \"validate.kyverno.svc-fail\" denied the request: policy Pod/x for resource violation",
        ),
        ("readiness", "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503"),
        (
            "readiness",
            "Unhealthy: Liveness probe failed: Get \"http://10.42.0.7:8080/\": dial tcp 10.42.0.7:8080: connect: connection refused",
        ),
        (
            "node-disk",
            "container c: ErrImagePull: failed to pull and unpack image \"x:1\": write /var/lib/rancher/k3s/agent/containerd/x: no space left on device",
        ),
        (
            "api-certificate",
            "Kubernetes cluster unreachable: Get \"https://10.0.0.10:6443/version\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
        (
            "api-certificate",
            "Kubernetes cluster unreachable: Get \"https://k3s.example.org:6443/version\": tls: failed to verify certificate: x509: certificate is valid for kubernetes, kubernetes.default, not k3s.example.org",
        ),
        (
            "api-busy",
            "the server has received too many requests and has asked us to try again later (get deployments.apps cilium-operator)",
        ),
        (
            "api-gone",
            "failed to get CustomResource: Get \"https://10.0.0.10:6443/apis/cilium.io/v2/ciliumnodes\": dial tcp 10.0.0.10:6443: connect: connection refused",
        ),
        (
            "git-gone",
            "GitRepository flux-system/flux-system: GitOperationFailed: failed to checkout and determine revision: unable to clone 'https://git.example.org/home.git': dial tcp 10.0.0.3:443: connect: connection refused",
        ),
        (
            "age-key-wrong",
            "Kustomization flux-system/apps: BuildFailed: decryption failed for 'cluster-secrets': failed to decrypt and format 'media/cluster-secrets' Secret data: cannot get sops data key",
        ),
        (
            "node-pressure",
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.",
        ),
        (
            "node-uninitialized",
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.cloudprovider.kubernetes.io/uninitialized: true}.",
        ),
        ("node-cordoned", "0/1 nodes are available: 1 node(s) were unschedulable."),
        (
            "node-not-ready",
            "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient cpu.",
        ),
        (
            "image-missing",
            "ErrImagePull: quay.io/cilium/cilium:v9@sha256:9d401a4037dc18e1c7ec9fa22c4a4d0d59dbd8ba33aa3ba0d4c9d0a0f2e14032: not found",
        ),
        (
            "image-missing",
            "container cert-manager-startupapicheck: ImagePullBackOff: Back-off pulling image \"quay.io/jetstack/x:9\": ErrImagePull: quay.io/jetstack/x:9: not found",
        ),
        (
            "unmade",
            "container mount-bpf-fs: CreateContainerError: path \"/sys/fs/bpf\" is mounted on \"/sys\" but it is not a shared mount",
        ),
        (
            "sandbox",
            "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image \"rancher/mirrored-pause:3.6\"",
        ),
        ("ended", "container main, exited with code 2 (Error), 0 restarts"),
    ];

    #[test]
    fn messages_of_tools_are_known() {
        for (id, message) in MESSAGES {
            assert_eq!(find(message).map(|known| known.id), Some(*id), "{message}");
        }
        let covered: BTreeSet<_> = MESSAGES.iter().map(|(id, _)| *id).collect();
        let all: BTreeSet<_> = table().map(|known| known.id).collect();
        assert_eq!(covered, all, "every row has a message");
        assert!(find("context deadline exceeded").is_none());
    }

    #[test]
    fn a_fix_that_allows_privileged_pods_warns() {
        let privileged: Vec<_> = table().filter(|known| known.fix.contains("=privileged")).collect();
        assert_eq!(privileged.len(), 1);
        for known in privileged {
            for words in ["may take over its node", "only; otherwise "] {
                assert!(known.fix.contains(words), "{}: {}", known.id, known.fix);
            }
        }
    }

    #[test]
    fn only_transient_failures_are_retried() {
        let transient: Vec<_> = table().filter(|known| known.is_transient()).map(|known| known.id).collect();
        assert_eq!(transient.len(), 10, "{transient:?}");
        let passes = |words| find(words).is_some_and(KnownFailure::is_transient);
        assert!(!passes("error looking up service account n/own: serviceaccount \"own\" not found"));
        assert!(passes("response status code 503: Service Unavailable"));
        assert!(!passes("conflict with \"kubectl\" using apps/v1: .spec.replicas") && !passes("exit code 1"));
    }

    proptest::proptest! {
        #[test]
        fn no_words_make_it_panic(words: String, release: String, near in crate::base::mutate::text(&[
            "cannot patch \"cilium-operator\" with kind Deployment: Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value: field is immutable",
            "0/1 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {a: b}. preemption: 0/1 nodes are available",
            "failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://x.svc:443/mutate?timeout=30s\": no endpoints available for service \"x\"",
            "container c: ImagePullBackOff: Back-off pulling image \"a:b\": ErrImagePull: not found: İ",
        ])) {
            for words in [&words, &near] {
                _ = find(words).map(|known| known.fix(&release.as_str().into(), Some(words)));
            }
        }
    }
}
