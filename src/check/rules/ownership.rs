//! No object of a release has another owner.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::base::distribution::Distribution;
use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::check::k3s::BUNDLED_COREDNS;
use crate::check::{Answer, Check, Facts, Group, NOTHING_RENDERED, Needs, Rule, scheduling};
use crate::observed::helm_charts::OWNER_NAME as ADD_ON;
use crate::observed::manager::Manager;
use crate::observed::{Live, Owned};
use crate::plan::helm_charts::is_of_other_chart;
use crate::plan::releases::owner;

pub(super) const RULE: Rule = Rule {
    id: "ownership",
    group: Group::Releases,
    title: "no object of a release has another owner",
    why: "Helm refuses to install over an object that it did not create (`invalid ownership metadata`), at the first \
          such object and in the middle of a bootstrap. Adopting the bundled CoreDNS of k3s breaks cluster DNS \
          (fluxcd/helm-controller#1242), so that is never the fix.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let owners = match &live.owners {
        Ok(owners) => owners,
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let is_managed = |id: &ReleaseId| {
        let release = facts.desired.releases().find(|release| release.id() == *id);
        release.is_some_and(|release| owner(release, live).is_some())
    };
    let mut stays = BTreeSet::new();
    let mut foreign: BTreeMap<(&ReleaseId, Owner), Vec<String>> = BTreeMap::new();
    for object in owners.iter().filter(|object| !is_managed(&object.release)) {
        if let Some(owner) = other_owner(object) {
            if is_of_other_chart(object, live) {
                stays.insert(owner.clone());
            }
            foreign.entry((&object.release, owner)).or_default().push(object.id.words());
        }
    }
    let findings = foreign.into_iter().map(|((release, owner), objects)| {
        let adopted = facts.options.plan_options.adopts(release) && !stays.contains(&owner);
        finding(release, &owner, &objects, adopted, live.distribution())
    });
    let mut inspection = scheduling::inspect(facts);
    facts.manifests.objects.values().filter(|objects| objects.is_ok()).for_each(|_| inspection.look(None));
    inspection.find(findings);
    inspection.answer(NOTHING_RENDERED)
}

/// Who owns an object that exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Release(ReleaseId),
    /// This release, but the label `managed-by` is missing.
    Unlabelled,
    Manager(Manager),
    /// k3s, which applies it from its folder of manifests.
    AddOn(String),
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(release) => write!(formatter, "Helm release {release}"),
            Self::Unlabelled => formatter.write_str("none: its label `managed-by` is missing"),
            Self::Manager(manager) => manager.fmt(formatter),
            Self::AddOn(name) => write!(formatter, "add-on {name}"),
            Self::Unknown => formatter.write_str("none that Helm knows"),
        }
    }
}

/// The owner of the object, if it is not the release.
fn other_owner(object: &Owned) -> Option<Owner> {
    let label = |name: &str| object.meta.labels.get(name).map(String::as_str);
    // Reported by `coredns-bundled`, with a fix that keeps DNS alive.
    if label(BUNDLED_COREDNS.0) == Some(BUNDLED_COREDNS.1) {
        return None;
    }
    if let Some(release) = object.meta.release() {
        if release != object.release {
            return Some(Owner::Release(release));
        }
        return (label("app.kubernetes.io/managed-by") != Some("Helm")).then_some(Owner::Unlabelled);
    }
    let add_on = || object.meta.annotations.get(ADD_ON).cloned().map(Owner::AddOn);
    Some(Manager::of(&object.meta).map(Owner::Manager).or_else(add_on).unwrap_or(Owner::Unknown))
}

