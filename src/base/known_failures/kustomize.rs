//! Known failures of kustomize-controller.

use crate::base::known_failures::Origin::Flux;
use crate::base::known_failures::shape::{FLUX, fallback, shape};
use crate::base::known_failures::{KnownFailure, Outlook, sample};

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "flux-path",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "Kustomization *: ArtifactFailed: kustomization path not found: ")],
        samples: &[sample(
            Flux,
            "kustomize-controller 1.7.3",
            "Kustomization flux-system/apps: ArtifactFailed: kustomization path not found: stat /tmp/kustomization-2817336458/kubernetes/nowhere: no such file or directory",
        )],
        cause: "the path of the Kustomization does not exist in the Git revision that Flux fetched",
        fix: "correct `spec.path` of the Kustomization (for the root one: `instance.sync.path` in the values of flux-instance) or push the folder, then retry",
    },
    KnownFailure {
        id: "flux-build",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "Kustomization *: BuildFailed: kustomize build failed: ")],
        samples: &[sample(
            Flux,
            "kustomize-controller 1.7.3",
            "Kustomization flux-system/apps: BuildFailed: kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'missing.yaml': open /tmp/kustomization-2817336458/kubernetes/apps/missing.yaml: no such file or directory': must build at directory: not a valid directory: evalsymlink failure on '/tmp/kustomization-2817336458/kubernetes/apps/missing.yaml' : lstat /tmp/kustomization-2817336458/kubernetes/apps/missing.yaml: no such file or directory",
        )],
        cause: "`kustomize build` fails for the folder of the Kustomization",
        fix: "run `kustomize build` on that folder, correct what it reports, push, then retry",
    },
    KnownFailure {
        id: "flux-undecrypted",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(
                FLUX,
                "* is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
            ),
            shape(FLUX, "failed to create typed patch object (*): .sops: field not declared in schema"),
        ],
        samples: &[
            sample(
                Flux,
                "kustomize-controller 1.3, fluxcd/flux2#4982",
                "Kustomization flux-system/flux-system: ReconciliationFailed: Secret/podinfo/mysecret is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
            ),
            sample(
                Flux,
                "kustomize-controller, fluxcd/flux2#3367",
                "Kustomization flux-system/apps: ReconciliationFailed: ConfigMap/media/x dry-run failed: failed to create typed patch object (media/x; /v1, Kind=ConfigMap): .sops: field not declared in schema",
            ),
        ],
        cause: "the Kustomization applies a file encrypted with SOPS but has no `spec.decryption`",
        fix: "set `spec.decryption` in the Kustomization (for the root one: with a patch in `instance.kustomize.patches`), push, then retry",
    },
    KnownFailure {
        id: "flux-version",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "no matches for kind \"*\" in version \"*.toolkit.fluxcd.io/")],
        samples: &[sample(
            Flux,
            "kustomize-controller, kubernetes/k8s.io#6364",
            "Kustomization flux-system/monitoring: ReconciliationFailed: HelmRepository/monitoring/grafana-charts dry-run failed, error: no matches for kind \"HelmRepository\" in version \"source.toolkit.fluxcd.io/v1\"",
        )],
        cause: "the installed Flux does not serve this version of the kind",
        fix: "correct `apiVersion` of the object in Git (Flux 2.7 and later: v1, HelmRelease v2), push, then retry",
    },
    KnownFailure {
        id: "flux-invalid",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "Kustomization *: ReconciliationFailed: * dry-run failed (Invalid): "),
            fallback(
                FLUX,
                "Kustomization *: ReconciliationFailed: * dry-run failed: failed to create typed patch object (*): ",
            ),
        ],
        samples: &[
            sample(
                Flux,
                "kustomize-controller, fluxcd/flux2#5116",
                "Kustomization flux-system/apps: ReconciliationFailed: HelmRelease/tdp/tdp-api dry-run failed (Invalid): HelmRelease.helm.toolkit.fluxcd.io \"tdp-api\" is invalid: [spec.chart.spec.chart: Required value]",
            ),
            sample(
                Flux,
                "kustomize-controller, fluxcd/flux2#4373",
                "Kustomization flux-system/apps: ReconciliationFailed: HelmRelease/csi-driver-nfs/csi-driver-nfs dry-run failed: failed to create typed patch object (csi-driver-nfs/csi-driver-nfs; helm.toolkit.fluxcd.io/v2beta1, Kind=HelmRelease): .spec.chart.spec.releaseName: field not declared in schema",
            ),
        ],
        cause: "the API server rejects the object as Git has it",
        fix: "correct what the message names, push, then retry",
    },
    KnownFailure {
        id: "flux-oci-tag",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            FLUX,
            "OCIRepository *: …failed to determine artifact digest: GET *: MANIFEST_UNKNOWN: ",
        )],
        samples: &[sample(
            Flux,
            "source-controller, fluxcd/flux2#5329",
            "OCIRepository media/podinfo: OCIArtifactPullFailed: failed to determine artifact digest: GET https://ghcr.io/v2/stefanprodan/charts/podinfo/manifests/6.0.0: MANIFEST_UNKNOWN: manifest unknown",
        )],
        cause: "the registry has no such tag",
        fix: "correct `spec.ref` of the OCIRepository in Git, push, then retry",
    },
    KnownFailure {
        id: "flux-oci-digest",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "OCIRepository *: …failed to determine artifact digest: cannot parse hash: ")],
        samples: &[sample(
            Flux,
            "source-controller 1.8, joryirving/home-ops#9248",
            "OCIRepository media/chart: OCIArtifactPullFailed: failed to determine artifact digest: cannot parse hash: \"c2ca1185c01e6e7f53dd1b7d131f0c9b3fa50e003ed068b784563a1b5a3422a1\"",
        )],
        cause: "`spec.ref.digest` of the OCIRepository is no digest of an OCI manifest (`sha256:…`)",
        fix: "remove `digest` or correct it in Git, push, then retry",
    },
    KnownFailure {
        id: "flux-kind",
        outlook: Outlook::Unknown,
        shapes: &[fallback(
            FLUX,
            "Kustomization *: ReconciliationFailed: …: no matches for kind \"*\" in version \"*\"",
        )],
        samples: &[sample(
            Flux,
            "kustomize-controller 1.7.3",
            "Kustomization flux-system/apps: ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"",
        )],
        cause: "the CRD for this kind is not installed",
        fix: "add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, then retry",
    },
    KnownFailure {
        id: "flux-variable",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            FLUX,
            "envsubst error: variable substitution failed: variable not set (strict mode): ",
        )],
        samples: &[sample(
            Flux,
            "kustomize-controller 1.9.0, fluxcd/kustomize-controller#1692",
            "Kustomization flux-system/apps: BuildFailed: post build failed for 'CustomResourceDefinition.v1.apiextensions.k8s.io/kustomizations.kustomize.toolkit.fluxcd.io': envsubst error: variable substitution failed: variable not set (strict mode): \"var\"",
        )],
        cause: "`${…}` names a variable that is set nowhere: Flux 2.9 and later reject that",
        fix: "set the variable in `spec.postBuild` of the Kustomization, write `$${…}` for a text that Flux must not replace, or annotate the object with `kustomize.toolkit.fluxcd.io/substitute: disabled`",
    },
    KnownFailure {
        id: "age-key-missing",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(FLUX, "Kustomization *: BuildFailed: secrets \"*\" not found"),
            shape(FLUX, "decryption secret error: Secret \"*\" not found"),
        ],
        samples: &[
            sample(
                Flux,
                "kustomize-controller 1.7.3, internal/decryptor",
                "Kustomization flux-system/flux-system: BuildFailed: secrets \"sops-age\" not found",
            ),
            sample(
                Flux,
                "kustomize-controller, onedr0p/cluster-template#156",
                "Kustomization flux-system/flux-system: BuildFailed: decryption secret error: Secret \"sops-age\" not found",
            ),
        ],
        cause: "Flux needs the age key, and the cluster has none",
        fix: "put the age key that this repository is encrypted for into age.key, then retry",
    },
    KnownFailure {
        id: "age-key-invalid",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "failed to import '*' data from * decryption Secret '*': ")],
        samples: &[sample(
            Flux,
            "kustomize-controller 1.7.3, internal/decryptor",
            "Kustomization flux-system/flux-system: BuildFailed: failed to import 'age.agekey' data from sops decryption Secret 'flux-system/sops-age': failed to parse and add to age identities: unknown identity type",
        )],
        cause: "a key in the decryption Secret is not an age key that Flux supports",
        fix: "put a valid age key into age.key, then retry with --rotate-age-key",
    },
    KnownFailure {
        id: "age-key-wrong",
        outlook: Outlook::Unknown,
        shapes: &[shape(FLUX, "decryption failed for '*': …cannot get sops data key")],
        samples: &[
            sample(
                Flux,
                "kustomize-controller, fluxcd/flux2#5154",
                "Kustomization flux-system/secrets: BuildFailed: decryption failed for 'basic-auth': failed to decrypt and format 'flux-system/basic-auth' Secret data: cannot get sops data key: Failed to get the data key required to decrypt the SOPS file.",
            ),
            sample(
                Flux,
                "kustomize-controller, devantler-tech/platform#1346",
                "Kustomization flux-system/variables: BuildFailed: decryption failed for 'Secret.v1.[noGrp]/variables-cluster': cannot get sops data key: Failed to get the data key required to decrypt the SOPS file.",
            ),
        ],
        cause: "the file is not encrypted for the age key in the cluster",
        fix: "put the age key that this repository is encrypted for into age.key, then retry with --rotate-age-key",
    },
];
