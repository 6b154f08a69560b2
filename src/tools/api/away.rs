//! Retries requests during an outage of the API server: k3s restarts, or etcd elects a leader.
//!
//! A starting API server is always waited for. Any other outage fails the run at once until something was changed or a start
//! was seen, at whose end connections may be reset; from then on, each request is retried for a while. Every request can be
//! repeated: a change has a precondition or is idempotent.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::answer::words;
use super::ready::Starting;
use super::{Answer, Toolbox};
use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::known_failures::{KnownFailure, Origin, find};

/// How long an outage or a start may take: a k3s that was restarted on a busy machine served everything after 29 s, and
/// 21 s after its first answer.
const OUTAGE_TIMEOUT: Duration = Duration::from_mins(1);

const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How the error of Go's HTTP client ends if the connection broke after the request was sent; kubectl passes it on.
const CONNECTION_LOST: [&str; 2] = ["EOF", "http2: client connection lost"];

#[derive(Default)]
pub(super) struct OutageTracker {
    /// Whether requests are retried during an outage.
    retries: Cell<bool>,
    /// When the current outage was noticed.
    since: Cell<Option<Instant>>,
    /// Whether it was logged that a kind is not served yet.
    kind_logged: Cell<bool>,
}

impl OutageTracker {
    /// How long to wait before a request with this answer is retried, which was first sent `elapsed` ago; `None` for no
    /// retry, also if too little time is `left` of the run. For `listed` see [`Answer::starting`].
    pub(super) fn pause(
        &self,
        answer: &Result<Answer, Error>,
        listed: bool,
        elapsed: Duration,
        left: Duration,
    ) -> Option<Duration> {
        let is_late = elapsed > OUTAGE_TIMEOUT || left <= RETRY_INTERVAL * 2;
        if let Some(starting) = answer.as_ref().ok().and_then(|answer| answer.starting(listed)) {
            if is_late {
                return None;
            }
            if let Starting::Server(_) = starting {
                self.retries.set(true);
            }
            self.log_start(starting);
            return Some(RETRY_INTERVAL);
        }
        let reason = match answer {
            Ok(answer) if answer.status < 500 => None,
            Ok(answer) => Some(words(answer.status, &answer.body)).filter(|words| {
                matches!(answer.status, 502..=504)
                    || CONNECTION_LOST.iter().any(|reason| words.ends_with(reason))
                    || find(Origin::Api, words).is_some_and(KnownFailure::is_transient)
            }),
            Err(Error::Api { status: None, reason, .. }) => Some(reason.clone()),
            Err(error @ Error::Unanswered { .. }) => Some(error.to_string()),
            Err(_) => return None,
        };
        let Some(reason) = reason else {
            if let Some(since) = self.since.take() {
                tracing::info!(outage = %seconds(since.elapsed()), "API server answers again");
            }
            return None;
        };
        if !self.retries.get() || is_late {
            return None;
        }
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            tracing::warn!(reason, "API server does not answer, retrying");
        }
        Some(RETRY_INTERVAL)
    }

    /// Logs once what the run waits for.
    fn log_start(&self, starting: Starting) {
        let timeout = seconds(OUTAGE_TIMEOUT);
        match starting {
            Starting::Server(reason) if self.since.get().is_none() => {
                self.since.set(Some(Instant::now()));
                tracing::info!(reason, timeout, "API server is starting, waiting for it");
            }
            Starting::Kind(reason) if !self.kind_logged.replace(true) => {
                tracing::info!(reason, timeout, "API server does not serve all kinds yet, waiting for it");
            }
            Starting::Server(_) | Starting::Kind(_) => {}
        }
    }
}

impl Toolbox {
    /// From now on, retries requests during an outage of the API server, for at most a minute.
    pub(crate) fn retry_on_outage(&self) {
        self.api.outage.retries.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTING: (u16, &str) = (503, r#"{"kind":"Status","message":"starting"}"#);
    const UNSERVED: (u16, &str) = (404, "404 page not found\n");
    const GONE: (u16, &str) = (502, "dial tcp 10.0.0.1:6443: connect: connection refused");
    const RESET: (u16, &str) = (502, "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer");
    const GOOD: (u16, &str) = (200, "");

    /// The pause after an answer to a request that was sent `elapsed` ago.
    fn pause(outage: &OutageTracker, answer: (u16, &str), elapsed: Duration) -> Option<Duration> {
        outage.pause(&answered(answer), false, elapsed, OUTAGE_TIMEOUT)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the tracker gets the result of a request")]
    fn answered((status, body): (u16, &str)) -> Result<Answer, Error> {
        let (request, body) = (String::new(), body.as_bytes().to_vec());
        Ok(Answer { request, status, body, retry_after: None, executed_before: false })
    }

    #[test]
    fn outages_are_retried_only_when_enabled() {
        let outage = OutageTracker::default();
        let pause = |answer, elapsed| pause(&outage, answer, elapsed);
        assert_eq!(pause(GONE, Duration::ZERO), None);
        outage.retries.set(true);
        assert_eq!(pause(GONE, Duration::ZERO), Some(RETRY_INTERVAL));
        assert!(outage.since.get().is_some());
        assert_eq!(pause((500, "etcdserver: leader changed"), Duration::ZERO), Some(RETRY_INTERVAL));
        assert_eq!(pause((500, "unexpected EOF"), Duration::ZERO), Some(RETRY_INTERVAL));
        assert_eq!(pause((500, "out of order"), Duration::ZERO), None);
        assert_eq!(pause(GONE, OUTAGE_TIMEOUT * 2), None);
        assert_eq!(pause(GOOD, Duration::ZERO), None);
        assert!(outage.since.get().is_none());
        assert_eq!(outage.pause(&answered(GONE), false, Duration::ZERO, RETRY_INTERVAL), None);
        assert!(outage.since.get().is_none(), "nothing is logged without a retry");
    }

    #[test]
    fn start_is_waited_for_and_then_outages_are_retried() {
        let outage = OutageTracker::default();
        let listed = outage.pause(&answered(UNSERVED), true, Duration::ZERO, OUTAGE_TIMEOUT);
        assert_eq!(listed, Some(RETRY_INTERVAL));
        let pause = |answer, elapsed| pause(&outage, answer, elapsed);
        assert_eq!(pause(UNSERVED, Duration::ZERO), None);
        assert_eq!(pause(RESET, Duration::ZERO), None);
        assert_eq!(pause(STARTING, OUTAGE_TIMEOUT * 2), None);
        assert_eq!(pause(STARTING, Duration::ZERO), Some(RETRY_INTERVAL));
        assert_eq!(pause((503, "apiserver not ready"), Duration::ZERO), Some(RETRY_INTERVAL));
        assert_eq!(pause(GOOD, Duration::ZERO), None);
        assert_eq!(pause(RESET, Duration::ZERO), Some(RETRY_INTERVAL));
    }
}
