//! Waits until Flux has taken over.

mod requests;
mod warnings;

use std::time::{Duration, Instant};

use self::requests::{Requests, asked};
use self::warnings::Warnings;
use crate::base::error::Error;
use crate::base::waiting::Waiting;
pub(crate) use crate::desired::source::SyncSource;
pub(crate) use crate::diagnose::flux::Outcome;
use crate::diagnose::flux::kustomizations::key;
use crate::diagnose::flux::{Judgement, Problem, Verdict, descendants, judge, root};
use crate::observed::claims::Claims;
use crate::observed::flux::{Flux, Resource};
use crate::tools::Toolbox;

/// The interval at which Flux is read, at first and after [`SOON`].
const PAUSE: Duration = Duration::from_millis(500);
const LATER_PAUSE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_mins(1);

/// The objects of Flux when the cluster was observed.
pub(crate) fn seen(claims: &Claims) -> Flux {
    let resources = claims.sources.iter().chain(&claims.kustomizations).cloned().collect();
    Flux { instance: claims.instance.clone(), resources }
}

/// Waits until Flux has taken over, or cannot. If this run has changed the age key, earlier results of Flux do not count.
/// The objects that were `seen` just before are judged first.
///
/// # Errors
///
/// Flux cannot go on, or the timeout expired.
pub(crate) async fn verify(
    tools: &Toolbox,
    source: &SyncSource,
    key_changed: bool,
    timeout: Duration,
    seen: Option<Flux>,
) -> Result<Outcome, Error> {
    let after = tools.clock.cap(timeout);
    let start = Instant::now();
    let passed = || start.elapsed() >= after;
    let mut waiting = Waiting::new("Waiting for Flux").within(after);
    let mut last = (Vec::new(), "what Flux reports".to_owned());
    let mut requests = Requests::default();
    let mut warnings = Warnings::default();
    let mut known = seen;
    loop {
        let flux = match known.take() {
            Some(flux) => flux,
            None => match tools.observe_flux().await {
                Err(error) if error.is_late() && passed() => return Err(late(after, last)),
                seen => seen?,
            },
        };
        let Judgement { verdict, blocked, below } = judge(&flux, source);
        let unanswered = match &verdict {
            Verdict::Waiting { .. } => {
                requests.retry(tools, &flux, &blocked).await?;
                None
            }
            Verdict::Failed(problem) => requests.confirm(tools, &flux, problem).await?,
            Verdict::Done(_) if key_changed => {
                let unanswered = requests.refresh(tools, &tree(&flux)).await?;
                unanswered.or_else(|| requests.unanswered(&flux)).map(asked)
            }
            Verdict::Done(_) => requests.unanswered(&flux).map(asked),
        };
        let waiting_for = match (verdict, unanswered) {
            (Verdict::Waiting { waiting_for }, _) => waiting_for,
            (_, Some(unanswered)) => unanswered,
            (Verdict::Failed(problem), None) => return Err(failed(problem, None)),
            (Verdict::Done(outcome), None) => {
                warnings.report(&below);
                return Ok(outcome);
            }
        };
        warnings.warn(&blocked, &below);
        warnings.warn_of_pods(tools, &flux).await;
        waiting.say(&[("waiting_for", waiting_for.clone())]);
        let pause = if start.elapsed() < SOON { PAUSE } else { LATER_PAUSE };
        let left = after.saturating_sub(start.elapsed());
        tools.runner.stop().sleep(pause.min(left)).await?;
        last = (blocked, waiting_for);
        if passed() {
            return Err(late(after, last));
        }
    }
}

/// The error when the timeout has expired: what has failed, else what was waited for.
fn late(after: Duration, (blocked, waiting_for): (Vec<Problem>, String)) -> Error {
    match blocked.into_iter().next() {
        Some(problem) => failed(problem, Some(after)),
        None => Error::Deadline { stage: "verify", after, waiting_for },
    }
}

fn failed(problem: Problem, after: Option<Duration>) -> Error {
    let fix = problem.advice(after.is_some());
    let Problem { object, reason, .. } = problem;
    Error::Flux { object: object.to_string(), reason, fix, after }
}

/// The root Kustomization and its descendants, except suspended ones.
fn tree(flux: &Flux) -> Vec<&Resource> {
    let mut kustomizations = flux.resources.iter().filter(|found| found.kind == "Kustomization");
    let root = root(flux).and_then(|root| kustomizations.find(|found| key(found) == root));
    let children = root.map(|root| descendants(root, &flux.resources)).unwrap_or_default();
    root.into_iter().chain(children).filter(|found| !found.spec.suspend).collect()
}
