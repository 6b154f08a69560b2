//! The bundled CoreDNS of k3s does not conflict with the release.

use serde_json::Value;

use crate::base::finding::Finding;
use crate::check::k3s::{self, BUNDLED_COREDNS, Servers};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::workloads::cluster_dns;

pub(super) const RULE: Rule = Rule {
    id: "coredns-bundled",
    group: Group::K3s,
    title: "the bundled CoreDNS of k3s does not conflict with the release",
    why: "Helm refuses to install over the bundled CoreDNS of k3s. If Helm adopts it, the selector of its Service \
          changes but that of its Deployment cannot, which leaves the cluster without DNS \
          (fluxcd/helm-controller#1242).",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

/// An object of the bundled CoreDNS.
struct Bundled<'a> {
    kind: &'a str,
    name: &'a str,
    address: Option<&'a str>,
}

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    if let Err(answer) = k3s::is_k3s(live) {
        return answer;
    }
    if let Some(skipped) = facts.desired.skipped_dns() {
        let exists = cluster_dns(&live.cluster.workloads).next().is_some();
        return Answer::judged((!exists).then(|| no_dns(skipped)));
    }
    let coredns = match facts.cni().and_then(|_| facts.release_of_chart("coredns")) {
        Ok(coredns) => coredns,
        Err(answer) => return answer,
    };
    let foreign: Vec<_> = bundled(live, coredns).collect();
    Answer::judged((!foreign.is_empty()).then(|| conflict(facts, live, coredns, &foreign)))
}

fn no_dns(skipped: &Release) -> Finding {
    Finding::error(RULE.id, "CoreDNS is skipped, and k3s does not deploy its own")
        .with("release", skipped.id())
        .fix(format!(
            "do not skip {}, or remove `coredns` from `disable` in the configuration of all servers",
            skipped.id()
        ))
}

/// The objects that the release has not adopted.
fn bundled<'a>(live: &'a Live, coredns: &Release) -> impl Iterator<Item = Bundled<'a>> {
    let (label, hash) = BUNDLED_COREDNS;
    let workloads =
        live.cluster.workloads.iter().map(|one| {
            (one.kind.as_str(), &one.namespace, one.name.as_str(), None, &one.labels, one.release())
        });
    let services = live.cluster.services.iter().map(|one| {
        let address = one.cluster_ip.as_deref();
        ("Service", &one.namespace, one.name.as_str(), address, &one.labels, one.release())
    });
    let id = coredns.id();
    workloads
        .chain(services)
        .filter(move |(_, namespace, _, _, labels, release)| {
            let is_of_k3s = labels.get(label).is_some_and(|value| value == hash);
            *namespace == "kube-system" && is_of_k3s && release.as_ref() != Some(&id)
        })
        .map(|(kind, _, name, address, ..)| Bundled { kind, name, address })
}

fn conflict(facts: &Facts<'_>, live: &Live, coredns: &Release, foreign: &[Bundled<'_>]) -> Finding {
    let collides = match facts.manifests.of(&coredns.id()) {
        Some(Ok(objects)) => {
            objects.iter().any(|object| foreign.iter().any(|one| collides(object, coredns, one)))
        }
        Some(Err(_)) => true,
        // The release is up to date.
        None => !live.is_deployed(&coredns.id()),
    };
    let finding = if collides {
        Finding::error(RULE.id, "Bundled CoreDNS of k3s conflicts with the release")
    } else {
        Finding::warning(RULE.id, "Bundled CoreDNS of k3s runs beside the release")
    };
    let finding = finding.with("objects", objects(foreign)).with("release", coredns.id());
    let servers = Servers::of(live);
    let keep = format!("To keep the bundled CoreDNS: --skip-release {}", coredns.id());
    k3s::fix_or_keep(finding, facts, live, "DNS", &keep, |finding| {
        let note = format!("# or keep it: k3s-boot apps --skip-release {}", coredns.id());
        let missing = servers.missing_lines(|args| k3s::disable(args, &["coredns"]));
        if missing.is_empty() {
            finding.fix(format!("{}\n{note}", disable_fix(&servers)))
        } else {
            servers.fixed(finding, &missing, Some(note))
        }
    })
}

