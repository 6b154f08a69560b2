//! Recognizes an API server that is starting, and waits until it is ready.
//!
//! k3s answers in this order while it starts (recorded from a v1.36.3+k3s1, three starts): `503 starting`, `503 apiserver
//! not ready`, then its core kinds, while `/readyz` is 500 and the paths of CRDs are 503 (`the request has been made before
//! all known HTTP paths have been installed`), a plain `404 page not found`, or 429 (`storage is (re)initializing`).

use std::time::{Duration, Instant};

use super::{Answer, Call, Toolbox};
use crate::base::duration::seconds;
use crate::base::error::Error;

/// The timeout for `/readyz`: four times the longest recorded time, which is 7.2 s after the first answer.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many failed checks of `/readyz` are named.
const MAX_NAMED: usize = 3;

/// What k3s answers to every request until it starts the API server, and then until the API server listens.
const NO_SERVER: [&str; 2] = ["starting", "apiserver not ready"];

/// What the API server answers for a kind that is not served yet.
const NO_PATHS: &str = "the request has been made before all known HTTP paths have been installed";
const NO_STORAGE: &str = "storage is (re)initializing";

/// The plain text body for a path that is not served; the body for an object that does not exist is a `Status`.
const NO_PATH: &str = "404 page not found";

/// Which part of an API server is starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Starting {
    /// All of it.
    Server(String),
    /// The part that serves the requested kind.
    Kind(String),
}

impl Answer {
    /// Whether the answer is that of an API server that is starting. A path that is not served counts only for a kind that
    /// discovery lists (`listed`).
    pub(super) fn starting(&self, listed: bool) -> Option<Starting> {
        let words = super::answer::words(self.status, &self.body);
        match self.status {
            503 if NO_SERVER.contains(&words.as_str()) => Some(Starting::Server(words)),
            503 if words.starts_with(NO_PATHS) => Some(Starting::Kind(words)),
            429 if words == NO_STORAGE => Some(Starting::Kind(words)),
            404 if listed && words == NO_PATH => Some(Starting::Kind(words)),
            _ => None,
        }
    }

    /// The same answer, or an error if a listed kind is still not served: it may have objects.
    pub(super) fn served(self, listed: bool) -> Result<Self, Error> {
        match self.starting(listed) {
            Some(Starting::Kind(reason)) if self.status == 404 => {
                let reason = format!("{reason}, although the API server lists the kind");
                Err(Error::Api { request: self.request, status: Some(404), reason })
            }
            _ => Ok(self),
        }
    }

    /// The names of the checks that `/readyz` reports as failed; `None` if the server is ready or reports no checks.
    pub(crate) fn failed_checks(&self) -> Option<String> {
        if self.status != 500 {
            return None;
        }
        let text = String::from_utf8_lossy(&self.body);
        let failed = text.lines().filter_map(|line| line.strip_prefix("[-]")?.split_whitespace().next());
        let failed: Vec<_> = failed.collect();
        let more = if failed.len() > MAX_NAMED { ", …" } else { "" };
        let named = failed.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
        (!named.is_empty()).then(|| format!("{named}{more}"))
    }
}

impl Toolbox {
    /// Waits until the API server is ready, because before that it may not list all kinds. After half a minute, it is left
    /// to the check `api-ready` to report what is not ready.
    ///
    /// # Errors
    ///
    /// The API server does not answer, or k3s-boot was interrupted.
    pub(crate) async fn await_ready(&self) -> Result<(), Error> {
        let start = Instant::now();
        let mut waited = false;
        loop {
            let Some(failed) = self.ask(Call::get("/readyz")).await?.failed_checks() else {
                if waited {
                    tracing::info!(after = %seconds(start.elapsed()), "API server is ready");
                }
                return Ok(());
            };
            if start.elapsed() >= READY_TIMEOUT || self.clock.left() <= POLL_INTERVAL * 2 {
                return Ok(());
            }
            if !waited {
                waited = true;
                let timeout = format!("{}s", READY_TIMEOUT.as_secs());
                tracing::info!(failed, timeout, "API server is not ready, waiting for it");
            }
            self.runner.stop().sleep(POLL_INTERVAL).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let (request, body) = (String::new(), body.as_bytes().to_vec());
        Answer { request, status, body, retry_after: None, executed_before: false }
    }

    fn status(code: u16, message: &str) -> Answer {
        answer(
            code,
            &format!(
                r#"{{"kind":"Status","metadata":{{}},"status":"Failure","message":"{message}","code":{code}}}"#
            ),
        )
    }

    #[test]
    fn phases_of_a_start_are_recognized() {
        let server = |words: &str| Some(Starting::Server(words.to_owned()));
        let kind = |words: &str| Some(Starting::Kind(words.to_owned()));
        for words in NO_SERVER {
            assert_eq!(status(503, words).starting(false), server(words));
        }
        let paths = format!("{NO_PATHS}, please try again");
        assert_eq!(status(503, &paths).starting(false), kind(&paths));
        assert_eq!(status(429, NO_STORAGE).starting(false), kind(NO_STORAGE));
        let unserved = answer(404, "404 page not found\n");
        assert_eq!(unserved.starting(true), kind(NO_PATH));
        assert_eq!(unserved.starting(false), None, "the kind may not exist");
        assert_eq!(status(404, "pods \\\"a\\\" not found").starting(true), None);
        assert_eq!(status(503, "no endpoints available").starting(true), None);
        assert_eq!(
            answer(503, "<html>503 Service Unavailable</html>").starting(true),
            None,
            "the answer of a proxy"
        );
        assert_eq!(status(429, "too many requests").starting(true), None);
    }

    #[test]
    fn failed_checks_are_named() {
        let body = "[+]ping ok\n[-]informer-sync failed: reason withheld\n[+]etcd ok\n[-]poststarthook/x failed: reason withheld\nreadyz check failed\n";
        let failed = |status, body| answer(status, body).failed_checks().unwrap_or_default();
        assert_eq!(failed(500, body), "informer-sync, poststarthook/x");
        assert_eq!(failed(500, "[-]a x\n[-]b x\n[-]c x\n[-]d x\n"), "a, b, c, …");
        assert_eq!([failed(500, "EOF"), failed(200, "ok")], [""; 2]);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(code: u16, body: String) {
            _ = (answer(code, &body).starting(true), answer(500, &body).failed_checks());
        }
    }
}
