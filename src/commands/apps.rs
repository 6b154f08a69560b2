//! `k3s-boot apps`: the bootstrap.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::ask::confirm;
use super::toolbox;
use crate::check::{self, Finding, Outcome, Rule, Severity};
use crate::child_env;
use crate::desired::Desired;
use crate::desired::objects::ObjectId;
use crate::env::Env;
use crate::error::Error;
use crate::gather::{self, Files, Picture, Purpose};
use crate::guard;
use crate::kubeconfig::Target;
use crate::logger::{self, Level};
use crate::observed::cluster::Cluster;
use crate::plan::{ObjectAction, Plan, plan};
use crate::process::signals::Stop;
use crate::redact::Redactor;
use crate::report::{ClusterReport, FluxReport, ProblemReport, ReleaseReport, Report, StageReport, rounded};
use crate::run::{mark, namespaces, nodes, releases, seconds, secrets};
use crate::scratch::Scratch;
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::transcript::Transcript;
use crate::verify::{self, Asked, Verdict};

/// Runs the bootstrap and tells how it ended. Everything is on the log then, but the report as JSON.
pub async fn apps(settings: &Settings, env: &Env, redactor: &Redactor, stop: Stop) -> Report {
    let start = Instant::now();
    let transcript =
        Transcript::new(settings.state.as_ref().map(|state| state.join("logs")), redactor.clone());
    let mut run = Run { report: Report::default(), changed: false };
    let result = Box::pin(bootstrap(settings, env, redactor, stop.clone(), &transcript, &mut run)).await;
    let mut report = run.report;
    report.seconds = rounded(start.elapsed());
    match result {
        Ok(verdict) => {
            report.log_summary();
            finish(&mut report, verdict, &seconds(start.elapsed()));
            transcript.discard();
        }
        Err(error) => {
            report.result = "failed";
            report.exit_code = error.exit_code(run.changed);
            report.error = Some(redactor.apply(&error.to_string()).into_owned());
            if let Error::Preflight(findings) = &error {
                report.problems =
                    findings.iter().map(|finding| ProblemReport::new(finding, redactor)).collect();
                // All of it is on the log.
                transcript.discard();
            }
            let log = transcript.path();
            error.report(log.as_deref(), stop.killed());
            report.log = log.map(|path| path.display().to_string());
        }
    }
    report
}

fn finish(report: &mut Report, verdict: Verdict, took: &str) {
    match verdict {
        Verdict::Syncing { repository, revision } => {
            report.result = "complete";
            let repository = guard::without_credentials(&repository);
            tracing::info!(
                repository,
                revision,
                took,
                "Bootstrap complete! Flux is now syncing the Git repository"
            );
            report.flux = Some(FluxReport { repository, revision });
        }
        // `verify` ends with nothing else.
        Verdict::NoSource { missing }
        | Verdict::Waiting { waiting_for: missing }
        | Verdict::Failed { reason: missing, .. } => {
            report.result = "no-sync-source";
            tracing::warn!(
                missing,
                took,
                fix = "set `instance.sync` in the values of flux-instance",
                "Releases are installed, but Flux has no repository to sync"
            );
        }
    }
}

struct Run {
    report: Report,
    /// Whether anything may have been changed in the cluster.
    changed: bool,
}

impl Run {
    async fn stage<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let result = work.await;
        self.report.stages.push(StageReport { name, ok: result.is_ok(), seconds: rounded(start.elapsed()) });
        result
    }
}

