//! `k3s-boot apps`: the bootstrap.

mod list;
mod preflight;
mod takeover;

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use self::list::list;
use self::preflight::{Ready, preflight};
use self::takeover::{Takeover, makes_instance, takeover};
use super::{Failed, Session};
use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::logger::{self, Level};
use crate::base::progress;
use crate::base::scratch::Scratch;
use crate::base::stages::Stage;
use crate::base::url::without_credentials;
use crate::check::cluster_identity;
use crate::check::scheduling::missing_cni;
use crate::desired::Kind;
use crate::desired::objects::ObjectId;
use crate::desired::source::SyncSource;
use crate::gather::{self, CommandOutputs, Context, Files, Gathered};
use crate::observed::Live;
use crate::observed::workloads::pending;
use crate::plan::Plan;
use crate::plan::objects::{ObjectAction, ObjectPlan};
use crate::plan::releases::ReleaseAction;
use crate::report::github::Actions;
use crate::report::{
    ClusterReport, CrdReport, FluxReport, ProblemReport, ReleaseReport, Report, RunResult, StageName,
    StageReport, rounded,
};
use crate::run::inspect::of_unchanged;
use crate::run::lock::Lock;
use crate::run::releases::log_action;
use crate::run::sync::Sync;
use crate::run::verify;
use crate::run::{crds, dns, helm_charts, namespaces, nodes, note, objects, unlock, webhooks};
use crate::settings::Settings;
use crate::tools::Toolbox;

/// Older observations are repeated under the lock, because other clients change the cluster too.
const MAX_AGE: Duration = Duration::from_mins(1);

/// The timeout for writing notes at the end; without them, the next run only has to read more.
const NOTES_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs the bootstrap and delivers its report; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn apps(session: &Session<'_>) -> std::io::Result<u8> {
    let Session { settings, redactor, .. } = session;
    let start = Instant::now();
    if settings.live {
        progress::begin();
    }
    let actions = settings.actions.then(|| Actions::new(settings.json, settings.step_summary.clone()));
    let mut run = Run { report: Report::default(), actions: actions.clone() };
    let result = Box::pin(run_bootstrap(session, &mut run)).await;
    let mut report = run.report;
    report.seconds = rounded(start.elapsed());
    match result {
        Ok(takeover) => {
            // Without changes there is nothing to summarize.
            if report.changed {
                report.log_summary();
            }
            finish(&mut report, settings, takeover, &seconds(start.elapsed()));
            session.transcript.discard();
        }
        Err(error) => {
            report.result = RunResult::Failed;
            report.exit_code = error.exit_code(report.changed);
            report.error = Some(redactor.apply(&error.to_string()).into_owned());
            report.problems = ProblemReport::all(&error, redactor);
            // A run in which no stage was started is resumed by the same command.
            let failed = report.stages.last().filter(|stage| !stage.ok);
            let stage = failed
                .and_then(|failed| Stage::ALL.into_iter().find(|one| StageName::from(*one) == failed.name));
            let resume = match error.fixing_stage() {
                Some((stage, flag)) => resume_earlier(&settings.command, stage, flag),
                // No single stage installs it.
                None if matches!(error, Error::NoFlux { .. }) => None,
                None => stage.and_then(|stage| resume(&settings.command, stage)),
            };
            let Failed { failure, log } = session.log_failure(&error, resume);
            report.failure = Some(failure);
            report.log = log.map(|path| path.display().to_string());
        }
    }
    if let Some(actions) = actions {
        actions.report(&report);
    }
    progress::end();
    session.deliver(&report, report.exit_code, report.changed)
}

/// The command that resumes at a stage: this command with `--from`.
fn resume(command: &[String], stage: Stage) -> Option<String> {
    let mut words = without(command, &["--from"]);
    // With `--only`, the same stages are run again.
    if !command.iter().any(|word| is_option(word, "--only")) {
        words.extend(["--from", stage.name()]);
    }
    joined(&words)
}

