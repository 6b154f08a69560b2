//! Objects of bundled components of k3s that a Helm release has adopted.
//!
//! k3s applies its components as manifests, each of which is an Addon (`k3s.cattle.io/v1`). It deletes every object with the
//! label of an Addon when the component is disabled, even if a release has adopted the object. When it starts and the
//! component is not disabled, it takes over objects without the label again (both seen on k3s v1.36.3). So `disable` has to be in the
//! configuration of all servers before the first of them restarts, and the labels have to be gone by then.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::k3s::{self, Servers};
use crate::base::release_id::ReleaseId;
use crate::observed::Live;

/// The label by which k3s finds the objects of an Addon.
const LABEL: &str = "objectset.rio.cattle.io/hash";

/// The annotations of k3s on an object, besides the label.
const ANNOTATIONS: [&str; 5] = ["applied", "id", "owner-gvk", "owner-name", "owner-namespace"];

/// A bundled component that k3s applies as manifests. traefik is a `HelmChart` instead, whose release k3s manages, and
/// servicelb is part of k3s itself: no release can adopt objects of these two.
pub(super) struct Component {
    /// The name in `disable`.
    pub(super) name: &'static str,
    /// The Addons, each with the value of the label on its objects: the SHA-1 of
    /// `k3s.cattle.io/v1, Kind=Addon`, the Addon's name and `kube-system` (`objectSetHash` of rancher/wrangler).
    addons: &'static [(&'static str, &'static str)],
    /// The resource names of its objects for kubectl.
    kinds: &'static str,
}

pub(super) const COREDNS: Component = Component {
    name: "coredns",
    addons: &[("coredns", k3s::BUNDLED_COREDNS.1)],
    kinds: "deployments,services,configmaps,serviceaccounts,clusterroles,clusterrolebindings",
};

pub(super) const COMPONENTS: [Component; 3] = [
    COREDNS,
    Component {
        name: "metrics-server",
        addons: &[
            ("aggregated-metrics-reader", "d795b01b9d5cf4d3744e28995d3303a815726cae"),
            ("auth-delegator", "286ddf320ffd2cc8937e70614a93ab4e63315634"),
            ("auth-reader", "5d6dedcb51e1c2ee2c5af2045e43d8551b6d83f6"),
            ("metrics-apiservice", "54b5eb8b3ff563ca319415761629c9cbfaefe2a6"),
            ("metrics-server-deployment", "e10e245e13e46a725c9dddd4f9eb239f147774fd"),
            ("metrics-server-service", "a5d3bc601c871e123fa32b27f549b6ea770bcf4a"),
            ("resource-reader", "9a6f488150c249811b9df07e116280789628963e"),
        ],
        kinds: "deployments,services,serviceaccounts,rolebindings,clusterroles,clusterrolebindings,apiservices",
    },
    Component {
        name: "local-storage",
        addons: &[("local-storage", "183f35c65ffbc3064603f43f1580d8c68a2dabd4")],
        kinds: "deployments,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,\
                storageclasses",
    },
];

/// The objects of a component that releases have adopted.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    /// Workloads and Services, as `Kind/name`. The other objects are not listed here: only these two kinds are read.
    pub(super) objects: Vec<String>,
    /// The releases.
    pub(super) releases: BTreeSet<ReleaseId>,
}

impl Component {
    /// The objects that Helm releases have adopted; `None` if there are none.
    pub(super) fn adopted(&self, live: &Live) -> Option<Adopted> {
        let mut adopted = Adopted::default();
        for (object, release) in self.objects(live) {
            let Some(release) = release else { continue };
            adopted.objects.push(object);
            adopted.releases.insert(release);
        }
        (!adopted.objects.is_empty()).then_some(adopted)
    }

    /// Whether any of its workloads and Services exists.
    pub(super) fn is_present(&self, live: &Live) -> bool {
        self.objects(live).next().is_some()
    }

    /// The workloads and Services as `Kind/name`, each with the release that has adopted it.
    fn objects<'a>(&'a self, live: &'a Live) -> impl Iterator<Item = (String, Option<ReleaseId>)> + 'a {
        let workloads = live.cluster.workloads.iter();
        let workloads =
            workloads.map(|one| (one.kind.as_str(), &one.namespace, &one.name, &one.labels, one.release()));
        let services = live.cluster.services.iter();
        let services = services.map(|one| ("Service", &one.namespace, &one.name, &one.labels, one.release()));
        workloads.chain(services).filter_map(|(kind, namespace, name, labels, release)| {
            let hash = labels.get(LABEL).filter(|_| namespace == "kube-system")?;
            let is_own = self.addons.iter().any(|(_, own)| own == hash);
            is_own.then(|| (format!("{kind}/{name}"), release))
        })
    }

    /// How to detach the objects from k3s, in an order in which k3s neither deletes them nor takes them over again.
    /// Everything but commands is commented out.
    pub(super) fn fix(&self, servers: &Servers<'_>) -> String {
        let Self { name, addons, kinds } = self;
        if servers.are_containers {
            return format!("{}\ndisable: [{name}]", k3s::RECREATE);
        }
        let mut text = format!("# 1. {}\n", disable_everywhere(name, servers));
        let hashes: Vec<_> = addons.iter().map(|(_, hash)| *hash).collect();
        let objects = match hashes[..] {
            [hash] => format!("{kinds} -l {LABEL}={hash}"),
            _ => format!("{kinds} -l '{LABEL} in ({})'", hashes.join(",")),
        };
        let annotations = ANNOTATIONS.map(|name| format!("objectset.rio.cattle.io/{name}-")).join(" ");
        let addons: Vec<_> = addons.iter().map(|(name, _)| *name).collect();
        _ = write!(
            text,
            "# 2. detach the objects from k3s\n\
             kubectl -n kube-system annotate {objects} {annotations}\n\
             kubectl -n kube-system label {objects} {LABEL}-\n\
             kubectl -n kube-system delete --ignore-not-found addons.k3s.cattle.io {}\n\
             # 3. then on one server after another: systemctl restart k3s",
            addons.join(" ")
        );
        text
    }
}

/// The first step: the configuration of every server, before any of them restarts.
fn disable_everywhere(component: &str, servers: &Servers<'_>) -> String {
    let missing = servers.missing_lines(|args| k3s::disable(args, &[component]));
    let mut text = "in /etc/rancher/k3s/config.yaml on every server, without restarting k3s:".to_owned();
    for (names, line) in k3s::blocks(&missing) {
        _ = write!(text, "\n#    {line}  ({names})");
    }
    if !servers.are_all_known() {
        _ = write!(
            text,
            "\n#    disable: [{component}], or add {component} to the existing list  (all other servers)"
        );
    } else if missing.is_empty() {
        _ = write!(text, "\n#    `{component}` is already in `disable`");
    }
    text
}
