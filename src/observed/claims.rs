//! What Flux and k3s' own Helm controller have claimed.

use futures_util::future::join_all;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::cluster::Cluster;
use super::flux::{self, Resource, Spec, Status};
use super::inventory::{Inventory, Meta};
use super::kinds::Kinds;
use crate::base::error::Error;
use crate::tools::Toolbox;

/// HelmReleases, as `plural.group`.
pub const HELM_RELEASES: &str = "helmreleases.helm.toolkit.fluxcd.io";

/// The charts of k3s' own Helm controller.
const HELM_CHARTS: &str = "helmcharts.helm.cattle.io";

/// What Flux and k3s' own Helm controller have claimed.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The FluxInstance, if there is one.
    pub instance: Option<Resource>,
    /// Flux's sources.
    pub sources: Vec<Resource>,
    /// Flux's Kustomizations.
    pub kustomizations: Vec<Resource>,
    /// Flux's HelmReleases.
    pub helm_releases: Vec<Claim>,
    /// What became of each of them.
    pub helm_resources: Vec<Resource>,
    /// k3s' HelmCharts.
    pub helm_charts: Vec<Claim>,
    /// Whether Flux's controllers run.
    pub controllers: bool,
    /// The same objects, by what the API server notes about each.
    pub inventory: Inventory,
}

/// An object that owns a Helm release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its kind: `HelmRelease` or `HelmChart`.
    pub kind: String,
    /// Its own name, as `namespace/name`.
    pub owner: String,
    /// The Helm release, as `namespace/name`.
    pub release: String,
    /// Whether it is switched off.
    pub suspended: bool,
}

impl Claims {
    /// Whether Flux runs as `flux bootstrap` or `flux install` have made it.
    #[must_use]
    pub fn has_flux_alone(&self) -> bool {
        self.controllers && self.instance.is_none()
    }

    /// What owns a Helm release, if anything does.
    #[must_use]
    pub fn owner_of(&self, release: &str) -> Option<&Claim> {
        self.helm_releases.iter().chain(&self.helm_charts).find(|claim| claim.release == release)
    }
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: ItemSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ItemSpec {
    release_name: Option<String>,
    target_namespace: Option<String>,
    storage_namespace: Option<String>,
    kube_config: Option<serde::de::IgnoredAny>,
    #[serde(flatten)]
    rest: Spec,
}

impl FromIterator<Item> for Claims {
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        let mut claims = Self::default();
        for Item { kind, api_version, metadata, spec, status } in items {
            let k3s = api_version.starts_with("helm.cattle.io/");
            match kind.as_str() {
                "HelmRelease" => {
                    // One with a kubeconfig of its own is about another cluster.
                    let here = spec.kube_config.is_none();
                    let (claim, rest) = helm_release(&metadata, spec);
                    claims.helm_releases.extend(Some(claim).filter(|_| here));
                    claims.helm_resources.push(Resource { api_version, kind, metadata, spec: rest, status });
                }
                "HelmChart" if k3s => claims.helm_charts.push(helm_chart(&metadata, spec)),
                _ => {
                    let resource = Resource { api_version, kind, metadata, spec: spec.rest, status };
                    match resource.kind.as_str() {
                        "FluxInstance" => claims.instance = Some(resource),
                        "Kustomization" => claims.kustomizations.push(resource),
                        "GitRepository" | "OCIRepository" | "Bucket" => claims.sources.push(resource),
                        _ => {}
                    }
                }
            }
        }
        claims
    }
}

/// As helm-controller names it: `[TARGET-]NAME` in the storage namespace.
fn helm_release(metadata: &Meta, spec: ItemSpec) -> (Claim, Spec) {
    let name = spec.release_name.unwrap_or_else(|| match &spec.target_namespace {
        Some(target) => format!("{target}-{}", metadata.name),
        None => metadata.name.clone(),
    });
    let name = shortened(&name);
    let namespace = spec.storage_namespace.unwrap_or_else(|| metadata.namespace.clone());
    let claim = Claim {
        kind: "HelmRelease".to_owned(),
        owner: format!("{}/{}", metadata.namespace, metadata.name),
        release: format!("{namespace}/{name}"),
        suspended: spec.rest.suspend,
    };
    (claim, spec.rest)
}

/// As helm-controller shortens what is too long for the name of a release (`internal/release/name.go`): what is cut off
/// is told by a hash of the whole.
fn shortened(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let hash = format!("{:x}", Sha256::digest(name));
    let kept = name.floor_char_boundary(LONGEST_NAME - HASH - 1);
    format!("{}-{}", &name[..kept], &hash[..HASH])
}

