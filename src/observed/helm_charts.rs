//! HelmCharts, from which the Helm controller of k3s installs releases, and what k3s has besides them.
//!
//! The Helm controller (k3s-io/helm-controller v0.17.9 and v0.16.6, `pkg/controllers/chart/chart.go`):
//! * The release has the name of the HelmChart, and the namespace `targetNamespace`, else that of the HelmChart.
//! * Jobs `helm-install-NAME` and `helm-delete-NAME` run helm. The second is created as soon as a HelmChart with the
//!   finalizer is deleted, and uninstalls the release. With `failurePolicy: reinstall`, the default, the first uninstalls
//!   a failed release too.
//! * A HelmChart with the annotation [`UNMANAGED`] is ignored, also when it is deleted. Its finalizer then stays: nothing
//!   removes it (k3s-io/helm-controller#137).
//! * What it created has no owner references and stays: the Jobs, their account and the Secret with the values.
//!
//! The deploy controller (k3s-io/k3s, `pkg/deploy/controller.go`; rancher/wrangler v3.5.1, `pkg/apply`; docs.k3s.io, "Managing
//! Packaged Components"):
//! * Every server applies the files in its own `server/manifests`, all of them when it starts and later those that change.
//!   An Addon in kube-system records each, with its path. A merge keeps annotations that are not in the file.
//! * What was in a file is deleted if it is no longer in the file, or if the file is in `disable`. If the file itself is
//!   deleted, its objects and the Addon stay. Deleting an Addon deletes nothing else; the next apply creates it again.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::inventory::{Meta, Partial};
use super::kinds::Kinds;
use crate::base::error::Error;
use crate::base::fact::Fact;
use crate::base::release_id::ReleaseId;
use crate::tools::Toolbox;
use crate::tools::api::{Call, List, METADATA, segment};

/// The annotation with which the Helm controller ignores a HelmChart.
pub(crate) const UNMANAGED: &str = "helmcharts.helm.cattle.io/unmanaged";

/// The finalizer of the Helm controller.
pub(crate) const FINALIZER: &str = "wrangler.cattle.io/on-helm-chart-remove";

/// HelmCharts, as `plural.group`.
pub(super) const HELM_CHARTS: &str = "helmcharts.helm.cattle.io";

const HELM_CHART_CONFIGS: &str = "helmchartconfigs.helm.cattle.io";

const ADDONS: &str = "addons.k3s.cattle.io";

/// The label on the Jobs of the Helm controller.
pub(crate) const JOB_LABEL: &str = "helmcharts.helm.cattle.io/chart";

/// The annotations of the deploy controller on what it has applied.
const OWNER_GVK: &str = "objectset.rio.cattle.io/owner-gvk";
pub(crate) const OWNER_NAME: &str = "objectset.rio.cattle.io/owner-name";

/// The annotation of an Addon with the kinds in its file.
const ADDON_GVKS: &str = "addon.k3s.cattle.io/gvks";

/// The Addons of k3s itself that hold HelmCharts (k3s `manifests/`).
const BUNDLED: [&str; 2] = ["traefik", "gateway-api-crd"];

/// The prefix of the Addons of RKE2 itself.
const BUNDLED_RKE2: &str = "rke2-";

/// A HelmChart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HelmChart {
    pub meta: Meta,
    /// The release that it installs.
    pub release: ReleaseId,
    /// Whether helm keeps the records of the release in `ConfigMap`s.
    pub in_config_maps: bool,
    /// What k3s has besides it.
    pub state: Fact<ChartState>,
}

/// What k3s has besides a HelmChart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChartState {
    /// The file from which k3s applied it, unless k3s has forgotten it.
    pub addon: Option<Addon>,
    /// The Jobs of the Helm controller for it.
    pub jobs: Vec<HelmJob>,
    /// Whether there is a `HelmChartConfig` of its name.
    pub has_config: bool,
}

/// A file in `server/manifests`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addon {
    pub name: String,
    /// The path of the file.
    pub source: String,
    /// The kinds in the file.
    pub kinds: BTreeSet<String>,
}

/// A Job of the Helm controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HelmJob {
    pub namespace: String,
    pub name: String,
    pub has_ended: bool,
    pub is_suspended: bool,
}

impl HelmChart {
    /// The Addon that applied it, which may no longer exist.
    fn addon_name(&self) -> Option<&str> {
        let annotation = |name| self.meta.annotations.get(name).map(String::as_str);
        annotation(OWNER_NAME)
            .filter(|_| annotation(OWNER_GVK).is_some_and(|gvk| gvk.ends_with("Kind=Addon")))
    }

