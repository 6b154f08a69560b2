//! The report of a failure, with the same fields for every class.

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::diagnosis::Diagnosis;
use crate::base::error::{Cause, End, Error, Explanation, HookFailure, ProcessError, ReleaseFailure};
use crate::base::finding::{Finding, Severity};
use crate::base::redact::Redactor;
use crate::observed::cluster::LEASE;

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// The preflight found problems, which `problems` lists; nothing was changed.
    Preflight,
    /// A release failed; this includes timeouts of Helm.
    Release,
    /// Flux failed to reconcile an object, or is not installed.
    Flux,
    /// A timeout expired: of the run, a stage or a request. If something had failed by then, it is the culprit.
    Timeout,
    /// Another run holds the lock, or has taken it.
    Lock,
    /// The API server rejected a request, or kubectl could not reach it.
    Api,
    /// A program could not be run, failed, or printed unexpected output.
    Tool,
    /// A file could not be read or written.
    File,
    /// A signal stopped k3s-boot.
    Interrupted,
}

/// A failure. Every class has a culprit, a cause and a fix.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct FailureReport {
    /// The class of the failure.
    pub class: Class,
    /// The log message.
    pub message: &'static str,
    /// What failed: the object or release, the request or program, what was waited for, the holder of the lock, the file,
    /// the signal, or the checks that found problems.
    pub culprit: String,
    /// The cause if the failure is a known one, else the same as `reason`.
    pub cause: String,
    /// The fix, or how to find it.
    pub fix: String,
    /// The error message of Helm, Flux, a program, the API server, the operating system or k3s-boot.
    pub reason: String,
    /// The command that resumes the run; absent if nothing was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// Class `release`: the release, as `namespace/name`, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Classes `release` and `flux`, and `timeout` if an object of Flux has failed: the object that is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Class `release`: the state of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Class `release`: other warning events of the object, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Class `release`: the last lines of the container that has crashed, or is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_logs: Vec<String>,
    /// Class `release`: other blocked objects of the release, with their states.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_blocked: Vec<String>,
    /// Class `release`: the hook of helmfile that failed or timed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookReport>,
    /// Class `release`: the other releases that failed in the same sync.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherFailure>,
}

/// A hook of helmfile that failed or timed out.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct HookReport {
    /// Its name in the helmfile, else its command.
    pub name: String,
    /// The event, such as `postsync`, if only one is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    /// The command with its arguments.
    pub command: String,
    /// Its exit code; absent if a signal terminated it, or it could not be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last lines that it printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl HookReport {
    fn new(hook: &HookFailure, clean: impl Fn(&str) -> String) -> Self {
        let HookFailure { name, event, command, exit_code, output } = hook;
        Self {
            name: clean(name),
            event: *event,
            command: clean(command),
            exit_code: *exit_code,
            output: output.iter().map(|line| clean(line)).collect(),
        }
    }
}

/// Another release that failed in the same sync.
#[derive(Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct OtherFailure {
    /// The release, as `namespace/name`, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The error message.
    pub reason: String,
    /// The cause if the failure is a known one, else the same as `reason`.
    pub cause: String,
    /// The fix, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The hook that failed or timed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookReport>,
}

impl OtherFailure {
    fn new(failure: &ReleaseFailure, clean: impl Fn(&str) -> String) -> Self {
        let Diagnosis { cause, fix, .. } = &failure.diagnosis;
        let reason = clean(&failure.reason);
        Self {
            release: failure.release.as_ref().map(ToString::to_string),
            cause: cause.map_or_else(|| reason.clone(), &clean),
            reason,
            fix: fix.as_deref().map(&clean),
            hook: failure.hook.as_ref().map(|hook| HookReport::new(hook, &clean)),
        }
    }
}