async fn bootstrap(
    settings: &Settings,
    env: &Env,
    redactor: &Redactor,
    stop: Stop,
    transcript: &Transcript,
    run: &mut Run,
) -> Result<Verdict, Error> {
    let start = Instant::now();
    redactor.add(child_env::secrets(env));
    let files = gather::files(settings, redactor);
    // Nothing is started when the files alone tell that it would be in vain.
    if gather::stops(&files.problems) {
        return Err(Error::Preflight(files.problems));
    }
    let scratch = Scratch::new(&settings.temp)?;
    let tools = toolbox(settings, env, &files, &scratch, stop, transcript);
    let preflight = Box::pin(preflight(&tools, settings, files, &scratch, redactor, start));
    let Ready { picture: Picture { desired, observed, charts, .. }, plan, waited } =
        run.stage("preflight", preflight).await?;
    if let Some(live) = &observed.live {
        run.report.cluster = Some(ClusterReport::new(&tools.target, live));
        nodes::say(&live.cluster);
    }
    run.report.stages.push(StageReport::done("nodes", waited));

    run.report.releases.extend(plan.releases().filter_map(ReleaseReport::kept));
    if plan.is_empty() {
        tracing::info!(
            namespaces = %plan.namespaces.len(),
            secrets = %plan.objects.len(),
            releases = %plan.releases().count(),
            "Nothing to change"
        );
        return run
            .stage("verify", verify::verify(&tools, &Asked::of(&desired), false, settings.verify_timeout))
            .await;
    }
    run.changed = true;
    let ours = guard::mark(&desired);
    if observed.live.as_ref().and_then(guard::mark_of) != Some(&ours) {
        mark::run(&tools, &ours).await?;
    }
    run.stage("namespaces", namespaces::run(&tools, &plan.namespaces)).await?;
    run.stage("secrets", secrets::run(&tools, &desired.objects, &plan.objects)).await?;
    sync(&tools, settings, &desired, &plan, charts.path(), run).await?;
    let sops_age = ObjectId::sops_age();
    let key_changed =
        plan.objects.iter().any(|(id, action)| *id == sops_age && matches!(action, ObjectAction::Change(_)));
    let asked = Asked::of(&desired);
    run.stage("verify", verify::verify(&tools, &asked, key_changed, settings.verify_timeout)).await
}

/// What a preflight that passed has found out.
struct Ready {
    picture: Picture,
    plan: Plan,
    /// How long nodes were waited for, while other things were checked.
    waited: Duration,
}

/// Finds out everything, waits for nodes meanwhile, asks the rules, and makes the plan.
async fn preflight(
    tools: &Toolbox,
    settings: &Settings,
    files: Files,
    scratch: &Scratch,
    redactor: &Redactor,
    start: Instant,
) -> Result<Ready, Error> {
    let (tell, told) = oneshot::channel();
    let on_cluster = |version: &str, cluster: &Cluster| {
        say_target(&tools.target, version, cluster);
        _ = tell.send(cluster.nodes.len());
    };
    let mut waiting = Box::pin(async {
        match told.await {
            Ok(registered) => nodes::wait(tools, registered, settings.nodes, settings.nodes_timeout).await,
            // The cluster does not answer: a rule says so.
            Err(_) => std::future::pending().await,
        }
    });
    let mut gathering =
        Box::pin(gather::gather(tools, settings, files, scratch, redactor, Purpose::Plan, on_cluster));
    let mut waited = None;
    let mut picture = loop {
        tokio::select! {
            picture = &mut gathering => break picture?,
            nodes = &mut waiting, if waited.is_none() => waited = Some(nodes),
        }
    };
    drop(gathering);
    // What else is wrong with another cluster is nothing to mend, nor to wait for.
    if let Some(live) = &picture.observed.live
        && let guard::Verdict::Refused(finding) = guard::judge(settings, &picture.desired, live)
    {
        return Err(Error::Preflight(vec![finding]));
    }
    // Whether an unknown one is the right one is asked last, when nothing else is in the way.
    // Nodes that are still to come are waited for, and told of when all are there.
    let registered = picture.observed.live.as_ref().map_or(0, |live| live.cluster.nodes.len());
    let complete = registered >= settings.nodes;
    let judged = judge(settings, &picture, |rule| rule.id != "guard" && (complete || !is_about_nodes(rule)))?;
    // With a problem in what is there already, waiting for nodes would help nobody.
    let (cluster, took) = match waited {
        Some(nodes) => nodes?,
        None => waiting.await?,
    };
    if let (Some(cluster), Some(live)) = (cluster, &mut picture.observed.live) {
        live.cluster = cluster;
        judge(settings, &picture, is_about_nodes)?;
    }
    guard(settings, tools, &picture).await?;
    let live = picture.observed.live.as_ref();
    let plan = plan(&picture.desired, live, settings.rotate_age_key).map_err(Error::Preflight)?;
    tracing::info!(
        checks = %judged.checks,
        warnings = %judged.warnings,
        took = %seconds(start.elapsed()),
        "Preflight passed"
    );
    Ok(Ready { picture, plan, waited: took })
}

