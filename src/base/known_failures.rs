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
    /// Messages of the tools that it was made from: most were seen in the sandbox, the others are from their sources.
    pub messages: &'static [&'static str],
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

    #[test]
    fn messages_of_tools_are_known() {
        for known in table() {
            assert!(!known.messages.is_empty(), "{} has no message", known.id);
            for message in known.messages {
                assert_eq!(find(message).map(|found| found.id), Some(known.id), "{message}");
            }
        }
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
