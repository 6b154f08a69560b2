//! The diagnosis of a failure: the blocked object, and what is known about it.

use crate::base::finding::with_fix;
use crate::base::known_failures::KnownFailure;
use crate::base::release_id::ReleaseId;

/// The diagnosis of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// The blocked object: `Pod namespace/name`.
    pub object: Option<String>,
    /// The state of the object.
    pub state: Option<String>,
    pub cause: Option<&'static str>,
    pub fix: Option<String>,
    /// Other warning events of the object, the latest first.
    pub warnings: Vec<String>,
    /// The last lines of the crashed container.
    pub last_words: Vec<String>,
}

/// The maximum length of a log field in bytes, so that a failure fits on one screen. The log file has the whole text.
const MAX_FIELD: usize = 600;

/// The maximum length of container logs in bytes, counted from the end.
const MAX_LOGS: usize = 2000;

/// Cuts the end off a text that is too long for the log.
pub(super) fn shortened(text: String) -> String {
    if text.len() <= MAX_FIELD {
        return text;
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_FIELD)])
}

/// Cuts the beginning off a text that is too long for the log.
fn end(text: String) -> String {
    if text.len() <= MAX_LOGS {
        return text;
    }
    format!("…{}", &text[text.ceil_char_boundary(text.len() - MAX_LOGS)..])
}

impl Diagnosis {
    /// The fields of a log line; `reason` is the error message, if there is one.
    pub(crate) fn fields(mut self, reason: Option<String>) -> Vec<(&'static str, String)> {
        let fix = self.fix.take();
        with_fix(self.details(reason), fix)
    }

    /// The fields of a log line without the fix.
    pub(crate) fn details(self, reason: Option<String>) -> Vec<(&'static str, String)> {
        let Self { object, state, cause, warnings, last_words, fix: _ } = self;
        let joined = |lines: Vec<String>| Some(lines.join("\n")).filter(|lines| !lines.is_empty());
        let (events, container_logs) = (joined(warnings).map(shortened), joined(last_words).map(end));
        let (state, reason) = (state.map(shortened), reason.map(shortened));
        let cause = cause.map(ToOwned::to_owned);
        let all = [
            ("object", object),
            ("state", state),
            ("reason", reason),
            ("cause", cause),
            ("events", events),
            ("container_logs", container_logs),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// The diagnosis of a known failure of a release and, if known, its pod.
    pub(crate) fn known(release: &ReleaseId, pod: Option<&str>, known: &KnownFailure) -> Self {
        Self { cause: Some(known.cause), fix: Some(known.fix(release, pod)), ..Self::default() }
    }
}
