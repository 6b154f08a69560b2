//! One run at a time for a cluster, across machines: the lock is a Lease.
//!
//! It is written only on the condition that nobody else has written since it was read, so that two can never have it. A
//! holder renews it; one that does not has lost it when it stood still for [`EXPIRES`] by the clock of whoever watches,
//! for the clocks of two machines differ, and a laptop that sleeps counts nothing.
//!
//! Only the fields of k3s-boot are written, as a JSON merge patch: annotations, labels, finalizers and owners of others
//! stay. On a conflict the Lease is read again; a holder is one process alone, so a Lease that names this process as its
//! holder is ours, also when the answer to the request that made it so was lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::error::Error;
use crate::notes::Notes;
use crate::observed::cluster::{LEASE, Lease};
use crate::process::identity::{Identity, ProcessState};
use crate::process::signals::Cause;
use crate::run::Waiting;
use crate::tools::Toolbox;
use crate::tools::api::Call;

/// So long a Lease holds that nobody renews.
pub const EXPIRES: Duration = Duration::from_secs(15);

/// How often its holder renews it.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// Between two looks at another run's, and after a renewal that was not answered.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end of a run may take to let go of it.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// And when what ran was killed.
const KILLED_RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Starting a program takes less.
const START_TIME: Duration = Duration::from_millis(50);

/// How long the tools of a run that was killed may take to end: helm marks its release meanwhile.
const TOOLS_TIMEOUT: Duration = Duration::from_secs(30);

/// The lock, held.
pub struct Lock<'a> {
    tools: &'a Toolbox,
    held: RefCell<Held>,
}

/// The fields of k3s-boot in the Lease.
#[derive(Debug)]
struct Held {
    /// This process.
    own: String,
    /// Whether this process lets go of it.
    released: bool,
    acquired: String,
    transitions: i64,
    /// The version that was read or written last; empty where there is no Lease.
    resource_version: String,
    /// What is noted.
    notes: Notes,
    /// The other annotations of k3s-boot.
    annotations: BTreeMap<String, String>,
}

/// How writing the Lease ended.
enum Written {
    Done,
    /// Somebody else has written, made or deleted it, or an earlier try of the same request has written it.
    Changed,
}

impl<'a> Lock<'a> {
    /// Takes the lock, as it was `seen`, and writes `notes` and these annotations with it. Tells whether nobody else has
    /// had it since it was seen, so that all that was seen after it still holds. Waits for this long when another run has
    /// it, and at least until it can be told whether that run still lives.
    ///
    /// # Errors
    ///
    /// Another run has it, the API server does not answer, or k3s-boot was interrupted.
    pub async fn acquire(
        tools: &'a Toolbox,
        seen: Option<&Lease>,
        notes: &Notes,
        annotations: &[(&str, &str)],
        wait: Duration,
    ) -> Result<(Self, bool), Error> {
        let own = Identity::own();
        let mut lease = seen.cloned();
        let (start, mut still) = (Instant::now(), Instant::now());
        let mut unchanged = true;
        let mut waiting = Waiting::new("Waiting for another run");
        loop {
            if let Some(ended) = ended_holder(lease.as_ref(), &own) {
                unchanged &= end_tools(tools, &ended).await?;
            } else if let Some(held) = lease.as_ref().filter(|lease| !is_free(lease, still.elapsed())) {
                unchanged = false;
                if start.elapsed() >= wait.max(EXPIRES) {
                    return Err(locked(Some(held)));
                }
                let (holder, since) = holder_since(held);
                waiting.say_at_once(&[("holder", holder), ("since", since)]);
                tools.runner.stop().sleep(POLL_INTERVAL).await?;
                let now = tools.observe_lock(Call::get(&own_path())).await?;
                if now.as_ref().map(|lease| &lease.resource_version) != Some(&held.resource_version) {
                    still = Instant::now();
                }
                lease = now;
                continue;
            }
            let lock =
                Self { tools, held: RefCell::new(Held::new(&own, lease.as_ref(), notes, annotations)) };
            match lock.write(false).await? {
                Written::Done => return Ok((lock, unchanged)),
                Written::Changed => {
                    tools.runner.stop().sleep(POLL_INTERVAL / 10).await?;
                    lease = tools.observe_lock(Call::get(&own_path())).await?;
                    if lock.is_ours(lease.as_ref()) {
                        return Ok((lock, unchanged));
                    }
                    unchanged = false;
                    still = Instant::now();
                    // Others were first again and again.
                    if start.elapsed() >= wait.max(EXPIRES) {
                        return Err(locked(lease.as_ref()));
                    }
                }
            }
        }
    }

