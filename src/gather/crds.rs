//! Renders the charts of a helmfile that is only rendered, and keeps their custom resource definitions.
//!
//! Rendering a chart takes a tenth of a second or more, so the definitions are cached: chart, values, helm and Kubernetes version
//! decide what they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::builds::Place;
use super::renders::has_stand_in;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::files;
use crate::base::finding::Finding;
use crate::desired::Helmfile;
use crate::desired::chart::Chart;
use crate::desired::crds::{Crd, Crds, parse, unsupported};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::crds::LiveCrd;
use crate::tools::Toolbox;

/// How many charts are rendered at the same time.
const MAX_CONCURRENT: usize = 4;

/// The version of the cache's format.
const FORMAT: &str = "1";

/// Renders the charts. Releases whose charts are missing, or whose values need a variable that is not set, are skipped: other
/// rules report those.
pub(super) async fn render(
    place: &Place<'_>,
    helmfile: &Helmfile,
    kube_version: Option<&str>,
    helm_version: &str,
) -> Result<Crds, Error> {
    let charts = place.charts_of(std::slice::from_ref(helmfile));
    let permits = Semaphore::new(MAX_CONCURRENT);
    let wanted = helmfile.releases.iter().filter(|release| release.is_wanted());
    let wanted = wanted.filter_map(|release| Some((release, charts.get(&release.id())?)));
    let wanted: Vec<_> = wanted.filter(|(release, _)| !has_stand_in(release)).collect();
    let rendered = join_all(wanted.iter().map(async |(release, chart)| {
        // The semaphore is never closed.
        let _permit = permits.acquire().await;
        definitions(place, release, chart, kube_version, helm_version).await
    }));
    let mut crds = Crds::default();
    for ((release, _), rendered) in wanted.iter().zip(rendered.await) {
        crds.add(release, rendered?);
    }
    Ok(crds)
}

/// The desired custom resource definitions that exist.
pub(super) async fn observe(
    tools: &Toolbox,
    desired: &Crds,
    live: &Live,
) -> Result<Fact<BTreeMap<String, LiveCrd>>, Error> {
    if desired.all.is_empty() {
        return Ok(Ok(BTreeMap::new()));
    }
    match &live.kinds {
        Ok(kinds) => known(tools.observe_crds(&desired.all, kinds, live.inventory()).await),
        Err(reason) => Ok(Err(reason.clone())),
    }
}

/// The finding for a helmfile of the apps that is only rendered.
pub(super) fn only_for_crds(file: &Path) -> Finding {
    Finding::error("helmfile", "Helmfile works with `helmfile template` only")
        .with("file", file.display())
        .with("reason", "`helmDefaults.args` has arguments that `helm upgrade` does not support")
        .fix("remove `args`, or move the releases whose CRDs are needed to a CRD helmfile (`helmfiles.crds`)")
}

async fn definitions(
    place: &Place<'_>,
    release: &Release,
    chart: &Chart,
    kube_version: Option<&str>,
    helm_version: &str,
) -> Result<Result<Vec<Crd>, String>, Error> {
    if let Some(reason) = unsupported(release) {
        return Ok(Err(reason));
    }
    let values = release.merged().to_string();
    let cached =
        cache_file(place, release, chart, &[&values, kube_version.unwrap_or_default(), helm_version]);
    if let Some(known) = cached.as_deref().and_then(load) {
        return Ok(Ok(known));
    }
    let id = release.id();
    let template = place.context.tools.helm_template(&id, &chart.folder, values, kube_version);
    let found = match template.await? {
        Ok(text) => parse(&text),
        Err(reason) => Err(reason),
    };
    if let (Ok(found), Some(file)) = (&found, &cached) {
        // Without the cache, the next run renders again.
        _ = serde_json::to_vec(found).map(|content| files::write_whole(file, &content));
    }
    Ok(found)
}

/// The file with the definitions of a release; none if nothing may be stored because values are secret, or if the chart is not
/// known exactly.
fn cache_file(place: &Place<'_>, release: &Release, chart: &Chart, parts: &[&str]) -> Option<PathBuf> {
    let folder = place.context.settings.cache.as_ref().filter(|_| !release.has_secret_values)?;
    let digest = chart.digest.as_deref()?;
    let mut hash = Sha256::new();
    let id = release.id().to_string();
    for part in [FORMAT, digest, &id].iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    Some(folder.join("crds").join(format!("{:x}.json", hash.finalize())))
}

fn load(file: &Path) -> Option<Vec<Crd>> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keeps_definitions_and_ignores_broken_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crds/a.json");
        assert!(load(&file).is_none());
        let crds = parse(
            "kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: {name: a}\n",
        );
        let crds = crds.unwrap();
        files::write_whole(&file, &serde_json::to_vec(&crds).unwrap()).unwrap();
        assert_eq!(load(&file).unwrap(), crds);
        std::fs::write(&file, "[{").unwrap();
        assert!(load(&file).is_none());
    }
}
