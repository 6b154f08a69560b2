//! What became of the releases of a sync.

use std::time::Duration;

use crate::base::release_id::ReleaseId;
use crate::desired::releases::Release;

/// A release that was synced, or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReleaseOutcome {
    pub namespace: String,
    pub name: String,
    /// Its chart's version.
    pub version: String,
    /// Whether Helm has deployed it.
    pub is_synced: bool,
    /// How long it took.
    pub took: Duration,
}

impl ReleaseOutcome {
    pub(super) fn new(release: &Release, is_synced: bool, took: Duration) -> Self {
        let Release { namespace, name, version, .. } = release;
        Self { namespace: namespace.clone(), name: name.clone(), version: version.clone(), is_synced, took }
    }

    pub(crate) fn id(&self) -> ReleaseId {
        ReleaseId::new(&self.namespace, &self.name)
    }
}
