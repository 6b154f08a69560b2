//! Waits until Flux has taken over.

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

pub use self::judge::{Asked, Verdict, judge, stalled_instance};
use self::judge::{descendants, root};
use crate::diagnose::known::{Diagnosis, Known, find};
use crate::diagnose::look::{Seen, told};
use crate::diagnose::pods::Stage;
use crate::error::Error;
use crate::logger::{self, Level};
use crate::observed::claims::Claims;
use crate::observed::flux::{Condition, Flux, Resource};
use crate::run::Waiting;
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};
use crate::tools::kubectl::FIELD_MANAGER;

/// Between two looks at Flux, at first and after [`SOON`].
const PAUSE: Duration = Duration::from_millis(500);
const LATER_PAUSE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_mins(1);

/// How long a failure lasts before it is warned of.
const HELD_UP: Duration = Duration::from_secs(4);

/// How long a Kustomization may have failed before Flux is asked to look again; doubled each time, up to [`SELDOM`].
const FAILED_FOR: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_mins(1);

/// What Flux's objects said when the cluster was looked at.
#[must_use]
pub fn seen(claims: &Claims) -> Flux {
    let resources = claims.sources.iter().chain(&claims.kustomizations).cloned().collect();
    Flux { instance: claims.instance.clone(), resources }
}

/// Waits until Flux has taken over, or until it is clear that it will not. When this run has changed the age key, what
/// Flux said with the old one does not count. What was `seen` just before is judged first.
///
/// # Errors
///
/// Flux cannot go on, or the deadline passed.
pub async fn verify(
    tools: &Toolbox,
    asked: &Asked,
    key_changed: bool,
    deadline: Duration,
    seen: Option<Flux>,
) -> Result<Verdict, Error> {
    let after = tools.clock.cap(deadline);
    let start = Instant::now();
    let passed = || start.elapsed() >= after;
    let mut waiting = Waiting::new("Waiting for Flux").within(after);
    let mut last_seen = "what Flux says".to_owned();
    let mut again = Again::default();
    let mut failing = Failing::default();
    let mut known = seen;
    loop {
        let flux = match known.take() {
            Some(flux) => flux,
            None => match tools.observe_flux().await {
                Err(error) if error.is_late() && passed() => return Err(late(after, last_seen)),
                seen => seen?,
            },
        };
        let mut verdict = judge(&flux, asked);
        let doubtful = match &verdict {
            Verdict::Failed { object, .. } => {
                kustomizations(&flux).filter(|found| found.id() == *object).collect()
            }
            Verdict::Syncing { .. } if key_changed => tree(&flux),
            _ => Vec::new(),
        };
        if let Some(unanswered) = again.first_unanswered(tools, &doubtful).await? {
            verdict =
                Verdict::Waiting { waiting_for: format!("{}; asked Flux to look again", unanswered.words()) };
        }
        match verdict {
            Verdict::Failed { object, reason } => {
                let fix = fix(&object, &reason);
                return Err(Error::Flux { object, reason, fix });
            }
            Verdict::Waiting { waiting_for } => {
                failing.warn(&flux);
                failing.look_at_controllers(tools, &flux).await;
                again.ask_failed(tools, &tree(&flux)).await?;
                waiting.say(&[("waiting_for", waiting_for.clone())]);
                let pause = if start.elapsed() < SOON { PAUSE } else { LATER_PAUSE };
                let left = after.saturating_sub(start.elapsed());
                tools.runner.stop().sleep(pause.min(left)).await?;
                if passed() {
                    return Err(late(after, waiting_for));
                }
                last_seen = waiting_for;
            }
            done => return Ok(done),
        }
    }
}

fn late(after: Duration, waiting_for: String) -> Error {
    Error::Deadline { stage: "verify", after, waiting_for }
}

fn kustomizations(flux: &Flux) -> impl Iterator<Item = &Resource> {
    flux.resources.iter().filter(|found| found.kind == "Kustomization")
}

/// The root Kustomization and all that came of it, less those that are switched off.
fn tree(flux: &Flux) -> Vec<&Resource> {
    let root = root(flux).and_then(|(namespace, name)| {
        kustomizations(flux)
            .find(|found| found.metadata.name == name && found.metadata.namespace == namespace)
    });
    let children = root.map(|root| descendants(root, &flux.resources)).unwrap_or_default();
    root.into_iter().chain(children).filter(|found| !found.spec.suspend).collect()
}

/// Why a resource has failed, if it has; one that waits for another has not, for Flux tells it of that one's end.
fn failed(resource: &Resource) -> Option<&Condition> {
    let ready = resource.condition("Ready").filter(|ready| ready.status == "False");
    ready.filter(|ready| ready.reason != "DependencyNotReady")
}

/// What says that it has failed, and for a while: it is warned of once, long before the deadline. Much of it is over by itself,
/// as when a Kustomization is looked at before its source is there.
#[derive(Default)]
struct Failing {
    since: BTreeMap<String, Instant>,
    warned: BTreeSet<String>,
    /// When the controllers were looked at last.
    looked: Option<Instant>,
}

impl Failing {
    /// Whether this is so for a while, and not warned of yet.
    fn is_news(&mut self, what: &str) -> bool {
        let since = self.since.entry(what.to_owned()).or_insert_with(Instant::now);
        since.elapsed() >= HELD_UP && self.warned.insert(what.to_owned())
    }

