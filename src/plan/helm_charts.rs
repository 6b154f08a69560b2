//! Whether k3s lets go of a release that a HelmChart installs (see [`crate::observed::helm_charts`]).

use std::fmt;

use crate::base::release_id::ReleaseId;
use crate::observed::helm_charts::{Addon, HelmChart};
use crate::observed::manager::Manager;
use crate::observed::{Live, Owned};

/// Why removing a HelmChart would uninstall its release, or have no lasting effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// It is not known whether it is safe.
    Unknown(String),
    /// It is being deleted, which uninstalls the release.
    Uninstalling,
    /// A Job of the Helm controller runs, or is about to.
    Job(String),
    /// It is a part of k3s or RKE2.
    Bundled,
    /// Something else creates the HelmChart.
    Owner(String),
    /// Helm keeps the records of the release where helmfile does not look for them.
    ConfigMaps,
    /// There is a file with it, which every server applies when it starts.
    File(Addon),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(reason) => {
                write!(formatter, "what the servers do with the HelmChart cannot be read: {reason}")
            }
            Self::Uninstalling => {
                formatter.write_str("the HelmChart is being deleted, which uninstalls the release")
            }
            Self::Job(job) => write!(formatter, "the Helm controller is at work: Job {job}"),
            Self::Bundled => formatter.write_str(
                "the HelmChart is a part of the distribution, which writes its file when it starts",
            ),
            Self::Owner(owner) => write!(formatter, "{owner} would create the HelmChart again"),
            Self::ConfigMaps => formatter
                .write_str("the HelmChart sets `driver: configmap`, so helm would not find the release"),
            Self::File(addon) => write!(
                formatter,
                "the servers apply the HelmChart again from the file `{}` when they start, and install over the release",
                addon.source
            ),
        }
    }
}

/// Why a HelmChart must not be removed; none if that leaves the release as it is.
pub(crate) fn obstacle(chart: &HelmChart) -> Option<Obstacle> {
    let state = match &chart.state {
        Ok(state) => state,
        // It was not read for those of k3s itself.
        Err(_) if chart.is_bundled() => return Some(Obstacle::Bundled),
        Err(reason) => return Some(Obstacle::Unknown(reason.clone())),
    };
    if chart.is_bundled() {
        return Some(Obstacle::Bundled);
    }
    // The Helm controller may have begun before the annotation.
    if let Some(job) = chart.active_job(&state.jobs) {
        return Some(Obstacle::Job(format!("{}/{}", job.namespace, job.name)));
    }
    if chart.is_deleted() && !chart.is_unmanaged() {
        return Some(Obstacle::Uninstalling);
    }
    if let Some(owner) = Manager::owner(&chart.meta) {
        return Some(Obstacle::Owner(owner));
    }
    if chart.in_config_maps {
        return Some(Obstacle::ConfigMaps);
    }
    state.addon.clone().map(Obstacle::File)
}

/// The HelmCharts of a release, if they must not be removed.
pub(crate) fn obstacle_of(release: &ReleaseId, live: &Live) -> Option<Obstacle> {
    live.claims.as_ref().ok()?.charts_of(release).find_map(obstacle)
}

