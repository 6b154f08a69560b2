//! Nodes, namespaces, workloads, Services and the identity of the cluster.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde::Deserialize;

use super::inventory::{Inventory, Meta};
use super::item::{Condition, Item, Status, release};
use super::node::Node;
use super::workloads::Workload;
use crate::base::error::Error;
use crate::base::release_id::ReleaseId;
use crate::tools::Toolbox;
use crate::tools::api::Call;

/// The Lease that is the lock of k3s-boot and has the annotation of the repository.
pub(crate) const LEASE: (&str, &str) = ("kube-system", "k3s-boot");

/// Namespaces of Kubernetes, k3s and Flux.
const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "flux-system"];

/// The state that is read from every cluster.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// The UID of kube-system: the identity of the cluster.
    pub uid: String,
    /// When kube-system was created, as RFC 3339.
    pub created: String,
    /// Each namespace with its phase, `Active` or `Terminating`.
    pub namespaces: BTreeMap<String, String>,
    /// Why the objects of a terminating namespace cannot be found, by namespace.
    pub undiscovered: BTreeMap<String, String>,
    pub nodes: Vec<Node>,
    /// Deployments, DaemonSets and StatefulSets.
    pub workloads: Vec<Workload>,
    pub services: Vec<Service>,
    /// The Leases: the lock of k3s-boot, and those of the control plane and the kubelets.
    pub leases: Vec<Lease>,
    /// The metadata of the same namespaces, workloads and Services.
    pub inventory: Inventory,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    pub namespace: String,
    pub name: String,
    /// The cluster IP; `None` for a headless Service.
    pub cluster_ip: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Its namespace; `kube-node-lease` for a kubelet's.
    pub namespace: String,
    pub name: String,
    /// When the holder last renewed it, as RFC 3339.
    pub renewed: Option<String>,
    /// When the holder acquired it, as RFC 3339.
    pub acquired: Option<String>,
    /// The holder; empty if there is none.
    pub holder: String,
    /// How often the holder changed.
    pub transitions: i64,
    /// The resource version, which changes with every write.
    pub resource_version: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

impl Cluster {
    /// The age of the cluster, such as `3m`, `5h` or `12days`; none if it is unknown.
    pub(crate) fn age(&self, now: SystemTime) -> Option<String> {
        let age = now.duration_since(humantime::parse_rfc3339(&self.created).ok()?).ok()?.as_secs();
        let whole = match age {
            0..60 => age,
            60..3600 => age - age % 60,
            3600..86_400 => age - age % 3600,
            _ => age - age % 86_400,
        };
        Some(humantime::format_duration(Duration::from_secs(whole)).to_string().replace(' ', ""))
    }

    /// The Lease that is the lock of k3s-boot, if it exists yet.
    pub(crate) fn lock(&self) -> Option<&Lease> {
        let (namespace, name) = LEASE;
        self.leases.iter().find(|lease| lease.namespace == namespace && lease.name == name)
    }

    /// The number of nodes that are Ready.
    pub(crate) fn ready_nodes(&self) -> usize {
        self.nodes.iter().filter(|node| node.ready).count()
    }

    /// What the nodes that are not Ready wait for: `CNI`, or the message of their condition; empty if all are Ready.
    pub(crate) fn waiting_for(&self) -> String {
        let mut reasons: Vec<_> =
            self.nodes.iter().filter(|node| !node.ready).map(Node::waiting_for).collect();
        reasons.sort();
        reasons.dedup();
        reasons.join(", ")
    }

    /// The servers, which run the control plane.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_server())
    }

    /// The workloads of users: those that belong neither to Kubernetes, k3s or Flux, nor to one of these releases.
    /// Other workloads in a namespace of the bootstrap count, too.
    pub(crate) fn user_workloads<'a>(
        &'a self,
        releases: &'a [ReleaseId],
    ) -> impl Iterator<Item = &'a Workload> {
        self.workloads.iter().filter(|workload| {
            !SYSTEM_NAMESPACES.contains(&workload.namespace.as_str())
                && workload.labels.get("app.kubernetes.io/part-of").is_none_or(|part| part != "flux")
                && workload.release().is_none_or(|release| !releases.contains(&release))
        })
    }
}

