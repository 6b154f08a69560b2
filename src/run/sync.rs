//! Stages *crds* and *apps*: the steps in which the releases of a helmfile are synced, and retries.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::lock::Lock;
use super::releases::{SyncRequest, log_action, run};
use super::{dns, failures, note, unlock};
use crate::base::diagnosis::Diagnosis;
use crate::base::error::{Error, ReleaseFailure};
use crate::base::known_failures::Origin;
use crate::base::release_id::ReleaseId;
use crate::desired::releases::Release;
use crate::desired::{Desired, Helmfile};
use crate::observed::events::newest;
use crate::plan::recovery::host;
use crate::plan::releases::ReleasePlan;
use crate::process::identity::Identity;
use crate::run::inspect::find_cause;
use crate::run::outcome::ReleaseOutcome;
use crate::run::watch::WatchOptions;
use crate::run::webhooks;
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::tools::helmfile::HelmOverrides;
use crate::tools::retry::Retry;

/// The maximum number of rounds in which releases are synced because helm left one in `pending-*`.
const MAX_ROUNDS: u32 = 3;

/// The maximum number of retries after transient failures.
const MAX_RETRIES: usize = 5;

/// The context for syncing a helmfile.
pub(crate) struct Sync<'a> {
    pub tools: &'a Toolbox,
    pub settings: &'a Settings,
    pub desired: &'a Desired,
    /// The lock, which records operations.
    pub lock: &'a Lock<'a>,
    /// The folder with the charts.
    pub charts: &'a Path,
    /// The fix if no node has a CNI, and no release installs one.
    pub missing_cni: Option<&'static str>,
}

/// Releases that are synced together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step<'a> {
    releases: Vec<&'a ReleaseId>,
    over: HelmOverrides,
    /// Whether to wait for the cluster DNS of k3s first.
    after_dns: bool,
}

/// What releases of one step have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StepKey {
    after_dns: bool,
    over: HelmOverrides,
    /// Whether the timeout is shorter than that of the run.
    has_short_timeout: bool,
}

/// A release that is not in a step yet.
struct Remaining<'a> {
    id: &'a ReleaseId,
    key: StepKey,
    needs: &'a [ReleaseId],
}

/// The steps in which the releases of a helmfile are synced: one, unless cluster DNS comes between them or helm needs
/// different flags for some. No release is synced before those that it needs; `longest` is the timeout of a release.
fn steps<'a>(
    helmfile: &'a Helmfile,
    plan: &'a [ReleasePlan],
    dns: Option<&ReleaseId>,
    longest: Duration,
) -> Vec<Step<'a>> {
    let late = dns.map(|dns| dependents(&helmfile.releases, dns)).unwrap_or_default();
    let mut remaining = Vec::new();
    for planned in plan.iter().filter(|planned| planned.action.syncs()) {
        let release = helmfile.releases.iter().find(|release| release.id() == planned.id);
        let has_short_timeout = release.is_some_and(|release| release.is_shorter_than(longest));
        let needs = release.map_or(&[][..], |release| release.needs.as_slice());
        let after_dns = late.contains(&planned.id);
        let key = StepKey { after_dns, over: planned.over, has_short_timeout };
        remaining.push(Remaining { id: &planned.id, key, needs });
    }
    let mut steps = Vec::new();
    while !remaining.is_empty() {
        let keys: BTreeSet<_> = remaining.iter().map(|one| one.key).collect();
        let candidates = keys.into_iter().map(|key| (key, ready(&remaining, key)));
        let largest =
            candidates.max_by_key(|(key, picked)| (!picked.is_empty(), !key.after_dns, picked.len()));
        let Some((StepKey { after_dns, over, .. }, mut picked)) = largest else { break };
        if picked.is_empty() {
            // A cycle, which helmfile reports.
            picked = remaining.iter().map(|one| one.id).collect();
        }
        remaining.retain(|one| !picked.contains(&one.id));
        steps.push(Step { releases: picked, over, after_dns });
    }
    steps
}

/// The releases that can be synced in a step with this key now: what they need is done or in the same step.
fn ready<'a>(remaining: &[Remaining<'a>], key: StepKey) -> Vec<&'a ReleaseId> {
    let mut picked = BTreeSet::new();
    loop {
        let waits = |need: &ReleaseId| remaining.iter().any(|one| one.id == need) && !picked.contains(need);
        let next = remaining
            .iter()
            .find(|one| one.key == key && !picked.contains(one.id) && !one.needs.iter().any(waits));
        let Some(next) = next else { break };
        picked.insert(next.id);
    }
    // In the order of the helmfile.
    remaining.iter().map(|one| one.id).filter(|id| picked.contains(id)).collect()
}

/// The releases that need this one, directly or indirectly.
fn dependents(releases: &[Release], needed: &ReleaseId) -> BTreeSet<ReleaseId> {
    let mut found = BTreeSet::new();
    let mut left = vec![needed.to_owned()];
    while let Some(needed) = left.pop() {
        let waiting = releases.iter().filter(|release| release.needs.contains(&needed)).map(Release::id);
        left.extend(waiting.filter(|id| found.insert(id.clone())));
    }
    found
}

