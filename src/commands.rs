//! The commands, a file each.

pub mod apps;
mod ask;
pub mod check;
pub mod diff;
pub mod recover;
pub mod status;

use crate::child_env::{self, ChildEnv};
use crate::env::Env;
use crate::gather::Files;
use crate::process::Runner;
use crate::process::signals::Stop;
use crate::scratch::Scratch;
use crate::settings::Settings;
use crate::tools::api::Api;
use crate::tools::{Clock, Programs, Toolbox};
use crate::transcript::Transcript;

/// Everything needed to run tools. A program that is not there cannot be started; a rule says so.
fn toolbox(
    settings: &Settings,
    env: &Env,
    files: &Files,
    scratch: &Scratch,
    stop: Stop,
    transcript: &Transcript,
) -> Toolbox {
    let target = files.target.clone().unwrap_or_default();
    let ChildEnv { vars, removed } = child_env::build(env, settings, &target, scratch.path());
    if !removed.is_empty() {
        tracing::warn!(envs = %removed.join(" "), reason = "they could lead to another cluster", "Variables kept from the tools");
    }
    let path = |name: &str| {
        let found = files.programs.iter().find(|program| program.name == name);
        found.and_then(|program| program.path.clone()).unwrap_or_default()
    };
    let programs = Programs {
        helmfile: path("helmfile"),
        kubectl: path("kubectl"),
        sops: path("sops"),
        helm: path("helm"),
    };
    Toolbox {
        runner: Runner::new(vars, stop, transcript.clone()),
        programs,
        target,
        clock: Clock::new(settings.timeout),
        request_timeout: settings.request_timeout,
        api: Api::new(scratch.path()),
    }
}
