//! Known failures of kustomize-controller.

use crate::base::known_failures::{KnownFailure, Outlook};

pub(super) const KUSTOMIZE: &[KnownFailure] = &[
    KnownFailure {
        id: "flux-path",
        outlook: Outlook::Unknown,
        words: &[&["kustomization path not found"]],
        messages: &[
            "Kustomization flux-system/apps: ArtifactFailed: kustomization path not found: stat /tmp/kustomization-2/kubernetes/nowhere: no such file or directory",
        ],
        cause: "the path of the Kustomization does not exist in the Git revision that Flux fetched",
        fix: "correct `spec.path` of the Kustomization (for the root one: `instance.sync.path` in the values of flux-instance) or push the folder, then retry",
    },
    KnownFailure {
        id: "flux-build",
        outlook: Outlook::Unknown,
        words: &[&["kustomize build failed"]],
        messages: &[
            "Kustomization flux-system/apps: BuildFailed: kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'missing.yaml': open /tmp/kustomization-2/kubernetes/apps/missing.yaml: no such file or directory'",
        ],
        cause: "`kustomize build` fails for the folder of the Kustomization",
        fix: "run `kustomize build` on that folder, correct what it reports, push, then retry",
    },
    KnownFailure {
        id: "flux-undecrypted",
        outlook: Outlook::Unknown,
        words: &[&["sops encrypted", "configuring decryption is required"]],
        messages: &[
            "Kustomization flux-system/apps: ReconciliationFailed: Secret/media/token is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
        ],
        cause: "the Kustomization applies a file encrypted with SOPS but has no `spec.decryption`",
        fix: "set `spec.decryption` in the Kustomization (for the root one: with a patch in `instance.kustomize.patches`), push, then retry",
    },
    KnownFailure {
        id: "flux-kind",
        outlook: Outlook::Unknown,
        words: &[&["reconciliationfailed", "no matches for kind"]],
        messages: &[
            "Kustomization flux-system/apps: ReconciliationFailed: ServiceMonitor/media/x dry-run failed: no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"",
        ],
        cause: "the CRD for this kind is not installed",
        fix: "add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, then retry",
    },
];
