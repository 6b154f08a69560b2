//! One run at a time per cluster, across machines: the lock is a Lease.
//!
//! It is written only if it has not changed since it was read, so that two runs can never hold it. The holder renews it; it
//! expires when it has not changed for [`EXPIRES`] by the clock of the waiting run, because the clocks of two machines differ
//! and a sleeping laptop does not count.
//!
//! Only the fields of k3s-boot are written, with a JSON merge patch: other annotations, labels, finalizers and owners stay.
//! After a conflict the Lease is read again. A holder is a single process, so a Lease that names this process is held by it,
//! even if the response to the write was lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::base::error::{Cause, Error};
use crate::base::waiting::Waiting;
use crate::observed::cluster::{LEASE, Lease};
use crate::observed::run_state::RunState;
use crate::process::identity::{Identity, ProcessState};
use crate::tools::Toolbox;
use crate::tools::api::Call;

/// A Lease expires if it is not renewed for this long.
pub(crate) const EXPIRES: Duration = Duration::from_secs(15);

const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// The interval at which the lock of another run is read, and a failed renewal is retried.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The timeout for releasing the lock at the end of a run.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout for releasing the lock after a second signal.
const KILLED_RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Starting a program takes less than this.
const START_TIME: Duration = Duration::from_millis(50);

/// How long the tools of a killed run may take to exit: helm marks its release as failed meanwhile.
const TOOLS_TIMEOUT: Duration = Duration::from_secs(30);

/// The held lock.
pub(crate) struct Lock<'a> {
    tools: &'a Toolbox,
    held: RefCell<Held>,
}

/// The fields of k3s-boot in the Lease.
#[derive(Debug)]
struct Held {
    /// The identity of this process.
    own: String,
    /// Whether the next write releases the lock.
    released: bool,
    acquired: String,
    transitions: i64,
    /// The version that was read or written last; empty if there is no Lease.
    resource_version: String,
    notes: RunState,
    /// Other annotations of k3s-boot.
    annotations: BTreeMap<String, String>,
}

/// The result of writing the Lease.
enum Written {
    Done,
    /// It was changed, created or deleted by another client, or by an earlier attempt of the same request.
    Changed,
}

impl<'a> Lock<'a> {
    /// Acquires the lock, given the Lease that was `seen`, and writes `notes` and `annotations`. Returns whether no other run
    /// held it since it was seen, so that everything observed since is still valid. If another run holds it, waits for `wait`,
    /// and at least until it is clear whether that run is alive.
    ///
    /// # Errors
    ///
    /// Another run holds it, the API server does not respond, or k3s-boot was interrupted.
    pub(crate) async fn acquire(
        tools: &'a Toolbox,
        seen: Option<&Lease>,
        notes: &RunState,
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
                waiting.report_at_once(&[("holder", holder), ("since", since)]);
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
                    // Other runs were repeatedly faster.
                    if start.elapsed() >= wait.max(EXPIRES) {
                        return Err(locked(lease.as_ref()));
                    }
                }
            }
        }
    }

    /// Runs `work` while renewing the lock.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            result = work => result,
            never = self.keep() => match never {},
        }
    }

    /// Renews the lock until dropped. If it is lost, stops the run.
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
                // No other run can take it while the API server is unreachable.
                Err(error) => {
                    if !std::mem::replace(&mut late, true) {
                        tracing::warn!(reason = %error, "Failed to renew the lock, retrying");
                    }
                    POLL_INTERVAL
                }
            };
        }
    }

    /// Renews or releases the lock, even if other clients have changed the Lease. Returns whether it was still held.
    async fn renew(&self) -> Result<bool, Error> {
        loop {
            if let Written::Done = self.write(true).await? {
                return Ok(true);
            }
            let lease = self.tools.observe_lock(Call::get(&own_path()).uninterruptible()).await?;
            if self.is_ours(lease.as_ref()) {
                continue;
            }
            let released = self.held.borrow().released;
            match lease {
                // It is free.
                Some(lease) if released => return Ok(lease.holder.is_empty()),
                None if released => return Ok(true),
                Some(_) => return Ok(false),
                None => self.held.borrow_mut().resource_version.clear(),
            }
        }
    }

    /// Whether this process holds the Lease; if so, the next write is based on this version.
    fn is_ours(&self, lease: Option<&Lease>) -> bool {
        let mut held = self.held.borrow_mut();
        let lease = lease.filter(|lease| lease.holder == held.own);
        if let Some(lease) = lease {
            held.resource_version.clone_from(&lease.resource_version);
        }
        lease.is_some()
    }

    /// The notes, including those that the next renewal writes.
    pub(crate) fn notes(&self) -> RunState {
        self.held.borrow().notes.clone()
    }

    /// Changes the notes; the next renewal or the release writes them.
    pub(crate) fn change(&self, change: impl FnOnce(&mut RunState)) {
        change(&mut self.held.borrow_mut().notes);
    }

    /// Writes the notes now, before the run continues.
    ///
    /// # Errors
    ///
    /// The API server does not respond, or k3s-boot was interrupted. A lost lock is no error: [`Self::keep`] ends the run.
    pub(crate) async fn write_notes(&self) -> Result<(), Error> {
        self.renew().await.map(drop)
    }

    /// Releases the lock. After a second signal it is left to expire.
    pub(crate) async fn release(self) {
        self.held.borrow_mut().released = true;
        self.tools.clock.extend_for_cleanup();
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

    /// Writes the Lease; with `uninterruptible`, also after k3s-boot was interrupted.
    async fn write(&self, uninterruptible: bool) -> Result<Written, Error> {
        let (created, patch) = {
            let held = self.held.borrow();
            (held.resource_version.is_empty().then(|| held.lease()), held.patch())
        };
        let (list, own) = (list_path(), own_path());
        let call = match &created {
            Some(lease) => Call::create(&list, lease),
            None => Call::merge(&own, &patch),
        };
        let call = if uninterruptible { call.uninterruptible() } else { call };
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
    fn new(own: &Identity, lease: Option<&Lease>, notes: &RunState, annotations: &[(&str, &str)]) -> Self {
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

    /// The annotations of k3s-boot; `None` for those to remove.
    fn annotations(&self) -> BTreeMap<&str, Option<String>> {
        let own = self.annotations.iter().map(|(name, value)| (name.as_str(), Some(value.clone())));
        self.notes.annotations().into_iter().chain(own).collect()
    }

    /// The Lease to create.
    fn lease(&self) -> Value {
        let (namespace, name) = LEASE;
        let annotations: BTreeMap<_, _> =
            self.annotations().into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        let metadata = json!({"name": name, "namespace": namespace, "annotations": annotations});
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self.spec()})
    }

    /// The patch of a Lease that still has the version that was read.
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

/// The API path of the Leases.
fn list_path() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", LEASE.0)
}

