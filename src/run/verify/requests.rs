//! Requests to Flux to reconcile an object at once, as `flux reconcile` makes them.
//!
//! Flux itself looks at an object again only after its interval of minutes. A request during a health check restarts that check
//! (and since kustomize-controller 1.8 ends it at once), and one for what waits by `dependsOn` changes nothing: neither is made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::base::error::Error;
use crate::base::object_ref::ObjectRef;
use crate::diagnose::flux::kustomizations::{State, state};
use crate::diagnose::flux::{Problem, stalled};
use crate::observed::flux::{Flux, Resource};
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};
use crate::tools::kubectl::FIELD_MANAGER;

/// How long a Kustomization may have failed before a reconciliation is requested; doubled each time, up to
/// [`MAX_RETRY_INTERVAL`].
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
const MAX_RETRY_INTERVAL: Duration = Duration::from_mins(1);

/// How long a branch, tag or commit may be missing in the Git repository before that ends the wait: a `git push` that is under way
/// ends by then. Who has forgotten to push starts again afterwards, which takes seconds.
const PUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// What was requested of Flux in this run, by object.
#[derive(Default)]
pub(super) struct Requests {
    /// What Flux reported before this run may be out of date: each object is asked once.
    refreshed: BTreeMap<ObjectRef, Request>,
    /// Those that go on failing are asked again and again, for what they need may be there by now.
    retried: BTreeMap<ObjectRef, Request>,
    /// Since when they fail or were asked last, and how long they are left alone from then on.
    waits: BTreeMap<ObjectRef, (Instant, Duration)>,
    /// Since when a source has no such reference.
    unresolved: BTreeMap<ObjectRef, Instant>,
}

/// A request, whose text is unlike that of any other run: such a one may have been answered already.
struct Request {
    requested_at: String,
    is_answered: bool,
}

impl Request {
    /// Makes it.
    async fn send(tools: &Toolbox, resource: &Resource) -> Result<Self, Error> {
        let requested_at = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        let path = format!("{}?fieldManager={FIELD_MANAGER}", path(resource));
        let note = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": requested_at}}});
        match tools.ask(Call::merge(&path, &note)).await?.good() {
            // It has been deleted meanwhile; then nobody waits for the answer.
            Ok(_) | Err(Error::Api { status: Some(404), .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { requested_at, is_answered: false })
    }

    /// Whether it has been answered. The controller notes that at the end of the reconciliation. When the health check runs,
    /// which did not when it was made, all before that is done.
    fn check(&mut self, resource: &Resource) -> bool {
        let handled = resource.status.last_handled_reconcile_at.as_ref() == Some(&self.requested_at);
        self.is_answered |= handled || resource.is_checking_health();
        self.is_answered
    }
}

/// Where the API server has a source or a Kustomization.
fn path(resource: &Resource) -> String {
    let Resource { api_version, kind, metadata, .. } = resource;
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    let (namespace, name) = (segment(&metadata.namespace), segment(&metadata.name));
    format!("/apis/{api_version}/namespaces/{namespace}/{}/{name}", plural.to_lowercase())
}

/// Whether a request neither disturbs a reconciliation nor is useless.
fn may_request(resource: &Resource) -> bool {
    if resource.kind != "Kustomization" {
        return !resource.spec.suspend;
    }
    // After a failure the reason is `ProgressingWithRetry`: then nothing runs.
    let is_running = resource
        .condition("Reconciling")
        .is_some_and(|running| running.status == "True" && running.reason == "Progressing");
    !is_running && matches!(state(resource), State::Ready | State::Failed(_))
}

/// What is waited for while a resource has not answered.
pub(super) fn asked(unanswered: &Resource) -> String {
    format!("{}; asked Flux to reconcile", unanswered.words())
}

impl Requests {
    /// Has Flux fetch a failed Kustomization's source, and then reconcile the Kustomization, as `flux reconcile kustomization
    /// --with-source` does: its failure may be older than a commit that fixes it, or than this run's key. A source that is
    /// not stalled is fetched once more after [`PUSH_TIMEOUT`]. Gives what is waited for until then. Of other objects nothing
    /// is requested.
    pub(super) async fn confirm(
        &mut self,
        tools: &Toolbox,
        flux: &Flux,
        problem: &Problem,
    ) -> Result<Option<String>, Error> {
        let Some(failed) = flux.resources.iter().find(|found| found.object() == problem.object) else {
            return Ok(None);
        };
        let resources = if failed.kind == "Kustomization" {
            source_of(flux, failed).into_iter().chain([failed]).collect()
        } else if stalled(failed).is_some() {
            Vec::new()
        } else {
            let since = self.unresolved.entry(problem.object.clone()).or_insert_with(Instant::now);
            if since.elapsed() < PUSH_TIMEOUT {
                return Ok(Some(problem.words()));
            }
            vec![failed]
        };
        for resource in resources {
            if let Some(unanswered) = self.refresh(tools, &[resource]).await? {
                return Ok(Some(asked(unanswered)));
            }
        }
        Ok(None)
    }

    /// Has Flux reconcile each of them once; gives the first that has not answered. Those that a request would disturb
    /// are passed over.
    pub(super) async fn refresh<'a>(
        &mut self,
        tools: &Toolbox,
        resources: &[&'a Resource],
    ) -> Result<Option<&'a Resource>, Error> {
        let mut unanswered = None;
        for resource in resources {
            let id = resource.object();
            if !self.refreshed.contains_key(&id) && may_request(resource) {
                self.refreshed.insert(id.clone(), Request::send(tools, resource).await?);
            }
            if self.refreshed.get_mut(&id).is_some_and(|request| !request.check(resource)) {
                unanswered = unanswered.or(Some(*resource));
            }
        }
        Ok(unanswered)
    }

    /// Has Flux reconcile the Kustomizations that have failed for a while.
    pub(super) async fn retry(
        &mut self,
        tools: &Toolbox,
        flux: &Flux,
        problems: &[Problem],
    ) -> Result<(), Error> {
        for Problem { object, reason, .. } in problems {
            let Some(resource) = kustomization(flux, object).filter(|found| may_request(found)) else {
                continue;
            };
            let is_open = self.is_open(resource);
            let (since, interval) =
                self.waits.entry(object.clone()).or_insert((Instant::now(), RETRY_INTERVAL));
            if is_open || since.elapsed() < *interval {
                continue;
            }
            (*since, *interval) = (Instant::now(), (*interval * 2).min(MAX_RETRY_INTERVAL));
            tracing::info!(%object, reason, "Asking Flux to reconcile again");
            self.retried.insert(object.clone(), Request::send(tools, resource).await?);
        }
        Ok(())
    }

    /// A Kustomization that has not answered yet. Until then it may look as if all were well.
    pub(super) fn unanswered<'a>(&mut self, flux: &'a Flux) -> Option<&'a Resource> {
        let active = |found: &&Resource| found.kind == "Kustomization" && !found.spec.suspend;
        flux.resources.iter().filter(active).find(|resource| self.is_open(resource))
    }

    fn is_open(&mut self, resource: &Resource) -> bool {
        let id = resource.object();
        let requests = [self.refreshed.get_mut(&id), self.retried.get_mut(&id)];
        requests.into_iter().flatten().any(|request| !request.check(resource))
    }
}

