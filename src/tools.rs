//! The external programs, one module each: arguments out, parsed answers in.

pub(crate) mod api;
pub(crate) mod charts;
pub(crate) mod child_env;
pub(crate) mod download;
pub(crate) mod git;
pub(crate) mod helm;
pub(crate) mod helmfile;
pub(crate) mod in_cluster;
pub(crate) mod kubeconfig;
pub(crate) mod kubectl;
mod login;
pub(crate) mod mirror;
mod public;
pub(crate) mod requirements;
pub(crate) mod retry;
pub(crate) mod sops;
pub(crate) mod ssh;
pub(crate) mod template_env;
pub(crate) mod unanswered;
pub(crate) mod version;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::api::Api;
use self::mirror::ChartMirrors;
use crate::base::url::without_credentials;
use crate::process::{Output, Runner, describe};
use crate::tools::kubeconfig::Target;
use crate::tools::sops::Answered;
use crate::tools::template_env::TemplateEnv;

/// The absolute paths of the programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub helmfile: PathBuf,
    pub kubectl: PathBuf,
    pub sops: PathBuf,
    pub helm: PathBuf,
}

/// How long the cleanup of a run may take, even if the timeout of the run has expired.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The deadline of the whole run.
#[derive(Debug)]
pub(crate) struct Clock {
    end: Cell<Instant>,
}

impl Clock {
    /// Starts a run with this timeout.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { end: Cell::new(Instant::now() + timeout) }
    }

    /// The remaining time. When it is zero, nothing more is started.
    pub(crate) fn left(&self) -> Duration {
        self.end.get().saturating_duration_since(Instant::now())
    }

    /// Extends the deadline for the cleanup of a run: diagnosing a failure and releasing the lock.
    pub(crate) fn extend_for_cleanup(&self) {
        self.end.set(self.end.get().max(Instant::now() + CLEANUP_TIMEOUT));
    }

    /// Limits a duration to the remaining time.
    pub(crate) fn cap(&self, duration: Duration) -> Duration {
        duration.min(self.left())
    }
}

/// Everything that is needed to run a tool against the cluster.
pub(crate) struct Toolbox {
    /// Starts processes.
    pub runner: Runner,
    /// The paths of the programs.
    pub programs: Programs,
    /// The target cluster.
    pub target: Target,
    /// The deadline of the run.
    pub clock: Clock,
    /// The timeout for one request to the API server.
    pub request_timeout: Duration,
    /// The API client.
    pub api: Api,
    /// Whether programs may ask on the terminal.
    pub can_ask: bool,
    /// What sops has asked for.
    pub answered: Answered,
    /// The variables that only templates see.
    pub variables: TemplateEnv,
    /// The mirrors of the registries.
    pub mirrors: ChartMirrors,
    /// One permit for each chart that is fetched at the same time.
    pub pulls: tokio::sync::Semaphore,
}

impl Toolbox {
    /// The proxy to the API server, if one is set, without credentials. It need not apply: `NO_PROXY` may name the server.
    pub(crate) fn proxy(&self) -> Option<String> {
        let names = if self.target.server.starts_with("http://") {
            ["HTTP_PROXY", "http_proxy"]
        } else {
            ["HTTPS_PROXY", "https_proxy"]
        };
        let set = |name: &&str| self.runner.variable(name)?.to_str().filter(|value| !value.is_empty());
        let proxy = self.target.proxy.as_deref().or_else(|| names.iter().find_map(set));
        proxy.map(without_credentials)
    }
}

/// How the error of a tool begins; what it printed before is often noise.
const ERRORS: [&str; 5] = [
    "error: ",
    "Error: ",
    "Error from server",
    "Unable to connect to the server: ",
    "The connection to the server ",
];

/// Why a tool failed: its last error, with the lines of a list that it announces; hints may follow. Else the last line.
pub(crate) fn last_words(output: &Output) -> String {
    let lines: Vec<_> = output.talk.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_error = |line: &&str| {
        let is_invalid = line.starts_with("The ") && line.ends_with(" is invalid:");
        is_invalid || ERRORS.iter().any(|start| line.starts_with(start))
    };
    let Some(start) = lines.iter().rposition(is_error) else {
        return lines.last().map_or_else(|| describe(output.status), |line| (*line).to_owned());
    };
    let (error, rest) = (lines[start], &lines[start + 1..]);
    let list = rest.iter().take_while(|line| error.ends_with(':') && line.starts_with("* "));
    std::iter::once(&error).chain(list).copied().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_line_that_says_why_is_found() {
        // kubectl 1.36.3 and helm 4.2.4, shortened.
        let cases = [
            (
                "Unable to connect to the server: getting credentials: exec: executable nope-login not found\n\nIt looks like you are trying to use a client-go credential plugin that is not installed.\n\n\
                 To learn more about this feature, consult the documentation available at:\n      https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins\n\nbrew install nope\n",
                "Unable to connect to the server: getting credentials: exec: executable nope-login not found",
            ),
            (
                "The Deployment \"x\" is invalid: \n* spec.replicas: Invalid value: -1\n* spec.selector: Required value\n",
                "The Deployment \"x\" is invalid: * spec.replicas: Invalid value: -1 * spec.selector: Required value",
            ),
            (
                "Error from server (BadRequest): cannot be handled\n{\"kind\": \"Secret\"}\n",
                "Error from server (BadRequest): cannot be handled",
            ),
            ("level=warn x\nError: not found\n\n", "Error: not found"),
            ("one\ntwo\n", "two"),
            ("", "exit code 3"),
        ];
        for (talk, expected) in cases {
            let status = std::process::ExitStatus::from_raw(3 << 8);
            let output = Output { status, stdout: Vec::new(), talk: talk.to_owned() };
            assert_eq!(last_words(&output), expected);
        }
    }
}