impl Sync<'_> {
    /// Syncs the releases of a helmfile and adds their reports to `done`.
    ///
    /// # Errors
    ///
    /// The releases that failed.
    pub(crate) async fn helmfile(
        &self,
        helmfile: &Helmfile,
        plan: &[ReleasePlan],
        done: &mut Vec<ReleaseOutcome>,
    ) -> Result<(), Error> {
        plan.iter().for_each(log_action);
        let steps = steps(
            helmfile,
            plan,
            self.desired.skipped_dns().map(Release::id).as_ref(),
            self.settings.release_timeout,
        );
        let count: usize = steps.iter().map(|step| step.releases.len()).sum();
        if count > 0 {
            let root = &self.settings.root;
            let shown = helmfile.path.strip_prefix(root).unwrap_or(&helmfile.path);
            tracing::info!(file = %shown.display(), releases = %count, "Syncing Helm releases");
        }
        for step in &steps {
            if step.after_dns {
                dns::wait(self.tools, helmfile.kind.stage().name(), &[], self.settings.release_timeout)
                    .await?;
            }
            self.step(helmfile, step, done).await?;
        }
        Ok(())
    }

    async fn step(
        &self,
        helmfile: &Helmfile,
        step: &Step<'_>,
        done: &mut Vec<ReleaseOutcome>,
    ) -> Result<(), Error> {
        // If events cannot be read, none counts as old.
        let before = self.tools.observe_warnings().await.map(|events| newest(&events)).unwrap_or_default();
        let generations = self.tools.observe_generations().await.ok();
        let request = SyncRequest {
            charts: self.charts,
            release_timeout: self.settings.release_timeout,
            over: step.over,
            watch: WatchOptions {
                fail_fast: self.settings.fail_fast,
                before: &before,
                generations: generations.as_ref(),
                missing_cni: self.missing_cni,
            },
        };
        let mut again = Retry::times(MAX_RETRIES);
        let mut wanted = step.releases.clone();
        let mut round = 1;
        loop {
            let (reports, result) = run(self.tools, helmfile, &wanted, request).await;
            let result = match result {
                Err(Error::Release(failure)) => {
                    let failure = failures::complete(self.tools, self.lock, *failure).await;
                    Err(Error::Release(Box::new(failure)))
                }
                other => other,
            };
            let concluded = concluded(&helmfile.releases, &reports, result.is_ok());
            self.lock.change(|notes| note::conclude(notes, &concluded));
            let is_done = |id: &ReleaseId| {
                let has_hooks = helmfile.releases.iter().any(|one| !one.hooks.is_empty() && one.id() == *id);
                let is_synced = reports.iter().any(|one| one.is_synced && one.id() == *id);
                is_synced && (!has_hooks || concluded.contains(id))
            };
            wanted.retain(|id| !is_done(id));
            let retries = match &result {
                Err(Error::Release(failure)) if !wanted.is_empty() => {
                    let retries = async {
                        let passes = !failure.timed_out && self.wait_to_retry(failure, &mut again).await?;
                        let retries = self.recover(failure, passes, round < MAX_ROUNDS).await?;
                        if retries {
                            let stored = self.tools.observe_releases().await?;
                            self.lock.change(|notes| note::again(notes, &wanted, &stored, SystemTime::now()));
                            self.lock.write_notes().await?;
                        }
                        Ok::<_, Error>(retries)
                    };
                    match retries.await {
                        Ok(retries) => retries,
                        Err(error) if error.is_interruption() => {
                            done.extend(reports);
                            return Err(error);
                        }
                        // The failure itself matters more than why its cause could not be found.
                        Err(_) => false,
                    }
                }
                _ => false,
            };
            // A release that is retried has not failed yet.
            done.extend(reports.into_iter().filter(|report| !retries || !wanted.contains(&&report.id())));
            if !retries {
                return match result {
                    Err(Error::Release(mut failure)) => {
                        self.tools.clock.extend_for_cleanup();
                        self.diagnose(&mut failure, &before).await;
                        Err(Error::Release(failure))
                    }
                    other => other,
                };
            }
            round += 1;
        }
    }

    /// Finds the causes of failures that have none yet.
    async fn diagnose(&self, failure: &mut ReleaseFailure, before: &str) {
        if failure.diagnosis == Diagnosis::default() {
            failure.diagnosis = find_cause(self.tools, failure, before).await;
        }
        for other in failure.others.iter_mut().filter(|other| other.diagnosis == Diagnosis::default()) {
            other.diagnosis = find_cause(self.tools, other, before).await;
        }
    }

    /// Whether to retry after a failure; if so, waits for a pause and until the API server responds.
    async fn wait_to_retry(&self, failure: &ReleaseFailure, again: &mut Retry) -> Result<bool, Error> {
        if failure.known().is_none() {
            return Ok(false);
        }
        let release = failure.release.iter().map(|release| ("release", release.to_string()));
        let object = webhooks::find_configuration(self.tools, &failure.reason).await;
        let release: Vec<_> = release.chain(object.map(|object| ("object", object))).collect();
        let stop = self.tools.runner.stop();
        let passes = again
            .after(
                stop,
                "Failed to sync Helm releases, retrying",
                &release,
                (Origin::Release, &failure.reason),
            )
            .await?;
        if passes {
            self.tools.await_ready().await?;
        }
        Ok(passes)
    }

    /// Recovers a release that helm left in `pending-*` when it was killed, if this run started the operation. Returns whether
    /// to retry: if a release was recovered and `more` rounds are left, or if the failure `passes` by itself.
    async fn recover(&self, failure: &ReleaseFailure, passes: bool, more: bool) -> Result<bool, Error> {
        let Some(id) = failure.release.as_ref().filter(|_| passes || more) else { return Ok(passes) };
        let stored = self.tools.observe_releases().await?;
        let Some(locked) = stored.iter().find(|one| one.is_pending() && one.id() == *id) else {
            return Ok(passes);
        };
        let own = Identity::own().to_string();
        let notes = self.lock.notes();
        let ours = notes.operation(id, locked.revision).is_some_and(|operation| operation.run == own);
        if !ours || !unlock::release(self.tools, locked).await? {
            return Ok(false);
        }
        tracing::warn!(release = %id, status = %locked.status, started_by = %host(&own), reason = %failure.reason, "Release recovered, retrying");
        Ok(true)
    }
}

