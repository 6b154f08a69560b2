//! An API server that goes away in the middle of a run: k3s restarts, or etcd chooses a leader.
//!
//! Before anything was changed, that is told at once, unless it is starting: that is waited for from the first request on.
//! Later, what was begun is worth waiting for: each request is then made again for a while. All of them may be: a change
//! carries its own condition, or says the same once more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::answer::words;
use super::ready::Starting;
use super::{Answer, Toolbox};
use crate::base::duration::seconds;
use crate::base::error::Error;
use crate::base::known_failures::{Known, find};

/// How long an API server may be away in the middle of a run, or may be starting: a k3s that was restarted on a busy machine
/// served everything 29 s after it went away, and 21 s after its first answer.
const LONGEST: Duration = Duration::from_mins(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How Go's HTTP client ends its reason when the connection broke after the request was sent; kubectl passes that on.
const BROKEN: [&str; 2] = ["EOF", "http2: client connection lost"];

/// What is known of it.
#[derive(Default)]
pub(super) struct Away {
    /// Whether it is waited for.
    patient: Cell<bool>,
    /// Since when it does not answer.
    since: Cell<Option<Instant>>,
    /// Whether it was logged that it does not serve a kind yet.
    kind_logged: Cell<bool>,
}

impl Away {
    /// How long to wait before the request is made again, which has gone on for so long and was answered so; `None` when it
    /// is not to be, for one because too little is `left` of the run. `listed` is as for [`Answer::starting`].
    pub(super) fn pause(
        &self,
        answer: &Result<Answer, Error>,
        listed: bool,
        elapsed: Duration,
        left: Duration,
    ) -> Option<Duration> {
        let is_late = elapsed > LONGEST || left <= PAUSE * 2;
        if let Some(starting) = answer.as_ref().ok().and_then(|answer| answer.starting(listed)) {
            if is_late {
                return None;
            }
            self.log_start(starting);
            return Some(PAUSE);
        }
        let reason = match answer {
            Ok(answer) if answer.status < 500 => None,
            Ok(answer) => Some(words(answer.status, &answer.body)).filter(|words| {
                matches!(answer.status, 502..=504)
                    || BROKEN.iter().any(|reason| words.ends_with(reason))
                    || find(words).is_some_and(Known::passes)
            }),
            Err(Error::Api { status: None, reason, .. }) => Some(reason.clone()),
            Err(error @ Error::Unanswered { .. }) => Some(error.to_string()),
            Err(_) => return None,
        };
        let Some(reason) = reason else {
            if let Some(since) = self.since.take() {
                tracing::info!(away = %seconds(since.elapsed()), "API server answers again");
            }
            return None;
        };
        if !self.patient.get() || is_late {
            return None;
        }
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            tracing::warn!(reason, "API server does not answer, trying again");
        }
        Some(PAUSE)
    }

    /// Logs once what is waited for.
    fn log_start(&self, starting: Starting) {
        let timeout = seconds(LONGEST);
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
    /// From now on an API server that goes away is waited for, a minute at most.
    pub fn be_patient(&self) {
        self.api.away.patient.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waited_for_once_that_is_worth_it() {
        let away = Away::default();
        let answer = |status, body: &str| {
            let (request, body) = (String::new(), body.as_bytes().to_vec());
            Ok(Answer { request, status, body, again: None, executed_before: false })
        };
        let pause = |answer: &_, elapsed| away.pause(answer, false, elapsed, LONGEST);
        let starting = answer(503, r#"{"kind":"Status","message":"starting"}"#);
        assert_eq!(pause(&starting, Duration::ZERO), Some(PAUSE));
        assert_eq!(pause(&starting, LONGEST * 2), None);
        assert_eq!(pause(&answer(200, ""), Duration::ZERO), None);
        let unserved = answer(404, "404 page not found\n");
        assert_eq!(away.pause(&unserved, true, Duration::ZERO, LONGEST), Some(PAUSE));
        assert_eq!(pause(&unserved, Duration::ZERO), None);
        let gone = answer(502, "dial tcp 10.0.0.1:6443: connect: connection refused");
        assert_eq!(pause(&gone, Duration::ZERO), None);
        away.patient.set(true);
        assert_eq!(pause(&gone, Duration::ZERO), Some(PAUSE));
        assert!(away.since.get().is_some());
        assert_eq!(pause(&answer(500, "etcdserver: leader changed"), Duration::ZERO), Some(PAUSE));
        assert_eq!(pause(&answer(500, "unexpected EOF"), Duration::ZERO), Some(PAUSE));
        assert_eq!(pause(&answer(500, "out of order"), Duration::ZERO), None);
        assert_eq!(pause(&gone, LONGEST * 2), None);
        assert_eq!(pause(&answer(200, ""), Duration::ZERO), None);
        assert!(away.since.get().is_none());
        assert_eq!(away.pause(&gone, false, Duration::ZERO, PAUSE), None);
        assert!(away.since.get().is_none(), "nothing is said of what is not tried again");
    }
}
