//! Stage *preflight*, and *nodes* concurrently: reads everything, changes nothing.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::finding::{Finding, Severity};
use crate::base::logger::{self, Level};
use crate::base::stages::Stage;
use crate::check::rules::is_settled;
use crate::check::{self, Facts, Rule, cluster_identity};
use crate::commands::ask::confirm;
use crate::commands::judge::{RightCluster, is_about_nodes, is_due, judge, weighed};
use crate::desired::chart::Chart;
use crate::desired::manifests::Manifests;
use crate::gather::{self, Context, Files, Gathered, Listener, Purpose};
use crate::observed::cluster::Cluster;
use crate::plan::{Plan, plan};
use crate::run::nodes;
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::tools::kubeconfig::Target;

/// The result of a preflight that passed.
pub(super) struct Ready {
    pub(super) picture: Gathered,
    pub(super) plan: Plan,
    /// When it started: all observations are younger.
    pub(super) began: Instant,
    /// How long it waited for nodes.
    pub(super) waited: Duration,
}

/// Reads everything, waits for nodes meanwhile, runs the checks and makes the plan. The second time (`again`), nothing that
/// was logged is logged again.
pub(super) async fn preflight(context: Context<'_>, files: Files, again: bool) -> Result<Ready, Error> {
    let Context { settings, tools, .. } = context;
    let start = Instant::now();
    let expected = if settings.plan_options.stages.has(Stage::Nodes) { 0 } else { settings.nodes };
    let (sender, registered) = oneshot::channel();
    let mut listener = PreflightListener {
        target: &tools.target,
        expected,
        again,
        nodes: Some(sender),
        problems: Vec::new(),
    };
    let mut waiting = Box::pin(async {
        match registered.await {
            Ok(registered) => nodes::wait(tools, registered, expected, settings.nodes_timeout).await,
            // A check reports that the cluster does not respond.
            Err(_) => std::future::pending().await,
        }
    });
    let mut gathering = Box::pin(gather::gather(context, files, Purpose::Plan, &mut listener));
    let mut waited = None;
    let mut picture = loop {
        tokio::select! {
            picture = &mut gathering => break picture?,
            nodes = &mut waiting, if waited.is_none() => waited = Some(nodes),
        }
    };
    drop(gathering);
    let logged = listener.problems;
    let registered = picture.observed.live.as_ref().map_or(0, |live| live.cluster.nodes.len());
    let judged =
        judge(settings, &picture.facts(), |rule| is_due(rule, registered >= expected), again, &logged)?;
    // Waiting for nodes makes sense only without other problems.
    let (cluster, took) = match waited {
        Some(nodes) => nodes?,
        None => waiting.await?,
    };
    if let (Some(cluster), Some(live)) = (cluster, &mut picture.observed.live) {
        let leases = std::mem::take(&mut live.cluster.leases);
        live.cluster = Cluster { leases, ..cluster };
        judge(settings, &picture.facts(), is_about_nodes, again, &logged)?;
    }
    guard(settings, tools, &picture).await?;
    let live = picture.observed.live.as_ref();
    let plan = plan(&picture.desired, live, &settings.plan_options, picture.observed.now)
        .map_err(Error::Preflight)?;
    tracing::info!(
        checks = %judged.checks,
        warnings = %judged.warnings,
        took = %seconds(start.elapsed()),
        "Preflight passed"
    );
    // What only the checks need takes the most memory, and a run may take long.
    picture.manifests = Manifests::default();
    picture.desired.charts.values_mut().for_each(Chart::forget_texts);
    Ok(Ready { picture, plan, began: start, waited: took })
}

/// Logs early results while the rest is still being read: the cluster, and problems that stop the run in any case.
struct PreflightListener<'a> {
    target: &'a Target,
    /// The expected number of nodes.
    expected: usize,
    again: bool,
    /// Receives the number of registered nodes.
    nodes: Option<oneshot::Sender<usize>>,
    /// The problems that were logged.
    problems: Vec<Finding>,
}

impl Listener for PreflightListener<'_> {
    fn cluster(&mut self, version: &str, cluster: &Cluster) {
        if !self.again {
            log_target(self.target, version, cluster);
        }
        if let Some(nodes) = self.nodes.take() {
            _ = nodes.send(cluster.nodes.len());
        }
    }

    fn facts(&mut self, facts: &Facts<'_>) -> Result<(), Error> {
        let Some(live) = &facts.observed.live else { return Ok(()) };
        RightCluster.facts(facts)?;
        let complete = live.cluster.nodes.len() >= self.expected;
        let due = |rule: &Rule| is_due(rule, complete) && is_settled(rule, live);
        let found = check::run(facts, due).into_iter().flat_map(|outcome| outcome.findings().to_vec());
        let found = found.map(|finding| weighed(finding, facts.options.strict));
        // Fixes that change the same file are merged when all of them are known.
        let is_final =
            |finding: &Finding| finding.severity == Severity::Error && finding.server_lines.is_none();
        self.problems.extend(found.filter(is_final));
        self.problems.iter().for_each(Finding::log);
        Ok(())
    }
}

/// Checks the identity of the cluster.
async fn guard(settings: &Settings, tools: &Toolbox, picture: &Gathered) -> Result<(), Error> {
    let Some(live) = &picture.observed.live else { return Ok(()) };
    match cluster_identity::judge(&picture.options, &picture.desired, live) {
        cluster_identity::Verdict::Right(_) | cluster_identity::Verdict::Fresh => Ok(()),
        cluster_identity::Verdict::Refused(finding) => Err(Error::Preflight(vec![finding])),
        cluster_identity::Verdict::Unknown(runs) => {
            let unknown = cluster_identity::unknown(live, &runs);
            if !settings.can_ask {
                return Err(Error::Preflight(vec![unknown]));
            }
            let (server, uid, nodes) = (&tools.target.server, &live.cluster.uid, live.cluster.nodes.len());
            tracing::warn!(
                server = %server,
                uid = %uid,
                nodes = %nodes,
                workloads = %cluster_identity::shortened(&runs),
                "Unknown cluster with workloads on it"
            );
            let stop = tools.runner.stop();
            if confirm("Bootstrap this cluster?", stop).await? {
                return Ok(());
            }
            let declined = Finding::error(
                "cluster-identity",
                "Bootstrap was declined: the answer was not `yes`, nothing was changed",
            );
            Err(Error::Preflight(vec![declined.with("uid", uid).fix(format!(
                "retry and type `yes` if this is the right cluster, or name it with --cluster {uid}"
            ))]))
        }
    }
}

fn log_target(target: &Target, version: &str, cluster: &Cluster) {
    let mut pairs = vec![
        ("context", target.context.clone()),
        ("server", target.server.clone()),
        ("version", version.to_owned()),
        ("nodes", cluster.nodes.len().to_string()),
        ("uid", cluster.uid.clone()),
    ];
    pairs.extend(cluster.age(SystemTime::now()).map(|age| ("age", age)));
    logger::log(Level::Info, "Target cluster", &pairs);
}