impl Lease {
    /// Whether it is the identity Lease of an API server (Kubernetes, `IdentityLeaseComponentLabelKey` in
    /// `pkg/controlplane/apiserver/server.go`).
    pub(crate) fn is_of_api_server(&self) -> bool {
        self.namespace == "kube-system"
            && self.labels.get("apiserver.kubernetes.io/identity").is_some_and(|of| of == "kube-apiserver")
    }
}

impl Service {
    /// The Helm release that the Service belongs to.
    pub(crate) fn release(&self) -> Option<ReleaseId> {
        release(&self.annotations)
    }
}

impl FromIterator<Item> for Cluster {
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        let mut cluster = Self::default();
        for Item { kind, metadata, spec, status } in items {
            match kind.as_str() {
                "Namespace" => cluster.namespace(metadata, status),
                "Node" => cluster.nodes.push(Node::new(metadata, spec, status)),
                "Deployment" | "DaemonSet" | "StatefulSet" => {
                    cluster.workloads.push(Workload::new(kind, metadata, &spec, &status));
                }
                "Service" => cluster.services.push(Service {
                    namespace: metadata.namespace,
                    name: metadata.name,
                    cluster_ip: Some(spec.cluster_ip)
                        .filter(|address| !matches!(address.as_str(), "" | "None")),
                    labels: metadata.labels,
                    annotations: metadata.annotations,
                }),
                "Lease" => cluster.leases.push(Lease {
                    namespace: metadata.namespace,
                    name: metadata.name,
                    renewed: spec.renew_time,
                    acquired: spec.acquire_time,
                    holder: spec.holder_identity.unwrap_or_default(),
                    transitions: spec.lease_transitions.unwrap_or_default(),
                    resource_version: metadata.resource_version,
                    labels: metadata.labels,
                    annotations: metadata.annotations,
                }),
                _ => {}
            }
        }
        cluster
    }
}

impl Cluster {
    fn namespace(&mut self, metadata: Meta, status: Status) {
        if metadata.name == "kube-system" {
            self.uid = metadata.uid;
            self.created = metadata.creation_timestamp;
        }
        let failed =
            |one: &Condition| one.r#type == "NamespaceDeletionDiscoveryFailure" && one.status == "True";
        if let Some(condition) = status.conditions.into_iter().find(failed) {
            self.undiscovered.insert(metadata.name.clone(), condition.message);
        }
        self.namespaces.insert(metadata.name, status.phase);
    }
}

/// The lists that are read concurrently.
const LISTS: [(&str, &str, &str); 6] = [
    ("", "Namespace", "/api/v1/namespaces"),
    ("", "Node", "/api/v1/nodes"),
    ("apps", "Deployment", "/apis/apps/v1/deployments"),
    ("apps", "DaemonSet", "/apis/apps/v1/daemonsets"),
    ("apps", "StatefulSet", "/apis/apps/v1/statefulsets"),
    ("", "Service", "/api/v1/services"),
];

const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";