/// The longest name of a Helm release, and how much of a hash stands in one that was shortened.
const LONGEST_NAME: usize = 53;
const HASH: usize = 12;

fn helm_chart(metadata: &Meta, spec: ItemSpec) -> Claim {
    let namespace = spec.target_namespace.filter(|name| !name.is_empty());
    Claim {
        kind: "HelmChart".to_owned(),
        owner: format!("{}/{}", metadata.namespace, metadata.name),
        release: format!("{}/{}", namespace.as_ref().unwrap_or(&metadata.namespace), metadata.name),
        suspended: false,
    }
}

impl Toolbox {
    /// Reads what is claimed, of the kinds that the cluster knows.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn observe_claims(&self, kinds: &Kinds, cluster: &Cluster) -> Result<Claims, Error> {
        // Those that a cluster does not know are not asked for.
        let names = flux::KINDS.into_iter().chain([HELM_RELEASES, HELM_CHARTS]);
        let lists = names.filter_map(|name| kinds.named(name)).map(async |(kind, resource)| {
            let items: Vec<Item> = self.api_list(&resource.path(None)).await?;
            Ok((&resource.group, kind, items))
        });
        let lists: Result<Vec<_>, Error> = join_all(lists).await.into_iter().collect();
        let lists = lists?;
        let mut inventory = Inventory::default();
        for (group, kind, items) in &lists {
            inventory.add(group, kind, items.iter().map(|item| item.metadata.clone()));
        }
        let mut claims: Claims = lists.into_iter().flat_map(|(_, _, items)| items).collect();
        claims.inventory = inventory;
        // `flux install` and the operator label all of Flux so.
        claims.controllers = cluster.workloads.iter().any(|workload| {
            workload.labels.get("app.kubernetes.io/part-of").is_some_and(|part| part == "flux")
        });
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::api::List;

    const LIST: &str = r#"{"items":[
            {"kind":"HelmRelease","apiVersion":"helm.toolkit.fluxcd.io/v2","metadata":{"name":"cilium","namespace":"kube-system"},"spec":{"suspend":true}},
            {"kind":"HelmRelease","apiVersion":"helm.toolkit.fluxcd.io/v2","metadata":{"name":"a","namespace":"flux-system"},"spec":{"targetNamespace":"media","storageNamespace":"x"}},
            {"kind":"HelmRelease","apiVersion":"helm.toolkit.fluxcd.io/v2","metadata":{"name":"b","namespace":"flux-system"},"spec":{"releaseName":"bee"}},
            {"kind":"HelmRelease","apiVersion":"helm.toolkit.fluxcd.io/v2","metadata":{"name":"far","namespace":"x"},"spec":{"kubeConfig":{"secretRef":{"name":"k"}}}},
            {"kind":"HelmChart","apiVersion":"helm.cattle.io/v1","metadata":{"name":"traefik","namespace":"kube-system"},"spec":{"targetNamespace":""}},
            {"kind":"HelmChart","apiVersion":"source.toolkit.fluxcd.io/v1","metadata":{"name":"other","namespace":"flux-system"}},
            {"kind":"GitRepository","metadata":{"name":"flux-system","namespace":"flux-system"},"spec":{"url":"ssh://x"}},
            {"kind":"FluxInstance","metadata":{"name":"flux","namespace":"flux-system"}},
            {"kind":"Kustomization","metadata":{"name":"flux-system","namespace":"flux-system"}}]}"#;

    #[test]
    fn owners_of_releases_are_found() {
        let claims: Claims = serde_json::from_str::<List<Item>>(LIST).unwrap().items.into_iter().collect();
        let owner =
            |release: &str| claims.owner_of(release).map(|claim| (claim.owner.as_str(), claim.suspended));
        assert_eq!(owner("kube-system/cilium"), Some(("kube-system/cilium", true)));
        assert_eq!(owner("x/media-a"), Some(("flux-system/a", false)));
        assert_eq!(owner("flux-system/bee"), Some(("flux-system/b", false)));
        assert_eq!(owner("kube-system/traefik"), Some(("kube-system/traefik", false)));
        assert_eq!((owner("flux-system/other"), owner("flux-system/b")), (None, None));
        assert_eq!((claims.sources.len(), claims.kustomizations.len()), (1, 1));
        assert_eq!(claims.helm_resources[0].id(), "HelmRelease kube-system/cilium");
        assert!(claims.helm_resources[0].spec.suspend);
        assert!(claims.instance.is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer: Vec<u8>, odd in crate::base::odd::odd(LIST)) {
            let claims = |list: List<Item>| list.items.into_iter().collect::<Claims>();
            _ = serde_json::from_slice(&answer).map(claims);
            _ = serde_json::from_value(odd).map(claims);
        }
    }
}
