//! `k3s-boot recover`: recovers releases stuck in `pending-*`, after confirmation.

use std::time::SystemTime;

use super::ask::confirm;
use super::{Failed, Session};
use crate::base::error::Error;
use crate::base::finding::Finding;
use crate::base::logger::{self, Level};
use crate::base::scratch::Scratch;
use crate::check::cluster_identity;
use crate::gather;
use crate::observed::Live;
use crate::plan::recovery::{Left, StuckRelease, judge};
use crate::process::identity::Identity;
use crate::report::ProblemReport;
use crate::report::recover::{RecoverReport, RecoverResult, StuckReport};
use crate::run::lock::{Lock, end_tools};
use crate::run::unlock::release;
use crate::settings::Settings;
use crate::settings::cli::Recover;
use crate::tools::Toolbox;

/// Lists stuck releases, asks, and recovers them; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn recover(session: &Session<'_>, asked: &Recover) -> std::io::Result<u8> {
    let redactor = session.redactor;
    let mut report = RecoverReport::default();
    match Box::pin(work(session, asked, &mut report)).await {
        Ok(()) => {
            let others = |one: &&StuckReport| !one.recovered;
            let skipped = report.releases.iter().filter(others).count();
            report.result = if skipped == 0 { RecoverResult::Recovered } else { RecoverResult::Skipped };
            report.exit_code = u8::from(skipped > 0);
            session.transcript.discard();
        }
        Err(error) => {
            report.result = RecoverResult::Failed;
            report.exit_code = error.exit_code(report.releases.iter().any(|one| one.recovered));
            report.error = Some(redactor.apply(&error.to_string()).into_owned());
            let Failed { failure, .. } = session.log_failure(&error, None);
            report.failure = Some(failure);
            report.problems = ProblemReport::all(&error, redactor);
        }
    }
    let changed = report.releases.iter().any(|one| one.recovered);
    session.deliver(&report, report.exit_code, changed)
}

async fn work(session: &Session<'_>, asked: &Recover, report: &mut RecoverReport) -> Result<(), Error> {
    let Session { settings, redactor, .. } = session;
    let files = gather::files_for_looking(settings, redactor);
    let problems = [files.problems.clone(), driver(settings)].concat();
    if gather::stops(&problems) {
        return Err(Error::Preflight(problems));
    }
    problems.iter().for_each(Finding::log);
    let scratch = Scratch::new(&settings.temp)?;
    let tools = session.toolbox(&files, &scratch)?;
    let live = gather::locks(&tools).await?;
    if let Some(other) = cluster_identity::other_pin(&settings.check_options(), &live.cluster.uid) {
        return Err(Error::Preflight(vec![other]));
    }
    let longest = settings.release_timeout;
    let unreadable = |reason: String| {
        Error::Preflight(vec![Finding::error("plan", "Cluster cannot be read").with("reason", reason)])
    };
    let mut locked = judge(&live, longest, asked.force, SystemTime::now()).map_err(unreadable)?;
    if !asked.releases.is_empty() {
        locked.retain(|one| one.stored.id().is_among(&asked.releases));
    }
    logger::log(
        Level::Info,
        "Target cluster",
        &[
            ("context", tools.target.context.clone()),
            ("server", tools.target.server.clone()),
            ("uid", live.cluster.uid.clone()),
        ],
    );
    locked.iter().for_each(log_stuck);
    // Releases that Flux or k3s manage are recovered by their owners.
    let ours = locked.iter().filter(|one| !matches!(one.left, Some(Left::ToOwner(_))));
    report.releases = ours.map(StuckReport::new).collect();
    let recoverable: Vec<_> = locked.iter().filter(|one| one.left.is_none()).collect();
    if recoverable.is_empty() {
        if report.releases.is_empty() {
            tracing::info!("No releases to recover");
        }
        return Ok(());
    }
    if !asked.yes {
        confirmed(settings, &tools, &recoverable).await?;
    }
    recover_all(settings, &tools, &live, &recoverable, report).await?;
    tracing::info!(next = "k3s-boot apps", "The next run syncs the recovered releases");
    Ok(())
}

/// The finding for records that helm does not store in Secrets: they cannot be read.
fn driver(settings: &Settings) -> Vec<Finding> {
    let finding = settings.plan_options.helm_driver.as_ref().map(|driver| {
        Finding::error("env", "Helm releases cannot be read")
            .with("reason", format!("HELM_DRIVER is `{driver}`"))
            .fix("unset HELM_DRIVER if helm stores its releases in Secrets")
    });
    finding.into_iter().collect()
}

fn log_stuck(locked: &StuckRelease) {
    let StuckRelease { stored, by, left, .. } = locked;
    let mut pairs = vec![("release", stored.id().to_string()), ("status", stored.status.clone())];
    pairs.extend(stored.since().map(|since| ("since", since)));
    pairs.push(("started_by", by.clone()));
    pairs.extend(left.iter().flat_map(|left| [("skip_reason", left.reason()), ("fix", left.fix())]));
    let revision = stored.revision;
    let action = || ("action", format!("delete revision {revision}, keep its objects"));
    pairs.extend(left.is_none().then(action));
    logger::log(Level::Warn, "Release is stuck", &pairs);
}

async fn confirmed(settings: &Settings, tools: &Toolbox, locked: &[&StuckRelease]) -> Result<(), Error> {
    let refused = |finding| Err(Error::Preflight(vec![finding]));
    if !settings.can_ask {
        let finding = Finding::error("pending", "Recovery needs a confirmation, nothing was changed")
            .with("reason", "questions are asked on a terminal only, and not with --log-format json")
            .fix("use --yes");
        return refused(finding);
    }
    let count = locked.len();
    let what = if count == 1 { "the release".to_owned() } else { format!("the {count} releases") };
    let question = format!("Recover {what}? Answer yes only if neither helm nor Flux is working on it.");
    if confirm(&question, tools.runner.stop()).await? {
        return Ok(());
    }
    let finding = Finding::error("pending", "Recovery was declined, nothing was changed");
    refused(finding.fix("answer `yes` to recover, or use --yes"))
}

async fn recover_all(
    settings: &Settings,
    tools: &Toolbox,
    live: &Live,
    locked: &[&StuckRelease],
    report: &mut RecoverReport,
) -> Result<(), Error> {
    let (lock, _) = Lock::acquire(tools, live.cluster.lock(), &live.notes, &[], settings.wait_lock).await?;
    let work = async {
        for StuckRelease { stored, run, .. } in locked {
            let id = stored.id();
            if let Some(run) = run.as_deref().and_then(Identity::parse) {
                end_tools(tools, &run).await?;
            }
            if release(tools, stored).await? {
                tracing::info!(release = %id, status = %stored.status, "Release recovered");
                report
                    .releases
                    .iter_mut()
                    .filter(|one| one.release == id.to_string())
                    .for_each(|one| one.recovered = true);
            } else {
                tracing::warn!(release = %id, "Release has changed in the meantime, skipping it");
            }
        }
        Ok(())
    };
    let result = lock.during(work).await;
    lock.release().await;
    result
}
