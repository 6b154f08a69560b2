//! No release is locked.

use crate::check::{Answer, Check, Facts, Finding, Group, Rule};
use crate::observed::Live;
use crate::observed::helm::Stored;

pub(super) const RULE: Rule = Rule {
    id: "pending",
    group: Group::Releases,
    title: "no release is locked by an operation that never ended",
    why: "helm notes `pending-install` or `pending-upgrade` before it begins, and refuses every further operation while \
          that stands: after a kill, a power cut or a lost API server it stands for ever (helm/helm#7476).",
    essential: false,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let stored = match &live.releases {
        Ok(stored) => stored,
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let wanted =
        |one: &&Stored| facts.desired.releases().any(|release| release.installed && release.id() == one.id());
    let owned = |one: &&Stored| live.claims.as_ref().is_ok_and(|claims| claims.owner_of(&one.id()).is_some());
    let pending = stored.iter().filter(|one| one.is_pending()).filter(wanted);
    // What Flux owns is Flux's to mend.
    pending.filter(|one| !owned(one)).map(found).collect::<Vec<_>>().into()
}

fn found(stored: &Stored) -> Finding {
    let Stored { namespace, name, status, revision, .. } = stored;
    let mut finding =
        Finding::error(RULE.id, "Release is locked").with("release", stored.id()).with("status", status);
    if let Some(time) = stored.modified {
        let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
        finding = finding.with("since", humantime::format_rfc3339_seconds(since));
    }
    // The objects stay, and the next sync adopts them; uninstalling would take the network away.
    finding.fix(if *revision == 1 {
        format!("if no other run is at work: kubectl --namespace {namespace} delete secret sh.helm.release.v1.{name}.v1")
    } else {
        format!("if no other run is at work: helm rollback {name} --namespace {namespace}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::releases::parse;
    use crate::desired::{Desired, Helmfile, Kind};
    use crate::manifests::Manifests;
    use crate::observed::Observed;
    use crate::observed::claims::{Claim, Claims};
    use crate::settings::Settings;

    fn answer(status: &str, revision: u64, claims: Claims) -> Answer {
        let releases = parse(b"releases:\n- {name: r, namespace: n, chart: c}\n").unwrap();
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        let desired = Desired { helmfiles: vec![helmfile], ..Desired::default() };
        let stored = |name: &str| Stored {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            status: status.to_owned(),
            revision,
            modified: Some(1_763_900_000),
        };
        let live = Live {
            releases: Ok(vec![stored("r"), stored("stranger")]),
            claims: Ok(claims),
            ..Live::default()
        };
        let facts = Facts {
            settings: &Settings::default(),
            desired: &desired,
            observed: &Observed::default(),
            manifests: &Manifests::default(),
        };
        check(&facts, &live)
    }

    #[test]
    fn only_ours_and_only_what_is_locked() {
        for good in ["deployed", "failed", "superseded"] {
            assert_eq!(answer(good, 1, Claims::default()), Answer::Ok);
        }
        let fix = |status: &str, revision| match answer(status, revision, Claims::default()) {
            Answer::Found(found) if found.len() == 1 => found[0].pairs.last().unwrap().1.clone(),
            other => panic!("{other:?}"),
        };
        assert!(
            fix("pending-install", 1)
                .ends_with("kubectl --namespace n delete secret sh.helm.release.v1.r.v1")
        );
        assert!(fix("pending-upgrade", 2).ends_with("helm rollback r --namespace n"));
        let claim = Claim { release: "n/r".to_owned(), ..Claim::default() };
        let flux = Claims { helm_releases: vec![claim], ..Claims::default() };
        assert_eq!(answer("pending-upgrade", 2, flux), Answer::Ok);
        assert!(matches!(
            check(
                &Facts {
                    settings: &Settings::default(),
                    desired: &Desired::default(),
                    observed: &Observed::default(),
                    manifests: &Manifests::default()
                },
                &Live::default()
            ),
            Answer::Unknown(_)
        ));
    }
}
