//! What the user explicitly allows, selects or skips.

use crate::base::release_id::ReleaseId;
use crate::base::stages::SkippedStages;

/// The options of a plan. Releases are named as `name` or `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether age identities in the cluster may be removed.
    pub rotate_age_key: bool,
    /// Whether releases that are up to date are synced too.
    pub force: bool,
    /// Releases to adopt from their owners.
    pub take: Vec<String>,
    /// Releases that may be downgraded.
    pub downgrade: Vec<String>,
    /// Releases whose manual changes are reverted.
    pub fix_drift: Vec<String>,
    /// Releases to uninstall if the helmfile sets `installed: false`.
    pub uninstall: Vec<String>,
    /// The selected releases; all if empty.
    pub releases: Vec<String>,
    pub skip_releases: Vec<String>,
    /// Stages to skip.
    pub stages: SkippedStages,
    /// The storage driver of helm, if it is not Secrets.
    pub helm_driver: Option<String>,
}

impl PlanOptions {
    /// All names of releases, each with its flag.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let lists = [
            ("--adopt", &self.take),
            ("--downgrade", &self.downgrade),
            ("--fix-drift", &self.fix_drift),
            ("--uninstall", &self.uninstall),
            ("--release", &self.releases),
            ("--skip-release", &self.skip_releases),
        ];
        lists.into_iter().flat_map(|(flag, names)| names.iter().map(move |name| (flag, name)))
    }

    /// Whether a release may be adopted from its owner.
    #[must_use]
    pub fn adopts(&self, release: &ReleaseId) -> bool {
        release.is_among(&self.take)
    }
}
