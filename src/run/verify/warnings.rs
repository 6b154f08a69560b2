//! Warnings while Flux is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::base::diagnosis::Diagnosis;
use crate::base::logger::{self, Level};
use crate::base::release_id::ReleaseId;
use crate::diagnose::flux::Problem;
use crate::diagnose::pods::Stage;
use crate::observed::flux::Flux;
use crate::run::inspect::{Seen, diagnose};
use crate::tools::Toolbox;

/// How long a failure lasts before it is warned of: much is over by itself, as when a Kustomization is reconciled before its
/// source is there.
const GRACE: Duration = Duration::from_secs(4);

/// Between two reads of the pods of Flux.
const READ_INTERVAL: Duration = Duration::from_secs(2);

/// So many objects that fail at the end are named; `k3s-boot status` shows all.
const MAX_NAMED: usize = 10;

/// What keeps Flux from taking over, and what fails below that. Each is warned of once.
#[derive(Default)]
pub(super) struct Warnings {
    since: BTreeMap<String, Instant>,
    warned: BTreeSet<String>,
    /// When the pods of Flux were read last.
    read: Option<Instant>,
}

impl Warnings {
    /// Whether this is so for a while, and not warned of yet.
    fn is_due(&mut self, what: &str) -> bool {
        let since = self.since.entry(what.to_owned()).or_insert_with(Instant::now);
        since.elapsed() >= GRACE && self.warned.insert(what.to_owned())
    }

    /// Warns of pods of Flux that do not start, while the FluxInstance is not ready: it does not report why.
    pub(super) async fn warn_of_pods(&mut self, tools: &Toolbox, flux: &Flux) {
        let Some(instance) = flux.instance.as_ref().filter(|instance| !instance.has("Ready", "True")) else {
            return;
        };
        if self.read.is_some_and(|read| read.elapsed() < READ_INTERVAL) {
            return;
        }
        self.read = Some(Instant::now());
        let release = ReleaseId::new(&instance.metadata.namespace, &instance.metadata.name);
        // What cannot be read now may be read the next time.
        let Ok(seen) = Seen::of(tools, &release).await else { return };
        // Those that run may still get ready.
        for problem in seen.flux_problems("").into_iter().filter(|problem| problem.stage < Stage::Node) {
            if self.is_due(&format!("{PODS}{} {:?}", problem.object, problem.stage)) {
                let diagnosis = diagnose(tools, &release, problem, &seen.events).await;
                logger::log(Level::Warn, "Flux is blocked", &diagnosis.fields(None));
            }
        }
    }

    /// Warns of what has failed for a while.
    pub(super) fn warn(&mut self, blocked: &[Problem], below: &[Problem]) {
        let failing: BTreeSet<_> =
            blocked.iter().chain(below).map(|problem| problem.object.to_string()).collect();
        // What fails again has a grace again.
        self.since.retain(|what, _| failing.contains(what) || what.starts_with(PODS));
        let blocked = blocked.iter().map(|problem| ("Flux is blocked", problem));
        let below = below.iter().map(|problem| (BELOW, problem));
        for (message, problem) in blocked.chain(below) {
            if self.is_due(&problem.object.to_string()) {
                log(message, problem);
            }
        }
    }

    /// Warns of what fails although Flux has taken over, without waiting for whether that is over soon.
    pub(super) fn report(&mut self, below: &[Problem]) {
        let news: Vec<_> =
            below.iter().filter(|problem| self.warned.insert(problem.object.to_string())).collect();
        for problem in news.iter().take(MAX_NAMED) {
            log(BELOW, problem);
        }
        if news.len() > MAX_NAMED {
            let more = news.len() - MAX_NAMED;
            tracing::warn!(
                more,
                fix = "k3s-boot status  # shows all",
                "Flux failed to reconcile more objects"
            );
        }
    }
}

/// What the keys of pods begin with.
const PODS: &str = "pods: ";

/// The message about what Flux' taking over does not need.
const BELOW: &str = "Flux failed to reconcile";

fn log(message: &'static str, problem: &Problem) {
    let diagnosis = Diagnosis {
        cause: problem.known().map(|known| known.cause),
        fix: Some(problem.advice(false)),
        object: Some(problem.object.to_string()),
        ..Diagnosis::default()
    };
    logger::log(Level::Warn, message, &diagnosis.fields(Some(problem.reason.clone())));
}