/// The command that repeats a stage, which may have been skipped, with the flag that it needs.
fn resume_earlier(command: &[String], stage: Stage, flag: Option<&str>) -> Option<String> {
    let mut words = without(command, &["--from", "--only", "--skip"]);
    words.extend(flag.filter(|flag| !words.contains(flag)));
    words.extend(["--from", stage.name()]);
    joined(&words)
}

/// A command without some of its options and their values.
fn without<'a>(command: &'a [String], options: &[&str]) -> Vec<&'a str> {
    let mut left = Vec::new();
    let mut words = command.iter();
    while let Some(word) = words.next() {
        if options.contains(&word.as_str()) {
            words.next();
        } else if !options.iter().any(|option| is_option(word, option)) {
            left.push(word.as_str());
        }
    }
    left
}

fn is_option(word: &str, option: &str) -> bool {
    word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

fn joined(words: &[&str]) -> Option<String> {
    shlex::try_join(std::iter::once("k3s-boot").chain(words.iter().copied())).ok()
}

fn finish(report: &mut Report, settings: &Settings, takeover: Option<Takeover>, took: &str) {
    match takeover {
        Some(Takeover::Syncing { repository, revision }) => {
            report.result = RunResult::Complete;
            let repository = without_credentials(&repository);
            tracing::info!(
                repository,
                revision,
                took,
                "Bootstrap complete! Flux is now syncing the Git repository"
            );
            report.flux = Some(FluxReport { repository, revision });
        }
        Some(Takeover::Missing { message, missing, fix }) => {
            report.result = RunResult::NoSyncSource;
            let pairs = [("missing", missing), ("took", took.to_owned()), ("fix", fix.to_owned())];
            logger::log(Level::Warn, message, &pairs);
        }
        None => {
            report.result = RunResult::Partial;
            let skipped = Stage::ALL.into_iter().filter(|stage| settings.plan_options.stages.has(*stage));
            let skipped: Vec<_> = skipped.map(Stage::name).collect();
            tracing::info!(skipped = %skipped.join(" "), took, "Done; Flux was not verified (stage `verify` skipped)");
        }
    }
}

struct Run {
    report: Report,
    /// For the groups of log lines.
    actions: Option<Actions>,
}

impl Run {
    async fn stage<T>(
        &mut self,
        name: StageName,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let group = self.actions.as_ref().map(|actions| actions.group(name.word()));
        let line = format!("stage {}", name.word());
        progress::show(&line, None, || line.clone());
        let result = work.await;
        progress::done(&line);
        drop(group);
        self.report.stages.push(StageReport { name, ok: result.is_ok(), seconds: rounded(start.elapsed()) });
        result
    }
}

/// A run with its context.
struct Bootstrap<'a> {
    context: Context<'a>,
}

async fn run_bootstrap(session: &Session<'_>, run: &mut Run) -> Result<Option<Takeover>, Error> {
    let Session { settings, redactor, .. } = session;
    let files = gather::files(settings, redactor);
    // If the files alone have errors, nothing is started.
    if gather::stops(&files.problems) {
        return Err(Error::Preflight(files.problems));
    }
    let scratch = Scratch::new(&settings.temp)?;
    let tools = session.toolbox(&files, &scratch)?;
    let context =
        Context { settings, tools: &tools, scratch: &scratch, redactor, outputs: &CommandOutputs::default() };
    let bootstrap = Bootstrap { context };
    match Box::pin(bootstrap.all(files, run)).await {
        Err(error) => Err(webhooks::with_configuration(&tools, error).await),
        done => done,
    }
}