impl FailureReport {
    /// The report of an error, without secrets.
    pub(crate) fn new(error: &Error, end: &End<'_>, redactor: &Redactor) -> Self {
        let clean = |text: &str| redactor.apply(text).into_owned();
        let explanation = match error {
            Error::Preflight(findings) => joined(findings),
            other => other.explain(end.killed),
        };
        let detail = |key: &str| explanation.detail(key).map(clean);
        let reason = match error {
            // The log shortens it.
            Error::Release(failure) => clean(&failure.reason),
            // The culprit already names the command.
            Error::Tool { reason, .. } | Error::Api { reason, .. } | Error::Answer { reason, .. } => {
                clean(reason)
            }
            other => detail("reason").unwrap_or_else(|| clean(&other.to_string())),
        };
        let Diagnosis { state, warnings, last_words, also_blocked, .. } = match error {
            Error::Release(failure) => failure.diagnosis.clone(),
            _ => Diagnosis::default(),
        };
        let (hook, others) = match error {
            Error::Release(failure) => {
                let hook = failure.hook.as_ref().map(|hook| HookReport::new(hook, clean));
                (hook, failure.others.iter().map(|other| OtherFailure::new(other, clean)).collect())
            }
            _ => (None, Vec::new()),
        };
        let state = state.map(|state| clean(&state));
        let clean_all = |lines: Vec<String>| lines.iter().map(|line| clean(line)).collect();
        Self {
            class: class(error),
            message: explanation.summary,
            culprit: clean(&culprit(error)),
            cause: detail("cause").or_else(|| state.clone()).unwrap_or_else(|| reason.clone()),
            fix: clean(
                explanation.fix.as_deref().filter(|fix| !fix.is_empty()).unwrap_or(&fallback_fix(error, end)),
            ),
            reason,
            resume: end.resume.as_deref().map(clean),
            release: detail("release"),
            object: detail("object"),
            state,
            events: clean_all(warnings),
            container_logs: clean_all(last_words),
            also_blocked: clean_all(also_blocked),
            hook,
            others,
        }
    }
}

fn class(error: &Error) -> Class {
    match error {
        Error::Preflight(_) => Class::Preflight,
        Error::Release(_) => Class::Release,
        Error::Flux { after: None, .. } | Error::NoFlux { .. } => Class::Flux,
        Error::Flux { after: Some(_), .. }
        | Error::Deadline { .. }
        | Error::Unanswered { .. }
        | Error::Process(ProcessError::Deadline { .. }) => Class::Timeout,
        Error::Locked { .. }
        | Error::Interrupted(Cause::LostLock)
        | Error::Process(ProcessError::Interrupted { cause: Cause::LostLock }) => Class::Lock,
        Error::Interrupted(Cause::Signal(_))
        | Error::Process(ProcessError::Interrupted { cause: Cause::Signal(_) }) => Class::Interrupted,
        Error::Api { .. } => Class::Api,
        Error::Tool { .. }
        | Error::Answer { .. }
        | Error::Process(
            ProcessError::Spawn { .. }
            | ProcessError::Io { .. }
            | ProcessError::Canceled { .. }
            | ProcessError::TooMuch { .. },
        ) => Class::Tool,
        Error::File { .. } => Class::File,
    }
}

fn culprit(error: &Error) -> String {
    match error {
        Error::Preflight(findings) => {
            let mut rules = Vec::new();
            for finding in errors(findings) {
                if !rules.contains(&finding.rule) {
                    rules.push(finding.rule);
                }
            }
            rules.join(", ")
        }
        Error::Release(failure) => {
            let release = || failure.release.as_ref().map(ToString::to_string);
            failure.diagnosis.object.clone().or_else(release).unwrap_or_else(|| "helmfile".to_owned())
        }
        Error::Flux { object, .. } => object.clone(),
        Error::NoFlux { release } => release.to_string(),
        Error::Deadline { waiting_for, .. } => waiting_for.clone(),
        Error::Unanswered { request, .. } | Error::Api { request, .. } => request.clone(),
        Error::Locked { holder, .. } => holder.clone(),
        Error::Tool { command, .. } | Error::Answer { command, .. } => command.clone(),
        Error::File { path, .. } => path.display().to_string(),
        Error::Interrupted(cause) | Error::Process(ProcessError::Interrupted { cause }) => match cause {
            Cause::Signal(signal) => signal.to_string(),
            Cause::LostLock => format!("Lease {}/{}", LEASE.0, LEASE.1),
        },
        Error::Process(
            ProcessError::Spawn { tool, .. }
            | ProcessError::Io { tool, .. }
            | ProcessError::Canceled { tool, .. }
            | ProcessError::TooMuch { tool }
            | ProcessError::Deadline { tool, .. },
        ) => (*tool).to_owned(),
    }
}

