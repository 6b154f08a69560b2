//! `k3s-boot apps`: the bootstrap.

use std::future::Future;
use std::time::Instant;

use crate::child_env::{self, ChildEnv};
use crate::desired::Desired;
use crate::desired::objects::ObjectId;
use crate::env::Env;
use crate::error::Error;
use crate::plan::ObjectAction;
use crate::preflight::{self, Files, Ready};
use crate::process::Runner;
use crate::process::signals::Stop;
use crate::redact::Redactor;
use crate::report::{ClusterReport, FluxReport, ProblemReport, Report, StageReport, rounded};
use crate::run::{namespaces, nodes, releases, seconds, secrets};
use crate::scratch::Scratch;
use crate::settings::Settings;
use crate::tools::{Clock, Toolbox};
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
            let repository = without_credentials(&repository);
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

/// `https://user:token@host/…` without what stands before the host.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let (authority, path) =
                rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        _ => url.to_owned(),
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
    let files = preflight::files(settings, redactor).map_err(Error::Preflight)?;
    let scratch = Scratch::new(&settings.temp)?;
    let tools = toolbox(settings, env, &files, &scratch, stop, transcript);
    let preflight = Box::pin(preflight::cluster(&tools, settings, &files, &scratch, redactor));
    let ready = run.stage("preflight", preflight).await?;
    let Ready { desired, observed, plan, charts, waited_for_nodes, checks, warnings } = ready;
    let took = seconds(start.elapsed());
    tracing::info!(checks = %checks, warnings = %warnings, took, "Preflight passed");
    run.report.cluster = Some(ClusterReport {
        context: tools.target.context.clone(),
        server: tools.target.server.clone(),
        uid: observed.cluster.uid.clone(),
        nodes: observed.cluster.nodes.len(),
    });
    nodes::say(&observed.cluster);
    run.report.stages.push(StageReport::done("nodes", waited_for_nodes));

    run.changed = true;
    run.stage("namespaces", namespaces::run(&tools, &plan.namespaces)).await?;
    run.stage("secrets", secrets::run(&tools, &desired.objects, &plan.objects)).await?;
    sync(&tools, settings, &desired, charts.path(), run).await?;
    let sops_age = ObjectId::sops_age();
    let key_changed =
        plan.objects.iter().any(|(id, action)| *id == sops_age && *action == ObjectAction::Change);
    run.stage("verify", verify::verify(&tools, &Asked::of(&desired), key_changed)).await
}

fn toolbox(
    settings: &Settings,
    env: &Env,
    files: &Files,
    scratch: &Scratch,
    stop: Stop,
    transcript: &Transcript,
) -> Toolbox {
    let ChildEnv { vars, removed } = child_env::build(env, settings, &files.target, scratch.path());
    if !removed.is_empty() {
        tracing::warn!(envs = %removed.join(" "), reason = "they could lead to another cluster", "Variables kept from the tools");
    }
    Toolbox {
        runner: Runner::new(vars, stop, transcript.clone()),
        programs: files.programs.clone(),
        target: files.target.clone(),
        clock: Clock::new(settings.timeout),
    }
}

async fn sync(
    tools: &Toolbox,
    settings: &Settings,
    desired: &Desired,
    charts: &std::path::Path,
    run: &mut Run,
) -> Result<(), Error> {
    let mut synced = 0;
    for helmfile in &desired.helmfiles {
        let mut done = Vec::new();
        let work = async {
            let (releases, result) =
                releases::run(tools, helmfile, charts, settings.release_timeout, &settings.root).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_credentials() {
        let cases = [
            ("https://user:CANARY@host/a/b.git", "https://host/a/b.git"),
            ("https://host/a@b.git", "https://host/a@b.git"),
            ("https://t@host", "https://host"),
            ("ssh://git@example.org/home.git", "ssh://git@example.org/home.git"),
            ("oci://ghcr.io/x", "oci://ghcr.io/x"),
        ];
        for (url, shown) in cases {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