impl Bootstrap<'_> {
    /// Runs all stages.
    async fn all(&self, files: Files, run: &mut Run) -> Result<Option<Takeover>, Error> {
        let Context { settings, tools, .. } = self.context;
        let ready = run.stage(StageName::Preflight, self.preflight(files, false)).await?;
        if let Some(live) = &ready.picture.observed.live {
            run.report.cluster = Some(ClusterReport::new(&tools.target, live));
            if !ready.plan.is_empty() {
                let actions =
                    run.actions.as_ref().filter(|_| !settings.plan_options.stages.has(Stage::Nodes));
                let _group = actions.map(|actions| actions.group(Stage::Nodes.name()));
                nodes::log_nodes(&live.cluster);
            }
        }
        if !settings.plan_options.stages.has(Stage::Nodes) {
            run.report.stages.push(StageReport::done(StageName::Nodes, ready.waited));
        }
        match ready.picture.observed.live.as_ref().filter(|_| !ready.plan.is_empty()) {
            Some(live) => {
                let desired = &ready.picture.desired;
                let now = SystemTime::now();
                let notes = note::before(&ready.plan, desired, live, settings.release_timeout, now);
                let mark = cluster_identity::mark(desired);
                let seen = live.cluster.lock();
                let mark: Vec<_> = mark.iter().map(|mark| (cluster_identity::MARK, mark.as_str())).collect();
                let (lock, alone) = Lock::acquire(tools, seen, &notes, &mark, settings.wait_lock).await?;
                Box::pin(self.locked(ready, lock, alone, run)).await
            }
            None => self.unchanged(&ready, run).await,
        }
    }

    async fn preflight(&self, files: Files, again: bool) -> Result<Ready, Error> {
        Box::pin(preflight(self.context, files, again)).await
    }

    /// Verifies Flux when there is nothing to change.
    async fn unchanged(&self, ready: &Ready, run: &mut Run) -> Result<Option<Takeover>, Error> {
        let Ready { picture, plan, .. } = ready;
        run.report.releases.extend(plan.releases().filter_map(ReleaseReport::kept));
        run.report.crds.extend(plan.crds.iter().map(CrdReport::new));
        plan.crds.iter().for_each(crds::log_kept);
        // Releases that are managed elsewhere may differ.
        plan.releases().filter(|release| release.action != ReleaseAction::UpToDate).for_each(log_action);
        tracing::info!(
            namespaces = %plan.namespaces.len(),
            secrets = %plan.objects.iter().filter(|object| object.stage == Stage::Secrets).count(),
            releases = %plan.releases().count(),
            "Nothing to change"
        );
        self.verify(picture, plan, true, run).await
    }

    /// Executes the plan while holding the lock, and releases it. `alone` says whether no other run held the lock since the
    /// cluster was observed.
    async fn locked(
        &self,
        ready: Ready,
        lock: Lock<'_>,
        alone: bool,
        run: &mut Run,
    ) -> Result<Option<Takeover>, Error> {
        let mut ready = ready;
        let work = Box::pin(async {
            if !alone || ready.began.elapsed() > MAX_AGE {
                tracing::info!("Re-running the preflight");
                let files = gather::files(self.context.settings, self.context.redactor);
                ready = run.stage(StageName::Preflight, self.preflight(files, true)).await?;
                if let (false, Some(live)) = (ready.plan.is_empty(), &ready.picture.observed.live) {
                    let (plan, desired) = (&ready.plan, &ready.picture.desired);
                    let now = SystemTime::now();
                    let notes = note::before(plan, desired, live, self.context.settings.release_timeout, now);
                    lock.change(|noted| *noted = notes);
                    lock.write_notes().await?;
                }
            }
            if !ready.plan.is_empty() {
                Box::pin(self.work(&ready, &lock, run)).await?;
            }
            Ok(())
        });
        let result = lock.during(work).await;
        if let Err(error) = result {
            lock.release().await;
            return Err(error);
        }
        if ready.plan.is_empty() {
            lock.release().await;
            return self.unchanged(&ready, run).await;
        }
        // The next run does not have to wait for Flux.
        let close = async {
            let after = note::after(self.context.tools, &ready.plan, &ready.picture.desired, lock.notes());
            if let Ok(Ok(after)) = tokio::time::timeout(NOTES_TIMEOUT, after).await {
                lock.change(|noted| *noted = after);
            }
            lock.release().await;
        };
        let (takeover, ()) = tokio::join!(self.verify(&ready.picture, &ready.plan, false, run), close);
        takeover
    }

    async fn work(&self, ready: &Ready, lock: &Lock<'_>, run: &mut Run) -> Result<(), Error> {
        let Ready { picture: Gathered { desired, charts, observed, .. }, plan, .. } = ready;
        let skipped = &self.context.settings.plan_options.stages;
        run.report.changed = true;
        self.context.tools.retry_on_outage();
        run.report.releases.extend(plan.releases().filter_map(ReleaseReport::kept));
        log_unready(self.context.tools, plan, observed.live.as_ref()).await;
        unlock::run(self.context.tools, &plan.unlocks).await?;
        if !skipped.has(Stage::Namespaces) {
            let work = namespaces::run(self.context.tools, &plan.namespaces);
            run.stage(StageName::Namespaces, work).await?;
        }
        for stage in [Stage::Secrets, Stage::Manifests] {
            let is_used = stage == Stage::Secrets || plan.objects.iter().any(|object| object.stage == stage);
            if is_used && !skipped.has(stage) {
                let work = objects::run(self.context.tools, stage, &desired.objects, &plan.objects);
                run.stage(stage.into(), work).await?;
            }
        }
        let (tools, settings) = (self.context.tools, self.context.settings);
        let missing_cni = observed.live.as_ref().and_then(|live| missing_cni(desired, live));
        let sync = Sync { tools, settings, desired, lock, charts: charts.path(), missing_cni };
        let mut synced = 0;
        for (helmfile, (kind, releases)) in desired.helmfiles.iter().zip(&plan.helmfiles) {
            if skipped.has(kind.stage()) {
                continue;
            }
            let mut done = Vec::new();
            let work = Box::pin(async {
                if *kind == Kind::Crds {
                    crds::run(tools, &desired.crds.all, &plan.crds).await?;
                }
                let charts = plan.helm_charts.iter();
                let charts = charts.filter(|chart| releases.iter().any(|one| one.id == chart.release));
                helm_charts::run(tools, charts, kind.stage().name(), settings.release_timeout).await?;
                sync.helmfile(helmfile, releases, &mut done).await
            });
            let result = run.stage(kind.stage().into(), work).await;
            synced += done.len();
            if *kind == Kind::Crds && result.is_ok() {
                run.report.crds.extend(plan.crds.iter().map(CrdReport::new));
            }
            run.report.releases.extend(done.into_iter().map(ReleaseReport::new));
            result?;
        }
        if synced > 0 {
            tracing::info!(releases = %synced, "Helm releases synced successfully");
        }
        Ok(())
    }

    /// Waits until Flux has taken over, and the cluster DNS of k3s is ready if it is used; returns `None` if the stage is
    /// skipped. If `unchanged`, earlier observations are still valid.
    async fn verify(
        &self,
        picture: &Gathered,
        plan: &Plan,
        unchanged: bool,
        run: &mut Run,
    ) -> Result<Option<Takeover>, Error> {
        if self.context.settings.plan_options.stages.has(Stage::Verify) {
            return Ok(None);
        }
        let (tools, deadline) = (self.context.tools, self.context.settings.verify_timeout);
        let desired = &picture.desired;
        let live = picture.observed.live.as_ref().filter(|_| unchanged);
        log_unready(self.context.tools, plan, live).await;
        let work = async {
            if desired.skipped_dns().is_some() {
                let seen = live.map(|live| live.cluster.workloads.as_slice()).unwrap_or_default();
                dns::wait(tools, Stage::Verify.name(), seen, deadline).await?;
            }
            let seen = live.and_then(|live| live.claims.as_ref().ok()).map(verify::seen);
            let asked = SyncSource::of(desired).installed(makes_instance(plan));
            let outcome = verify::verify(tools, &asked, key_changed(plan), deadline, seen).await?;
            takeover(outcome, desired, picture.observed.live.as_ref(), &self.context.settings.plan_options)
        };
        run.stage(StageName::Verify, work).await.map(Some)
    }
}