/// The findings that stopped the run.
fn errors(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.severity == Severity::Error)
}

/// The reasons and the fixes of all findings, in the order of the log.
fn joined(findings: &[Finding]) -> Explanation {
    let fixes: Vec<_> = errors(findings).filter_map(|finding| finding.fix.as_deref()).collect();
    let reasons = errors(findings).map(|finding| {
        let details: Vec<_> = finding.details.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        if details.is_empty() {
            finding.summary.clone()
        } else {
            format!("{} ({})", finding.summary, details.join(", "))
        }
    });
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    Explanation { fix: Some(fixes.join("\n")), ..Explanation::new("Preflight failed", [("reason", reasons)]) }
}

/// How to find the fix of a failure that is not a known one.
fn fallback_fix(error: &Error, end: &End<'_>) -> String {
    match (class(error), end.log) {
        (Class::Preflight, _) => {
            "k3s-boot check  # shows every problem; `k3s-boot check --explain ID` explains one".to_owned()
        }
        (Class::Timeout, _) => {
            "k3s-boot status  # shows what is not ready and why; if it only needs more time, retry with a longer --timeout"
                .to_owned()
        }
        (_, Some(log)) => {
            format!("read the output of the tools in {}, fix the problem, then retry", log.display())
        }
        (_, None) => "retry with --log-level debug to see the output of the tools".to_owned(),
    }
}

