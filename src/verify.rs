//! Waits until Flux has taken over.

mod judge;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

pub use self::judge::{Asked, Verdict, judge};
use self::judge::{descendants, root};
use crate::error::Error;
use crate::observed::claims::Claims;
use crate::observed::flux::{Flux, Resource};
use crate::run::Waiting;
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};
use crate::tools::kubectl::FIELD_MANAGER;

/// Between two looks at Flux, at first and after [`SOON`].
const PAUSE: Duration = Duration::from_millis(500);
const LATER_PAUSE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_mins(1);

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
    let mut waiting = Waiting::new("Waiting for Flux");
    let mut last_seen = "what Flux says".to_owned();
    let mut again = Again::new();
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

/// What Kustomizations say may be older than this run: a failure from before the key was mended, or a success from
/// before it was changed. Flux itself looks again only after its interval of minutes, so each is asked once, as `flux
/// reconcile` does.
struct Again {
    /// Unlike that of any other run, for such a one may have been answered already.
    request: String,
    asked: BTreeSet<String>,
}

impl Again {
    fn new() -> Self {
        Self {
            request: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
            asked: BTreeSet::new(),
        }
    }

    /// Asks those that were not asked yet; gives the first that has not answered.
    async fn first_unanswered<'a>(
        &mut self,
        tools: &Toolbox,
        resources: &[&'a Resource],
    ) -> Result<Option<&'a Resource>, Error> {
        let mut unanswered = None;
        for resource in resources {
            if self.asked.insert(resource.id()) {
                let metadata = &resource.metadata;
                let (namespace, name) = (segment(&metadata.namespace), segment(&metadata.name));
                // As `flux reconcile` does.
                let path = format!(
                    "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations/{name}?fieldManager={FIELD_MANAGER}"
                );
                let note =
                    json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": self.request}}});
                tools.ask(Call::merge(&path, &note)).await?.good()?;
            }
            if resource.status.last_handled_reconcile_at.as_deref() != Some(&self.request) {
                unanswered = unanswered.or(Some(*resource));
            }
        }
        Ok(unanswered)
    }
}

fn fix(object: &str, reason: &str) -> String {
    if reason.to_lowercase().contains("decrypt") {
        return "put the age key that this repository is encrypted for into age.key and run it again with --rotate-age-key".to_owned();
    }
    let (kind, path) = object.split_once(' ').unwrap_or((object, ""));
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    format!("kubectl --namespace {namespace} describe {} {name}", kind.to_lowercase())
}