/// The fix if no server is known to deploy it.
fn disable_fix(servers: &Servers<'_>) -> String {
    if servers.are_containers {
        format!("{}\ndisable: [coredns]", k3s::RECREATE)
    } else if servers.known.is_empty() {
        "# /etc/rancher/k3s/config.yaml on all servers\ndisable: [coredns]\n# then there: systemctl restart k3s"
                .to_owned()
    } else {
        "# on all servers: k3s removes it when it starts\nsystemctl restart k3s".to_owned()
    }
}

/// Whether an object of the release has the name or address of a bundled one.
fn collides(object: &Value, coredns: &Release, bundled: &Bundled<'_>) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").unwrap_or(&coredns.namespace);
    let same_name = namespace == "kube-system"
        && text("/kind") == Some(bundled.kind)
        && text("/metadata/name") == Some(bundled.name);
    let same_address = bundled.address.is_some() && text("/spec/clusterIP") == bundled.address;
    same_name || same_address
}

fn objects(bundled: &[Bundled<'_>]) -> String {
    bundled.iter().map(|one| format!("{}/{}", one.kind, one.name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::{World, workload};

    fn bundled() -> World {
        let mut world = World::healthy();
        world.server("a", &["server", "--disable", "traefik"]);
        world.bundled_coredns();
        world
    }

    #[test]
    fn what_helm_would_refuse_is_an_error() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let message = "Bundled CoreDNS of k3s conflicts with the release";
        let mut world = bundled();
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        assert_eq!(world.detail(&RULE, "objects"), "Deployment/coredns, Service/kube-dns");
        assert!(world.fix(&RULE).contains("\ndisable: [coredns, traefik]\n"));
        world.manifests.objects.insert("kube-system/coredns".into(), Err("no chart".to_owned()));
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        world.server("a", &["server", "--disable", "coredns"]);
        let keep = "\n# or keep it: k3s-boot apps --skip-release kube-system/coredns";
        assert!(world.fix(&RULE).ends_with(&format!("\nsystemctl restart k3s{keep}")));
        world.server("a", &[]).annotations.clear();
        assert!(world.fix(&RULE).contains("on all servers\ndisable: [coredns]\n"));
        world.live_mut().cluster.nodes[0].name = "k3d-home-server-0".to_owned();
        assert_eq!(world.fix(&RULE), format!("{}\ndisable: [coredns]{keep}", k3s::RECREATE));
        world.user("media", "plex");
        let fix = world.fix(&RULE);
        assert!(!fix.contains("disable:") && fix.contains("--skip-release kube-system/coredns"), "{fix}");
    }

    #[test]
    fn a_skipped_dns_must_exist() {
        let mut world = World::healthy();
        let coredns = world.desired.helmfiles.iter_mut().flat_map(|helmfile| &mut helmfile.releases);
        coredns.filter(|release| release.name == "coredns").for_each(|release| release.skipped = true);
        assert_eq!(
            world.found(&RULE),
            [(Error, "CoreDNS is skipped, and k3s does not deploy its own".to_owned())]
        );
        world.bundled_coredns();
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }

    #[test]
    fn another_name_and_address_do_not_conflict() {
        let mut world = bundled();
        let other = workload("Deployment", "coredns-lan", &serde_json::json!({}), &serde_json::json!({}));
        world.manifests.objects.insert("kube-system/coredns".into(), Ok(vec![other]));
        assert_eq!(
            world.found(&RULE),
            [(Warning, "Bundled CoreDNS of k3s runs beside the release".to_owned())]
        );
        let address = serde_json::json!({"kind": "Service", "metadata": {"name": "x", "namespace": "y"},
            "spec": {"clusterIP": "10.43.0.10"}});
        world.manifests.objects.insert("kube-system/coredns".into(), Ok(vec![address]));
        assert_eq!(world.found(&RULE)[0].0, Error);
    }

    #[test]
    fn adopted_objects_do_not_conflict() {
        let mut world = bundled();
        world.deployed("kube-system", "coredns");
        world.adopt_by("kube-system", "coredns");
        assert_eq!(world.ask(&RULE), Answer::Ok);
    }

    #[test]
    fn without_the_release_there_is_no_conflict() {
        let mut world = bundled();
        world.without("coredns");
        assert!(world.is_not_applicable(&RULE));
    }
}
