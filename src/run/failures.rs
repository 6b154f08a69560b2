//! Several releases that failed in one sync.
//!
//! helmfile syncs releases that do not need each other concurrently, but prints only the first error of a state file (helmfile
//! 1.7.4 and 1.8.0, `visitStatesWithContext` in `pkg/app/app.go`). The errors of the others are in Helm's records.

use crate::base::error::ReleaseFailure;
use crate::base::known_failures::{KnownFailure, Origin, find};
use crate::base::release_id::ReleaseId;
use crate::process::identity::Identity;
use crate::run::lock::Lock;
use crate::tools::Toolbox;

/// The reason if helm failed before it wrote a record.
const UNKNOWN: &str =
    "helm failed; helmfile prints only the error of one release, so this one is shown when it fails again";

/// Whether helm timed out waiting. A single request that timed out may be retried instead.
pub(super) fn is_helm_timeout(reason: &str) -> bool {
    let words = ["context deadline exceeded", "timed out waiting for the condition"];
    words.iter().any(|words| reason.contains(words))
        && !find(Origin::Release, reason).is_some_and(KnownFailure::is_transient)
}

/// Joins the failures of a sync. The first is one that does not recover by itself, if there is one: it decides the exit code,
/// and whether to retry.
pub(super) fn join(mut all: Vec<ReleaseFailure>) -> ReleaseFailure {
    all.sort_by_key(|one| {
        if one.known().is_some_and(KnownFailure::is_transient) { 2 } else { u8::from(one.timed_out) }
    });
    let mut all = all.into_iter();
    let first = all.next().unwrap_or_default();
    ReleaseFailure { others: all.collect(), ..first }
}

/// The failure of a release whose error helmfile has not printed.
pub(super) fn unprinted(release: &ReleaseId) -> ReleaseFailure {
    ReleaseFailure { release: Some(release.clone()), ..ReleaseFailure::default() }
}

/// Reads the errors that helmfile has not printed from the records of this run.
pub(super) async fn complete(
    tools: &Toolbox,
    lock: &Lock<'_>,
    mut failure: ReleaseFailure,
) -> ReleaseFailure {
    let open: Vec<_> = failure.others.iter().filter(|other| other.reason.is_empty()).collect();
    if open.is_empty() {
        return failure;
    }
    let stored = tools.observe_releases().await.unwrap_or_default();
    let own = Identity::own().to_string();
    let notes = lock.notes();
    let failed = stored.iter().filter(|stored| {
        let operation = notes.operation(&stored.id(), stored.revision);
        stored.status == "failed"
            && open.iter().any(|other| other.release == Some(stored.id()))
            && operation.is_some_and(|operation| operation.run == own)
    });
    let records = tools.observe_records(&failed.collect::<Vec<_>>()).await.unwrap_or_default();
    let mut all = std::mem::take(&mut failure.others);
    for other in all.iter_mut().filter(|other| other.reason.is_empty()) {
        let record = other.release.as_ref().and_then(|release| records.get(release));
        let reason = record.map(|record| without_release(&record.description).to_owned());
        other.reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned());
        other.timed_out = is_helm_timeout(&other.reason);
    }
    all.insert(0, failure);
    join(all)
}

/// The error in Helm's description of a failed revision (Helm 4.2.4 and 3.21.4, `pkg/action/install.go` and `upgrade.go`).
fn without_release(description: &str) -> &str {
    let named = ["Release \"", "Upgrade \""].iter().any(|beginning| description.starts_with(beginning));
    let error = description.split_once("\" failed: ").filter(|_| named).map(|(_, error)| error);
    error.unwrap_or(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_times_out_is_not_a_timeout_of_helm() {
        assert!(is_helm_timeout(
            "resource Deployment/n/d not ready. status: InProgress; context deadline exceeded"
        ));
        assert!(!is_helm_timeout(
            "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \
             \"https://cert-manager-webhook.cert-manager.svc:443/validate?timeout=30s\": context deadline exceeded"
        ));
    }

    #[test]
    fn a_failure_that_does_not_recover_comes_first() {
        let failure = |reason: &str| {
            let timed_out = is_helm_timeout(reason);
            ReleaseFailure { reason: reason.to_owned(), timed_out, ..ReleaseFailure::default() }
        };
        let (transient, late) = ("etcdserver: leader changed", "context deadline exceeded");
        let joined = join([transient, late, "one", "other"].map(failure).to_vec());
        let others: Vec<_> = joined.others.iter().map(|other| other.reason.as_str()).collect();
        assert_eq!((joined.reason.as_str(), others), ("one", vec!["other", late, transient]));
    }

    #[test]
    fn the_record_names_the_release_before_the_error() {
        assert_eq!(without_release("Release \"a\" failed: x: \"b\" failed: y"), "x: \"b\" failed: y");
        assert_eq!(
            without_release("Upgrade \"a\" failed: context deadline exceeded"),
            "context deadline exceeded"
        );
        assert_eq!(without_release("failed to render resource: x"), "failed to render resource: x");
    }
}