    /// Does something while it is renewed.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            result = work => result,
            never = self.keep() => match never {},
        }
    }

    /// Renews it for as long as it is asked to. When it is lost, the run is told to end.
    async fn keep(&self) -> Infallible {
        let mut late = false;
        let mut pause = RENEW_INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew().await {
                Ok(true) => {
                    late = false;
                    RENEW_INTERVAL
                }
                Ok(false) => {
                    tracing::warn!("Another run has taken the lock, shutting down");
                    self.tools.runner.stop().raise(Cause::LostLock);
                    return std::future::pending().await;
                }
                // Nobody else can take it either, as long as the API server is away.
                Err(error) => {
                    if !std::mem::replace(&mut late, true) {
                        tracing::warn!(reason = %error, "Failed to renew the lock, retrying");
                    }
                    POLL_INTERVAL
                }
            };
        }
    }

    /// Renews it, or lets go of it, whatever others have written on it meanwhile. Returns whether it was still ours.
    async fn renew(&self) -> Result<bool, Error> {
        loop {
            if let Written::Done = self.write(true).await? {
                return Ok(true);
            }
            let lease = self.tools.observe_lock(Call::get(&own_path()).to_the_end()).await?;
            if self.is_ours(lease.as_ref()) {
                continue;
            }
            let released = self.held.borrow().released;
            match lease {
                // Nobody has it.
                Some(lease) if released => return Ok(lease.holder.is_empty()),
                None if released => return Ok(true),
                Some(_) => return Ok(false),
                None => self.held.borrow_mut().resource_version.clear(),
            }
        }
    }

    /// Whether this process holds the Lease; then the next write is on top of what it is now.
    fn is_ours(&self, lease: Option<&Lease>) -> bool {
        let mut held = self.held.borrow_mut();
        let lease = lease.filter(|lease| lease.holder == held.own);
        if let Some(lease) = lease {
            held.resource_version.clone_from(&lease.resource_version);
        }
        lease.is_some()
    }

    /// What is noted on it, or will be with its next renewal.
    pub fn notes(&self) -> Notes {
        self.held.borrow().notes.clone()
    }

    /// Changes what is noted on it with its next renewal, at its release at the latest.
    pub fn change(&self, change: impl FnOnce(&mut Notes)) {
        change(&mut self.held.borrow_mut().notes);
    }

    /// Renews it now, for what is noted on it must be there before the run goes on.
    ///
    /// # Errors
    ///
    /// The API server does not respond, or k3s-boot was interrupted. That it is lost is no error here: [`Self::keep`] ends
    /// the run.
    pub async fn write_notes(&self) -> Result<(), Error> {
        self.renew().await.map(drop)
    }

    /// Lets go of it. Who says twice that it shall end does not wait for that: it expires.
    pub async fn release(self) {
        self.held.borrow_mut().released = true;
        self.tools.clock.wind_up();
        let stop = self.tools.runner.stop();
        let longest = if stop.killed() { KILLED_RELEASE_TIMEOUT } else { RELEASE_TIMEOUT };
        tokio::select! {
            released = tokio::time::timeout(longest, self.renew()) => {
                if !matches!(released, Ok(Ok(true))) {
                    tracing::debug!("Failed to release the lock");
                }
            }
            () = stop.clone().until_killed(), if !stop.killed() => tracing::debug!("Leaving the lock to expire"),
        }
    }

    /// Writes it, also after k3s-boot was interrupted if it is `to_the_end`.
    async fn write(&self, to_the_end: bool) -> Result<Written, Error> {
        let (created, patch) = {
            let held = self.held.borrow();
            (held.resource_version.is_empty().then(|| held.lease()), held.patch())
        };
        let (list, own) = (list_path(), own_path());
        let call = match &created {
            Some(lease) => Call::create(&list, lease),
            None => Call::merge(&own, &patch),
        };
        let call = if to_the_end { call.to_the_end() } else { call };
        let answer = self.tools.ask(call).await?;
        if matches!(answer.status(), 404 | 409) {
            return Ok(Written::Changed);
        }
        let written: Value = answer.read()?;
        let version = written.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        version.unwrap_or_default().clone_into(&mut self.held.borrow_mut().resource_version);
        Ok(Written::Done)
    }
}

impl Held {
    fn new(own: &Identity, lease: Option<&Lease>, notes: &Notes, annotations: &[(&str, &str)]) -> Self {
        Self {
            own: own.to_string(),
            released: false,
            acquired: now(),
            transitions: lease.map_or(0, |lease| lease.transitions + 1),
            resource_version: lease.map(|lease| lease.resource_version.clone()).unwrap_or_default(),
            notes: notes.clone(),
            annotations: annotations
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// The annotations of k3s-boot; none for one that is to be removed.
    fn annotations(&self) -> BTreeMap<&str, Option<String>> {
        let own = self.annotations.iter().map(|(name, value)| (name.as_str(), Some(value.clone())));
        self.notes.annotations().into_iter().chain(own).collect()
    }

    /// The Lease as it is created.
    fn lease(&self) -> Value {
        let (namespace, name) = LEASE;
        let annotations: BTreeMap<_, _> =
            self.annotations().into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        let metadata = json!({"name": name, "namespace": namespace, "annotations": annotations});
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self.spec()})
    }