/// Whether the run replaces the age key.
fn key_changed(plan: &Plan) -> bool {
    let sops_age = ObjectId::sops_age();
    let changes =
        |object: &ObjectPlan| object.id == sops_age && matches!(object.action, ObjectAction::Change(_));
    plan.objects.iter().any(changes)
}

/// Warns of releases that are up to date but not ready. Syncing them would not help.
async fn log_unready(tools: &Toolbox, plan: &Plan, live: Option<&Live>) {
    let Some(live) = live else { return };
    for release in plan.releases().filter(|release| release.action == ReleaseAction::UpToDate) {
        let pending = pending(&live.cluster.workloads, &release.id).join(", ");
        if !pending.is_empty() {
            let mut pairs = vec![("release", release.id.to_string()), ("pending", pending)];
            pairs.extend(of_unchanged(tools, &release.id).await.fields(None));
            logger::log(Level::Warn, "Release not ready", &pairs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_resumed_by_the_same_command() {
        let resume = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            resume(&words, Stage::Apps).unwrap()
        };
        assert_eq!(resume(&["apps"]), "k3s-boot apps --from apps");
        let words = ["apps", "--from", "crds", "--root", "my repo", "--from=nodes", "--skip", "nodes"];
        assert_eq!(resume(&words), "k3s-boot apps --root 'my repo' --skip nodes --from apps");
        assert_eq!(resume(&["apps", "--only", "apps"]), "k3s-boot apps --only apps");
    }

    #[test]
    fn a_wrong_key_is_replaced_before_flux_is_verified_again() {
        let error = |reason: &str| Error::Flux {
            object: "Kustomization flux-system/flux-system".to_owned(),
            reason: reason.to_owned(),
            fix: String::new(),
            after: None,
        };
        let wrong_key = "BuildFailed: decryption failed for 'a': failed to decrypt and format 'b/a' Secret data: cannot get sops data key: \
                         Failed to get the data key required to decrypt the SOPS file.";
        let (stage, flag) = error(wrong_key).fixing_stage().unwrap();
        let resume = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            resume_earlier(&words, stage, flag).unwrap()
        };
        assert_eq!(resume(&["apps"]), "k3s-boot apps --rotate-age-key --from secrets");
        let invalid = "BuildFailed: failed to import 'age.agekey' data from sops decryption Secret 'flux-system/sops-age': failed to parse and \
                       add to age identities: unknown identity type";
        assert_eq!(error(invalid).fixing_stage(), Some((stage, flag)));
        let words = ["apps", "--rotate-age-key", "--from", "verify", "--skip=crds", "--timeout", "9m"];
        assert_eq!(resume(&words), "k3s-boot apps --rotate-age-key --timeout 9m --from secrets");
        assert!(error("GitOperationFailed: unable to clone").fixing_stage().is_none());
    }

    #[test]
    fn what_fixes_flux_is_not_skipped() {
        let stage = |object: &str, reason: &str| {
            let (object, reason) = (object.to_owned(), reason.to_owned());
            let error = Error::Flux { object, reason, fix: String::new(), after: None };
            error.fixing_stage().map(|(stage, _)| stage)
        };
        let denied = "AuthenticationFailed: failed to get secret 'flux-system/deploy-key'";
        assert_eq!(stage("GitRepository flux-system/flux-system", denied), Some(Stage::Secrets));
        assert_eq!(stage("Bucket flux-system/flux-system", "x"), Some(Stage::Secrets));
        assert_eq!(stage("FluxInstance flux-system/flux", "BuildFailed: x"), Some(Stage::Apps));
        let path = "ArtifactFailed: kustomization path not found: stat /tmp/x";
        assert_eq!(stage("Kustomization flux-system/flux-system", path), Some(Stage::Apps));
        assert_eq!(stage("Kustomization flux-system/a", "BuildFailed: x"), None);
    }
}
