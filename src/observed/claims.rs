//! The releases and objects that Flux and k3s' Helm controller manage.

use futures_util::future::join_all;
use serde::Deserialize;

use super::cluster::Cluster;
use super::flux::{self, Resource, Spec, Status};
use super::helm_charts::{HELM_CHARTS, HelmChart};
use super::inventory::{Inventory, Meta};
use super::kinds::Kinds;
use crate::base::error::Error;
use crate::base::fact::known;
use crate::base::release_id::{HelmReleaseNames, ReleaseId};
use crate::observed::manager::Manager;
use crate::tools::Toolbox;

/// Flux's HelmReleases, as `plural.group`.
pub(crate) const HELM_RELEASES: &str = "helmreleases.helm.toolkit.fluxcd.io";

/// What Flux and k3s' Helm controller manage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// The FluxInstance, if there is one.
    pub instance: Option<Resource>,
    /// Flux's sources.
    pub sources: Vec<Resource>,
    /// Flux's Kustomizations.
    pub kustomizations: Vec<Resource>,
    /// Flux's HelmReleases.
    pub helm_releases: Vec<Claim>,
    /// The HelmReleases with their status.
    pub helm_resources: Vec<Resource>,
    /// The HelmCharts of k3s.
    pub helm_charts: Vec<HelmChart>,
    /// Whether Flux's controllers are installed.
    pub controllers: bool,
    /// The metadata of the same objects.
    pub inventory: Inventory,
}

/// An object that manages a Helm release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub manager: Manager,
    /// The Helm release.
    pub release: ReleaseId,
    /// Whether the object is suspended.
    pub suspended: bool,
}

impl Claims {
    /// Whether Flux was installed without the Flux Operator, by `flux bootstrap` or `flux install`.
    pub(crate) fn has_flux_alone(&self) -> bool {
        self.controllers && self.instance.is_none()
    }

    /// The HelmCharts that install a release.
    pub(crate) fn charts_of(&self, release: &ReleaseId) -> impl Iterator<Item = &HelmChart> {
        self.helm_charts.iter().filter(move |chart| chart.release == *release)
    }

    /// The object that manages a Helm release, if any.
    pub(crate) fn owner_of(&self, release: &ReleaseId) -> Option<Claim> {
        let helm_release = self.helm_releases.iter().find(|claim| claim.release == *release);
        helm_release.cloned().or_else(|| self.charts_of(release).next().map(helm_chart))
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
    /// Where the Helm controller of k3s keeps the records of the release.
    driver: Option<String>,
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
                    // A HelmRelease with a kubeconfig targets another cluster.
                    let is_local = spec.kube_config.is_none();
                    let (claim, rest) = helm_release(&metadata, spec);
                    claims.helm_releases.extend(Some(claim).filter(|_| is_local));
                    claims.helm_resources.push(Resource { api_version, kind, metadata, spec: rest, status });
                }
                "HelmChart" if k3s => {
                    let namespace = spec.target_namespace.filter(|name| !name.is_empty());
                    claims.helm_charts.push(HelmChart {
                        release: ReleaseId::new(
                            namespace.as_ref().unwrap_or(&metadata.namespace),
                            &metadata.name,
                        ),
                        in_config_maps: spec.driver.as_deref() == Some("configmap"),
                        state: Err("not read".to_owned()),
                        meta: metadata,
                    });
                }
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

fn helm_release(metadata: &Meta, spec: ItemSpec) -> (Claim, Spec) {
    let named = HelmReleaseNames {
        name: &metadata.name,
        namespace: &metadata.namespace,
        release_name: spec.release_name.as_deref(),
        target_namespace: spec.target_namespace.as_deref(),
        storage_namespace: spec.storage_namespace.as_deref(),
    };
    let claim = Claim {
        manager: Manager::HelmRelease { namespace: metadata.namespace.clone(), name: metadata.name.clone() },
        release: named.release(),
        suspended: spec.rest.suspend,
    };
    (claim, spec.rest)
}

fn helm_chart(HelmChart { meta, release, .. }: &HelmChart) -> Claim {
    let manager = Manager::HelmChart { namespace: meta.namespace.clone(), name: meta.name.clone() };
    Claim { manager, release: release.clone(), suspended: false }
}

impl Toolbox {
    /// Reads what Flux and k3s' Helm controller manage.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_claims(&self, kinds: &Kinds, cluster: &Cluster) -> Result<Claims, Error> {
        // Kinds that the cluster does not know are skipped.
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
        if claims.helm_charts.iter().any(|chart| !chart.is_bundled()) {
            let states = known(self.observe_chart_states(kinds).await)?;
            claims.helm_charts.iter_mut().for_each(|chart| chart.find_state(&states));
        }
        // `flux install` and the Flux Operator set this label on all parts of Flux.
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
    fn finds_owners_of_releases() {
        let claims: Claims = serde_json::from_str::<List<Item>>(LIST).unwrap().items.into_iter().collect();
        let owner = |release: &str| {
            claims.owner_of(&release.into()).map(|claim| (claim.manager.clone(), claim.suspended))
        };
        assert_eq!(owner("kube-system/cilium"), Some(("HelmRelease kube-system/cilium".into(), true)));
        assert_eq!(owner("x/media-a"), Some(("HelmRelease flux-system/a".into(), false)));
        assert_eq!(owner("flux-system/bee"), Some(("HelmRelease flux-system/b".into(), false)));
        assert_eq!(owner("kube-system/traefik"), Some(("HelmChart kube-system/traefik".into(), false)));
        assert_eq!((owner("flux-system/other"), owner("flux-system/b")), (None, None));
        assert_eq!((claims.sources.len(), claims.kustomizations.len()), (1, 1));
        assert_eq!(claims.helm_resources[0].object(), "HelmRelease kube-system/cilium");
        assert!(claims.helm_resources[0].spec.suspend);
        assert!(claims.instance.is_some());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(answer: Vec<u8>, odd in crate::base::mutate::json(LIST)) {
            let claims = |list: List<Item>| list.items.into_iter().collect::<Claims>();
            _ = serde_json::from_slice(&answer).map(claims);
            _ = serde_json::from_value(odd).map(claims);
        }
    }
}