fn finding(
    release: &ReleaseId,
    owner: &Owner,
    objects: &[String],
    adopted: bool,
    distribution: Distribution,
) -> Finding {
    const MAX_LISTED: usize = 8;
    let mut shown = objects.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>().join(", ");
    if objects.len() > MAX_LISTED {
        shown = format!("{shown} and {} more", objects.len() - MAX_LISTED);
    }
    let finding = if adopted {
        Finding::warning(RULE.id, "Release would adopt objects it does not own")
    } else {
        Finding::error(RULE.id, "Objects of the release exist and have another owner")
    };
    let finding = finding.with("release", release).with("objects", shown).with(
        "owner",
        match owner {
            Owner::AddOn(_) => format!("{} {owner}", distribution.versioned()),
            _ => owner.to_string(),
        },
    );
    if adopted {
        return finding;
    }
    match owner {
        Owner::Manager(Manager::Kustomization { .. }) => finding.fix(format!(
            "skip the release with --skip-release {release}, or adopt the objects with --release {release} --adopt {release}"
        )),
        Owner::Release(_) => finding
            .fix("give the release in the helmfile the name and namespace of the installed release"),
        Owner::AddOn(name) => {
            let disable = match distribution {
                Distribution::K3s => {
                    "in /etc/rancher/k3s/config.yaml on all servers, then restart k3s there"
                }
                Distribution::Rke2 => {
                    "in /etc/rancher/rke2/config.yaml on all servers, then restart rke2-server there"
                }
                _ => "in the configuration of all servers",
            };
            finding.fix(format!(
                "skip the release with --skip-release {release}, or disable the add-on: `disable: [{name}]` {disable}"
            ))
        }
        Owner::Manager(_) | Owner::Unlabelled | Owner::Unknown => finding.fix(format!(
            "delete them if they are unused, adopt them with --release {release} --adopt {release}, or remove the release from the helmfile"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity;
    use crate::check::fixture::World;
    use crate::check::options::CheckOptions;
    use crate::desired::manifests::Manifests;
    use crate::desired::objects::ObjectId;
    use crate::observed::Observed;
    use crate::observed::claims::Claims;
    use crate::observed::inventory::Meta;
    use crate::plan::helm_charts::tests::chart;
    use crate::plan::options::PlanOptions;

    fn owned(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Owned {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Owned {
            release: "n/r".into(),
            among: 2,
            id: ObjectId {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                namespace: Some("n".to_owned()),
                name: "d".to_owned(),
            },
            meta: Meta { labels: map(labels), annotations: map(annotations), ..Meta::default() },
        }
    }

    fn answer(owners: Vec<Owned>, manifests: &Manifests) -> Answer {
        wished(owners, manifests, PlanOptions::default())
    }

    fn wished(owners: Vec<Owned>, manifests: &Manifests, plan_options: PlanOptions) -> Answer {
        let live = Live {
            owners: Ok(owners),
            claims: Ok(Claims::default()),
            version: "v1.33.6+k3s1".to_owned(),
            ..Live::default()
        };
        let facts = Facts {
            options: &CheckOptions { plan_options, ..CheckOptions::default() },
            desired: &World::of("- {name: r, namespace: n, chart: c}\n").desired,
            observed: &Observed::default(),
            manifests,
        };
        check(&facts, &live)
    }

    #[test]
    fn an_add_on_is_disabled_where_its_distribution_is_configured() {
        let fix = |distribution| {
            let found = finding(&"n/r".into(), &Owner::AddOn("x".to_owned()), &[], false, distribution);
            (found.detail("owner").unwrap().to_owned(), found.fix.unwrap())
        };
        let (owner, k3s) = fix(Distribution::K3s);
        assert!(
            owner == "k3s add-on x"
                && k3s.ends_with(
                    "`disable: [x]` in /etc/rancher/k3s/config.yaml on all servers, then restart k3s there"
                ),
            "{k3s}"
        );
        let (owner, rke2) = fix(Distribution::Rke2);
        assert!(owner == "RKE2 add-on x" && !rke2.contains("k3s"), "{rke2}");
        assert!(fix(Distribution::K3d).1.ends_with("`disable: [x]` in the configuration of all servers"));
    }

    #[test]
    fn the_owner_of_an_object_is_reported() {
        let helm = [("app.kubernetes.io/managed-by", "Helm")];
        let ours = [("meta.helm.sh/release-name", "r"), ("meta.helm.sh/release-namespace", "n")];
        let theirs = [("meta.helm.sh/release-name", "other"), ("meta.helm.sh/release-namespace", "n")];
        let flux = [
            ("kustomize.toolkit.fluxcd.io/name", "apps"),
            ("kustomize.toolkit.fluxcd.io/namespace", "flux-system"),
        ];
        let none = Manifests::default();
        assert!(matches!(answer(Vec::new(), &none), Answer::NotApplicable(_)));
        let rendered =
            Manifests { objects: BTreeMap::from([("n/r".into(), Ok(Vec::new()))]), ..Manifests::default() };
        let fine = vec![owned(&helm, &ours), owned(&[BUNDLED_COREDNS], &[])];
        assert_eq!(answer(fine, &rendered), Answer::Ok);
        let add_on = owned(&[(BUNDLED_COREDNS.0, "another")], &[(ADD_ON, "metrics-server")]);
        let cases = [
            (add_on, "k3s add-on metrics-server"),
            (owned(&helm, &theirs), "Helm release n/other"),
            (owned(&[], &ours), "none: its label `managed-by` is missing"),
            (owned(&flux, &[]), "Kustomization flux-system/apps"),
            (owned(&[], &[]), "none that Helm knows"),
        ];
        for (object, owner) in cases {
            let Answer::Found(found) = answer(vec![object], &none) else { panic!("{owner}") };
            assert_eq!(found[0].details[1].1, "Deployment n/d");
            assert_eq!(found[0].details[2].1, owner);
        }
        let take = PlanOptions { force: true, take: vec!["r".to_owned()], ..PlanOptions::default() };
        let Answer::Found(found) = wished(vec![owned(&[], &[])], &none, take) else { panic!() };
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
    }

    #[test]
    fn the_release_of_a_helm_chart_keeps_its_objects() {
        let theirs =
            [("meta.helm.sh/release-name", "cilium"), ("meta.helm.sh/release-namespace", "kube-system")];
        let mut world = World::of("- {name: r, namespace: n, chart: c}\n");
        world.options.plan_options.take = vec!["r".to_owned()];
        let live = Live {
            owners: Ok(vec![owned(&[], &theirs)]),
            claims: Ok(Claims { helm_charts: vec![chart()], ..Claims::default() }),
            ..Live::default()
        };
        let Answer::Found(found) = check(&world.facts(), &live) else { panic!() };
        assert_eq!((found.len(), found[0].severity), (1, Severity::Error));
        assert_eq!(found[0].detail("owner"), Some("Helm release kube-system/cilium"));
        assert!(found[0].fix.as_deref().unwrap().contains("the name and namespace of the installed release"));
    }

    #[test]
    fn what_cannot_be_rendered_is_unknown() {
        let manifests = Manifests {
            objects: BTreeMap::from([("n/r".into(), Err("no chart".to_owned()))]),
            ..Manifests::default()
        };
        assert_eq!(
            answer(Vec::new(), &manifests),
            Answer::Unknown("n/r cannot be rendered: no chart".to_owned())
        );
    }
}
