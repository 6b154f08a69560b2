//! Objects of a release that were deleted while it was being installed.

use std::collections::{BTreeMap, BTreeSet};

use super::pods::{PodProblem, Stage};
use crate::base::object_ref::ObjectRef;
use crate::base::release_id::ReleaseId;
use crate::observed::workloads::{Workload, unready_workloads};

/// Kinds that are not deleted when they are done, unlike Jobs.
const PERMANENT_KINDS: [&str; 3] = ["DaemonSet", "Deployment", "StatefulSet"];

/// The workloads of each release that were unready when they were last seen. What helm removes in an upgrade is usually
/// ready.
#[derive(Debug, Default)]
pub(crate) struct DeletedWorkloads(BTreeMap<ReleaseId, BTreeSet<ObjectRef>>);

impl DeletedWorkloads {
    /// The deleted workloads of a release, given the workloads in its namespace now.
    pub(crate) fn find(&mut self, release: &ReleaseId, workloads: &[Workload]) -> Vec<PodProblem> {
        let there: BTreeSet<_> = workloads.iter().map(Workload::object).collect();
        let deleted = self.0.entry(release.to_owned()).or_default();
        deleted.retain(|one| !there.contains(one));
        let state = "the object was deleted after it was created";
        let problems =
            deleted.iter().map(|one| PodProblem::new(one.clone(), Stage::Warned, state.to_owned()));
        let problems = problems.collect();
        let lasting =
            unready_workloads(workloads, release).filter(|one| PERMANENT_KINDS.contains(&one.kind.as_str()));
        deleted.extend(lasting.map(Workload::object));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: &str, name: &str, have: i64) -> Workload {
        let annotations = [("meta.helm.sh/release-namespace", "n"), ("meta.helm.sh/release-name", "r")];
        Workload {
            kind: kind.to_owned(),
            namespace: "n".to_owned(),
            name: name.to_owned(),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            have,
            want: 1,
            ..Workload::default()
        }
    }

    #[test]
    fn a_deleted_workload_that_was_unready_is_reported() {
        let mut deleted = DeletedWorkloads::default();
        let (ready, unready) = (workload("Deployment", "a", 1), workload("Deployment", "b", 0));
        let hook = workload("Job", "check", 0);
        assert_eq!(deleted.find(&"n/r".into(), &[ready, unready.clone(), hook]), []);
        for _ in 0..2 {
            let gone = deleted.find(&"n/r".into(), &[]);
            assert_eq!(gone.iter().map(|one| one.object.to_string()).collect::<Vec<_>>(), ["Deployment n/b"]);
            assert_eq!(gone[0].known().unwrap().id, "object-deleted");
        }
        assert_eq!(deleted.find(&"n/other".into(), &[]), [], "each has its own");
        assert_eq!(deleted.find(&"n/r".into(), &[Workload { have: 1, ..unready }]), [], "it is there again");
        assert_eq!(deleted.find(&"n/r".into(), &[]), []);
    }
}
