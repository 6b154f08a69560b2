//! `k3s-boot apps --list`: the stages and their items, from the files alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::base::stages::Stage;
use crate::desired::state_file::{self, StateFile};
use crate::desired::{namespaces, repository};
use crate::report::list::{ListedStage, StagesReport};
use crate::report::{self, SchemaVersion};
use crate::settings::Settings;
use crate::tools::kubeconfig;

/// Prints the list; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) fn list(settings: &Settings) -> std::io::Result<u8> {
    let (found, mut problems) = match repository::helmfiles(&settings.root, &settings.helmfiles) {
        Ok(found) => (found, Vec::new()),
        Err(problem) => (Vec::new(), vec![problem]),
    };
    problems.extend(settings.config_problems.iter().cloned());
    if !problems.is_empty() {
        problems.iter().for_each(Finding::log);
        return Ok(1);
    }
    // Releases without a namespace use that of the context, if there is a kubeconfig.
    let target = kubeconfig::load(&settings.kubeconfig, settings.context.as_deref());
    let namespace = target.map(|(target, _)| target).unwrap_or_default().namespace;
    // helmfile is not started, because it would run hooks.
    let read = |(kind, path): (_, PathBuf)| state_file::read(kind, &path, true, &namespace).0;
    let helmfiles: Vec<_> = found.into_iter().map(read).collect();
    let report = StagesReport {
        schema_version: SchemaVersion,
        stages: Stage::ALL.into_iter().map(|stage| listed(settings, &helmfiles, stage)).collect(),
    };
    if settings.json {
        report::print(&report, settings.guard)?;
    } else {
        report::print_text(report.text(), settings.guard)?;
    }
    Ok(0)
}

fn listed(settings: &Settings, helmfiles: &[StateFile], stage: Stage) -> ListedStage {
    let mut unknown = None;
    let mut sources = BTreeMap::new();
    let mut reason = |helmfile: &StateFile| {
        let shown = settings.relative(&helmfile.path);
        let words = format!("`{}` names releases in templates, which are not rendered here", shown.display());
        unknown.get_or_insert(words);
    };
    let items = match stage {
        Stage::Nodes | Stage::Verify => Vec::new(),
        Stage::Namespaces => {
            let of_releases = helmfiles.iter().flat_map(|helmfile| &helmfile.releases);
            let of_releases = of_releases.map(|(namespace, name)| ReleaseId::new(namespace, name));
            helmfiles.iter().filter(|helmfile| helmfile.partial).for_each(&mut reason);
            let declared = namespaces::declared(&settings.root);
            let all = namespaces::namespaces(
                &declared,
                settings.namespaces.as_deref(),
                std::iter::empty(),
                of_releases,
            );
            sources = all.iter().map(|one| (one.name.clone(), one.source.to_string())).collect();
            all.into_iter().map(|namespace| namespace.name).collect()
        }
        Stage::Secrets => {
            let files = settings.secret_files.clone();
            let files = files.unwrap_or_else(|| repository::encrypted_files(&settings.root));
            // An encrypted file may have the key.
            let key = Some(settings.age_key.clone()).filter(|path| path.exists() || settings.age_key_named);
            let shown = |path: PathBuf| settings.relative(&path).display().to_string();
            let files = key.into_iter().chain(files).map(shown);
            files.chain(settings.secret_commands.iter().map(ToString::to_string)).collect()
        }
        Stage::Manifests => settings.manifests.iter().map(|source| source.shown(&settings.root)).collect(),
        Stage::Crds | Stage::Apps => {
            let of_stage = helmfiles.iter().filter(|helmfile| helmfile.kind.stage() == stage);
            let of_stage: Vec<_> = of_stage.collect();
            of_stage.iter().filter(|helmfile| helmfile.partial).for_each(|helmfile| reason(helmfile));
            let releases = of_stage.iter().flat_map(|helmfile| &helmfile.releases);
            releases.map(|(namespace, name)| format!("{namespace}/{name}")).collect()
        }
    };
    ListedStage { name: stage, skipped: settings.plan_options.stages.has(stage), items, sources, unknown }
}
