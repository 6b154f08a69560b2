//! Known failures of flux-operator.

use crate::base::known_failures::Origin::{Flux, Release, State};
use crate::base::known_failures::shape::shape;
use crate::base::known_failures::{KnownFailure, Origin, Outlook, sample};

/// Every pod may need the API server.
const ANY_POD: &[Origin] = &[Flux, State, Origin::Log];

pub(super) const TABLE: &[KnownFailure] = &[
    KnownFailure {
        id: "flux-pair",
        outlook: Outlook::Unknown,
        shapes: &[shape(
            &[Flux, State, Release],
            "build failed: add operation does not apply: doc is missing path: \"/spec/versions/",
        )],
        samples: &[
            sample(
                State,
                "flux-operator 0.37.1, fluxcd/flux2#5965",
                "BuildFailed: build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/eventSources/items/properties/kind/enum/-\": missing value",
            ),
            sample(
                Release,
                "helm 4.2.4",
                "resource FluxInstance/flux-system/flux not ready. status: Failed, message: build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema\": missing value",
            ),
        ],
        cause: "flux-operator is older than the Flux version that it installs",
        fix: "pin `instance.distribution.artifact` in the values to the version of flux-operator, or upgrade both charts together",
    },
    KnownFailure {
        id: "service-network",
        outlook: Outlook::Unknown,
        shapes: &[
            shape(ANY_POD, "…Get \"https://10.*.0.1:443/*\": dial tcp 10.*.0.1:443: i/o timeout"),
            shape(
                ANY_POD,
                "…Get \"https://10.*.0.1:443/*\": dial tcp 10.*.0.1:443: connect: no route to host",
            ),
        ],
        samples: &[sample(
            Flux,
            "flux-operator, controlplaneio-fluxcd/flux-operator#815",
            "FluxInstance flux-system/flux: ReconciliationFailed: failed to determine if *v1.FluxInstance is namespaced: failed to get restmapping: failed to get server groups: Get \"https://10.96.0.1:443/api\": dial tcp 10.96.0.1:443: i/o timeout",
        )],
        cause: "pods do not reach the API server at its Service: the network plugin, or what handles Services, does not work",
        fix: "check `kubeProxyReplacement` and `k8sServiceHost` in the values of cilium: kubectl -n kube-system get pods -l k8s-app=cilium -o wide  # each node needs a ready one",
    },
];