impl Toolbox {
    /// Reads the Leases. A run that will change the cluster reads them before anything else: as long as the lock does not
    /// change, no other run has changed the cluster since.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_leases(&self) -> Result<Vec<Lease>, Error> {
        let items: Vec<Item> = self.api_list(LEASES).await?;
        let items = items.into_iter().map(|item| Item { kind: "Lease".to_owned(), ..item });
        Ok(items.collect::<Cluster>().leases)
    }

    /// Sends `call`, a request about the Lease that is the lock, and returns the Lease.
    ///
    /// # Errors
    ///
    /// When the API server does not answer, or k3s-boot was interrupted.
    pub(crate) async fn observe_lock(&self, call: Call<'_>) -> Result<Option<Lease>, Error> {
        let item: Option<Item> = self.api_read(call).await?;
        let item = item.map(|item| Item { kind: "Lease".to_owned(), ..item });
        Ok(item.into_iter().collect::<Cluster>().leases.pop())
    }

    /// Reads the nodes.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_nodes(&self) -> Result<Vec<Node>, Error> {
        let items: Vec<Item> = self.api_list("/api/v1/nodes").await?;
        let items = items.into_iter().map(|item| Item { kind: "Node".to_owned(), ..item });
        Ok(items.collect::<Cluster>().nodes)
    }

    /// Reads the state of the cluster, except the Leases.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_cluster(&self) -> Result<Cluster, Error> {
        let lists = LISTS.map(async |(group, kind, path)| {
            let items: Vec<Item> = self.api_list(path).await?;
            Ok((group, kind, items))
        });
        let lists: Result<Vec<_>, Error> = join_all(lists).await.into_iter().collect();
        let lists = lists?;
        let mut inventory = Inventory::default();
        for (group, kind, items) in &lists {
            inventory.add(group, kind, items.iter().map(|item| item.metadata.clone()));
        }
        let items = lists.into_iter().flat_map(|(_, kind, items)| {
            items.into_iter().map(move |item| Item { kind: kind.to_owned(), ..item })
        });
        Ok(Cluster { inventory, ..items.collect() })
    }

    /// The server's version, such as `v1.36.3+k3s1`.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn server_version(&self) -> Result<String, Error> {
        let version: ServerVersion = self.ask(Call::get("/version")).await?.read()?;
        Ok(version.git_version)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerVersion {
    git_version: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::strategy::Strategy;

    use super::*;
    use crate::tools::api::List;

    const LIST: &str = r#"{"kind":"List","items":[
            {"kind":"Namespace","metadata":{"name":"kube-system","uid":"7f0c","creationTimestamp":"2026-11-23T08:00:00Z"},"status":{"phase":"Active"}},
            {"kind":"Namespace","metadata":{"name":"old","labels":{"kustomize.toolkit.fluxcd.io/name":"apps","kustomize.toolkit.fluxcd.io/namespace":"flux-system"}},"status":{"phase":"Terminating","conditions":[
                {"type":"NamespaceDeletionDiscoveryFailure","status":"True","reason":"DiscoveryFailed","message":"stale GroupVersion discovery: metrics.k8s.io/v1beta1"},
                {"type":"NamespaceDeletionContentFailure","status":"False","reason":"ContentDeleted","message":"All content successfully deleted"}]}},
            {"kind":"Deployment","metadata":{"name":"d","namespace":"media"},"spec":{"replicas":2},"status":{"availableReplicas":1}},
            {"kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"},"spec":{"clusterIP":"10.43.0.10"}},
            {"kind":"Service","metadata":{"name":"headless","namespace":"media"},"spec":{"clusterIP":"None"}},
            {"kind":"Lease","metadata":{"name":"a","namespace":"kube-node-lease"},"spec":{"renewTime":"2026-11-23T08:00:00.000000Z"}},
            {"kind":"Node","metadata":{"name":"a","creationTimestamp":"2026-11-23T08:00:00Z","labels":{"node-role.kubernetes.io/control-plane":"true"},
                "annotations":{"k3s.io/node-args":"[\"server\",\"--flannel-backend\",\"none\",\"--cluster-cidr\",\"10.42.0.0/16\"]"}},
                "spec":{"podCIDRs":["10.42.0.0/24"],"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]},
                "status":{"addresses":[{"type":"InternalIP","address":"10.0.0.10"}],"nodeInfo":{"kubeletVersion":"v1.33.6+k3s1"},"conditions":[
                {"type":"Ready","status":"False","message":"container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"}]}},
            {"kind":"Node","metadata":{"name":"b"},"status":{"conditions":[{"type":"Ready","status":"True","message":"ok"}]}},
            {"kind":"Node","metadata":{"name":"c"}}]}"#;

    #[test]
    fn parses_a_fresh_cluster() {
        let cluster: Cluster = serde_json::from_str::<List<Item>>(LIST).unwrap().items.into_iter().collect();
        assert_eq!((cluster.uid.as_str(), cluster.created.as_str()), ("7f0c", "2026-11-23T08:00:00Z"));
        let later = |seconds| {
            humantime::parse_rfc3339("2026-11-23T08:00:00Z").unwrap() + Duration::from_secs(seconds)
        };
        let ages = [5, 125, 7_300, 90_000].map(|seconds| cluster.age(later(seconds)).unwrap());
        assert_eq!(ages, ["5s", "2m", "2h", "1day"]);
        assert_eq!(Cluster::default().age(later(0)), None);
        assert_eq!(cluster.namespaces["old"], "Terminating");
        assert_eq!(cluster.undiscovered["old"], "stale GroupVersion discovery: metrics.k8s.io/v1beta1");
        assert_eq!((cluster.nodes.len(), cluster.ready_nodes()), (3, 1));
        assert_eq!(cluster.waiting_for(), "CNI, kubelet");
        assert_eq!(cluster.servers().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!((cluster.workloads[0].have, cluster.workloads[0].want), (1, 2));
        let addresses: Vec<_> =
            cluster.services.iter().map(|service| service.cluster_ip.as_deref()).collect();
        assert_eq!(addresses, [Some("10.43.0.10"), None]);
        assert!(cluster.leases[0].renewed.is_some());
    }

    #[test]
    fn user_workloads_are_distinguished_from_system_workloads() {
        let workload = |namespace: &str, label: Option<(&str, &str)>, release: Option<&str>| {
            let map = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            Workload {
                namespace: namespace.to_owned(),
                labels: label.map(|(key, value)| map(key, value)).into_iter().collect(),
                annotations: release
                    .and_then(|release| release.split_once('/'))
                    .map(|(namespace, name)| {
                        [
                            map("meta.helm.sh/release-namespace", namespace),
                            map("meta.helm.sh/release-name", name),
                        ]
                    })
                    .into_iter()
                    .flatten()
                    .collect(),
                ..Workload::default()
            }
        };
        let releases = ["cert-manager/cert-manager".into()];
        let cases = [
            (workload("kube-system", None, None), false),
            (workload("flux-system", None, None), false),
            (workload("gitops", Some(("app.kubernetes.io/part-of", "flux")), None), false),
            (workload("cert-manager", None, Some("cert-manager/cert-manager")), false),
            (workload("cert-manager", None, None), true),
            (workload("media", None, Some("media/plex")), true),
            // Applied by Flux, but still a workload of a user.
            (workload("media", Some(("kustomize.toolkit.fluxcd.io/name", "apps")), None), true),
        ];
        for (workload, expected) in cases {
            let cluster = Cluster { workloads: vec![workload], ..Cluster::default() };
            let found = cluster.user_workloads(&releases).count() == 1;
            assert_eq!(found, expected, "{:?}", cluster.workloads);
        }
    }

    /// Mutations of a cluster as the API server lists it.
    pub(crate) fn odd_clusters() -> impl Strategy<Value = Option<Cluster>> {
        let cluster = |list: List<Item>| list.items.into_iter().collect();
        crate::base::mutate::json(LIST).prop_map(move |odd| serde_json::from_value(odd).map(cluster).ok())
    }

    proptest::proptest! {
        #![proptest_config(crate::base::mutate::slow_config())]

        #[test]
        fn parsing_never_panics(answer: Vec<u8>, odd in crate::base::mutate::json(LIST)) {
            let cluster = |list: List<Item>| list.items.into_iter().collect::<Cluster>();
            _ = serde_json::from_slice(&answer).map(cluster);
            if let Ok(cluster) = serde_json::from_value(odd).map(cluster) {
                _ = (cluster.ready_nodes(), cluster.waiting_for());
                _ = cluster.servers().count();
            }
        }
    }
}