    /// Whether it is a part of k3s or RKE2 itself, which write its file again when they start.
    pub(crate) fn is_bundled(&self) -> bool {
        self.addon_name().is_some_and(|name| BUNDLED.contains(&name) || name.starts_with(BUNDLED_RKE2))
    }

    /// Its path in the API; there is only one version.
    pub(crate) fn path(&self) -> String {
        let Meta { namespace, name, .. } = &self.meta;
        format!("/apis/helm.cattle.io/v1/namespaces/{}/helmcharts/{}", segment(namespace), segment(name))
    }

    /// Whether the Helm controller ignores it.
    pub(crate) fn is_unmanaged(&self) -> bool {
        self.meta.annotations.contains_key(UNMANAGED)
    }

    /// Whether it is being deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// The Job of the Helm controller that runs or is about to run.
    pub(crate) fn active_job<'j>(&self, jobs: &'j [HelmJob]) -> Option<&'j HelmJob> {
        // Nothing resumes a suspended Job of an unmanaged HelmChart.
        jobs.iter().find(|job| self.owns(job) && !job.has_ended && !(job.is_suspended && self.is_unmanaged()))
    }

    fn owns(&self, job: &HelmJob) -> bool {
        let names = ["install", "delete"].map(|action| format!("helm-{action}-{}", self.meta.name));
        job.namespace == self.meta.namespace && names.contains(&job.name)
    }

    /// Picks its own state from what exists in the cluster.
    pub(super) fn find_state(&mut self, all: &Fact<AllStates>) {
        self.state = all.as_ref().map_err(Clone::clone).map(|all| {
            let addon = all.addons.iter().find(|addon| Some(addon.name.as_str()) == self.addon_name());
            ChartState {
                addon: addon.cloned(),
                jobs: all.jobs.iter().filter(|job| self.owns(job)).cloned().collect(),
                has_config: all
                    .configs
                    .iter()
                    .any(|one| (&one.namespace, &one.name) == (&self.meta.namespace, &self.meta.name)),
            }
        });
    }
}

/// The states of all HelmCharts.
#[derive(Debug)]
pub(super) struct AllStates {
    addons: Vec<Addon>,
    jobs: Vec<HelmJob>,
    configs: Vec<Meta>,
}

