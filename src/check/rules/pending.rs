//! No release is stuck in `pending-*`.

use std::time::Duration;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::helm::Stored;
use crate::observed::manager::Manager;
use crate::plan::recovery::{Left, Origin, origin};
use crate::plan::releases::{is_skipped, owner};

pub(super) const RULE: Rule = Rule {
    id: "pending",
    group: Group::Releases,
    title: "no release is stuck in `pending-*`",
    why: "Helm records `pending-install` or `pending-upgrade` before it starts, and rejects every further operation \
          in that state: after a kill, a power cut or a lost API server, it stays indefinitely (helm/helm#7476). \
          What a run of k3s-boot left is recovered by the next one; whether the operation of another tool has ended \
          is unknown.",
    essential: true,
    needs: Needs::Owners,
    check: Check::Cluster(check),
};

/// The default timeout of helm-controller for an operation.
///
/// Source: <https://fluxcd.io/flux/components/helm/helmreleases/#timeout>
const FLUX_TIMEOUT: Duration = Duration::from_mins(5);

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let stored = match &live.releases {
        Ok(stored) => stored,
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let mut inspection = facts.inspect_releases();
    for release in wanted {
        let stored = stored.iter().find(|one| one.is_pending() && one.id() == release.id());
        inspection.look(stored.and_then(|stored| finding(facts, live, release, stored)));
    }
    inspection.answer(NO_RELEASES)
}

fn finding(facts: &Facts<'_>, live: &Live, release: &Release, stored: &Stored) -> Option<Finding> {
    let with = |finding: Finding| {
        let finding = finding.with("release", stored.id()).with("status", &stored.status);
        match stored.since() {
            Some(since) => finding.with("since", since),
            None => finding,
        }
    };
    if let Some(owner) = owner(release, live).filter(Manager::is_helm_release) {
        // Flux recovers its own releases, and mostly it is just at work.
        let young = stored.age(facts.observed.now).is_some_and(|age| age < FLUX_TIMEOUT);
        let finding = if young { Finding::info } else { Finding::warning };
        return Some(
            with(finding(RULE.id, "Release is pending and managed by Flux"))
                .with("owner", &owner)
                .fix(Left::ToOwner(owner).fix()),
        );
    }
    if is_skipped(release, facts.desired, live, &facts.options.plan_options) {
        return None;
    }
    Some(match origin(stored, live, facts.observed.now) {
        Origin::Ended(host) => {
            with(Finding::info(RULE.id, "Release is stuck after a run that has ended and will be recovered"))
                .with("host", host)
        }
        Origin::AtWork(host) => {
            with(Finding::info(RULE.id, "Release is being synced by another run")).with("host", host)
        }
        Origin::Until(host, until) => {
            with(Finding::error(RULE.id, "Release may still be synced by a run elsewhere"))
                .with("host", host)
                .with("until", humantime::format_rfc3339_seconds(until))
                .fix("wait until then, or, if that run has ended: k3s-boot recover --force")
        }
        Origin::Unknown => {
            let message = format!("Release is stuck in `{}`; its owner is unknown", stored.status);
            with(Finding::error(RULE.id, message)).fix("k3s-boot recover  # if no other operation is running")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::base::finding::Severity;
    use crate::check::options::CheckOptions;
    use crate::desired::manifests::Manifests;
    use crate::desired::releases::parse;
    use crate::desired::{Desired, Helmfile, Kind};
    use crate::observed::Observed;
    use crate::observed::claims::{Claim, Claims};
    use crate::observed::run_state::Operation;
    use crate::process::identity::ProcessState;

    fn answer(status: &str, revision: u64, claims: Claims) -> Answer {
        let (desired, live) = world(status, revision, claims);
        let facts = Facts {
            options: &CheckOptions::default(),
            desired: &desired,
            observed: &Observed::default(),
            manifests: &Manifests::default(),
        };
        check(&facts, &live)
    }

    fn world(status: &str, revision: u64, claims: Claims) -> (Desired, Live) {
        let releases =
            parse(b"releases:\n- {name: r, namespace: n, chart: c}\n", "default").unwrap().releases;
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        let desired = Desired { helmfiles: vec![helmfile], ..Desired::default() };
        let stored = |name: &str| Stored {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            status: status.to_owned(),
            revision,
            modified: Some(1_763_900_000),
            ..Stored::default()
        };
        let live =
            Live { releases: Ok(vec![stored("r"), stored("other")]), claims: Ok(claims), ..Live::default() };
        (desired, live)
    }

    #[test]
    fn only_pending_releases_of_the_helmfile_are_reported() {
        for good in ["deployed", "failed", "superseded"] {
            assert_eq!(answer(good, 1, Claims::default()), Answer::Ok);
        }
        let found = |answer: Answer| match answer {
            Answer::Found(mut found) if found.len() == 1 => found.remove(0),
            other => panic!("{other:?}"),
        };
        let unknown = found(answer("pending-install", 1, Claims::default()));
        assert_eq!(
            (unknown.severity, unknown.fix.as_deref().unwrap()),
            (Severity::Error, "k3s-boot recover  # if no other operation is running")
        );
        let claim = Claim { manager: "HelmRelease apps/x".into(), release: "n/r".into(), suspended: false };
        let flux = Claims { helm_releases: vec![claim], ..Claims::default() };
        for (age, severity) in [(299, Severity::Info), (301, Severity::Warning)] {
            let (desired, live) = world("pending-upgrade", 2, flux.clone());
            let now = UNIX_EPOCH + Duration::from_secs(1_763_900_000 + age);
            let facts = Facts {
                options: &CheckOptions::default(),
                desired: &desired,
                observed: &Observed { now, ..Observed::default() },
                manifests: &Manifests::default(),
            };
            let left = found(check(&facts, &live));
            assert_eq!(
                (left.severity, left.fix.as_deref().unwrap()),
                (severity, "flux reconcile helmrelease x --namespace apps --force")
            );
        }
        assert!(matches!(
            check(
                &Facts {
                    options: &CheckOptions::default(),
                    desired: &Desired::default(),
                    observed: &Observed::default(),
                    manifests: &Manifests::default()
                },
                &Live::default()
            ),
            Answer::Unknown(_)
        ));
    }

    #[test]
    fn a_release_of_a_run_is_judged_by_the_state_of_the_run() {
        let operation = Operation { run: "host/x".to_owned(), timeout: 900, ..Operation::default() };
        let found = |state, now| {
            let (_, mut live) = world("pending-install", 1, Claims::default());
            live.notes.operations.insert("n/r".into(), operation.clone());
            live.runs.insert("host/x".to_owned(), state);
            let (desired, _) = world("", 1, Claims::default());
            let observed = Observed { now: UNIX_EPOCH + Duration::from_secs(now), ..Observed::default() };
            let (options, manifests) = (CheckOptions::default(), Manifests::default());
            let facts =
                Facts { options: &options, desired: &desired, observed: &observed, manifests: &manifests };
            match check(&facts, &live) {
                Answer::Found(found) => (found[0].severity, found[0].summary.clone()),
                other => panic!("{other:?}"),
            }
        };
        let ended =
            (Severity::Info, "Release is stuck after a run that has ended and will be recovered".to_owned());
        assert_eq!(found(ProcessState::Ended, 0), ended);
        assert_eq!(found(ProcessState::Elsewhere, 1_763_900_000 + 900), ended);
        let young = found(ProcessState::Elsewhere, 1_763_900_000 + 899);
        assert_eq!(young, (Severity::Error, "Release may still be synced by a run elsewhere".to_owned()));
    }
}