    /// Looks at the pods of Flux while its instance is not ready: nobody else tells why they do not run.
    async fn look_at_controllers(&mut self, tools: &Toolbox, flux: &Flux) {
        let waits = |instance: &&Resource| instance.ready() != Some("True");
        let Some(instance) = flux.instance.as_ref().filter(waits) else { return };
        if self.looked.is_some_and(|looked| looked.elapsed() < LATER_PAUSE) {
            return;
        }
        self.looked = Some(Instant::now());
        let release = format!("{}/{}", instance.metadata.namespace, instance.metadata.name);
        // What cannot be read is not told; the next look tells.
        let Ok(seen) = Seen::of(tools, &release).await else { return };
        // Those that run may still get ready.
        for trouble in seen.troubles_of_flux("").into_iter().filter(|trouble| trouble.stage < Stage::Node) {
            if self.is_news(&format!("{} {:?}", trouble.object, trouble.stage)) {
                let diagnosis = told(tools, &release, trouble, &seen.events).await;
                logger::log(Level::Warn, "Flux is held up", &diagnosis.pairs(None));
            }
        }
    }

    fn warn(&mut self, flux: &Flux) {
        for resource in flux.instance.iter().chain(&flux.resources) {
            let id = resource.id();
            let Some(ready) = failed(resource) else {
                self.since.remove(&id);
                continue;
            };
            if !self.is_news(&id) {
                continue;
            }
            let state = format!("{}: {}", ready.reason, ready.message);
            let diagnosis = Diagnosis {
                cause: find(&format!("{id}: {state}")).map(|known| known.cause),
                fix: Some(fix(&id, &state)),
                object: Some(id),
                state: Some(state),
                ..Diagnosis::default()
            };
            logger::log(Level::Warn, "Flux is held up", &diagnosis.pairs(None));
        }
    }
}

/// What Kustomizations say may be older than this run: a failure from before the key was mended, or a success from
/// before it was changed. Flux itself looks again only after its interval of minutes, so each is asked once, as `flux
/// reconcile` does; and one that goes on failing now and then, for what it lacked may be there by now.
#[derive(Default)]
struct Again {
    asked: BTreeMap<String, Request>,
    /// Since when they have failed or were asked last, and for how long they are left alone from then on.
    failed: BTreeMap<String, (Instant, Duration)>,
}

/// What a Kustomization was asked with: unlike that of any other run, for such a one may have been answered already.
struct Request(String);

impl Request {
    fn new() -> Self {
        Self(humantime::format_rfc3339_nanos(SystemTime::now()).to_string())
    }

    /// Asks, as `flux reconcile` does.
    async fn ask(&self, tools: &Toolbox, resource: &Resource) -> Result<(), Error> {
        let metadata = &resource.metadata;
        let (namespace, name) = (segment(&metadata.namespace), segment(&metadata.name));
        let path = format!(
            "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations/{name}?fieldManager={FIELD_MANAGER}"
        );
        let note = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": self.0}}});
        tools.ask(Call::merge(&path, &note)).await?.good().map(drop)
    }

    fn is_answered(&self, resource: &Resource) -> bool {
        resource.status.last_handled_reconcile_at.as_ref() == Some(&self.0)
    }
}

impl Again {
    /// Asks those that were not asked yet; gives the first that has not answered.
    async fn first_unanswered<'a>(
        &mut self,
        tools: &Toolbox,
        resources: &[&'a Resource],
    ) -> Result<Option<&'a Resource>, Error> {
        let mut unanswered = None;
        for resource in resources {
            let id = resource.id();
            if !self.asked.contains_key(&id) {
                let request = Request::new();
                request.ask(tools, resource).await?;
                self.asked.insert(id.clone(), request);
            }
            let answered = self.asked.get(&id).is_some_and(|request| request.is_answered(resource));
            if !answered {
                unanswered = unanswered.or(Some(*resource));
            }
        }
        Ok(unanswered)
    }

    /// Asks those that have failed for a while.
    async fn ask_failed(&mut self, tools: &Toolbox, resources: &[&Resource]) -> Result<(), Error> {
        for resource in resources {
            let id = resource.id();
            if failed(resource).is_none() {
                self.failed.remove(&id);
                continue;
            }
            let (since, pause) = self.failed.entry(id.clone()).or_insert((Instant::now(), FAILED_FOR));
            if since.elapsed() < *pause {
                continue;
            }
            (*since, *pause) = (Instant::now(), (*pause * 2).min(SELDOM));
            tracing::info!(waiting_for = %resource.words(), "Asking Flux to look again");
            let request = Request::new();
            request.ask(tools, resource).await?;
            self.asked.insert(id, request);
        }
        Ok(())
    }
}

fn fix(object: &str, reason: &str) -> String {
    let (kind, path) = object.split_once(' ').unwrap_or((object, ""));
    // It is no release: a cure that is told with the name of one is none.
    if let Some(fix) = find(&format!("{object}: {reason}")).and_then(Known::general_fix) {
        return fix.to_owned();
    }
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    format!("kubectl --namespace {namespace} describe {} {name}", kind.to_lowercase())
}