/// The releases for which helmfile has completed all hooks. If helmfile failed, its progress does not show failed hooks of
/// synced releases. But it starts a release only after the hooks of those that it needs.
fn concluded(releases: &[Release], reports: &[ReleaseOutcome], is_ok: bool) -> Vec<ReleaseId> {
    let began = |id: &ReleaseId| reports.iter().any(|report| report.id() == *id);
    let is_needed = |needed: &ReleaseId| {
        releases.iter().any(|release| release.needs.contains(needed) && began(&release.id()))
    };
    let synced = reports.iter().filter(|report| report.is_synced).map(ReleaseOutcome::id);
    synced.filter(|id| is_ok || is_needed(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Kind;
    use crate::desired::releases::parse;
    use crate::plan::releases::{ChartVersion, ReleaseAction};

    fn helmfile() -> Helmfile {
        let text = b"releases:\n- {name: cni, namespace: n, chart: c}\n\
            - {name: dns, namespace: n, chart: c/coredns, needs: [cni]}\n\
            - {name: a, namespace: n, chart: c, needs: [n/dns]}\n- {name: b, namespace: n, chart: c, needs: [x/n/a]}\n\
            - {name: other, namespace: n, chart: c, needs: [n/cni]}\n";
        let releases = parse(text, "default").unwrap().releases;
        Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false }
    }

    fn planned(helmfile: &Helmfile) -> Vec<ReleasePlan> {
        let plan = |release: &Release| ReleasePlan {
            id: release.id(),
            action: ReleaseAction::Install,
            from: None,
            to: ChartVersion::default(),
            values: Vec::new(),
            has_secret_values: false,
            over: HelmOverrides::default(),
        };
        helmfile.releases.iter().map(plan).collect()
    }

    #[test]
    fn there_is_one_step_unless_dns_or_flags_differ() {
        let helmfile = helmfile();
        let mut plan = planned(&helmfile);
        let long = Duration::from_mins(15);
        let all = steps(&helmfile, &plan, None, long);
        assert_eq!((all.len(), all[0].releases.len()), (1, 5));
        plan[1].action = ReleaseAction::Skip("--skip-release");
        plan[4].over.fields = true;
        let steps = steps(&helmfile, &plan, Some(&"n/dns".into()), long);
        let steps: Vec<_> = steps
            .iter()
            .map(|step| {
                let releases: Vec<_> = step.releases.iter().map(ToString::to_string).collect();
                (releases, step.over, step.after_dns)
            })
            .collect();
        let step = |releases: &[&str], fields, after_dns| {
            let releases: Vec<_> = releases.iter().map(ToString::to_string).collect();
            (releases, HelmOverrides { fields, owners: false }, after_dns)
        };
        let expected = [
            step(&["n/cni"], false, false),
            step(&["n/other"], true, false),
            step(&["n/a", "n/b"], false, true),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn releases_with_a_short_timeout_get_steps_of_their_own() {
        let text = b"releases:\n- {name: a, namespace: n, chart: c}\n- {name: b, namespace: n, chart: c, timeout: 60, needs: [a]}\n\
            - {name: d, namespace: n, chart: c, needs: [b]}\n- {name: e, namespace: n, chart: c, timeout: 7200}\n";
        let releases = parse(text, "default").unwrap().releases;
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        let plan = planned(&helmfile);
        let steps = steps(&helmfile, &plan, None, Duration::from_mins(15));
        let steps: Vec<_> = steps
            .into_iter()
            .map(|step| step.releases.iter().map(ToString::to_string).collect::<Vec<_>>())
            .collect();
        assert_eq!(steps, [vec!["n/a", "n/e"], vec!["n/b"], vec!["n/d"]]);
    }
}
