//! All faults, and what is expected. Causes and cures are in the words of k3s-boot's table of known failures, or in those of
//! the check that finds them.

use std::time::Duration;

use super::Fault;
use super::injection::{Injection, When};
use super::judge::{Expected, Plain};
use crate::restart::Restart;
use crate::stages::{PodPlay, PodState};
use crate::webhook::Plan;

/// A fault that is there before the run.
const fn fault(
    name: &'static str,
    what: &'static str,
    injections: &'static [Injection],
    expected: Expected,
    plain: Plain,
) -> Fault {
    let (when, args, next) = (When::Before, &[], &[]);
    Fault { name, what, injections, when, upgrade: false, args, next, expected, plain }
}

const fn expect(
    code: i32,
    culprit: &'static str,
    cause: &'static [&'static str],
    fix: &'static str,
) -> Expected {
    Expected { code, culprit, cause, fix, also: "" }
}

const HELMFILE: &str = "bootstrap/helmfile.d/01-apps.yaml";
const CRDS: &str = "bootstrap/helmfile.d/00-crds.yaml";

/// Lines of the values behind which something of the release is put.
const CILIUM: &str = "rollOutCiliumPods: true\n";
const COREDNS: &str = "priorityClassName: system-cluster-critical\n";

/// The kubelet's words about an image that it cannot pull.
const fn unpulled(message: &'static str) -> PodPlay {
    PodPlay { state: PodState::Waiting("ErrImagePull", message), warning: ("Failed", message), said: "" }
}

/// It is repaired at once, without a word: by helm, or by starting a program again.
const REPAIRED: Expected = expect(0, "", &[], "");

const CRASH: (&str, &str) = ("BackOff", "Back-off restarting failed container");
/// A container's log as the kubelet keeps it.
const CRASHED: &str = "2026-11-25T20:00:00Z stdout F level=info starting\n\
                       2026-11-25T20:00:01Z stderr F flag provided but not defined: -no-such-flag\n";
const CHART: &str = "chart=\"oci://";

