//! The programs that are driven: one module each, arguments out, parsed types in.

pub mod api;
pub mod git;
pub mod helm;
pub mod helmfile;
pub mod kubectl;
pub mod sops;
pub mod version;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::api::Api;
use crate::kubeconfig::Target;
use crate::process::{Output, Runner, describe};

/// The absolute paths of the programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// helmfile.
    pub helmfile: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// sops.
    pub sops: PathBuf,
    /// helm.
    pub helm: PathBuf,
}

/// The end of the whole run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    end: Instant,
}

impl Clock {
    /// A run that ends after this time at the latest.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { end: Instant::now() + timeout }
    }

    /// What is left of the run; never nothing, so that a deadline is said by what waits and not by a failed start.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    /// A time that does not reach beyond the end of the run.
    #[must_use]
    pub fn cap(&self, duration: Duration) -> Duration {
        duration.min(self.left())
    }
}

/// Everything needed to run a tool against the cluster.
pub struct Toolbox {
    /// Starts the tools.
    pub runner: Runner,
    /// Their paths.
    pub programs: Programs,
    /// The cluster.
    pub target: Target,
    /// The end of the run.
    pub clock: Clock,
    /// How long one request to the API server may take.
    pub request_timeout: Duration,
    /// The way to the API server.
    pub api: Api,
}

/// Why a tool failed, in its own words: its last line, for the ones before it are often noise.
#[must_use]
pub fn last_words(output: &Output) -> String {
    let said = output.talk.lines().rev().find(|line| !line.trim().is_empty());
    said.map_or_else(|| describe(output.status), |line| line.trim().to_owned())
}
