//! A failed release, and a failed hook of helmfile.

use crate::base::diagnosis::{Diagnosis, shortened};
use crate::base::known_failures::{KnownFailure, Origin, find};
use crate::base::release_id::ReleaseId;

/// A failed release.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReleaseFailure {
    /// The release, if it is known.
    pub release: Option<ReleaseId>,
    /// The last error of helm, without what helmfile adds.
    pub reason: String,
    /// Whether a timeout expired, that of helm, of a hook or of the run.
    pub timed_out: bool,
    /// Its diagnosis, as far as it is known.
    pub diagnosis: Diagnosis,
    /// The hook that failed, if one did.
    pub hook: Option<HookFailure>,
    /// The other releases that failed in the same sync.
    pub others: Vec<ReleaseFailure>,
}

/// How errors of kubectl and helm begin. Other programs of a hook may use the same words for other causes.
const CLIENT_ERRORS: [&str; 5] = [
    "error: ",
    "Error: ",
    "Error from server",
    "The connection to the server ",
    "Unable to connect to the server",
];

impl ReleaseFailure {
    /// The known failure, unless only the words of an unknown program in a hook match it.
    pub(crate) fn known(&self) -> Option<&'static KnownFailure> {
        let is_client = |hook: &HookFailure| {
            let own = self.reason.split_once(&format!("`{}` failed: ", hook.name)).map(|(_, own)| own);
            own.is_some_and(|own| CLIENT_ERRORS.iter().any(|beginning| own.starts_with(beginning)))
        };
        find(Origin::Release, &self.reason).filter(|_| self.hook.as_ref().is_none_or(is_client))
    }

    /// The details of a log line, and the fix if it is known.
    pub(super) fn details(&self, timeout_fix: &'static str) -> (Vec<(&'static str, String)>, Option<String>) {
        let mut diagnosis = self.diagnosis.clone();
        let fix = diagnosis.fix.take().or_else(|| self.timed_out.then(|| timeout_fix.to_owned()));
        let release = self.release.as_ref().map(|release| ("release", release.to_string()));
        let mut details: Vec<_> = release.into_iter().collect();
        details.extend(self.hook.iter().flat_map(HookFailure::details));
        details.extend(diagnosis.details(Some(self.reason.clone())));
        details.extend(self.hook.as_ref().and_then(HookFailure::output));
        (details, fix)
    }
}

/// A hook of helmfile that failed or timed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookFailure {
    /// The name that helmfile prints: `name`, else the command.
    pub name: String,
    /// The event, if only one is possible.
    pub event: Option<&'static str>,
    /// The command with its arguments, as far as they are known.
    pub command: String,
    /// Unless a signal terminated it, or it could not be started.
    pub exit_code: Option<i32>,
    /// The last lines that it printed.
    pub output: Vec<String>,
}

impl HookFailure {
    fn details(&self) -> impl Iterator<Item = (&'static str, String)> {
        let command = Some(self.command.clone()).filter(|command| !command.is_empty());
        let all = [
            ("event", self.event.map(ToOwned::to_owned)),
            ("command", command.as_deref().map(shortened)),
            ("exit_code", self.exit_code.map(|code| code.to_string())),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?)))
    }

    /// Its output, if the reason does not show all of it.
    fn output(&self) -> Option<(&'static str, String)> {
        (self.output.len() > 1).then(|| ("output", shortened(&self.output.join("\n"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_kubectl_and_helm_in_a_hook_are_known() {
        let refused = "connection refused";
        let known = |said: &str, is_hook: bool| {
            let hook = HookFailure { name: "h".to_owned(), ..HookFailure::default() };
            let reason = if is_hook { format!("hook `h` failed: {said}") } else { said.to_owned() };
            let failure =
                ReleaseFailure { reason, hook: is_hook.then_some(hook), ..ReleaseFailure::default() };
            failure.known().is_some()
        };
        assert!(known(&format!("dial tcp 10.0.0.1:6443: connect: {refused}"), false));
        let server = format!(
            "The connection to the server 10.0.0.1:6443 was {refused}: dial tcp 10.0.0.1:6443: connect: {refused}"
        );
        assert!(known(&server, true));
        assert!(!known(&format!("curl: (7) dial tcp 10.0.0.1:6443: connect: {refused}"), true));
    }
}
