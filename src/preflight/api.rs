//! Whether the API server answers, and whether nodes are there.

use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::cannot_read;
use crate::check::{Finding, Findings, versions};
use crate::error::Error;
use crate::observed::cluster::Cluster;
use crate::process::ProcessError;
use crate::run::nodes;
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::tools::kubectl::{Unanswered, UnansweredKind};

/// Asks the API server who it is, and waits for nodes unless that is known to be `hopeless`.
pub(super) async fn ask(
    tools: &Toolbox,
    settings: &Settings,
    hopeless: &Notify,
) -> Result<Result<(Cluster, Duration), Vec<Finding>>, Error> {
    let (versions, cluster) = tokio::join!(tools.kubectl_version(), tools.observe_cluster());
    let versions = versions?;
    let mut problems = Findings::default();
    problems.keep(versions::check("kubectl", versions.client.as_ref()));
    let version = problems.keep(versions.server.map_err(|unanswered| no_answer(tools, &unanswered)));
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(error @ (Error::Interrupted(_) | Error::Process(ProcessError::Interrupted { .. }))) => {
            return Err(error);
        }
        Err(error) => {
            if version.is_some() {
                let unanswered = Unanswered::from_words(&error.to_string());
                problems.0.push(match unanswered.kind {
                    UnansweredKind::Other => cannot_read(&error),
                    _ => no_answer(tools, &unanswered),
                });
            }
            Cluster::default()
        }
    };
    let Some(version) = version.filter(|_| !problems.stop()) else {
        return Ok(Err(problems.0));
    };
    tracing::info!(
        context = %tools.target.context,
        server = %tools.target.server,
        version = %version,
        nodes = %cluster.nodes.len(),
        uid = %cluster.uid,
        "Target cluster"
    );
    let start = Instant::now();
    let cluster = tokio::select! {
        nodes = nodes::wait(tools, cluster, settings.nodes) => nodes?,
        // The run ends with the problem that made it so; nobody asks for the nodes then.
        () = hopeless.notified() => Cluster::default(),
    };
    Ok(Ok((cluster, start.elapsed())))
}

fn no_answer(tools: &Toolbox, unanswered: &Unanswered) -> Finding {
    let (message, fix) = match unanswered.kind {
        UnansweredKind::Unreachable => (
            "Cluster unreachable",
            "see that the server runs, and that the kubeconfig has its address and not 127.0.0.1",
        ),
        UnansweredKind::Unauthorized => (
            "Cluster does not accept the credentials",
            "copy the kubeconfig from the server again: it may be that of an earlier installation",
        ),
        UnansweredKind::Forbidden => (
            "Cluster does not allow this",
            "use the kubeconfig of /etc/rancher/k3s/k3s.yaml, which is an administrator's",
        ),
        UnansweredKind::Untrusted => (
            "Cluster's certificate is not trusted",
            "copy the kubeconfig from the server again; if it was reached by another name, add that with --tls-san",
        ),
        UnansweredKind::Credentials => (
            "Program that gives the credentials failed",
            "see `users[].user.exec` in the kubeconfig, and run that program by hand",
        ),
        UnansweredKind::Other => ("Cluster does not answer as it should", "see the server's log"),
    };
    Finding::error("api", message)
        .with("server", &tools.target.server)
        .with("context", &tools.target.context)
        .with("reason", &unanswered.reason)
        .fix(fix)
}