/// Lets only the right cluster pass.
async fn guard(settings: &Settings, tools: &Toolbox, picture: &Picture) -> Result<(), Error> {
    let Some(live) = &picture.observed.live else { return Ok(()) };
    match guard::judge(settings, &picture.desired, live) {
        guard::Verdict::Known(_) | guard::Verdict::Fresh => Ok(()),
        guard::Verdict::Refused(finding) => Err(Error::Preflight(vec![finding])),
        guard::Verdict::Unknown(runs) => {
            let unknown = guard::unknown(live, &runs);
            if !settings.can_ask {
                return Err(Error::Preflight(vec![unknown]));
            }
            let (server, uid, nodes) = (&tools.target.server, &live.cluster.uid, live.cluster.nodes.len());
            tracing::warn!(
                server = %server,
                uid = %uid,
                nodes = %nodes,
                runs = %guard::shortened(&runs),
                "Cluster is not known, and something runs there"
            );
            let stop = tools.runner.stop();
            if confirm("Is this the cluster to be bootstrapped?", stop).await? {
                return Ok(());
            }
            Err(Error::Preflight(vec![unknown]))
        }
    }
}

fn is_about_nodes(rule: &Rule) -> bool {
    matches!(rule.check, check::Check::Nodes(_))
}

/// How many rules answered, and how many of them found something that deserves a look.
struct Judged {
    checks: usize,
    warnings: usize,
}

/// Asks the rules; says warnings.
fn judge(settings: &Settings, picture: &Picture, wanted: impl Fn(&Rule) -> bool) -> Result<Judged, Error> {
    let outcomes = check::run(&picture.facts(settings), wanted);
    let findings: Vec<_> = outcomes.iter().flat_map(Outcome::findings).collect();
    let counts = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let warnings = counts(Severity::Warning);
    let told = |finding: &&&Finding| finding.severity >= Severity::Warning;
    if counts(Severity::Error) > 0 || (settings.strict && warnings > 0) {
        let weigh = |finding: &&Finding| {
            let severity = if settings.strict { Severity::Error } else { finding.severity };
            Finding { severity, ..(*finding).clone() }
        };
        return Err(Error::Preflight(findings.iter().filter(told).map(weigh).collect()));
    }
    findings.iter().filter(told).for_each(|finding| finding.log());
    let checks = outcomes.iter().filter(|outcome| outcome.answered()).count();
    Ok(Judged { checks, warnings })
}

fn say_target(target: &Target, version: &str, cluster: &Cluster) {
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

async fn sync(
    tools: &Toolbox,
    settings: &Settings,
    desired: &Desired,
    plan: &Plan,
    charts: &std::path::Path,
    run: &mut Run,
) -> Result<(), Error> {
    let mut synced = 0;
    for (helmfile, (_, releases)) in desired.helmfiles.iter().zip(&plan.helmfiles) {
        let mut done = Vec::new();
        let work = async {
            let (releases, result) =
                releases::run(tools, helmfile, releases, charts, settings.release_timeout, &settings.root)
                    .await;
            done = releases;
            result
        };
        let result = run.stage(helmfile.kind.stage(), work).await;
        synced += done.len();
        run.report.releases.extend(done);
        result?;
    }
    tracing::info!(releases = %synced, "Helm releases synced successfully");
    Ok(())
}
