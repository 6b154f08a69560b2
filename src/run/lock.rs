//! One run at a time for a cluster, across machines: the lock is a Lease.
//!
//! It is written only on the condition that nobody else has written since it was read, so that two can never have it. A
//! holder renews it; one that does not has lost it when it stood still for [`EXPIRES`] by the clock of whoever watches,
//! for the clocks of two machines differ, and a laptop that sleeps counts nothing.

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
const RENEW: Duration = Duration::from_secs(5);

/// Between two looks at another run's, and after a renewal that was not answered.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the end of a run may take to let go of it.
const RELEASE: Duration = Duration::from_secs(5);

/// And when what ran was killed.
const HASTY_RELEASE: Duration = Duration::from_secs(1);

/// Starting a program takes less.
const GLANCE: Duration = Duration::from_millis(50);

/// How long the tools of a run that was killed may take to end: helm marks its release meanwhile.
const TOOLS: Duration = Duration::from_secs(30);

/// The lock, held.
pub struct Lock<'a> {
    tools: &'a Toolbox,
    held: RefCell<Held>,
}

/// What is written with each renewal.
#[derive(Clone, Debug, Default)]
struct Held {
    holder: String,
    acquired: String,
    transitions: i64,
    resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// How writing the Lease ended.
enum Written {
    Done,
    /// Somebody else has written, made or deleted it.
    Changed,
}

impl<'a> Lock<'a> {
    /// Takes the lock, as it was `seen`, and writes `notes` and these annotations with it. Tells whether nobody else has
    /// had it since it was seen, so that all that was seen after it still holds. Waits for this long when another run has
    /// it, and at least until it can be told whether that run still lives.
    ///
    /// # Errors
    ///
    /// Another run has it, the API server does not answer, or k3s-boot was told to stop.
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
            } else if let Some(held) = lease.as_ref().filter(|lease| !is_free(lease, &own, still.elapsed())) {
                unchanged = false;
                if start.elapsed() >= wait.max(EXPIRES) {
                    return Err(locked(Some(held)));
                }
                let (holder, since) = told(held);
                waiting.say_at_once(&[("holder", holder), ("since", since)]);
                tools.runner.stop().sleep(PAUSE).await?;
                let now = read(tools).await?;
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
                    unchanged = false;
                    tools.runner.stop().sleep(PAUSE / 10).await?;
                    lease = read(tools).await?;
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
        let mut pause = RENEW;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew().await {
                Ok(true) => {
                    late = false;
                    RENEW
                }
                Ok(false) => {
                    tracing::warn!("Another run has taken the lock, ending what runs in good order");
                    self.tools.runner.stop().raise(Cause::LostLock);
                    return std::future::pending().await;
                }
                // Nobody else can take it either, as long as the API server is away.
                Err(error) => {
                    if !std::mem::replace(&mut late, true) {
                        tracing::warn!(reason = %error, "Lock cannot be renewed, trying again");
                    }
                    PAUSE
                }
            };
        }
    }

    /// Renews it; tells whether it is still ours.
    async fn renew(&self) -> Result<bool, Error> {
        loop {
            if let Written::Done = self.write(true).await? {
                return Ok(true);
            }
            // Somebody may have written something else on it.
            match read(self.tools).await? {
                Some(lease) if lease.holder == self.held.borrow().holder => {
                    let mut held = self.held.borrow_mut();
                    (held.resource_version, held.labels) = (lease.resource_version, lease.labels);
                }
                Some(_) => return Ok(false),
                None => self.held.borrow_mut().resource_version.clear(),
            }
        }
    }

    /// Writes notes on it.
    ///
    /// # Errors
    ///
    /// The API server does not answer, or k3s-boot was told to stop. That it is lost is no error here: [`Self::keep`] ends
    /// the run.
    pub async fn note(&self, notes: &Notes) -> Result<(), Error> {
        notes.write(&mut self.held.borrow_mut().annotations);
        self.renew().await.map(drop)
    }

    /// Lets go of it, with what is to be noted for the next run. Who says twice that it shall end does not wait for that: it
    /// expires.
    pub async fn release(self, notes: Option<&Notes>) {
        {
            let mut held = self.held.borrow_mut();
            held.holder.clear();
            if let Some(notes) = notes {
                notes.write(&mut held.annotations);
            }
        }
        self.tools.clock.wind_up();
        let stop = self.tools.runner.stop();
        let longest = if stop.killed() { HASTY_RELEASE } else { RELEASE };
        tokio::select! {
            released = tokio::time::timeout(longest, self.write(true)) => {
                if !matches!(released, Ok(Ok(Written::Done))) {
                    tracing::debug!("Lock could not be released");
                }
            }
            () = stop.clone().until_killed(), if !stop.killed() => tracing::debug!("Lock is left to expire"),
        }
    }

    /// Writes it, also after k3s-boot was told to stop if it is `to_the_end`.
    async fn write(&self, to_the_end: bool) -> Result<Written, Error> {
        let lease = self.held.borrow().lease();
        let (list, own) = paths();
        let call = if self.held.borrow().resource_version.is_empty() {
            Call::create(&list, &lease)
        } else {
            Call::replace(&own, &lease)
        };
        let call = if to_the_end { call.to_the_end() } else { call };
        let answer = self.tools.ask(call).await?;
        // Somebody else was first, or has deleted it.
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
        let lease = lease.cloned().unwrap_or_default();
        let mut held = Self {
            holder: own.to_string(),
            acquired: now(),
            transitions: lease.transitions + i64::from(!lease.resource_version.is_empty()),
            resource_version: lease.resource_version,
            labels: lease.labels,
            annotations: lease.annotations,
        };
        notes.write(&mut held.annotations);
        let added = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        held.annotations.extend(added);
        held
    }

    fn lease(&self) -> Value {
        let (namespace, name) = LEASE;
        let mut metadata = json!({"name": name, "namespace": namespace, "annotations": self.annotations, "labels": self.labels});
        if !self.resource_version.is_empty() {
            metadata["resourceVersion"] = self.resource_version.as_str().into();
        }
        let mut spec = json!({"renewTime": now(), "leaseTransitions": self.transitions});
        if !self.holder.is_empty() {
            spec["holderIdentity"] = self.holder.as_str().into();
            spec["acquireTime"] = self.acquired.as_str().into();
            spec["leaseDurationSeconds"] = EXPIRES.as_secs().into();
        }
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    }
}

fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// The paths of the list of Leases, and of ours.
fn paths() -> (String, String) {
    let (namespace, name) = LEASE;
    let list = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let own = format!("{list}/{name}");
    (list, own)
}

async fn read(tools: &Toolbox) -> Result<Option<Lease>, Error> {
    let leases = tools.observe_leases().await?;
    let (namespace, name) = LEASE;
    Ok(leases.into_iter().find(|lease| lease.namespace == namespace && lease.name == name))
}

/// The holder, if it was a process of this machine that has ended.
fn ended_holder(lease: Option<&Lease>, own: &Identity) -> Option<Identity> {
    let holder = Identity::parse(&lease?.holder)?;
    (holder.state(own) == ProcessState::Ended).then_some(holder)
}

/// Whether nobody has it, for it stood still for so long by our own clock.
fn is_free(lease: &Lease, own: &Identity, still: Duration) -> bool {
    lease.holder.is_empty() || lease.holder == own.to_string() || still >= EXPIRES
}

/// Who holds it, since when; for people.
fn told(lease: &Lease) -> (String, String) {
    (shown(&lease.holder), lease.acquired.clone().unwrap_or_default())
}

fn locked(lease: Option<&Lease>) -> Error {
    let (holder, since) = lease.map(told).unwrap_or_default();
    Error::Locked { holder, since }
}

/// The holder for people: `laptop, process 4711`; whatever somebody else may have written there as it is.
fn shown(holder: &str) -> String {
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
        tools.runner.stop().sleep(GLANCE).await?;
        left = run.tools();
    }
    let none = left.is_empty();
    if !none {
        tracing::info!(processes = %left.len(), "Waiting for the tools of a run that was killed");
    }
    while !left.is_empty() && start.elapsed() < TOOLS {
        tools.runner.stop().sleep(PAUSE / 10).await?;
        left = run.tools();
    }
    for pid in left {
        tracing::warn!(process = %pid, "Killing a tool that a killed run has left");
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
        assert!(is_free(&lease(""), &own, Duration::ZERO));
        assert!(!is_free(&lease("somebody"), &own, short) && is_free(&lease("somebody"), &own, EXPIRES));
        assert!(is_free(&lease(&own.to_string()), &own, Duration::ZERO));
        assert_eq!(shown(&own.to_string()), format!("{}, process {}", own.host, own.pid));
        assert_eq!(shown("kubectl"), "kubectl");
    }

    #[test]
    fn what_is_written_keeps_what_others_have_noted() {
        let own = Identity::own();
        let mut known = lease("");
        known.annotations.insert("other".to_owned(), "x".to_owned());
        known.transitions = 4;
        let held = Held::new(&own, Some(&known), &Notes::default(), &[("a", "b")]);
        let written = held.lease();
        assert_eq!(written["metadata"]["resourceVersion"], "7");
        assert_eq!(written["metadata"]["annotations"], json!({"a": "b", "other": "x"}));
        assert_eq!(written["spec"]["leaseTransitions"], 5);
        assert_eq!(written["spec"]["holderIdentity"], own.to_string());
        let released = Held { holder: String::new(), ..held }.lease();
        assert_eq!(
            (released["spec"].get("holderIdentity"), released["spec"].get("acquireTime")),
            (None, None)
        );
        let first = Held::new(&own, None, &Notes::default(), &[]).lease();
        assert_eq!(
            (first["metadata"].get("resourceVersion"), &first["spec"]["leaseTransitions"]),
            (None, &json!(0))
        );
    }
}
