//! An API server that goes away in the middle of a run: k3s restarts, or etcd chooses a leader.
//!
//! Before anything was changed, that is told at once. Later, what was begun is worth waiting for: each request is then made
//! again for a while. All of them may be: a change carries its own condition, or says the same once more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::answer::words;
use super::{Answer, Toolbox};
use crate::diagnose::known::{Known, find};
use crate::error::Error;
use crate::run::seconds;

/// How long an API server may be away in the middle of a run.
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
}

impl Away {
    /// How long to wait before the request is made again, which has gone on for so long and was answered so; `None` when it
    /// is not to be, for one because too little is `left` of the run.
    pub(super) fn pause(
        &self,
        answer: &Result<Answer, Error>,
        elapsed: Duration,
        left: Duration,
    ) -> Option<Duration> {
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
        if !self.patient.get() || elapsed > LONGEST || left <= PAUSE * 2 {
            return None;
        }
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            tracing::warn!(reason, "API server does not answer, trying again");
        }
        Some(PAUSE)
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
        let pause = |answer: &_, elapsed| away.pause(answer, elapsed, LONGEST);
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
        assert_eq!(away.pause(&gone, Duration::ZERO, PAUSE), None);
        assert!(away.since.get().is_none(), "nothing is said of what is not tried again");
    }
}