/// The API path of the lock.
fn own_path() -> String {
    format!("{}/{}", list_path(), LEASE.1)
}

/// The holder, if it was a process of this machine that has ended.
fn ended_holder(lease: Option<&Lease>, own: &Identity) -> Option<Identity> {
    let holder = Identity::parse(&lease?.holder)?;
    (holder.state(own) == ProcessState::Ended).then_some(holder)
}

/// Whether the lock is free: released, or unchanged for `still` and expired.
fn is_free(lease: &Lease, still: Duration) -> bool {
    lease.holder.is_empty() || still >= EXPIRES
}

/// The holder and since when it holds the lock.
fn holder_since(lease: &Lease) -> (String, String) {
    (describe_holder(&lease.holder), lease.acquired.clone().unwrap_or_default())
}

fn locked(lease: Option<&Lease>) -> Error {
    let (holder, since) = lease.map(holder_since).unwrap_or_default();
    Error::Locked { holder, since }
}

/// A readable holder: `laptop, process 4711`; a text of another client stays as it is.
fn describe_holder(holder: &str) -> String {
    match Identity::parse(holder) {
        Some(Identity { host, pid, .. }) => format!("{host}, process {pid}"),
        None => holder.to_owned(),
    }
}

/// Waits until the orphaned tools of a killed run have exited, and kills those that do not. Returns whether there were none.
pub(crate) async fn end_tools(tools: &Toolbox, run: &Identity) -> Result<bool, Error> {
    let start = Instant::now();
    let mut left = run.tools();
    if left.is_empty() {
        // One may just be starting.
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
    fn a_lock_is_free_when_released_or_expired() {
        let own = Identity::own();
        let short = Duration::from_secs(14);
        assert!(is_free(&lease(""), Duration::ZERO));
        assert!(!is_free(&lease("somebody"), short) && is_free(&lease("somebody"), EXPIRES));
        assert_eq!(describe_holder(&own.to_string()), format!("{}, process {}", own.host, own.pid));
        assert_eq!(describe_holder("kubectl"), "kubectl");
    }

    #[test]
    fn only_fields_of_k3s_boot_are_written() {
        let own = Identity::own();
        let mut known = lease("");
        known.annotations.insert("other".to_owned(), "x".to_owned());
        known.transitions = 4;
        let mut held = Held::new(&own, Some(&known), &RunState::default(), &[("a", "b")]);
        let patch = held.patch();
        // Empty notes are removed; other annotations are not mentioned.
        let annotations = json!({"a": "b", "k3s-boot/operations": null, "k3s-boot/releases": null});
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7", "annotations": annotations}));
        assert_eq!(patch["spec"]["leaseTransitions"], 5);
        assert_eq!(patch["spec"]["holderIdentity"], own.to_string());
        held.released = true;
        let spec = &held.patch()["spec"];
        for name in ["holderIdentity", "acquireTime", "leaseDurationSeconds"] {
            assert_eq!(spec.get(name), Some(&Value::Null), "{name} is removed");
        }
        let first = Held::new(&own, None, &RunState::default(), &[("a", "b")]).lease();
        assert_eq!(first["metadata"].get("resourceVersion"), None);
        assert_eq!(first["metadata"]["annotations"], json!({"a": "b"}), "null would be an empty text here");
        assert_eq!(first["spec"]["leaseTransitions"], 0);
    }
}