    /// The change of a Lease that has still the version that was seen.
    fn patch(&self) -> Value {
        let metadata = json!({"resourceVersion": self.resource_version, "annotations": self.annotations()});
        json!({"metadata": metadata, "spec": self.spec()})
    }

    fn spec(&self) -> Value {
        let held = |value: Value| if self.released { Value::Null } else { value };
        json!({
            "holderIdentity": held(self.own.as_str().into()),
            "acquireTime": held(self.acquired.as_str().into()),
            "leaseDurationSeconds": held(EXPIRES.as_secs().into()),
            "leaseTransitions": self.transitions,
            "renewTime": now(),
        })
    }
}

fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// The path of the list of Leases.
fn list_path() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", LEASE.0)
}

/// The path of the Lease that is the lock.
fn own_path() -> String {
    format!("{}/{}", list_path(), LEASE.1)
}

/// The holder, if it was a process of this machine that has ended.
fn ended_holder(lease: Option<&Lease>, own: &Identity) -> Option<Identity> {
    let holder = Identity::parse(&lease?.holder)?;
    (holder.state(own) == ProcessState::Ended).then_some(holder)
}

/// Whether nobody has it, for it stood still for so long by our own clock.
fn is_free(lease: &Lease, still: Duration) -> bool {
    lease.holder.is_empty() || still >= EXPIRES
}

/// Who holds it, since when; for people.
fn holder_since(lease: &Lease) -> (String, String) {
    (describe_holder(&lease.holder), lease.acquired.clone().unwrap_or_default())
}

fn locked(lease: Option<&Lease>) -> Error {
    let (holder, since) = lease.map(holder_since).unwrap_or_default();
    Error::Locked { holder, since }
}

/// The holder for people: `laptop, process 4711`; whatever somebody else may have written there as it is.
fn describe_holder(holder: &str) -> String {
    match Identity::parse(holder) {
        Some(Identity { host, pid, .. }) => format!("{host}, process {pid}"),
        None => holder.to_owned(),
    }
}

/// Waits until the tools of a run that was killed have ended, and ends them if they do not: nothing else would. Tells
/// whether none was left.
pub async fn end_tools(tools: &Toolbox, run: &Identity) -> Result<bool, Error> {
    let start = Instant::now();
    let mut left = run.tools();
    if left.is_empty() {
        // One may just have been on its way.
        tools.runner.stop().sleep(START_TIME).await?;
        left = run.tools();
    }
    let none = left.is_empty();
    if !none {
        tracing::info!(processes = %left.len(), "Waiting for orphaned processes of a previous run to exit");
    }
    while !left.is_empty() && start.elapsed() < TOOLS_TIMEOUT {
        tools.runner.stop().sleep(POLL_INTERVAL / 10).await?;
        left = run.tools();
    }
    for pid in left {
        tracing::warn!(process = %pid, "Killing an orphaned process of a previous run");
        crate::process::identity::kill(pid);
    }
    Ok(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Lease {
        Lease { holder: holder.to_owned(), resource_version: "7".to_owned(), ..Lease::default() }
    }

    #[test]
    fn it_is_free_when_nobody_has_it_or_when_it_stood_still() {
        let own = Identity::own();
        let short = Duration::from_secs(14);
        assert!(is_free(&lease(""), Duration::ZERO));
        assert!(!is_free(&lease("somebody"), short) && is_free(&lease("somebody"), EXPIRES));
        assert_eq!(describe_holder(&own.to_string()), format!("{}, process {}", own.host, own.pid));
        assert_eq!(describe_holder("kubectl"), "kubectl");
    }

    #[test]
    fn only_own_fields_are_written() {
        let own = Identity::own();
        let mut known = lease("");
        known.annotations.insert("other".to_owned(), "x".to_owned());
        known.transitions = 4;
        let mut held = Held::new(&own, Some(&known), &Notes::default(), &[("a", "b")]);
        let patch = held.patch();
        // Notes that are empty are removed; what others have noted is not named.
        let annotations = json!({"a": "b", "k3s-boot/operations": null, "k3s-boot/releases": null});
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7", "annotations": annotations}));
        assert_eq!(patch["spec"]["leaseTransitions"], 5);
        assert_eq!(patch["spec"]["holderIdentity"], own.to_string());
        held.released = true;
        let spec = &held.patch()["spec"];
        for name in ["holderIdentity", "acquireTime", "leaseDurationSeconds"] {
            assert_eq!(spec.get(name), Some(&Value::Null), "{name} is removed");
        }
        let first = Held::new(&own, None, &Notes::default(), &[("a", "b")]).lease();
        assert_eq!(first["metadata"].get("resourceVersion"), None);
        assert_eq!(first["metadata"]["annotations"], json!({"a": "b"}), "null would be an empty text here");
        assert_eq!(first["spec"]["leaseTransitions"], 0);
    }
}
