//! What the user asks of a run beyond what is safe to be done without being asked, and what of it is to be left out.

use crate::stages::SkippedStages;

/// What the user asks for. Releases are named as `name` or `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Whether identities in the cluster may vanish.
    pub rotate_age_key: bool,
    /// Whether what is as wanted is synced too.
    pub force: bool,
    /// Releases that are taken from their owners, with `force`.
    pub take: Vec<String>,
    /// Releases whose version is lowered.
    pub downgrade: Vec<String>,
    /// Releases whose changed fields are put back.
    pub fix_drift: Vec<String>,
    /// Releases that are removed when the helmfile sets `installed: false`.
    pub uninstall: Vec<String>,
    /// The only releases that are asked for; all when empty.
    pub releases: Vec<String>,
    /// Releases that are left out.
    pub skip_releases: Vec<String>,
    /// The stages that are left out.
    pub stages: SkippedStages,
    /// Where helm keeps its records, if that is not in Secrets.
    pub helm_driver: Option<String>,
}

impl Wishes {
    /// All names of releases, each with the flag that gave it.
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

    /// Whether a release may be taken from its owner.
    #[must_use]
    pub fn takes(&self, release: &str) -> bool {
        self.force && names(&self.take, release)
    }
}

/// Whether a release (`namespace/name`) is among names such as `name` or `namespace/name`.
#[must_use]
pub fn names(list: &[String], release: &str) -> bool {
    list.iter().any(|name| is_named(name, release))
}

/// Whether a release (`namespace/name`) is called so.
#[must_use]
pub fn is_named(name: &str, release: &str) -> bool {
    name == release || release.split_once('/').is_some_and(|(_, own)| own == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_short_and_a_full_name() {
        let list = ["cilium".to_owned(), "x/coredns".to_owned()];
        let found =
            ["kube-system/cilium", "x/coredns", "kube-system/coredns", "cilium"].map(|id| names(&list, id));
        assert_eq!(found, [true, true, false, true]);
        let wishes = Wishes { take: list.to_vec(), ..Wishes::default() };
        assert!(!wishes.takes("kube-system/cilium"), "not without force");
        assert!(Wishes { force: true, ..wishes }.takes("kube-system/cilium"));
    }
}