#[derive(Deserialize)]
struct AddonItem {
    metadata: Meta,
    #[serde(default)]
    spec: AddonSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddonSpec {
    source: String,
}

impl From<AddonItem> for Addon {
    fn from(AddonItem { metadata, spec }: AddonItem) -> Self {
        let kinds = metadata.annotations.get(ADDON_GVKS).map(String::as_str).unwrap_or_default();
        let kinds = kinds.split(';').filter_map(|kind| Some(kind.split_once("Kind=")?.1.to_owned()));
        Self { kinds: kinds.collect(), name: metadata.name, source: spec.source }
    }
}

#[derive(Deserialize)]
struct JobItem {
    metadata: Meta,
    #[serde(default)]
    spec: JobSpec,
    #[serde(default)]
    status: JobStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    suspend: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobStatus {
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl From<JobItem> for HelmJob {
    fn from(JobItem { metadata, spec, status }: JobItem) -> Self {
        let ends = |condition: &Condition| {
            ["Complete", "Failed"].contains(&condition.r#type.as_str()) && condition.status == "True"
        };
        Self {
            has_ended: status.conditions.iter().any(ends),
            is_suspended: spec.suspend == Some(true),
            namespace: metadata.namespace,
            name: metadata.name,
        }
    }
}

impl Toolbox {
    /// Reads what k3s has besides the HelmCharts.
    ///
    /// # Errors
    ///
    /// The API server does not answer or refuses.
    pub(super) async fn observe_chart_states(&self, kinds: &Kinds) -> Result<AllStates, Error> {
        let path = |name| kinds.named(name).map(|(_, resource)| resource.path(None));
        let addons = async {
            let Some(path) = path(ADDONS) else { return Ok(Vec::new()) };
            self.api_list::<AddonItem>(&path).await
        };
        let configs = async {
            let Some(path) = path(HELM_CHART_CONFIGS) else { return Ok(None) };
            self.api_read::<List<Partial>>(Call::get(&path).listed().accept(METADATA)).await
        };
        let (addons, jobs, configs) = tokio::join!(addons, self.observe_helm_jobs(), configs);
        let configs = configs?.map(|list| list.items).unwrap_or_default();
        Ok(AllStates {
            addons: addons?.into_iter().map(Addon::from).collect(),
            jobs: jobs?,
            configs: configs.into_iter().map(|item| item.metadata).collect(),
        })
    }

    /// Lists the Jobs of the Helm controller.
    ///
    /// # Errors
    ///
    /// As [`Self::observe_chart_states`].
    pub(crate) async fn observe_helm_jobs(&self) -> Result<Vec<HelmJob>, Error> {
        let path = format!("/apis/batch/v1/jobs?labelSelector={}", segment(JOB_LABEL));
        let jobs: Vec<JobItem> = self.api_list(&path).await?;
        Ok(jobs.into_iter().map(HelmJob::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on k3s v1.36.3: `kubectl get helmcharts,addons`.
    fn traefik() -> HelmChart {
        let meta = r#"{"name": "traefik-crd", "namespace": "kube-system", "uid": "4996",
            "finalizers": ["wrangler.cattle.io/on-helm-chart-remove"],
            "annotations": {"helmcharts.cattle.io/managed-by": "helm-controller",
                "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
                "objectset.rio.cattle.io/owner-name": "traefik"}}"#;
        HelmChart {
            meta: serde_json::from_str(meta).unwrap(),
            release: "kube-system/traefik-crd".into(),
            in_config_maps: false,
            state: Err("not read".to_owned()),
        }
    }

    const ADDON: &str = r#"{"metadata": {"name": "traefik", "namespace": "kube-system",
            "annotations": {"addon.k3s.cattle.io/gvks": "/v1, Kind=Secret;helm.cattle.io/v1, Kind=HelmChart"}},
            "spec": {"checksum": "9b", "source": "/var/lib/rancher/k3s/server/manifests/traefik.yaml"}}"#;

    const JOB: &str = r#"{"metadata": {"name": "j", "namespace": "n"}, "spec": {"suspend": true},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]}}"#;

    fn all() -> AllStates {
        let job = |name: &str, rest: &str| {
            let text = format!(r#"{{"metadata": {{"name": "{name}", "namespace": "kube-system"}}, {rest}}}"#);
            HelmJob::from(serde_json::from_str::<JobItem>(&text).unwrap())
        };
        AllStates {
            addons: vec![serde_json::from_str::<AddonItem>(ADDON).unwrap().into()],
            jobs: vec![
                job("helm-install-traefik", r#""spec": {"suspend": false}"#),
                job(
                    "helm-install-traefik-crd",
                    r#""status": {"conditions": [{"type": "Complete", "status": "True"}]}"#,
                ),
                job(
                    "helm-delete-traefik-crd",
                    r#""spec": {"suspend": true}, "status": {"conditions": [{"type": "Suspended", "status": "True"}]}"#,
                ),
            ],
            configs: vec![Meta {
                name: "traefik-crd".to_owned(),
                namespace: "kube-system".to_owned(),
                ..Meta::default()
            }],
        }
    }

    #[test]
    fn a_chart_finds_its_file_jobs_and_config() {
        let mut chart = traefik();
        chart.find_state(&Ok(all()));
        let state = chart.state.clone().unwrap();
        let addon = state.addon.unwrap();
        assert_eq!(addon.source, "/var/lib/rancher/k3s/server/manifests/traefik.yaml");
        assert_eq!(addon.kinds, ["HelmChart", "Secret"].map(str::to_owned).into());
        assert!(chart.is_bundled() && state.has_config && !chart.is_unmanaged() && !chart.is_deleted());
        let names: Vec<_> = state.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["helm-install-traefik-crd", "helm-delete-traefik-crd"]);

        // The annotation of another owner is no Addon.
        chart.meta.annotations.insert(OWNER_GVK.to_owned(), "helm.cattle.io/v1, Kind=HelmChart".to_owned());
        chart.find_state(&Ok(all()));
        assert_eq!(chart.state.clone().unwrap().addon, None);
        assert!(!chart.is_bundled());
        chart.find_state(&Err("forbidden".to_owned()));
        assert_eq!(chart.state, Err("forbidden".to_owned()));
    }

    #[test]
    fn a_suspended_job_runs_unless_the_chart_is_unmanaged() {
        let mut chart = traefik();
        let jobs = all().jobs;
        assert_eq!(chart.active_job(&jobs).map(|job| job.name.as_str()), Some("helm-delete-traefik-crd"));
        chart.meta.annotations.insert(UNMANAGED.to_owned(), String::new());
        assert_eq!(chart.active_job(&jobs), None);
        let running = HelmJob { is_suspended: false, ..jobs[2].clone() };
        assert_eq!(
            chart.active_job(&[running]).map(|job| job.name.as_str()),
            Some("helm-delete-traefik-crd")
        );
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(
            answer: Vec<u8>, addon in crate::base::mutate::json(ADDON), job in crate::base::mutate::json(JOB),
        ) {
            _ = serde_json::from_slice::<AddonItem>(&answer).map(Addon::from);
            _ = serde_json::from_value::<AddonItem>(addon).map(Addon::from);
            _ = serde_json::from_value::<JobItem>(job).map(HelmJob::from);
        }
    }
}
