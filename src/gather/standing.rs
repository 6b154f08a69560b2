//! What `k3s-boot status` and `recover` look at: the cluster alone, whatever is wanted.

use super::cluster;
use crate::base::error::Error;
use crate::base::fact::{Known, known};
use crate::base::finding::Findings;
use crate::desired::{repository, state_file};
use crate::observed::Live;
use crate::observed::cluster::{Cluster, Lease};
use crate::observed::events::Event;
use crate::observed::helm::Stored;
use crate::observed::kinds::Kinds;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// What stands, and what the cluster has warned of.
#[derive(Debug)]
pub struct Snapshot {
    /// The cluster.
    pub live: Live,
    /// Its warnings; not asked for as long as all workloads have what they want.
    pub warnings: Known<Vec<Event>>,
}

/// The releases that the helmfiles name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Each as `namespace/name`, in their order.
    pub releases: Vec<String>,
    /// Why there may be more.
    pub unknown: Option<String>,
}

impl Named {
    /// Reads the helmfiles without helmfile; `namespace` is that of the kubeconfig's context.
    #[must_use]
    pub fn read(settings: &Settings, namespace: &str) -> Self {
        let Ok(found) = repository::helmfiles(&settings.root, &settings.helmfiles) else {
            let folder = settings.root.join("bootstrap");
            let unknown = Some(format!("no helmfiles in `{}`", folder.display()));
            return Self { releases: Vec::new(), unknown };
        };
        let mut named = Self::default();
        for (kind, path) in found {
            // Hooks are run by helmfile, which is not.
            let (state, _) = state_file::read(kind, &path, true, namespace);
            named
                .releases
                .extend(state.releases.iter().map(|(namespace, name)| format!("{namespace}/{name}")));
            if state.partial {
                let reason = format!("`{}` does not tell all its releases in plain words", path.display());
                named.unknown = named.unknown.or(Some(reason));
            }
        }
        named
    }
}

/// Asks the cluster. Changes nothing.
///
/// # Errors
///
/// The cluster does not answer, or k3s-boot was told to stop.
pub async fn standing(tools: &Toolbox, named: &Named) -> Result<Snapshot, Error> {
    let Seen { version, cluster, kinds, releases } = look(tools, None).await?;
    let (claims, records, warnings) = tokio::join!(
        cluster::claims(tools, &kinds, &cluster),
        cluster::records_of(tools, &releases, |id| named.releases.iter().any(|name| name == id)),
        warnings(tools, &cluster),
    );
    let (claims, records, warnings) = (claims?, records?, warnings?);
    let live = Live { version, cluster, kinds, claims, releases, records, ..Live::default() };
    Ok(Snapshot { live, warnings })
}

/// What tells of locked releases whether they can be unlocked.
///
/// # Errors
///
/// The cluster does not answer, or k3s-boot was told to stop.
pub async fn locks(tools: &Toolbox) -> Result<Live, Error> {
    let leases = tools.observe_leases().await;
    let Seen { version, cluster, kinds, releases } = look(tools, Some(leases)).await?;
    let claims = cluster::claims(tools, &kinds, &cluster).await?;
    let (notes, runs) = cluster::noted(&cluster, &releases);
    Ok(Live { version, cluster, kinds, claims, releases, notes, runs, ..Live::default() })
}

/// What is asked of every cluster.
struct Seen {
    version: String,
    cluster: Cluster,
    kinds: Known<Kinds>,
    releases: Known<Vec<Stored>>,
}

/// Asks the cluster; `leases` are part of it where somebody asked for them.
async fn look(tools: &Toolbox, leases: Option<Result<Vec<Lease>, Error>>) -> Result<Seen, Error> {
    let mut problems = Findings::default();
    // Before it is ready, it may not list all kinds.
    if let Err(error) = tools.await_ready().await {
        cluster::answer(tools, Err(error), Ok(Cluster::default()), &mut problems)?;
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
    let Some((version, cluster)) = cluster::answer(tools, version, answer, &mut problems)? else {
        return Err(Error::Preflight(problems.0));
    };
    Ok(Seen { version, cluster, kinds: known(kinds)?, releases: known(releases)? })
}

async fn warnings(tools: &Toolbox, cluster: &Cluster) -> Result<Known<Vec<Event>>, Error> {
    if cluster.workloads.iter().all(|workload| workload.have >= workload.want) {
        return Ok(Ok(Vec::new()));
    }
    known(tools.observe_warnings().await)
}
