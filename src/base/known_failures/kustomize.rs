//! Known failures of Flux' kustomize-controller, in its words.

use crate::base::known_failures::Known;

pub(super) const KUSTOMIZE: &[Known] = &[
    Known {
        id: "flux-path",
        words: &[&["kustomization path not found"]],
        cause: "the Git repository has no such folder at the revision that Flux has fetched",
        fix: "correct `spec.path` of the Kustomization (of the root one: `instance.sync.path` in the values of flux-instance), \
              or push the folder, and run it again",
    },
    Known {
        id: "flux-build",
        words: &[&["kustomize build failed"]],
        cause: "`kustomize build` fails for the Kustomization's folder of the Git repository",
        fix: "run `kustomize build` on that folder, correct what it reports, push, and run it again",
    },
    Known {
        id: "flux-undecrypted",
        words: &[&["sops encrypted", "configuring decryption is required"]],
        cause: "the Kustomization applies a file that is encrypted with SOPS, and has no `spec.decryption`",
        fix: "set `spec.decryption` in the Kustomization (of the root one: by a patch in `instance.kustomize.patches`), push, \
              and run it again",
    },
    Known {
        id: "flux-kind",
        words: &[&["reconciliationfailed", "no matches for kind"]],
        cause: "the cluster does not know that kind: its CRD is not installed",
        fix: "add the Kustomization that installs the CRD to `dependsOn`, or install the CRD in 00-crds.yaml, and run it again",
    },
];
