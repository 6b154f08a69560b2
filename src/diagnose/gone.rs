//! What of a release was there, and is there no more.

use std::collections::{BTreeMap, BTreeSet};

use super::pods::{Stage, Trouble};
use crate::observed::workloads::{Workload, lacking};

/// These are there for good; a Job may go when it is done.
const LASTING: [&str; 3] = ["DaemonSet", "Deployment", "StatefulSet"];

/// What of each release lacked pods when it was last there. What helm removes in an upgrade lacks none, as a rule.
#[derive(Debug, Default)]
pub struct Lacked(BTreeMap<String, BTreeSet<String>>);

impl Lacked {
    /// What of a release (`namespace/name`) is gone, by the workloads that are in its namespace now.
    pub fn gone(&mut self, release: &str, workloads: &[Workload]) -> Vec<Trouble> {
        let there: BTreeSet<_> = workloads.iter().map(Workload::object).collect();
        let lacked = self.0.entry(release.to_owned()).or_default();
        lacked.retain(|one| !there.contains(one));
        let troubles = lacked.iter().map(|one| Trouble {
            object: one.clone(),
            stage: Stage::Warned,
            state: "the object was deleted after it was created".to_owned(),
            crashed: None,
            is_current: true,
        });
        let troubles = troubles.collect();
        let lasting = lacking(workloads, release).filter(|one| LASTING.contains(&one.kind.as_str()));
        lacked.extend(lasting.map(Workload::object));
        troubles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::known::find;

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
    fn what_was_never_ready_and_goes_is_missed() {
        let mut lacked = Lacked::default();
        let (ready, unready) = (workload("Deployment", "a", 1), workload("Deployment", "b", 0));
        let hook = workload("Job", "check", 0);
        assert_eq!(lacked.gone("n/r", &[ready, unready.clone(), hook]), []);
        for _ in 0..2 {
            let gone = lacked.gone("n/r", &[]);
            assert_eq!(gone.iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), ["Deployment n/b"]);
            assert_eq!(find(&gone[0].state).unwrap().id, "gone");
        }
        assert_eq!(lacked.gone("n/other", &[]), [], "each has its own");
        assert_eq!(lacked.gone("n/r", &[Workload { have: 1, ..unready }]), [], "it is there again");
        assert_eq!(lacked.gone("n/r", &[]), []);
    }
}
