//! Stage *nodes*: as many as expected have registered. They need not be Ready: without a CNI no node is.

use std::time::{Duration, Instant};

use crate::base::error::Error;
use crate::base::waiting::Waiting;
use crate::observed::cluster::Cluster;
use crate::tools::Toolbox;

const PAUSE: Duration = Duration::from_secs(1);

/// Waits until `expected` nodes have registered; so many were `registered` when the cluster was looked at. Gives how
/// it stands after the wait, if there was one, and how long that took.
///
/// # Errors
///
/// The deadline passed, kubectl failed, or k3s-boot was told to stop.
pub async fn wait(
    tools: &Toolbox,
    mut registered: usize,
    expected: usize,
    deadline: Duration,
) -> Result<(Option<Cluster>, Duration), Error> {
    let after = tools.clock.cap(deadline);
    let start = Instant::now();
    let mut waiting = Waiting::new("Waiting for nodes").within(after);
    let mut cluster = None;
    let passed = || start.elapsed() >= after;
    let late = |waiting_for| Error::Deadline { stage: "nodes", after, waiting_for };
    while registered < expected {
        let waiting_for = format!("{registered} of {expected} nodes registered");
        waiting.say(&[("waiting_for", waiting_for.clone())]);
        let left = after.saturating_sub(start.elapsed());
        tools.runner.stop().sleep(PAUSE.min(left)).await?;
        if passed() {
            return Err(late(waiting_for));
        }
        let seen = match tools.observe_cluster().await {
            // Not kubectl is late, but the nodes are.
            Err(error) if error.is_late() && passed() => return Err(late(waiting_for)),
            seen => seen?,
        };
        registered = seen.nodes.len();
        cluster = Some(seen);
    }
    Ok((cluster, start.elapsed()))
}

/// Says what nodes there are.
pub fn say(cluster: &Cluster) {
    let waiting_for = cluster.waiting_for();
    let (nodes, ready) = (cluster.nodes.len(), cluster.ready_nodes());
    if waiting_for.is_empty() {
        tracing::info!(nodes = %nodes, ready = %ready, "Nodes registered");
    } else {
        tracing::info!(nodes = %nodes, ready = %ready, waiting_for, "Nodes registered");
    }
}
