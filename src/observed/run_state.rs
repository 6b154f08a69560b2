//! The state that runs record in annotations of the Lease that is the lock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::release_id::ReleaseId;

/// The annotation with the releases that were synced, so that the next run reads less.
pub(crate) const RELEASES: &str = "k3s-boot/releases";

/// The annotation with the operations that were started, which shows who left a release in `pending-*`.
pub(crate) const OPERATIONS: &str = "k3s-boot/operations";

/// The notes of earlier runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunState {
    /// What was synced.
    pub releases: BTreeMap<ReleaseId, Synced>,
    /// What was begun.
    pub operations: BTreeMap<ReleaseId, Operation>,
}

/// A release after its sync.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Synced {
    /// The revision that this describes.
    pub revision: u64,
    /// The chart (see [`crate::tools::charts::digest`]).
    pub chart: String,
    /// Its objects (see [`crate::observed::standing::stamp`]), in the order of the manifest.
    pub objects: String,
    /// Whether some of its values were decrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret_values: bool,
}

/// An operation that was started.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Operation {
    /// The run (see [`crate::process::identity::Identity`]).
    pub run: String,
    /// The revision before; 0 for none.
    pub after: u64,
    /// When it was recorded, in seconds since 1970 by the clock of the machine.
    pub began: u64,
    /// The timeout of helm, in seconds.
    pub timeout: u64,
    /// The chart (see [`crate::tools::charts::digest`]), if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// Whether some of its values were decrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret_values: bool,
    /// Whether helmfile has completed it, including hooks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub concluded: bool,
}

impl RunState {
    /// Reads the annotations of a Lease. Invalid ones count as empty.
    pub(crate) fn from_annotations(annotations: &BTreeMap<String, String>) -> Self {
        fn read<T: Default + for<'de> Deserialize<'de>>(text: Option<&String>) -> T {
            text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        }
        Self { releases: read(annotations.get(RELEASES)), operations: read(annotations.get(OPERATIONS)) }
    }

    /// The annotations of a Lease; `None` for empty ones.
    pub(crate) fn annotations(&self) -> [(&'static str, Option<String>); 2] {
        fn text<T: Serialize>(noted: &BTreeMap<ReleaseId, T>) -> Option<String> {
            serde_json::to_string(noted).ok().filter(|_| !noted.is_empty())
        }
        [(RELEASES, text(&self.releases)), (OPERATIONS, text(&self.operations))]
    }

    /// The note of a release at this revision.
    pub(crate) fn synced(&self, release: &ReleaseId, revision: u64) -> Option<&Synced> {
        self.releases.get(release).filter(|noted| noted.revision == revision)
    }

    /// The chart of a release at this revision: recorded after its sync, or before it by a run that did not finish.
    pub(crate) fn chart(&self, release: &ReleaseId, revision: u64) -> Option<&String> {
        let synced = self.synced(release, revision).map(|noted| &noted.chart);
        synced.or_else(|| self.operation(release, revision)?.chart.as_ref())
    }

    /// Whether some of the values of a release at this revision were decrypted.
    pub(crate) fn had_secret_values(&self, release: &ReleaseId, revision: u64) -> bool {
        self.synced(release, revision).is_some_and(|noted| noted.secret_values)
            || self.operation(release, revision).is_some_and(|operation| operation.secret_values)
    }

    /// Whether helmfile did not complete the operation of a release at this revision, so that hooks may not have run.
    pub(crate) fn is_unfinished(&self, release: &ReleaseId, revision: u64) -> bool {
        let is_at = |operation: &&Operation| {
            operation.after == revision || operation.after.checked_add(1) == Some(revision)
        };
        self.operations.get(release).filter(is_at).is_some_and(|operation| !operation.concluded)
    }

    /// The operation that led to this revision of a release.
    pub(crate) fn operation(&self, release: &ReleaseId, revision: u64) -> Option<&Operation> {
        self.operations.get(release).filter(|operation| operation.after.checked_add(1) == Some(revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let synced =
            Synced { revision: 3, chart: "c".to_owned(), objects: "o".to_owned(), ..Synced::default() };
        let chart = Some("new".to_owned());
        let operation = Operation {
            run: "r".to_owned(),
            after: 3,
            began: 1,
            timeout: 900,
            chart,
            ..Operation::default()
        };
        let notes = RunState {
            releases: [("n/r".into(), synced.clone())].into(),
            operations: [("n/r".into(), operation.clone())].into(),
        };
        let annotations = notes.annotations().map(|(name, text)| (name.to_owned(), text.unwrap()));
        assert_eq!(RunState::from_annotations(&annotations.into()), notes);
        assert_eq!((notes.synced(&"n/r".into(), 3), notes.synced(&"n/r".into(), 4)), (Some(&synced), None));
        assert_eq!(
            (notes.operation(&"n/r".into(), 4), notes.operation(&"n/r".into(), 3)),
            (Some(&operation), None)
        );
        let charts = [3, 4, 5].map(|revision| notes.chart(&"n/r".into(), revision).map(String::as_str));
        assert_eq!(charts, [Some("c"), Some("new"), None]);
        assert_eq!(RunState::default().annotations(), [(RELEASES, None), (OPERATIONS, None)]);
        let garbage = BTreeMap::from([RELEASES, OPERATIONS].map(|name| (name.to_owned(), "[".to_owned())));
        assert_eq!(RunState::from_annotations(&garbage), RunState::default());
    }

    proptest::proptest! {
        #[test]
        fn no_annotation_makes_it_panic(text: String, odd in crate::base::mutate::json(
            r#"{"n/r":{"revision":3,"chart":"c","objects":"o","run":"r","after":3,"began":1,"timeout":900}}"#)) {
            for text in [text, odd.to_string()] {
                let annotations = BTreeMap::from([RELEASES, OPERATIONS].map(|name| (name.to_owned(), text.clone())));
                let notes = RunState::from_annotations(&annotations);
                _ = (notes.synced(&"n/r".into(), 3), notes.operation(&"n/r".into(), 4));
            }
        }
    }
}
