//! Known failures of Helm and helmfile.

use crate::base::known_failures::Origin::{Api, Chart, Flux, Program, Release, State, Template};
use crate::base::known_failures::shape::{API, HELM, LOCAL, RELEASE, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "coredns-bundled",
        outlook: Outlook::Unknown,
        // Without the error about the label, a Helm release owns it.
        shapes: &[
            shape(
                RELEASE,
                "* \"coredns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: ",
            ),
            shape(
                RELEASE,
                "* \"kube-dns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: ",
            ),
        ],
        samples: &[
            sample(
                Release,
                "helm 3.18.0",
                "Unable to continue with install: Deployment \"coredns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \"Helm\"; annotation validation error: missing key \"meta.helm.sh/release-name\": must be set to \"coredns\"; annotation validation error: missing key \"meta.helm.sh/release-namespace\": must be set to \"kube-system\"",
            ),
            sample(
                Release,
                "helm 4.1.4",
                "unable to continue with install: Service \"kube-dns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \"Helm\"; annotation validation error: missing key \"meta.helm.sh/release-name\": must be set to \"coredns\"; annotation validation error: missing key \"meta.helm.sh/release-namespace\": must be set to \"kube-system\"",
            ),
        ],
        cause: "a CoreDNS that is not of Helm, most likely the bundled one, already uses this name",
        fix: "disable it where the distribution is configured (k3s: `disable: [coredns]`, Talos: `cluster.coreDNS.disabled`), or keep it: k3s-boot apps --skip-release {release}",
    },
    KnownFailure {
        id: "ownership",
        outlook: Outlook::Unknown,
        shapes: &[fallback(
            RELEASE,
            "* exists and cannot be imported into the current release: invalid ownership metadata; ",
        )],
        samples: &[
            sample(
                Release,
                "helm 4.2.4",
                "unable to continue with install: ConfigMap \"cilium-config\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \"Helm\"; annotation validation error: missing key \"meta.helm.sh/release-name\": must be set to \"cilium\"; annotation validation error: missing key \"meta.helm.sh/release-namespace\": must be set to \"kube-system\"",
            ),
            sample(
                Release,
                "helm 4.2.4, pkg/action/validate.go",
                "unable to continue with install: ConfigMap \"coredns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; annotation validation error: key \"meta.helm.sh/release-name\" must equal \"coredns\": current value is \"dns\"",
            ),
        ],
        cause: "the object already exists and is not part of this release",
        fix: "k3s-boot check  # shows its owner; delete the object, or adopt it: k3s-boot apps --release {release} --adopt {release}",
    },
    KnownFailure {
        id: "api-removed",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(API, "no matches for kind \"*\" in version \"policy/v1beta1\""),
            shape(API, "no matches for kind \"*\" in version \"batch/v1beta1\""),
            shape(API, "no matches for kind \"*\" in version \"autoscaling/v2beta"),
            shape(API, "no matches for kind \"*\" in version \"extensions/v1beta1\""),
            shape(API, "no matches for kind \"*\" in version \"apps/v1beta"),
            shape(API, "no matches for kind \"*\" in version \"networking.k8s.io/v1beta1\""),
            shape(API, "no matches for kind \"*\" in version \"rbac.authorization.k8s.io/v1beta1\""),
        ],
        samples: &[sample(
            Release,
            "helm 4.2.4",
            "unable to build kubernetes objects from release manifest: resource mapping not found for name: \"x\" namespace: \"\" from \"\": no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\"; ensure CRDs are installed first",
        )],
        cause: "this version of Kubernetes no longer has that API",
        fix: "use a version of the chart that supports the Kubernetes of the cluster",
    },
    KnownFailure {
        id: "crd-missing",
        outlook: Outlook::Unknown,
        shapes: &[
            fallback(&[Release, Template, Api], "no matches for kind \"*\" in version \"*\""),
            shape(HELM, "execution error at (*): Service Monitor requires monitoring.coreos.com/v1 CRDs"),
        ],
        samples: &[
            sample(
                Release,
                "helm 4.2.4",
                "resource mapping not found for name: \"flux-operator\" namespace: \"flux-system\" from \"\": no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"; ensure CRDs are installed first",
            ),
            sample(
                Template,
                "helm 4.2.4",
                "execution error at (cilium/templates/validate.yaml:30:5): Service Monitor requires monitoring.coreos.com/v1 CRDs. Please refer to https://github.com/prometheus-operator/prometheus-operator/blob/main/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            ),
        ],
        cause: "the CRD for this kind is not installed",
        fix: "install the CRDs in 00-crds.yaml, or disable what uses them in the values (such as `serviceMonitor`)",
    },
    KnownFailure {
        id: "locked",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(RELEASE, "another operation (install/upgrade/rollback) is in progress"),
            shape(RELEASE, "cannot reuse a name that is still in use"),
            shape(RELEASE, "cannot re-use a name that is still in use"),
        ],
        samples: &[
            sample(
                Release,
                "helm 4.2.4",
                "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
            ),
            sample(
                Release,
                "helm 3, helm/helm#30487",
                "INSTALLATION FAILED: cannot re-use a name that is still in use",
            ),
        ],
        cause: "an earlier Helm operation on the release is still running or was killed",
        fix: "if nothing else is working on the release, `k3s-boot recover` recovers it",
    },
    KnownFailure {
        id: "values-schema",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            HELM,
            "values don't meet the specifications of the schema(s) in the following chart(s):",
        )],
        samples: &[sample(
            Template,
            "helm 4.2.4",
            "values don't meet the specifications of the schema(s) in the following chart(s): flux-instance: - at '/instance/sync/kind': value must be one of 'GitRepository', 'OCIRepository', 'Bucket'",
        )],
        cause: "a value violates the schema of the chart",
        fix: "correct the value that the message names; `helm show values CHART` shows the defaults",
    },
    KnownFailure {
        id: "values-template",
        outlook: Outlook::Unknown,
        shapes: &[shape(HELM, "…template: stringTemplate:*: executing \"stringTemplate\" at <")],
        samples: &[sample(
            Release,
            "helmfile 1.7.4",
            "failed to render values files \"../templates/values.yaml.gotmpl\": failed to render [../templates/values.yaml.gotmpl], because of template: stringTemplate:4:19: executing \"stringTemplate\" at <requiredEnv \"K3S_API_HOST\">: error calling requiredEnv: required env var `K3S_API_HOST` is not set",
        )],
        cause: "helmfile cannot render the helmfile or a values template",
        fix: "correct the line of the template that the message names, or set the variable",
    },
    KnownFailure {
        id: "template",
        outlook: Outlook::Unknown,
        shapes: &[
            fallback(HELM, "execution error at (*): "),
            fallback(HELM, "template: */templates/*: executing \"*\" at <"),
            // Helm 4 has no `template:` in front, and a line for each part.
            shape(HELM, "*/templates/*; executing \"*\" at <"),
            shape(HELM, "parse error at (*"),
            shape(HELM, "YAML parse error on *: "),
        ],
        samples: &[
            sample(
                Template,
                "helm 4.2.4",
                "execution error at (cilium/templates/validate.yaml:3:4): k8sServiceHost is required",
            ),
            sample(
                Template,
                "helm 3.21.4",
                "template: small/templates/all.yaml:7:20: executing \"small/templates/all.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
            ),
            sample(
                Template,
                "helm 4.2.4",
                "small/templates/all.yaml:7:20; executing \"small/templates/all.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
            ),
            sample(
                Template,
                "helm 4.2.4",
                "YAML parse error on small/templates/all.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
            ),
        ],
        cause: "a template of the chart fails with these values",
        fix: "set or correct the value that the message names",
    },
    KnownFailure {
        id: "repository-missing",
        outlook: Outlook::Unknown,
        shapes: &[shape(&[Chart, Template, Release], "repo * not found")],
        samples: &[sample(Chart, "helm 4.2.4", "repo jetstack not found")],
        cause: "the helmfile does not define the chart repository",
        fix: "add it to `repositories` in the helmfile, or use the oci:// address of the chart",
    },
    KnownFailure {
        id: "chart-cache",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(&[Chart, Template, Release], "chart directory at * is corrupted (no Chart.yaml found)"),
            shape(
                &[Chart, Template, Release],
                "failed to untar: a file or directory with the name * already exists",
            ),
        ],
        samples: &[
            sample(
                Chart,
                "helmfile 1.7.4",
                "chart directory at /h/.cache/helmfile/oci__127_0_0_1_18444/x/yy/1.0.0 is corrupted (no Chart.yaml found); cannot safely remove from shared cache while other processes may be running. Please run 'helmfile cache cleanup' to clear the cache",
            ),
            sample(
                Chart,
                "helm, helmfile/helmfile#2295",
                "failed to untar: a file or directory with the name /home/user/.cache/helmfile/ecr/charts/incubator/raw/0.2.5/raw already exists",
            ),
        ],
        cause: "the chart cache of helmfile holds an incomplete chart, or another helmfile is writing it",
        fix: "helmfile cache cleanup",
    },
    KnownFailure {
        id: "record-too-large",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(RELEASE, "Secret \"sh.helm.release.*\" is invalid: data: Too long: "),
            shape(RELEASE, "create: failed to create: Request entity too large: limit is "),
        ],
        samples: &[
            sample(
                Release,
                "helm 4.2.4",
                "create: failed to create: Secret \"sh.helm.release.v1.x.v1\" is invalid: data: Too long: may not be more than 1048576 bytes",
            ),
            sample(
                Release,
                "helm 4.2.4",
                "create: failed to create: Request entity too large: limit is 3145728",
            ),
        ],
        cause: "the chart is too large: helm cannot store the release in a Secret",
        fix: "use a smaller chart, or split it",
    },
    KnownFailure {
        id: "conflict-helm",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(RELEASE, "Apply failed with 1 conflict: conflict with \"helm\""),
            shape(RELEASE, "Apply failed with * conflicts: conflicts with \"helm\""),
        ],
        samples: &[sample(
            Release,
            "helm 4, helm/helm#31516",
            "conflict occurred while applying object monitoring/kps-kube-prometheus-stack-operator networking.k8s.io/v1, Kind=NetworkPolicy: Apply failed with 1 conflict: conflict with \"helm\": .spec.ingress",
        )],
        cause: "an earlier Helm set the same fields with client-side apply",
        fix: "set `forceConflicts: true` for the release in the helmfile once (Helm 4)",
    },
    KnownFailure {
        id: "conflict-flux",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(RELEASE, "Apply failed with 1 conflict: conflict with \"kustomize-controller\""),
            shape(RELEASE, "Apply failed with * conflicts: conflicts with \"kustomize-controller\""),
            shape(RELEASE, "Apply failed with 1 conflict: conflict with \"helm-controller\""),
            shape(RELEASE, "Apply failed with * conflicts: conflicts with \"helm-controller\""),
        ],
        samples: &[sample(
            Release,
            "Kubernetes 1.36.3, apimachinery managedfields/internal/conflict.go",
            "conflict occurred while applying object media/plex apps/v1, Kind=Deployment: Apply failed with 1 conflict: conflict with \"kustomize-controller\": .spec.replicas",
        )],
        cause: "Flux sets the same fields",
        fix: "remove the object from what Flux applies, or leave the release to Flux: k3s-boot apps --skip-release {release}",
    },
    KnownFailure {
        id: "conflict",
        outlook: Outlook::Unknown,
        shapes: &[
            fallback(API, "Apply failed with 1 conflict: conflict with \"*\""),
            fallback(API, "Apply failed with * conflicts: conflicts with \"*\""),
        ],
        samples: &[
            sample(
                Release,
                "helm 4.2.4",
                "conflict occurred while applying object kube-system/coredns apps/v1, Kind=Deployment: Apply failed with 3 conflicts: conflicts with \"kubectl\":; - .spec.replicas; - .spec.selector",
            ),
            sample(
                Release,
                "helm 4.2.4",
                "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas",
            ),
        ],
        cause: "another field manager owns fields that the chart sets",
        fix: "k3s-boot apps --fix-drift {release}  # reverts manual changes to the release",
    },
    KnownFailure {
        id: "killed",
        outlook: Outlook::Unknown,
        shapes: &[shape(LOCAL, "signal: killed"), shape(LOCAL, "signal: 9 (SIGKILL)")],
        samples: &[
            sample(Program, "k3s-boot", "helmfile was terminated: signal: 9 (SIGKILL)"),
            sample(Release, "helmfile 1.7.4", "helm ended: signal: killed"),
        ],
        cause: "the system killed a program, most likely because it ran out of memory",
        fix: "dmesg | tail  # then retry with more memory",
    },
    KnownFailure {
        id: "crash",
        outlook: Outlook::Unknown,
        shapes: &[shape(LOCAL, "helmfile crashed: "), shape(LOCAL, "helm crashed: ")],
        samples: &[
            sample(
                Release,
                "helmfile, roboll/helmfile#1459",
                "helmfile crashed: panic: runtime error: invalid memory address or nil pointer dereference",
            ),
            sample(
                Release,
                "helm, in helmfile",
                "helm crashed: panic: runtime error: invalid memory address or nil pointer dereference",
            ),
        ],
        cause: "the program has a bug, or cannot read its input",
        fix: "use another version of the program; its stack is in the log file",
    },
    KnownFailure {
        id: "disk-full",
        outlook: Outlook::Unknown,
        shapes: &[shape(LOCAL, "no space left on device")],
        samples: &[
            sample(Release, "helmfile 1.7.4", "write /tmp/k3s-boot-x/values.yaml: no space left on device"),
            sample(
                Program,
                "k3s-boot",
                "failed to write `/tmp/k3s-boot-x/log`: No space left on device (os error 28)",
            ),
        ],
        cause: "a disk of this machine is full",
        fix: "df -h /tmp ~  # free some space, or set TMPDIR",
    },
    KnownFailure {
        id: "pod-security",
        outlook: Outlook::Permanent,
        shapes: &[shape(API, "pods \"*\" is forbidden: violates PodSecurity \"*\": ")],
        samples: &[sample(
            State,
            "kube-controller-manager 1.36.3",
            "FailedCreate: Error creating: pods \"cilium-t8xnd\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true), hostPort (container \"cilium-agent\" uses hostPorts 4240, 4244)",
        )],
        cause: "the Pod Security level of the namespace forbids this pod",
        fix: "kubectl label --overwrite namespace {namespace} pod-security.kubernetes.io/enforce=privileged  # from then on, every pod of {namespace} may take over its node: use it for a network plugin only; otherwise correct `securityContext` in the values, or move the release to a namespace of its own",
    },
    KnownFailure {
        id: "refused",
        outlook: Outlook::Permanent,
        shapes: &[
            shape(API, "admission webhook \"*\" denied the request"),
            shape(API, "ValidatingAdmissionPolicy '*' with binding '*' denied request: "),
            shape(API, "…policy '*' with binding '*' denied request: "),
        ],
        samples: &[
            sample(
                State,
                "kube-controller-manager 1.36.3",
                "FailedCreate: Error creating: admission webhook \"validate.kyverno.svc-fail\" denied the request: policy Pod/x for resource violation",
            ),
            sample(
                Flux,
                "kube-apiserver 1.36.3",
                "Kustomization flux-system/apps: ReconciliationFailed: Deployment/media/x dry-run failed: deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas' denied request: failed expression: object.spec.replicas <= 5",
            ),
        ],
        cause: "a policy of the cluster rejects the object",
        fix: "change what the message names in the values, or change the policy",
    },
];
