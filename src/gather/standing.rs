//! Reads the state of the cluster alone, independent of the desired state: for `k3s-boot status` and `recover`.

use super::cluster;
use crate::base::distribution::Distribution;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::finding::Findings;
use crate::base::release_id::ReleaseId;
use crate::desired::{repository, state_file};
use crate::observed::Live;
use crate::observed::cluster::{Cluster, Lease};
use crate::observed::events::Event;
use crate::observed::helm::Stored;
use crate::observed::kinds::Kinds;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// The state of the cluster and its recent warnings.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The state of the cluster.
    pub live: Live,
    /// The warnings of the cluster; only read when a workload is not ready.
    pub warnings: Fact<Vec<Event>>,
}

/// The releases that the helmfiles name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// In their order.
    pub releases: Vec<ReleaseId>,
    /// Why there may be more releases.
    pub unknown: Option<String>,
}

impl Named {
    /// Reads the text of the helmfiles without helmfile; `namespace` is that of the kubeconfig's context.
    pub(crate) fn read(settings: &Settings, namespace: &str) -> Self {
        let Ok(found) = repository::helmfiles(&settings.root, &settings.helmfiles) else {
            let folder = settings.root.join("bootstrap");
            let unknown = Some(format!("no helmfiles in `{}`", folder.display()));
            return Self { releases: Vec::new(), unknown };
        };
        let mut named = Self::default();
        for (kind, path) in found {
            // Hooks are allowed: only helmfile would run them, and it does not run here.
            let (state, _) = state_file::read(kind, &path, true, namespace);
            if state.only_rendered {
                continue;
            }
            named
                .releases
                .extend(state.releases.iter().map(|(namespace, name)| ReleaseId::new(namespace, name)));
            if state.partial {
                let reason = format!("some releases of `{}` are only known to helmfile", path.display());
                named.unknown = named.unknown.or(Some(reason));
            }
        }
        named
    }
}

/// Reads the state of the cluster.
///
/// # Errors
///
/// The cluster does not answer, or k3s-boot was interrupted.
pub(crate) async fn standing(tools: &Toolbox, named: &Named) -> Result<Snapshot, Error> {
    let ClusterState { version, cluster, kinds, releases } = look(tools, None).await?;
    let (claims, records, warnings) = tokio::join!(
        cluster::claims(tools, &kinds, &cluster),
        cluster::records_of(tools, &releases, |id| named.releases.iter().any(|name| name == id)),
        warnings(tools, &cluster),
    );
    let (claims, records, warnings) = (claims?, records?, warnings?);
    let live = Live { version, cluster, kinds, claims, releases, records, ..Live::default() };
    Ok(Snapshot { live, warnings })
}

/// Reads what decides whether releases stuck in `pending-*` can be recovered.
///
/// # Errors
///
/// The cluster does not answer, or k3s-boot was interrupted.
pub(crate) async fn locks(tools: &Toolbox) -> Result<Live, Error> {
    let leases = tools.observe_leases().await;
    let ClusterState { version, cluster, kinds, releases } = look(tools, Some(leases)).await?;
    let claims = cluster::claims(tools, &kinds, &cluster).await?;
    let (notes, runs) = cluster::noted(&cluster, &releases);
    Ok(Live { version, cluster, kinds, claims, releases, notes, runs, ..Live::default() })
}

/// What is read from every cluster.
struct ClusterState {
    version: String,
    cluster: Cluster,
    kinds: Fact<Kinds>,
    releases: Fact<Vec<Stored>>,
}

/// Reads the cluster; `leases` become part of its state if they were read.
async fn look(tools: &Toolbox, leases: Option<Result<Vec<Lease>, Error>>) -> Result<ClusterState, Error> {
    let mut problems = Findings::default();
    // Before the API server is ready, it may not list all kinds.
    if let Err(error) = tools.await_ready().await {
        cluster::answer(tools, Distribution::default(), Err(error), Ok(Cluster::default()), &mut problems)?;
        return Err(Error::Preflight(problems.0));
    }
    let (version, answer, kinds, releases) = tokio::join!(
        tools.server_version(),
        tools.observe_cluster(),
        tools.observe_kinds(),
        tools.observe_releases(),
    );
    let answer = match (leases.transpose(), answer) {
        (Ok(leases), Ok(cluster)) => Ok(Cluster { leases: leases.unwrap_or_default(), ..cluster }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    let Some((version, cluster)) =
        cluster::answer(tools, Distribution::default(), version, answer, &mut problems)?
    else {
        return Err(Error::Preflight(problems.0));
    };
    Ok(ClusterState { version, cluster, kinds: known(kinds)?, releases: known(releases)? })
}

async fn warnings(tools: &Toolbox, cluster: &Cluster) -> Result<Fact<Vec<Event>>, Error> {
    if cluster.workloads.iter().all(|workload| workload.have >= workload.want) {
        return Ok(Ok(Vec::new()));
    }
    known(tools.observe_warnings().await)
}