#[cfg(test)]
impl FailureReport {
    /// A failure with these texts and no more.
    pub(super) fn example(class: Class, message: &'static str, texts: [&str; 4]) -> Self {
        let [culprit, cause, reason, fix] = texts.map(ToOwned::to_owned);
        Self {
            class,
            message,
            culprit,
            cause,
            fix,
            reason,
            resume: None,
            release: None,
            object: None,
            state: None,
            events: Vec::new(),
            container_logs: Vec::new(),
            also_blocked: Vec::new(),
            hook: None,
            others: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::*;

    /// An error of each kind, with its class and culprit.
    fn all() -> Vec<(Error, Class, &'static str)> {
        let text = ToOwned::to_owned;
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let after = Duration::from_secs(2);
        let failure = |release: Option<&str>, object: Option<&str>| {
            let diagnosis = Diagnosis { object: object.map(text), ..Diagnosis::default() };
            let release = release.map(Into::into);
            Error::Release(Box::new(ReleaseFailure {
                release,
                reason: text("no"),
                diagnosis,
                ..ReleaseFailure::default()
            }))
        };
        let flux = |after| Error::Flux {
            object: text("GitRepository a/b"),
            reason: text("no"),
            fix: text("correct it"),
            after,
        };
        let findings = vec![
            Finding::warning("versions", "Odd version"),
            Finding::error("programs", "Missing required deps").with("deps", "helmfile"),
            Finding::error("env", "Missing required env variables").with("envs", "A").fix("export A"),
            Finding::error("env", "Another"),
        ];
        vec![
            (Error::Preflight(findings), Class::Preflight, "programs, env"),
            (failure(Some("a/b"), Some("Pod a/b-1")), Class::Release, "Pod a/b-1"),
            (failure(Some("a/b"), None), Class::Release, "a/b"),
            (failure(None, None), Class::Release, "helmfile"),
            (flux(None), Class::Flux, "GitRepository a/b"),
            (flux(Some(after)), Class::Timeout, "GitRepository a/b"),
            (Error::NoFlux { release: text("a/b").into() }, Class::Flux, "a/b"),
            (
                Error::Deadline { stage: "verify", after, waiting_for: text("FluxInstance a/b") },
                Class::Timeout,
                "FluxInstance a/b",
            ),
            (Error::Unanswered { request: text("GET /x"), after }, Class::Timeout, "GET /x"),
            (
                ProcessError::Deadline { tool: "helmfile", after, talk: text("") }.into(),
                Class::Timeout,
                "helmfile",
            ),
            (Error::Locked { holder: text("host 12"), since: text("then") }, Class::Lock, "host 12"),
            (Error::Interrupted(Cause::LostLock), Class::Lock, "Lease kube-system/k3s-boot"),
            (
                ProcessError::Interrupted { cause: Cause::Signal(Signal::SIGTERM) }.into(),
                Class::Interrupted,
                "SIGTERM",
            ),
            (
                Error::Api {
                    request: text("GET /x"),
                    status: Some(500),
                    reason: text("etcdserver: leader changed"),
                },
                Class::Api,
                "GET /x",
            ),
            (
                Error::Tool { command: text("kubectl apply"), reason: text("no") },
                Class::Tool,
                "kubectl apply",
            ),
            (
                Error::Answer { command: text("helmfile build"), reason: text("odd") },
                Class::Tool,
                "helmfile build",
            ),
            (ProcessError::Spawn { tool: "sops", source: broken() }.into(), Class::Tool, "sops"),
            (ProcessError::Io { tool: "sops", source: broken() }.into(), Class::Tool, "sops"),
            (ProcessError::TooMuch { tool: "sops" }.into(), Class::Tool, "sops"),
            (Error::File { action: "read", path: "/a/b".into(), source: broken() }, Class::File, "/a/b"),
        ]
    }

    #[test]
    fn every_failure_has_a_culprit_a_cause_and_a_fix() {
        let log = Path::new("/state/x.log");
        for end in
            [End::default(), End { log: Some(log), killed: true, resume: Some("k3s-boot apps".to_owned()) }]
        {
            for (error, class, culprit) in all() {
                let report = FailureReport::new(&error, &end, &Redactor::default());
                assert_eq!((report.class, report.culprit.as_str()), (class, culprit), "{error:?}");
                for text in [report.message, &report.cause, &report.fix, &report.reason] {
                    assert!(!text.is_empty(), "{report:?}");
                }
                assert_eq!(report.resume, end.resume);
            }
        }
    }

    #[test]
    fn the_cause_is_the_known_one_or_the_reason() {
        let all = all();
        let report = |at: usize| FailureReport::new(&all[at].0, &End::default(), &Redactor::default());
        let api = all.iter().position(|(_, class, _)| *class == Class::Api).unwrap();
        assert_eq!(report(api).reason, "etcdserver: leader changed");
        assert_eq!(report(api).fix, "run it again");
        assert_ne!(report(api).cause, report(api).reason);
        assert_eq!(report(3).cause, "no");
        let preflight = report(0);
        assert_eq!(
            preflight.cause,
            "Missing required deps (deps: helmfile); Missing required env variables (envs: A); Another"
        );
        assert_eq!(preflight.fix, "export A");
    }

    #[test]
    fn secrets_are_redacted() {
        let redactor = Redactor::default();
        redactor.add(["CANARY-secret"]);
        let error = Error::Flux {
            object: "x CANARY-secret".to_owned(),
            reason: "CANARY-secret".to_owned(),
            fix: "type CANARY-secret".to_owned(),
            after: None,
        };
        let end = End { resume: Some("k3s-boot apps CANARY-secret".to_owned()), ..End::default() };
        let report = FailureReport::new(&error, &end, &redactor);
        assert!(!format!("{report:?}").contains("CANARY"), "{report:?}");
    }
}
