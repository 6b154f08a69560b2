//! Releases have no manual changes.

use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;
use crate::observed::standing::{Drift, ObjectState};

pub(super) const RULE: Rule = Rule {
    id: "drift",
    group: Group::Releases,
    title: "releases have no manual changes",
    why: "A field that was changed in the cluster keeps its value until the release changes; then Helm reverts it, \
          or fails with a conflict. The change may be intentional, so it is reverted only on request. Fields that an \
          autoscaler or a controller sets are expected to differ.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

/// The number of fields that are listed for a release.
const MAX_LISTED: usize = 5;

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let is_reverted = |release: &ReleaseId| release.is_among(&facts.options.plan_options.fix_drift);
    let mut inspection = facts.inspect_releases();
    for (release, standing) in live.standing.iter().filter(|(release, _)| !is_reverted(release)) {
        match standing {
            Ok(ObjectState { drift, uncompared, .. }) => match uncompared {
                Some(reason) if drift.is_empty() => inspection.miss(format!("{release}: {reason}")),
                _ => inspection.look((!drift.is_empty()).then(|| finding(release, drift))),
            },
            Err(reason) => inspection.miss(reason),
        }
    }
    inspection.answer("no release is installed and up to date")
}

fn finding(release: &ReleaseId, drift: &[Drift]) -> Finding {
    let field = |one: &Drift| {
        let by = one.by.as_ref().map_or_else(|| "removed".to_owned(), |by| format!("by {by}"));
        format!("{} {} ({by})", one.object, one.path)
    };
    let mut fields = drift.iter().take(MAX_LISTED).map(field).collect::<Vec<_>>().join(", ");
    if drift.len() > MAX_LISTED {
        fields = format!("{fields} and {} more", drift.len() - MAX_LISTED);
    }
    Finding::warning(RULE.id, "Release has manual changes in the cluster")
        .with("release", release)
        .with("fields", fields)
        .fix(format!("k3s-boot apps --fix-drift {release}  # reverts the changes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity;
    use crate::check::testing::World;
    use crate::observed::standing::ObjectState;

    #[test]
    fn manual_changes_are_reported_unless_they_are_reverted() {
        let mut world = World::healthy();
        assert!(world.is_not_applicable(&RULE));
        let drift = |path: &str, by: Option<&str>| Drift {
            object: "Deployment n/d".to_owned(),
            path: path.to_owned(),
            by: by.map(ToOwned::to_owned),
        };
        let drift = vec![drift("spec.replicas", Some("kubectl")), drift("spec.x", None)];
        let standing = ObjectState { drift, ..ObjectState::default() };
        world.live_mut().standing.insert("kube-system/coredns".into(), Ok(standing));
        let message = "Release has manual changes in the cluster".to_owned();
        assert_eq!(world.found(&RULE), [(Severity::Warning, message)]);
        let expected = "Deployment n/d spec.replicas (by kubectl), Deployment n/d spec.x (removed)";
        assert_eq!(world.detail(&RULE, "fields"), expected);
        world.options.plan_options.fix_drift = vec!["coredns".to_owned()];
        assert!(world.is_not_applicable(&RULE));
        world.live_mut().standing.insert("kube-system/cilium".into(), Ok(ObjectState::default()));
        assert_eq!(world.ask(&RULE), Answer::Ok);
        let uncompared =
            ObjectState { uncompared: Some("DaemonSet n/d: no".to_owned()), ..ObjectState::default() };
        world.live_mut().standing.insert("kube-system/cilium".into(), Ok(uncompared));
        assert_eq!(world.ask(&RULE), Answer::unknown("kube-system/cilium: DaemonSet n/d: no"));
        world.live_mut().standing.insert("kube-system/cilium".into(), Err("late".to_owned()));
        assert_eq!(world.ask(&RULE), Answer::unknown("late"));
    }
}
