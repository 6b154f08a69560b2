//! Which releases Flux or k3s manages.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::manager::Manager;
use crate::plan::releases::owner;

pub(super) const RULE: Rule = Rule {
    id: "flux-owned",
    group: Group::Releases,
    title: "releases that Flux or a Helm controller manages are known",
    why: "A release that a HelmRelease of Flux or a HelmChart of k3s manages is left alone, even while that is \
          suspended: two managers would revert each other's changes indefinitely, and plain helmfile downgrades what \
          Flux has upgraded.",
    essential: false,
    needs: Needs::Owners,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let claims = match &live.claims {
        Ok(claims) => claims,
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let managed = |release: &Release| {
        let owner = owner(release, live)?;
        let suspended = claims.owner_of(&release.id()).is_some_and(|claim| claim.suspended);
        let finding = if facts.options.plan_options.adopts(&release.id()) {
            Finding::warning(RULE.id, "Release is adopted from its manager")
        } else {
            let is_chart = matches!(owner, Manager::HelmChart { .. });
            let manager = if is_chart { "the Helm controller" } else { "Flux" };
            Finding::info(RULE.id, format!("Release is managed by {manager}, and left alone"))
        };
        let finding = finding.with("release", release.id()).with("owner", &owner);
        Some(if suspended { finding.with("suspended", "yes") } else { finding })
    };
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let mut inspection = facts.inspect_releases();
    wanted.for_each(|release| inspection.look(managed(release)));
    inspection.answer(NO_RELEASES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity;
    use crate::check::options::CheckOptions;
    use crate::desired::manifests::Manifests;
    use crate::desired::releases::parse;
    use crate::desired::{Desired, Helmfile, Kind};
    use crate::observed::Observed;
    use crate::observed::claims::{Claim, Claims};

    fn answer(claims: Claims) -> Answer {
        let text = b"releases:\n- {name: cilium, namespace: kube-system, chart: c}\n- {name: flux-instance, namespace: flux-system, chart: 'oci://x/flux-instance'}\n";
        let helmfile = Helmfile {
            kind: Kind::Apps,
            path: "x".into(),
            releases: parse(text, "default").unwrap().releases,
            needs_identities: false,
        };
        let desired = Desired { helmfiles: vec![helmfile], ..Desired::default() };
        let facts = Facts {
            options: &CheckOptions::default(),
            desired: &desired,
            observed: &Observed::default(),
            manifests: &Manifests::default(),
        };
        check(&facts, &Live { claims: Ok(claims), ..Live::default() })
    }

    #[test]
    fn managers_are_reported_and_never_stop_a_run() {
        assert_eq!(answer(Claims::default()), Answer::Ok);
        let claim = Claim {
            manager: "HelmRelease kube-system/cilium".into(),
            release: "kube-system/cilium".into(),
            suspended: true,
        };
        let Answer::Found(found) = answer(Claims { helm_releases: vec![claim], ..Claims::default() }) else {
            panic!()
        };
        assert_eq!((found.len(), found[0].severity), (1, Severity::Info));
        assert_eq!(found[0].details[1].1, "HelmRelease kube-system/cilium");
        let Answer::Found(found) = answer(Claims { controllers: true, ..Claims::default() }) else {
            panic!()
        };
        assert_eq!((found.len(), found[0].severity), (1, Severity::Info));
        assert_eq!(found[0].details[0].1, "flux-system/flux-instance", "flux-operator is not managed");
    }
}
