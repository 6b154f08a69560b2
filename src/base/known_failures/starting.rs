//! Known failures of a starting cluster, which resolve themselves.

use crate::base::known_failures::{KnownFailure, Outlook};

pub(super) const STARTING: &[KnownFailure] = &[
    KnownFailure {
        // Every namespace gets it after it was created (`plugin/pkg/admission/serviceaccount` of Kubernetes 1.36).
        id: "service-account",
        outlook: Outlook::Transient,
        words: &[&["error looking up service account", "serviceaccount \"default\" not found"]],
        messages: &[
            "FailedCreate: Error creating: pods \"cilium-x\" is forbidden: error looking up service account kube-system/default: serviceaccount \"default\" not found",
        ],
        cause: "the ServiceAccount `default` does not exist yet: the controller manager creates it shortly after the namespace",
        fix: "kubectl -n {namespace} get serviceaccount default  # when it exists, retry; if it does not appear, check the logs of the control plane",
    },
    KnownFailure {
        id: "api-starting",
        outlook: Outlook::Transient,
        words: &[
            &["apiserver not ready"],
            &["the request has been made before all known http paths have been installed"],
            &["storage is (re)initializing"],
        ],
        messages: &[
            "Error from server (ServiceUnavailable): apiserver not ready",
            "Error from server (TooManyRequests): storage is (re)initializing",
        ],
        cause: "the API server is starting and does not serve everything yet",
        fix: "retry when `kubectl get --raw /readyz` prints ok",
    },
];
