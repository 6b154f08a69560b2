//! Takes releases over from HelmCharts, without letting the Helm controller of k3s uninstall them (see
//! [`crate::observed::helm_charts`]).
//!
//! The annotation comes first: the Helm controller sees the changes of an object in their order, so that it ignores the
//! deletion. Then the finalizer, and last the HelmChart, on the condition that it is still the object that was written. A
//! run that ends in between leaves a state from which the next one continues.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::base::error::Error;
use crate::base::logger::{self, Level};
use crate::base::waiting::Waiting;
use crate::observed::helm_charts::{FINALIZER, HelmChart, UNMANAGED};
use crate::observed::inventory::{Meta, Partial};
use crate::tools::Toolbox;
use crate::tools::api::{Call, METADATA_OF_ONE};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often the HelmChart is read again because it was changed in between.
const MAX_CONFLICTS: u32 = 5;

/// Removes HelmCharts, and leaves their releases as they are.
///
/// # Errors
///
/// The API server does not answer or refuses, the Helm controller does not end its work, or k3s-boot was interrupted.
pub(crate) async fn run<'a>(
    tools: &Toolbox,
    charts: impl Iterator<Item = &'a HelmChart>,
    stage: &'static str,
    timeout: Duration,
) -> Result<(), Error> {
    for chart in charts {
        let path = chart.path();
        let Some(chart) = release_from_controller(tools, &path, chart).await? else { continue };
        wait_for_jobs(tools, &chart, stage, timeout).await?;
        remove(tools, &path, chart.meta.clone()).await?;
        let name = format!("{}/{}", chart.meta.namespace, chart.meta.name);
        let config = chart.state.is_ok_and(|state| state.has_config);
        let config = config.then(|| ("unused", format!("HelmChartConfig {name}")));
        let mut pairs = vec![("release", chart.release.to_string()), ("helm_chart", name)];
        pairs.extend(config);
        logger::log(Level::Info, "HelmChart removed, release kept", &pairs);
    }
    Ok(())
}

/// Sets the annotation with which the Helm controller ignores the HelmChart. Returns the HelmChart as it is then; none if it
/// no longer exists.
async fn release_from_controller(
    tools: &Toolbox,
    path: &str,
    chart: &HelmChart,
) -> Result<Option<HelmChart>, Error> {
    let change = json!({"metadata": {"uid": chart.meta.uid, "annotations": {UNMANAGED: "true"}}});
    let answer = tools.ask(Call::merge(path, &change).accept(METADATA_OF_ONE)).await?;
    if answer.status() == 404 {
        return Ok(None);
    }
    let Partial { metadata } = answer.read()?;
    let annotated = HelmChart { meta: metadata, ..chart.clone() };
    if annotated.is_deleted() && !chart.is_deleted() {
        let reason = "somebody deletes the HelmChart, which may uninstall the release".to_owned();
        return Err(Error::Api { request: format!("PATCH {path}"), status: None, reason });
    }
    Ok(Some(annotated))
}

/// Waits until no Job of the Helm controller runs that it started before it ignored the HelmChart.
async fn wait_for_jobs(
    tools: &Toolbox,
    chart: &HelmChart,
    stage: &'static str,
    timeout: Duration,
) -> Result<(), Error> {
    let after = tools.clock.cap(timeout);
    let start = Instant::now();
    let mut waiting = Waiting::new("Waiting for the Helm controller").within(after);
    while let Some(job) = chart.active_job(&tools.observe_helm_jobs().await?) {
        let waiting_for = format!("Job {}/{}", job.namespace, job.name);
        waiting.say(&[("waiting_for", waiting_for.clone())]);
        if start.elapsed() >= after {
            return Err(Error::Deadline { stage, after, waiting_for });
        }
        tools.runner.stop().sleep(POLL_INTERVAL.min(after.saturating_sub(start.elapsed()))).await?;
    }
    Ok(())
}

/// Removes the finalizer and the HelmChart, as long as the Helm controller ignores it.
async fn remove(tools: &Toolbox, path: &str, meta: Meta) -> Result<(), Error> {
    let failed = |reason: String| Error::Api { request: format!("DELETE {path}"), status: None, reason };
    let mut meta = meta;
    for _ in 0..MAX_CONFLICTS {
        if !meta.annotations.contains_key(UNMANAGED) {
            return Err(failed(format!("somebody has removed the annotation `{UNMANAGED}`")));
        }
        let others: Vec<_> = meta.finalizers.iter().filter(|name| *name != FINALIZER).collect();
        let change = json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": others}});
        let answer = tools.ask(Call::merge(path, &change).accept(METADATA_OF_ONE)).await?;
        if answer.status() == 404 {
            return Ok(());
        }
        if answer.status() != 409 {
            let Partial { metadata } = answer.read()?;
            let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
                "preconditions": {"uid": metadata.uid, "resourceVersion": metadata.resource_version}});
            let answer = tools.ask(Call::delete(path, &options)).await?;
            if !matches!(answer.status(), 404 | 409) {
                answer.good()?;
            }
        }
        match tools.api_read::<Partial>(Call::get(path).accept(METADATA_OF_ONE)).await? {
            None => return Ok(()),
            Some(Partial { metadata }) if metadata.uid != meta.uid => {
                return Err(failed("somebody has created the HelmChart again".to_owned()));
            }
            Some(Partial { metadata }) => meta = metadata,
        }
    }
    Err(failed(format!("the HelmChart still exists, with the finalizers {:?}", meta.finalizers)))
}