fn kustomization<'a>(flux: &'a Flux, object: &ObjectRef) -> Option<&'a Resource> {
    flux.resources.iter().find(|found| found.kind == "Kustomization" && found.object() == *object)
}

fn source_of<'a>(flux: &'a Flux, kustomization: &Resource) -> Option<&'a Resource> {
    let source = kustomization.spec.source_ref.as_ref()?;
    let namespace = source.namespace.as_ref().unwrap_or(&kustomization.metadata.namespace);
    flux.resources.iter().find(|found| {
        let metadata = &found.metadata;
        found.kind == source.kind && metadata.name == source.name && metadata.namespace == *namespace
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::flux::fixture::{
        DEPENDENT, OK, RUNNING, UNAPPLIED, UNBUILT, UNDECRYPTED, UNHEALTHY, checking, direct, source,
        suspended, with,
    };

    #[test]
    fn a_request_disturbs_nothing() {
        let canceled = ("False", "HealthCheckCanceled", "New reconciliation triggered");
        for ready in [RUNNING, DEPENDENT, UNHEALTHY, canceled] {
            assert!(!may_request(&direct("a", ready)), "{ready:?}");
        }
        let reconciling = |ready, reason| with(direct("a", ready), ["Reconciling", "True", reason, "x"]);
        for ready in [OK, UNBUILT, UNDECRYPTED, UNAPPLIED] {
            assert!(may_request(&direct("a", ready)), "{ready:?}");
            assert!(!may_request(&suspended(direct("a", ready))), "{ready:?}");
            assert!(!may_request(&reconciling(ready, "Progressing")), "{ready:?}");
            assert!(may_request(&reconciling(ready, "ProgressingWithRetry")), "{ready:?}");
        }
        assert!(!may_request(&checking(direct("a", RUNNING))));
        let mut changed = direct("a", UNBUILT);
        changed.metadata.generation = 2;
        assert!(!may_request(&changed), "it is about to be reconciled");
        assert!(may_request(&source()) && !may_request(&suspended(source())));
    }

    #[test]
    fn a_request_is_answered_when_the_controller_notes_it_or_checks_the_health() {
        let request = || Request { requested_at: "then".to_owned(), is_answered: false };
        let mut answer = direct("a", OK);
        assert!(!request().check(&answer));
        answer.status.last_handled_reconcile_at = Some("before".to_owned());
        assert!(!request().check(&answer));
        answer.status.last_handled_reconcile_at = Some("then".to_owned());
        assert!(request().check(&answer));
        assert!(!request().check(&direct("a", RUNNING)));
        assert!(request().check(&checking(direct("a", RUNNING))));
        // Somebody else may ask it too.
        let mut request = request();
        assert!(request.check(&answer) && request.check(&direct("a", OK)));
    }

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(
            path(&direct("a", OK)),
            "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/a"
        );
        assert_eq!(
            path(&source()),
            "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/flux-system"
        );
    }
}
