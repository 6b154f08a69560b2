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
    /// The last lines of the container that has crashed, or is not ready.
    pub last_words: Vec<String>,
    /// Other blocked objects of the release, with their states.
    pub also_blocked: Vec<String>,
}

/// The maximum length of a log field in bytes, so that a failure fits on one screen. The log file has the whole text.
const MAX_FIELD: usize = 600;

/// The maximum length of container logs in bytes, counted from the end.
const MAX_LOGS: usize = 2000;

/// Shortens a text for the log: omits what it repeats, then cuts off the end.
pub(crate) fn shortened(text: &str) -> String {
    let text = text.lines().map(without_repeats).collect::<Vec<_>>().join("\n");
    if text.len() <= MAX_FIELD {
        return text;
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_FIELD)])
}

/// Omits the steps of an error that only name an image again: containerd wraps errors in `failed to pull and unpack image "X"`
/// and `failed to resolve reference "X"`, and the kubelet adds one more.
fn without_repeats(line: &str) -> String {
    let mut named: Vec<&str> = Vec::new();
    let mut kept = Vec::new();
    for step in line.split(": ") {
        let quoted = step.split('"').nth(1).filter(|quoted| quoted.contains('/'));
        let is_wrapper =
            step.starts_with("failed to ") && quoted.is_some_and(|quoted| named.contains(&quoted));
        if !is_wrapper && !named.contains(&step) {
            kept.push(step);
        }
        named.extend(quoted);
    }
    kept.join(": ")
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
        let Self { object, state, cause, warnings, last_words, also_blocked, fix: _ } = self;
        let joined = |lines: Vec<String>| Some(lines.join("\n")).filter(|lines| !lines.is_empty());
        let (events, container_logs) =
            (joined(warnings).map(|text| shortened(&text)), joined(last_words).map(end));
        let also_blocked = joined(also_blocked);
        let (state, reason) = (state.as_deref().map(shortened), reason.map(|text| shortened(&text)));
        let cause = cause.map(ToOwned::to_owned);
        let all = [
            ("object", object),
            ("state", state),
            ("reason", reason),
            ("cause", cause),
            ("events", events),
            ("container_logs", container_logs),
            ("also_blocked", also_blocked),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// The diagnosis of a known failure of a release and, if known, its pod.
    pub(crate) fn known(release: &ReleaseId, pod: Option<&str>, known: &KnownFailure) -> Self {
        Self { cause: Some(known.cause), fix: Some(known.fix(release, pod)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_steps_of_an_error_are_omitted() {
        let image = "docker.io/library/nginx:1.99";
        let head = "failed to do request: Head \"https://registry-1.docker.io/v2/library/nginx/manifests/1.99\": dial tcp: \
                    lookup registry-1.docker.io: Temporary failure in name resolution";
        let pulled = format!(
            "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {head}"
        );
        let back_off =
            format!("container main: ImagePullBackOff: Back-off pulling image \"{image}\": ErrImagePull");
        assert_eq!(shortened(&format!("{back_off}: {pulled}")), format!("{back_off}: {head}"));
        assert_eq!(shortened(&pulled), format!("failed to pull and unpack image \"{image}\": {head}"));
        assert_eq!(shortened(&format!("{back_off}: {image}: not found")), format!("{back_off}: not found"));
        for whole in [
            "cannot patch \"cilium-operator\" with kind Deployment: Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value",
            "a: b\nb: a",
            "",
        ] {
            assert_eq!(shortened(whole), whole);
        }
    }
}
