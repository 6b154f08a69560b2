//! Objects that the API server rejects.

use super::{CRDS, HELMFILE, expect, fault};
use crate::faults::Fault;
use crate::faults::injection::Injection;
use crate::faults::verdict::Plain;

pub(super) const FAULTS: &[Fault] = &[
    fault(
        "coredns-bundled",
        "bundled CoreDNS of k3s is installed",
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
        "address of the cluster DNS is in use",
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
        "immutable selector",
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
        "quota exhausted",
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
        "Pod Security forbids the pods",
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
        "release stuck in pending-install",
        &[Injection::Pending("kube-system", "coredns")],
        expect(1, "kube-system/coredns", &["pending-install"], "k3s-boot recover"),
        Plain::Fails("coredns"),
    ),
    fault(
        "record-too-large",
        "chart too large for a release Secret",
        &[Injection::LargeChart(HELMFILE)],
        expect(
            5,
            "kube-system/large",
            &["the chart is too large: helm cannot store the release in a Secret"],
            "use a smaller chart, or split it",
        ),
        Plain::Fails("sh.helm.release.v1.large"),
    ),
];
