//! Answers of the API server, and how they are parsed.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::base::error::Error;
use crate::tools::unanswered::WEB_PAGE;

/// An answer of the API server.
pub(crate) struct Answer {
    pub(super) request: String,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// The `Retry-After` header.
    pub(super) retry_after: Option<Duration>,
    /// Whether the same request was sent before and may have been executed then.
    pub(super) executed_before: bool,
}

impl Answer {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Whether the same request was sent before and may have been executed then: its first answer was lost, so the request
    /// itself may be the reason for a `404` or `409`.
    pub(crate) fn may_have_been_executed_before(&self) -> bool {
        self.executed_before
    }

    /// The body of a successful answer; `None` when there is no such object or kind.
    ///
    /// # Errors
    ///
    /// The API server returned an error.
    pub(crate) fn found(self) -> Result<Option<Vec<u8>>, Error> {
        match self.status {
            404 => Ok(None),
            _ => self.good().map(Some),
        }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    ///
    /// The API server returned an error.
    pub(crate) fn good(self) -> Result<Vec<u8>, Error> {
        let Self { request, status, body, .. } = self;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(Error::Api { request, status: Some(status), reason: words(status, &body) })
    }

    /// Parses the body of a successful answer.
    ///
    /// # Errors
    ///
    /// The API server returned an error or something unexpected. The message never contains the body.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let command = self.request.clone();
        parse(command, &self.good()?)
    }
}

/// Whether a request may have been executed despite this answer. It was not after `429`, nor if kubectl could not connect:
/// kubectl then returns Go's error as plain text (`net.OpError`, whose first word is the operation).
pub(super) fn may_have_been_executed(answer: &Result<Answer, Error>) -> bool {
    match answer {
        Ok(answer) => answer.status >= 500 && !words(answer.status, &answer.body).starts_with("dial "),
        Err(error) => matches!(error, Error::Api { status: None, .. } | Error::Unanswered { .. }),
    }
}

/// The error message of the API server, or kubectl's if it could not connect, which is plain text.
pub(super) fn words(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    if let Ok(Status { message }) = serde_json::from_slice(body)
        && !message.is_empty()
    {
        return message;
    }
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('<') {
        return format!("{WEB_PAGE}, HTTP status {status}");
    }
    // Hints follow after an empty line; the last line of a list of checks sums it up.
    let paragraph = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let line = paragraph.take_while(|line| !line.is_empty()).last();
    line.map_or_else(|| format!("HTTP status {status}"), ToOwned::to_owned)
}

/// Parses the answer to `command`, and borrows from it where possible.
///
/// # Errors
///
/// The answer is something unexpected. The message never contains the answer.
pub(crate) fn parse<'a, T: Deserialize<'a>>(command: String, body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let reason = if body.trim_ascii_start().starts_with(b"<") {
            WEB_PAGE.to_owned()
        } else {
            format!("line {}, column {}", error.line(), error.column())
        };
        Error::Answer { command, reason }
    })
}

/// A list of objects.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct List<T> {
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "or_none")]
    pub items: Vec<T>,
}

/// Go writes an empty list as null.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::base::error::Cause;

    #[test]
    fn reason_is_the_error_of_server_or_kubectl() {
        let status =
            br#"{"kind":"Status","message":"nodes is forbidden: User \"x\" cannot list","code":403}"#;
        assert_eq!(words(403, status), "nodes is forbidden: User \"x\" cannot list");
        assert_eq!(
            words(500, b"dial tcp 127.0.0.1:1: connect: connection refused\n"),
            "dial tcp 127.0.0.1:1: connect: connection refused"
        );
        assert_eq!(words(502, b" \n"), "HTTP status 502");
        assert_eq!(words(500, b"{\"message\":\"\"}"), "{\"message\":\"\"}");
    }

    #[test]
    fn not_found_is_none_and_other_failures_are_errors() {
        let answer = |status, body: &str| Answer {
            request: "GET /x".to_owned(),
            status,
            body: body.as_bytes().to_vec(),
            retry_after: None,
            executed_before: false,
        };
        assert!(answer(404, "").found().unwrap().is_none());
        assert_eq!(answer(200, "x").found().unwrap().unwrap(), b"x");
        assert_eq!(answer(404, "no").good().unwrap_err().to_string(), "`GET /x` failed: no");
        let error = answer(200, "{\"a\": CANARY}").read::<Value>().unwrap_err().to_string();
        assert_eq!(error, "unexpected response from `GET /x`: line 1, column 7");
    }

    #[test]
    fn request_with_lost_answer_may_have_been_executed() {
        let answer = |status, body: &str| {
            Ok(Answer {
                request: "DELETE /x".to_owned(),
                status,
                body: body.as_bytes().to_vec(),
                retry_after: None,
                executed_before: false,
            })
        };
        let request = || "DELETE /x".to_owned();
        for lost in [
            answer(500, "EOF"),
            answer(500, "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer"),
            answer(500, r#"{"kind":"Status","message":"etcdserver: request timed out"}"#),
            answer(504, r#"{"kind":"Status","message":"Timeout: request did not complete within 60s"}"#),
            Err(Error::Unanswered { request: request(), after: Duration::from_secs(10) }),
            Err(Error::Api { request: request(), status: None, reason: "connection closed".to_owned() }),
        ] {
            assert!(may_have_been_executed(&lost), "{:?}", lost.map(|answer| answer.status));
        }
        for not in [
            answer(200, ""),
            answer(404, ""),
            answer(429, r#"{"kind":"Status","message":"storage is (re)initializing"}"#),
            answer(500, "dial tcp 10.0.0.10:6443: connect: connection refused"),
            answer(502, "dial tcp 10.0.0.10:6443: i/o timeout"),
            Err(Error::Interrupted(Cause::LostLock)),
        ] {
            assert!(!may_have_been_executed(&not), "{:?}", not.map(|answer| answer.status));
        }
    }

    #[test]
    fn list_may_be_null() {
        for (text, count) in [("{}", 0), (r#"{"items":null}"#, 0), (r#"{"items":[1]}"#, 1)] {
            assert_eq!(serde_json::from_str::<List<i64>>(text).unwrap().items.len(), count, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(status: u16, body: Vec<u8>, near in crate::base::mutate::text(&[
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"nodes \"a\" is forbidden","reason":"Forbidden","details":{"name":"a","retryAfterSeconds":1},"code":403}"#,
            "<html><body>502 Bad Gateway</body></html>\n",
        ])) {
            for body in [body, near.into_bytes()] {
                _ = words(status, &body);
                _ = Answer { request: String::new(), status, body, retry_after: None, executed_before: false }.read::<Value>();
            }
        }
    }
}
