//! No release has adopted objects that k3s manages.

use crate::base::finding::Finding;
use crate::check::adopted::COMPONENTS;
use crate::check::k3s::{self, Servers};
use crate::check::{Answer, Check, Facts, Group, Inspection, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "bundled-adopted",
    group: Group::K3s,
    title: "no release has adopted objects that k3s manages",
    why: "k3s keeps its label on objects that Helm or Flux has adopted, and deletes all objects with that label at \
          the first start with `disable`; those of CoreDNS include the ClusterRole and ClusterRoleBinding. Without \
          `disable`, k3s takes over objects without the label again. So the order matters: `disable` on all servers, \
          then the labels, then the restarts.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

fn check(_: &Facts<'_>, live: &Live) -> Answer {
    if let Err(answer) = k3s::is_k3s(live) {
        return answer;
    }
    let servers = Servers::of(live);
    let mut inspection = Inspection::default();
    for component in COMPONENTS.iter().filter(|component| component.is_present(live)) {
        inspection.look(component.adopted(live).map(|adopted| {
            let releases: Vec<_> = adopted.releases.iter().map(ToString::to_string).collect();
            let message = format!("Release has adopted objects of the bundled {}", component.name);
            Finding::warning(RULE.id, message)
                .with("objects", adopted.objects.join(", "))
                .with("release", releases.join(", "))
                .with(
                    "impact",
                    format!("k3s deletes them at its first start with `{}` in `disable`", component.name),
                )
                .fix(component.fix(&servers))
        }));
    }
    inspection.answer("no bundled component of k3s is installed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::testing::World;

    fn adopted() -> World {
        let mut world = World::healthy();
        world.bundled_coredns();
        assert_eq!(world.ask(&RULE), Answer::Ok, "k3s still manages it");
        world.adopt_by("kube-system", "coredns");
        world
    }

    #[test]
    fn objects_are_detached_between_disable_and_the_first_restart() {
        let mut world = adopted();
        world.server("a", &["server", "--disable", "traefik"]);
        world.server("b", &["server", "--disable", "traefik"]);
        world.server("c", &["server"]);
        assert_eq!(
            world.found(&RULE),
            [(Warning, "Release has adopted objects of the bundled coredns".to_owned())]
        );
        assert_eq!(world.detail(&RULE, "objects"), "Deployment/coredns, Service/kube-dns");
        let objects = "deployments,services,configmaps,serviceaccounts,clusterroles,clusterrolebindings \
                       -l objectset.rio.cattle.io/hash=bce283298811743a0386ab510f2f67ef74240c57";
        let annotations = ["applied", "id", "owner-gvk", "owner-name", "owner-namespace"]
            .map(|name| format!("objectset.rio.cattle.io/{name}-"))
            .join(" ");
        let steps = [
            "# 1. in /etc/rancher/k3s/config.yaml on every server, without restarting k3s:",
            "#    disable: [coredns, traefik]  (a, b)",
            "#    disable: [coredns]  (c)",
            "# 2. detach the objects from k3s",
            &format!("kubectl -n kube-system annotate {objects} {annotations}"),
            &format!("kubectl -n kube-system label {objects} objectset.rio.cattle.io/hash-"),
            "kubectl -n kube-system delete --ignore-not-found addons.k3s.cattle.io coredns",
            "# 3. then on one server after another: systemctl restart k3s",
        ];
        assert_eq!(world.fix(&RULE), steps.join("\n"));
        "k3d-home-server-0".clone_into(&mut world.live_mut().cluster.nodes[0].name);
        assert_eq!(world.fix(&RULE), format!("{}\ndisable: [coredns]", k3s::RECREATE));
    }

    #[test]
    fn disabled_and_unknown_servers_get_different_steps() {
        let mut world = adopted();
        let fix = world.fix(&RULE);
        assert!(fix.contains("\n#    `coredns` is already in `disable`\n# 2. "), "{fix}");
        world.server("b", &[]).annotations.clear();
        let fix = world.fix(&RULE);
        assert!(
            fix.contains(
                "\n#    disable: [coredns], or add coredns to the existing list  (all other servers)\n"
            ),
            "{fix}"
        );
        assert!(!fix.contains("already"), "{fix}");
    }

    #[test]
    fn other_objects_and_other_clusters_pass() {
        let mut world = adopted();
        world.live_mut().version = "v1.33.6+rke2r1".to_owned();
        assert!(world.is_not_applicable(&RULE));
        let mut world = World::healthy();
        world.user("kube-system", "metrics-server");
        world.service("kube-system", "metrics-server", "10.43.0.11");
        world.adopt_by("kube-system", "metrics-server");
        assert!(world.is_not_applicable(&RULE), "a release has created it");
    }

    #[test]
    fn the_other_components_have_the_same_problem() {
        let labels = [
            ("metrics-server", "e10e245e13e46a725c9dddd4f9eb239f147774fd", "metrics-server-service"),
            ("local-storage", "183f35c65ffbc3064603f43f1580d8c68a2dabd4", "local-storage"),
        ];
        for (component, hash, addon) in labels {
            let mut world = World::healthy();
            world.user("kube-system", "x");
            let label = ("objectset.rio.cattle.io/hash".to_owned(), hash.to_owned());
            world.live_mut().cluster.workloads.last_mut().unwrap().labels = [label].into();
            world.adopt_by("kube-system", component);
            let message = format!("Release has adopted objects of the bundled {component}");
            assert_eq!(world.found(&RULE), [(Warning, message)]);
            let fix = world.fix(&RULE);
            let mut disabled = ["coredns", "servicelb", "traefik", component];
            disabled.sort_unstable();
            let line = format!("disable: [{}]  (a)", disabled.join(", "));
            for words in [&format!(" {addon}"), &line, "clusterrolebindings", hash] {
                assert!(fix.contains(words), "no `{words}` in {fix}");
            }
        }
    }
}
