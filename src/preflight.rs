//! Everything that can be found out before the first change is found out here, in one pass.
//!
//! What is independent runs side by side, and charts are fetched while nodes are waited for.

mod api;
mod builds;
mod files;
mod secrets;

use std::time::Duration;

use tokio::sync::Notify;

pub use self::files::{Files, files};
use crate::charts::ChartStore;
use crate::check::{Finding, Findings, versions};
use crate::desired::objects::ObjectId;
use crate::desired::{Desired, Helmfile, repository};
use crate::error::Error;
use crate::fingerprint::HashKey;
use crate::observed::Observed;
use crate::plan::{Plan, plan};
use crate::redact::Redactor;
use crate::scratch::Scratch;
use crate::settings::{PROGRAMS, Settings};
use crate::tools::Toolbox;

/// What a preflight that passed has found out.
pub struct Ready {
    /// What is wanted.
    pub desired: Desired,
    /// What stands.
    pub observed: Observed,
    /// What has to be done.
    pub plan: Plan,
    /// The charts that were fetched.
    pub charts: ChartStore,
    /// How long nodes were waited for, while other things were checked.
    pub waited_for_nodes: Duration,
    /// How many things were checked.
    pub checks: usize,
    /// How many of them deserve a look.
    pub warnings: usize,
}

/// Checks all that takes programs, the cluster and the registries.
///
/// # Errors
///
/// All problems that stop the run; or k3s-boot was told to stop, or too few nodes came.
pub async fn cluster(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    scratch: &Scratch,
    redactor: &Redactor,
) -> Result<Ready, Error> {
    let cache = settings.cache.clone().map_or_else(|| scratch.subfolder("cache"), Ok)?;
    let charts = ChartStore::new(cache.join("charts"));
    let staging = Scratch::new(&cache.join("staging"))?;
    let key = HashKey::default();

    // With a problem in what is there already, waiting for nodes helps nobody.
    let hopeless = Notify::new();
    let api = Box::pin(api::ask(tools, settings, &hopeless));
    let work = Box::pin(async {
        let states = &files.helmfiles;
        let builds = async {
            let build = |state| builds::build(tools, state, &charts, &staging, scratch);
            match states.as_slice() {
                [first, second] => {
                    let (first, second) = tokio::join!(build(first), build(second));
                    Ok(vec![first?, second?])
                }
                _ => Ok::<_, Error>(Vec::new()),
            }
        };
        let (versions, builds, secrets) = tokio::join!(
            tools.versions(settings.cache.as_deref()),
            builds,
            secrets::decrypt(tools, settings, files, &key, redactor)
        );
        let good = versions.as_ref().is_ok_and(|versions| {
            versions.iter().all(|(name, version)| versions::check(name, version.as_ref()).is_ok())
        }) && builds.as_ref().is_ok_and(|builds| {
            builds.iter().all(|build| build.problems.is_empty() && build.missing.is_empty())
        }) && secrets.as_ref().is_ok_and(Result::is_ok);
        if !good {
            hopeless.notify_one();
        }
        (versions, builds, secrets)
    });
    let ((versions, builds, secrets), api) = tokio::join!(work, api);

    let mut findings = Findings::default();
    let mut checks = files.checks + PROGRAMS.len();
    let mut old = false;
    for (name, version) in versions? {
        old |= findings.keep(versions::check(name, version.as_ref())).is_none();
    }
    let helmfiles = if old { Vec::new() } else { builds::keep(builds?, &mut findings, &mut checks) };
    let ((cluster, waited_for_nodes), answers) = match api? {
        Ok(found) => (found, true),
        Err(problems) => {
            findings.0.extend(problems);
            (Default::default(), false)
        }
    };
    let (wanted, live) = secrets::keep(secrets?, answers, &mut findings);
    checks += files.encrypted.len() + wanted.len();
    if findings.stop() {
        return Err(Error::Preflight(findings.0));
    }
    if !wanted.iter().any(|object| object.id == ObjectId::sops_age()) {
        findings.0.push(
            Finding::warning("age-key", "No age key, Flux will not be able to decrypt")
                .with("file", settings.age_key.display())
                .fix("put the key that this repository is encrypted for there"),
        );
    }
    findings.0.iter().for_each(Finding::log);

    let namespaces =
        repository::namespaces(&settings.root, helmfiles.iter().flat_map(namespaces_of).map(String::as_str));
    checks += namespaces.len();
    let desired = Desired { namespaces, objects: wanted, helmfiles };
    let unwanted_releases =
        tools.existing_releases(desired.releases().filter(|release| !release.installed)).await?;
    let observed = Observed { cluster, objects: live, unwanted_releases };
    let plan = plan(&desired, &observed, settings.rotate_age_key).map_err(Error::Preflight)?;
    Ok(Ready {
        desired,
        observed,
        plan,
        charts,
        waited_for_nodes,
        checks,
        warnings: files.warnings + findings.warnings(),
    })
}

fn namespaces_of(helmfile: &Helmfile) -> impl Iterator<Item = &String> {
    helmfile.releases.iter().filter(|release| release.installed).map(|release| &release.namespace)
}

fn cannot_read(error: &Error) -> Finding {
    Finding::error("api", "Cluster cannot be read").with("reason", error)
}
