//! Known failures of a starting cluster, which resolve themselves.

use crate::base::known_failures::KnownFailure;

/// The `ServiceAccount` that every namespace gets after it was created (`plugin/pkg/admission/serviceaccount` of Kubernetes
/// 1.36).
pub(super) const SERVICE_ACCOUNT: &str = "service-account";

pub(super) const STARTING: &[KnownFailure] = &[
    KnownFailure {
        id: SERVICE_ACCOUNT,
        words: &[&["error looking up service account", "serviceaccount \"default\" not found"]],
        cause: "the ServiceAccount `default` does not exist yet: the controller manager creates it shortly after the namespace",
        fix: "kubectl -n {namespace} get serviceaccount default  # when it exists, retry; if it does not appear, check the logs of k3s",
    },
    KnownFailure {
        id: "api-starting",
        words: &[
            &["apiserver not ready"],
            &["the request has been made before all known http paths have been installed"],
            &["storage is (re)initializing"],
        ],
        cause: "the API server is starting and does not serve everything yet",
        fix: "retry when `kubectl get --raw /readyz` prints ok",
    },
];
