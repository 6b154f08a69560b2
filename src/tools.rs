//! The programs that are driven: one module each, arguments out, parsed types in.

pub mod api;
pub mod charts;
pub mod child_env;
pub mod git;
pub mod helm;
pub mod helmfile;
pub mod kubeconfig;
pub mod kubectl;
mod public;
pub mod requirements;
pub mod retry;
pub mod sops;
pub mod version;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::api::Api;
use crate::process::{Output, Runner, describe};
use crate::tools::kubeconfig::Target;

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

/// What belongs to the end of a run has so long, even when the run has used up its own time.
const WIND_UP: Duration = Duration::from_secs(5);

/// The end of the whole run.
#[derive(Debug)]
pub struct Clock {
    end: Cell<Instant>,
}

impl Clock {
    /// A run that ends after this time at the latest.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { end: Cell::new(Instant::now() + timeout) }
    }

    /// What is left of the run. Where that is nothing, nothing more is begun.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.end.get().saturating_duration_since(Instant::now())
    }

    /// Gives what is still to be done at the end of a run a time of its own: finding out why it failed, and letting go of
    /// the lock.
    pub fn wind_up(&self) {
        self.end.set(self.end.get().max(Instant::now() + WIND_UP));
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
    /// The values of the user's variables that are no secrets.
    pub public_variables: Vec<String>,
}

/// Why a tool failed, in its own words: its last line, for the ones before it are often noise.
#[must_use]
pub fn last_words(output: &Output) -> String {
    let said = output.talk.lines().rev().find(|line| !line.trim().is_empty());
    said.map_or_else(|| describe(output.status), |line| line.trim().to_owned())
}
