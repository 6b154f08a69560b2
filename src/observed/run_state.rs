//! The state of runs, stored in annotations of the Lease that is their lock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The annotation with the state of synced releases, so that the next run need not compare all their objects.
pub const RELEASES: &str = "k3s-boot/releases";

/// The annotation with the operations that a run starts, so that the next run can recover releases stuck in `pending-*`.
pub const OPERATIONS: &str = "k3s-boot/operations";

/// The notes of earlier runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The synced releases, by `namespace/name`.
    pub releases: BTreeMap<String, Synced>,
    /// The operations, by the `namespace/name` of their release.
    pub operations: BTreeMap<String, Operation>,
}

/// The state of a release after its sync.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// The revision.
    pub revision: u64,
    /// The digest of the chart (see [`crate::tools::charts::digest`]).
    pub chart: String,
    /// The stamps of its objects (see [`crate::observed::standing::stamp`]), in the order of the manifest.
    pub objects: String,
    /// Whether some of its values were decrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret_values: bool,
}

/// An operation that a run started.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// The identity of the run (see [`crate::process::identity::Identity`]).
    pub run: String,
    /// The previous revision; 0 if there was none.
    pub after: u64,
    /// When the operation started, in seconds since 1970 by the clock of the run's machine.
    pub began: u64,
    /// helm's timeout, in seconds.
    pub timeout: u64,
    /// The digest of the chart (see [`crate::tools::charts::digest`]), if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// Whether some of its values were decrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret_values: bool,
    /// Whether helmfile has finished it, including hooks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub concluded: bool,
}

impl Notes {
    /// Parses the annotations of a Lease. Invalid annotations count as missing.
    #[must_use]
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        fn read<T: Default + for<'de> Deserialize<'de>>(text: Option<&String>) -> T {
            text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        }
        Self { releases: read(annotations.get(RELEASES)), operations: read(annotations.get(OPERATIONS)) }
    }

    /// The annotations for the Lease; none for an annotation that would be empty.
    #[must_use]
    pub fn annotations(&self) -> [(&'static str, Option<String>); 2] {
        fn text<T: Serialize>(notes: &BTreeMap<String, T>) -> Option<String> {
            serde_json::to_string(notes).ok().filter(|_| !notes.is_empty())
        }
        [(RELEASES, text(&self.releases)), (OPERATIONS, text(&self.operations))]
    }

    /// The state of a release after the sync that led to this revision.
    #[must_use]
    pub fn synced(&self, release: &str, revision: u64) -> Option<&Synced> {
        self.releases.get(release).filter(|synced| synced.revision == revision)
    }

    /// The digest of a release's chart at this revision: noted after its sync, or before it by an interrupted run.
    #[must_use]
    pub fn chart(&self, release: &str, revision: u64) -> Option<&String> {
        let synced = self.synced(release, revision).map(|synced| &synced.chart);
        synced.or_else(|| self.operation(release, revision)?.chart.as_ref())
    }

    /// Whether some of the values of a release at this revision were decrypted.
    #[must_use]
    pub fn had_secret_values(&self, release: &str, revision: u64) -> bool {
        self.synced(release, revision).is_some_and(|synced| synced.secret_values)
            || self.operation(release, revision).is_some_and(|operation| operation.secret_values)
    }

    /// Whether a sync of a release at this revision was started and not finished: hooks may not have run yet.
    #[must_use]
    pub fn is_unfinished(&self, release: &str, revision: u64) -> bool {
        let is_at = |operation: &&Operation| {
            operation.after == revision || operation.after.checked_add(1) == Some(revision)
        };
        self.operations.get(release).filter(is_at).is_some_and(|operation| !operation.concluded)
    }

    /// The operation that led to this revision of a release.
    #[must_use]
    pub fn operation(&self, release: &str, revision: u64) -> Option<&Operation> {
        self.operations.get(release).filter(|operation| operation.after.checked_add(1) == Some(revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_a_round_trip() {
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
        let notes = Notes {
            releases: [("n/r".to_owned(), synced.clone())].into(),
            operations: [("n/r".to_owned(), operation.clone())].into(),
        };
        let annotations = notes.annotations().map(|(name, text)| (name.to_owned(), text.unwrap()));
        assert_eq!(Notes::of(&annotations.into()), notes);
        assert_eq!((notes.synced("n/r", 3), notes.synced("n/r", 4)), (Some(&synced), None));
        assert_eq!((notes.operation("n/r", 4), notes.operation("n/r", 3)), (Some(&operation), None));
        let charts = [3, 4, 5].map(|revision| notes.chart("n/r", revision).map(String::as_str));
        assert_eq!(charts, [Some("c"), Some("new"), None]);
        assert_eq!(Notes::default().annotations(), [(RELEASES, None), (OPERATIONS, None)]);
        let garbage = BTreeMap::from([RELEASES, OPERATIONS].map(|name| (name.to_owned(), "[".to_owned())));
        assert_eq!(Notes::of(&garbage), Notes::default());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String, odd in crate::base::odd::odd(
            r#"{"n/r":{"revision":3,"chart":"c","objects":"o","run":"r","after":3,"began":1,"timeout":900}}"#)) {
            for text in [text, odd.to_string()] {
                let annotations = BTreeMap::from([RELEASES, OPERATIONS].map(|name| (name.to_owned(), text.clone())));
                let notes = Notes::of(&annotations);
                _ = (notes.synced("n/r", 3), notes.operation("n/r", 4));
            }
        }
    }
}