/// Whether an object belongs to another release that a HelmChart installs. k3s would delete the object with that release, so
/// that it cannot be adopted.
pub(crate) fn is_of_other_chart(object: &Owned, live: &Live) -> bool {
    let Some(other) = object.meta.release().filter(|other| *other != object.release) else { return false };
    live.claims.as_ref().is_ok_and(|claims| claims.charts_of(&other).next().is_some())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::observed::helm_charts::{ChartState, FINALIZER, HelmJob, UNMANAGED};
    use crate::observed::inventory::Meta;

    /// A HelmChart that installs the release `kube-system/cilium`, from a file that k3s has forgotten.
    pub(crate) fn chart() -> HelmChart {
        let annotations = [("owner-gvk", "k3s.cattle.io/v1, Kind=Addon"), ("owner-name", "cilium")];
        let annotations =
            annotations.map(|(key, value)| (format!("objectset.rio.cattle.io/{key}"), value.to_owned()));
        let meta = Meta {
            name: "cilium".to_owned(),
            namespace: "kube-system".to_owned(),
            annotations: annotations.into(),
            finalizers: vec![FINALIZER.to_owned()],
            ..Meta::default()
        };
        HelmChart {
            meta,
            release: "kube-system/cilium".into(),
            in_config_maps: false,
            state: Ok(ChartState::default()),
        }
    }

    /// The file of that HelmChart.
    pub(crate) fn addon() -> Addon {
        let source = "/var/lib/rancher/k3s/server/manifests/cilium.yaml".to_owned();
        let kinds = ["HelmChart", "HelmChartConfig"].map(str::to_owned).into();
        Addon { name: "cilium".to_owned(), source, kinds }
    }

    pub(crate) fn unmanaged() -> HelmChart {
        let mut chart = chart();
        chart.meta.annotations.insert(UNMANAGED.to_owned(), "true".to_owned());
        chart
    }

    fn job(name: &str) -> HelmJob {
        HelmJob { namespace: "kube-system".to_owned(), name: name.to_owned(), ..HelmJob::default() }
    }

    fn with_state(chart: HelmChart, change: impl FnOnce(&mut ChartState)) -> HelmChart {
        let mut state = ChartState::default();
        change(&mut state);
        HelmChart { state: Ok(state), ..chart }
    }

    fn deleted(mut chart: HelmChart) -> HelmChart {
        chart.meta.deletion_timestamp = Some("2026-11-28T08:00:00Z".to_owned());
        chart
    }

    #[test]
    fn a_chart_without_a_file_can_be_removed() {
        assert_eq!(obstacle(&chart()), None);
        assert_eq!(obstacle(&unmanaged()), None);
        let ended = |state: &mut ChartState| {
            state.jobs = vec![HelmJob { has_ended: true, ..job("helm-install-cilium") }];
        };
        assert_eq!(obstacle(&with_state(chart(), ended)), None);
        // k3s has deleted it after the annotation: nothing uninstalls it, and its finalizer stays.
        assert_eq!(obstacle(&deleted(unmanaged())), None);
    }

    #[test]
    fn a_chart_that_k3s_would_uninstall_or_apply_again_stays() {
        let mut bundled = chart();
        bundled
            .meta
            .annotations
            .insert("objectset.rio.cattle.io/owner-name".to_owned(), "traefik".to_owned());
        let unread = |chart: HelmChart| HelmChart { state: Err("forbidden".to_owned()), ..chart };
        let mut of_flux = chart();
        for (key, value) in [("name", "apps"), ("namespace", "flux-system")] {
            of_flux.meta.labels.insert(format!("kustomize.toolkit.fluxcd.io/{key}"), value.to_owned());
        }
        let suspended = HelmJob { is_suspended: true, ..job("helm-install-cilium") };
        let cases = [
            (deleted(chart()), "the HelmChart is being deleted, which uninstalls the release"),
            (
                with_state(deleted(chart()), |state| state.jobs = vec![job("helm-delete-cilium")]),
                "the Helm controller is at work: Job kube-system/helm-delete-cilium",
            ),
            (
                with_state(deleted(unmanaged()), |state| state.jobs = vec![job("helm-delete-cilium")]),
                "the Helm controller is at work: Job kube-system/helm-delete-cilium",
            ),
            (
                with_state(chart(), |state| state.jobs = vec![suspended]),
                "the Helm controller is at work: Job kube-system/helm-install-cilium",
            ),
            (
                bundled.clone(),
                "the HelmChart is a part of the distribution, which writes its file when it starts",
            ),
            (
                unread(bundled),
                "the HelmChart is a part of the distribution, which writes its file when it starts",
            ),
            (unread(chart()), "what the servers do with the HelmChart cannot be read: forbidden"),
            (of_flux, "Kustomization flux-system/apps would create the HelmChart again"),
            (
                HelmChart { in_config_maps: true, ..chart() },
                "the HelmChart sets `driver: configmap`, so helm would not find the release",
            ),
            (
                with_state(unmanaged(), |state| state.addon = Some(addon())),
                "the servers apply the HelmChart again from the file \
                 `/var/lib/rancher/k3s/server/manifests/cilium.yaml` when they start, and install over the release",
            ),
        ];
        for (chart, reason) in cases {
            assert_eq!(obstacle(&chart).map(|obstacle| obstacle.to_string()).as_deref(), Some(reason));
        }
    }
}
