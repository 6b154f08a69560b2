//! Finds missing programs and helm plugins that keys of releases need on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::error::Error;
use crate::desired::Helmfile;
use crate::desired::releases::Release;
use crate::observed::Observed;
use crate::process::find_program;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// Looks up the programs and plugins that the desired releases need.
pub(super) async fn look(
    tools: &Toolbox,
    settings: &Settings,
    helmfiles: &[Helmfile],
    observed: &mut Observed,
) -> Result<(), Error> {
    let is_helm_4 = observed.helm_major() != Some(3);
    observed.missing_commands = missing_commands(settings, helmfiles, is_helm_4);
    let mut releases = desired_releases(helmfiles);
    if is_helm_4 && releases.any(|(_, release)| release.requirements.post_renderer.is_some()) {
        observed.post_renderers = tools.helm_post_renderers().await?;
    }
    Ok(())
}

fn desired_releases(helmfiles: &[Helmfile]) -> impl Iterator<Item = (&Helmfile, &Release)> {
    let all = helmfiles
        .iter()
        .flat_map(|helmfile| helmfile.releases.iter().map(move |release| (helmfile, release)));
    all.filter(|(_, release)| release.is_wanted())
}

/// The commands that cannot be started, each with its helmfile, in whose folder helmfile and helm run.
fn missing_commands(
    settings: &Settings,
    helmfiles: &[Helmfile],
    is_helm_4: bool,
) -> BTreeSet<(PathBuf, String)> {
    let named = desired_releases(helmfiles).flat_map(|(helmfile, release)| {
        let needed = &release.requirements;
        let renderer = needed.post_renderer.as_deref().filter(|_| !is_helm_4);
        let hooks = needed.hook_commands.iter().map(String::as_str);
        let all = hooks.chain(renderer).chain(needed.kustomize_program());
        all.map(|command| (helmfile.path.as_path(), command))
    });
    let missing = named.filter(|(helmfile, command)| {
        let folder = helmfile.parent().unwrap_or(Path::new("/"));
        find_program(command, settings.path.as_deref(), folder).is_none()
    });
    missing.map(|(helmfile, command)| (helmfile.to_owned(), command.to_owned())).collect()
}