pub(super) const FAULTS: &[Fault] = &[
    // What the scheduler cannot place.
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
        "taint that nobody tolerates",
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
    // What the kubelet cannot run.
    fault(
        "image-missing",
        "image not found (404)",
        &[Injection::Pods(
            "kube-system",
            "cilium-operator",
            unpulled(
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
            "the same in an upgrade, while the old pod still runs",
            &[
                Injection::Values(&[(
                    "  create: false\n",
                    "  create: false\npodAnnotations: {upgraded: \"yes\"}\n",
                )]),
                Injection::Pods(
                    "flux-system",
                    "flux-operator",
                    unpulled(
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
            unpulled(
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
            unpulled(
                "failed to pull and unpack image \"docker.io/x/y:1\": unexpected status from HEAD request to \
                 https://registry-1.docker.io/v2/x/y/manifests/1: 429 Too Many Requests: toomanyrequests: You have reached \
                 your unauthenticated pull rate limit",
            ),
        )],
        expect(
            6,
            "Pod cert-manager/cert-manager-webhook-",
            &["rate limited by the registry"],
            "wait, or log in to the registry",
        ),
        Plain::Fails("Deployment/cert-manager/cert-manager-webhook"),
    ),
    fault(
        "crash-loop",
        "container in a crash loop",
        &[Injection::Pods(
            "flux-system",
            "flux-operator",
            PodPlay { state: PodState::Crashing(4), warning: CRASH, said: CRASHED },
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
        "readiness never true",
        &[Injection::Pods(
            "kube-system",
            "coredns",
            PodPlay {
                state: PodState::Unready,
                warning: ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
                said: "",
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
            PodPlay { state: PodState::InitCrashing(4), warning: CRASH, said: "" },
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
            PodPlay {
                state: PodState::Waiting("ContainerCreating", ""),
                warning: (
                    "FailedCreatePodSandBox",
                    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \
                     \"0\": plugin type=\"cilium-cni\" failed (add): unable to connect to Cilium agent",
                ),
                said: "",
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
            PodPlay { state: PodState::Crashing(1), warning: CRASH, said: "" },
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
            "node becomes NotReady in mid-run",
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
    // What the API server refuses.
    fault(
        "coredns-bundled",
        "k3s' own CoreDNS is there (ownership)",
        &[Injection::Objects(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: coredns, namespace: kube-system, \
             labels: {objectset.rio.cattle.io/hash: bce283298811743a0386ab510f2f67ef74240c57}}\n\
             ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: coredns, namespace: kube-system, \
             labels: {objectset.rio.cattle.io/hash: bce283298811743a0386ab510f2f67ef74240c57, k8s-app: kube-dns}}\n\
             spec:\n  replicas: 0\n  selector: {matchLabels: {k8s-app: kube-dns}}\n  template:\n    \
             metadata: {labels: {k8s-app: kube-dns}}\n    spec: {containers: [{name: coredns, image: coredns}]}\n",
        )],
        expect(
            1,
            "Deployment/coredns",
            &["Bundled CoreDNS of k3s conflicts with the release"],
            "--skip-release kube-system/coredns",
        ),
        Plain::Fails("\"coredns\""),
    ),
    fault(
        "dns-address",
        "address of the DNS is taken",
        &[Injection::Objects(
            "apiVersion: v1\nkind: Service\nmetadata: {name: other-dns, namespace: default}\n\
             spec: {clusterIP: 10.43.0.10, ports: [{name: dns, port: 53, protocol: UDP}]}\n",
        )],
        expect(
            1,
            "default/other-dns",
            &["Another Service has the address of the cluster DNS"],
            "kubectl -n default get service other-dns",
        ),
        Plain::Fails("other-dns"),
    ),
    fault(
        "immutable",
        "selector that cannot be changed",
        &[Injection::HelmObjects(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: coredns, namespace: kube-system, \
             labels: {app.kubernetes.io/managed-by: Helm}, \
             annotations: {meta.helm.sh/release-name: coredns, meta.helm.sh/release-namespace: kube-system}}\n\
             spec:\n  replicas: 0\n  selector: {matchLabels: {app: old}}\n  template:\n    \
             metadata: {labels: {app: old}}\n    spec: {containers: [{name: coredns, image: coredns}]}\n",
        )],
        expect(
            5,
            "coredns",
            &["the chart changes a field that is immutable once the object exists"],
            "delete the named object, then retry",
        ),
        Plain::Fails("coredns"),
    ),
    fault(
        "webhook",
        "webhook without endpoints",
        &[
            Injection::Namespace("cert-manager"),
            Injection::Objects(
                "apiVersion: v1\nkind: Service\nmetadata: {name: absent, namespace: default}\n\
                 spec: {ports: [{port: 443}]}\n---\n\
                 apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
                 metadata: {name: absent}\nwebhooks:\n- name: absent.sandbox.invalid\n  admissionReviewVersions: [v1]\n  \
                 clientConfig: {service: {name: absent, namespace: default}}\n  sideEffects: None\n  \
                 namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: cert-manager}}\n  \
                 rules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]\n",
            ),
        ],
        expect(
            5,
            "ValidatingWebhookConfiguration absent",
            &["the API server calls a webhook whose pods are not ready or not reachable"],
            "retry when the webhook's pods are ready",
        ),
        Plain::Fails("absent"),
    ),
    fault(
        "crd-missing",
        "CRD missing (ServiceMonitor)",
        &[
            Injection::Values(&[("  create: false\n", "  create: true\n")]),
            Injection::File(CRDS, &[("version: 19.1.0\n", "version: 19.1.0\n    installed: false\n")]),
        ],
        expect(
            5,
            "ServiceMonitor",
            &["the CRD for this kind is not installed"],
            "install the CRDs in 00-crds.yaml",
        ),
        Plain::Fails("ServiceMonitor"),
    ),
    fault(
        "quota",
        "quota used up",
        &[
            Injection::Namespace("cert-manager"),
            Injection::Objects(
                "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small, namespace: cert-manager}\n\
                 spec: {hard: {pods: \"0\"}}\n",
            ),
        ],
        expect(
            6,
            "cert-manager/cert-manager",
            &["a ResourceQuota of the namespace is exhausted"],
            "kubectl -n cert-manager describe resourcequota",
        ),
        Plain::Fails("Deployment/cert-manager/cert-manager"),
    ),
    fault(
        "pod-security",
        "PodSecurity refuses the pods",
        &[Injection::Kubectl(
            &[&["label", "namespace", "kube-system", "pod-security.kubernetes.io/enforce=restricted"]],
            &[&["label", "namespace", "kube-system", "pod-security.kubernetes.io/enforce-"]],
        )],
        expect(
            5,
            "kube-system/cilium",
            &["the Pod Security level of the namespace forbids this pod"],
            "pod-security.kubernetes.io/enforce=privileged",
        ),
        Plain::Fails("DaemonSet/kube-system/cilium"),
    ),
    fault(
        "terminating",
        "namespace is Terminating",
        &[Injection::Kubectl(
            &[
                &["create", "namespace", "cert-manager"],
                &["create", "configmap", "kept", "--namespace", "cert-manager"],
                &[
                    "patch",
                    "configmap",
                    "kept",
                    "--namespace",
                    "cert-manager",
                    "--patch",
                    r#"{"metadata": {"finalizers": ["sandbox.invalid/kept"]}}"#,
                ],
                &["delete", "namespace", "cert-manager", "--wait=false"],
            ],
            &[
                &[
                    "patch",
                    "configmap",
                    "kept",
                    "--namespace",
                    "cert-manager",
                    "--patch",
                    r#"{"metadata": {"finalizers": null}}"#,
                ],
                &["wait", "--for=delete", "namespace/cert-manager", "--timeout=60s"],
            ],
        )],
        expect(
            1,
            "namespace=\"cert-manager\"",
            &["Namespace is being deleted"],
            "kubectl get namespace cert-manager -o yaml",
        ),
        Plain::Fails("cert-manager"),
    ),
    fault(
        "pending",
        "release left pending by another helm",
        &[Injection::Pending("kube-system", "coredns")],
        expect(1, "kube-system/coredns", &["pending-install"], "k3s-boot recover"),
        Plain::Fails("coredns"),
    ),
    fault(
        "record-too-large",
        "release too large for helm's record",
        &[Injection::LargeChart(HELMFILE)],
        expect(
            5,
            "kube-system/large",
            &["the chart is too large: helm cannot store the release in a Secret"],
            "use a smaller chart, or split it",
        ),
        Plain::Fails("sh.helm.release.v1.large"),
    ),
    // What the charts say.
    fault(
        "schema",
        "value that the chart's schema forbids",
        &[Injection::Values(&[("crds:\n  enabled: true\n", "crds:\n  enabled: true\nreplicaCount: many\n")])],
        expect(
            1,
            "cert-manager/cert-manager",
            &["a value violates the schema of the chart", "/replicaCount"],
            "correct the value that the message names",
        ),
        Plain::Fails("/replicaCount"),
    ),
    fault(
        "schema-key",
        "values key that the chart's schema does not know",
        &[Injection::Values(&[("crds:\n  enabled: true\n", "crds:\n  enabled: true\n  when: often\n")])],
        expect(1, "cert-manager/cert-manager", &["Chart rejects a values key", "crds.when"], "remove it"),
        Plain::Fails("cert-manager"),
    ),
    fault(
        "template",
        "template error in a chart",
        &[Injection::Values(&[(
            CILIUM,
            "rollOutCiliumPods: true\nhubble: {enabled: true, relay: {enabled: false}, ui: {enabled: true}}\n",
        )])],
        expect(
            1,
            "kube-system/cilium",
            &["a template of the chart fails with these values", "hubble.relay.enabled"],
            "set or correct the value that the message names",
        ),
        Plain::Fails("hubble.relay.enabled"),
    ),
    fault(
        "chart-gone",
        "chart's tag is gone",
        &[Injection::File(HELMFILE, &[("version: 1.45.0\n", "version: 1.45.999\n")])],
        expect(
            1,
            "chart=\"oci://ghcr.io/coredns/charts/coredns\" version=\"1.45.999\"",
            &["the chart or version does not exist in the registry"],
            "correct `chart` or `version`",
        ),
        Plain::Fails("coredns:1.45.999"),
    ),
    // What the registry does.
    fault(
        "registry-401",
        "registry answers 401",
        &[Injection::RegistryAnswers(401, None)],
        expect(1, CHART, &["the registry rejects the stored login, or requires one"], "logout"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-403",
        "registry answers 403",
        &[Injection::RegistryAnswers(403, None)],
        expect(1, CHART, &["the registry rejects the stored login, or requires one"], "logout"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-429",
        "registry answers 429",
        &[Injection::RegistryAnswers(429, None)],
        expect(1, CHART, &["rate limited by the registry"], "wait, or log in to the registry"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-503",
        "registry answers 503",
        &[Injection::RegistryAnswers(503, None)],
        expect(1, CHART, &["the registry returned 5xx"], "retry later"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-503-thrice",
        "registry answers 503 three times",
        &[Injection::RegistryAnswers(503, Some(3))],
        REPAIRED,
        Plain::Passes("oci://"),
    ),
    fault(
        "registry-slow",
        "registry takes 5 s more for each request",
        &[Injection::RegistrySlow(Duration::from_secs(5))],
        expect(0, "charts", &["Waiting"], ""),
        Plain::Passes("oci://"),
    ),
    fault(
        "registry-reset",
        "registry breaks off connections",
        &[Injection::RegistryResets],
        expect(1, CHART, &["the registry cannot be reached or does not respond in time"], "HTTPS_PROXY"),
        Plain::Fails("oci://"),
    ),
    fault(
        "registry-certificate",
        "registry's certificate is another's",
        &[Injection::RegistryStrange],
        expect(1, CHART, &["the certificate does not match the server"], "SSL_CERT_FILE"),
        Plain::Fails("oci://"),
    ),
    fault(
        "clock",
        "certificate not yet valid (clock skew)",
        &[Injection::RegistryFuture],
        expect(1, CHART, &["a certificate has expired, or a clock is wrong"], "date"),
        Plain::Fails("oci://"),
    ),
    // What the API server and the machine do in mid-run.
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "api-away",
            "k3s restarts in mid-run, and its API server is away for 25 s",
            &[Injection::ApiRestart(Restart::SLOW)],
            expect(0, "kube-system/cilium", &["the API server became unavailable"], ""),
            Plain::Fails("https://127.0.0.1:"),
        )
    },
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "api-frozen",
            "API server answers nothing for 20 s in mid-run",
            &[Injection::ApiFrozen(Duration::from_secs(20))],
            expect(0, "/leases/k3s-boot", &["was not answered within"], ""),
            Plain::Passes("https://127.0.0.1:"),
        )
    },
    fault(
        "api-slow",
        "API server takes 2 s for each new workload",
        &[
            Injection::Namespace("cert-manager"),
            Injection::Refused(
                "cert-manager",
                &["deployments", "serviceaccounts", "services"],
                Plan { refused: 0, status: 200, words: "", delay: Duration::from_secs(2) },
            ),
        ],
        expect(0, "cert-manager/cert-manager", &["Waiting for release"], ""),
        Plain::Passes("cert-manager"),
    ),
    fault(
        "etcd-leader",
        "etcd changes its leader",
        &[
            Injection::Namespace("cert-manager"),
            Injection::Refused(
                "cert-manager",
                &["deployments"],
                Plan { refused: 1, status: 500, words: "etcdserver: leader changed", delay: Duration::ZERO },
            ),
        ],
        expect(0, "cert-manager/cert-manager", &["etcd lost its leader, or its disk is too slow"], ""),
        Plain::Fails("cert-manager"),
    ),
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "helm-killed",
            "helm is killed by the system",
            &[Injection::Killed("helm", "upgrade")],
            expect(0, "kube-system/cilium", &["signal: killed"], ""),
            Plain::Fails("cilium"),
        )
    },
    Fault {
        when: When::Release("kube-system", "cilium"),
        ..fault(
            "kubectl-killed",
            "kubectl is killed by the system",
            &[Injection::Killed("kubectl", "proxy")],
            REPAIRED,
            Plain::Unmet,
        )
    },
    fault(
        "disk-full",
        "folder for temporary files is full",
        &[Injection::FullDisk("64k")],
        expect(1, "tmp", &["a disk of this machine is full"], "set TMPDIR"),
        Plain::Fails("no space left on device"),
    ),
    // What Flux says.
    fault(
        "flux-stalled",
        "FluxInstance is Stalled",
        &[Injection::Stalled(
            "build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema\": missing value",
        )],
        expect(
            5,
            "FluxInstance",
            &["doc is missing path", "flux-operator is older than the Flux version that it installs"],
            "pin `instance.distribution.artifact`",
        ),
        Plain::Perhaps("FluxInstance/flux-system/flux"),
    ),
    Fault {
        args: &["--timeout", "90s"],
        ..fault(
            "git-auth",
            "Git server refuses the credentials",
            &[Injection::GitLocked(
                "failed to checkout and determine revision: unable to clone 'ssh://git@example.org/home.git': ssh: handshake \
                 failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
            )],
            expect(
                6,
                "GitRepository flux-system/flux-system",
                &["the Git server rejects the credentials of Flux"],
                "FLUX_GIT_PULL_SECRET",
            ),
            Plain::Blind,
        )
    },
    Fault {
        next: &["--rotate-age-key"],
        ..fault(
            "decryption",
            "Flux cannot decrypt",
            &[Injection::OtherKey],
            expect(5, "Kustomization flux-system/", &["decrypt"], "--rotate-age-key"),
            Plain::Blind,
        )
    },
];

const TAINT: Injection = Injection::Kubectl(
    &[&["taint", "nodes", "--all", "gpu=yes:NoSchedule"]],
    &[&["taint", "nodes", "--all", "gpu-"]],
);
