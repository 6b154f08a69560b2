//! What can be checked without starting a program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::check::{Finding, Findings};
use crate::desired::objects;
use crate::desired::repository;
use crate::desired::state_file::{self, StateFile};
use crate::process::find_program;
use crate::redact::Redactor;
use crate::settings::{PROGRAMS, Settings};
use crate::tools::Programs;
use crate::{age, kubeconfig};

/// What the files say, before any program runs.
pub struct Files {
    /// The programs.
    pub programs: Programs,
    /// The cluster that is meant.
    pub target: kubeconfig::Target,
    pub(super) helmfiles: Vec<StateFile>,
    pub(super) encrypted: Vec<PathBuf>,
    pub(super) age_key: Option<age::Selection>,
    pub(super) checks: usize,
    pub(super) warnings: usize,
}

/// Checks all that can be checked without starting a program.
///
/// # Errors
///
/// All problems that stop the run. A missing program is told alone: nothing else matters before it is there.
pub fn files(settings: &Settings, redactor: &Redactor) -> Result<Files, Vec<Finding>> {
    let programs = programs(settings).map_err(|finding| vec![finding])?;
    let mut findings = Findings::default();
    let target = findings.keep(kubeconfig::load(&settings.kubeconfig, settings.context.as_deref()));
    let helmfiles = helmfiles(settings, &mut findings);
    let age_key = age_key(settings, redactor, &mut findings);
    let encrypted = repository::encrypted_files(&settings.root);
    for path in &encrypted {
        findings.keep(read(path).and_then(|text| objects::check_encrypted(path, &text)));
    }
    findings.0.extend(repository::unusable_folders(&settings.root).iter().map(|folder| {
        Finding::warning("namespaces", "Folder cannot be a namespace")
            .with("folder", folder.display())
            .fix("use lower-case letters, digits and `-`")
    }));
    if let Some((_, missing)) = &target {
        findings.0.extend(missing.iter().map(|file| {
            Finding::warning("kubeconfig", "Kubeconfig file of the list not found")
                .with("file", file.display())
        }));
    }
    let warnings = findings.warnings();
    match target {
        Some((target, _)) if !findings.stop() => {
            findings.0.iter().for_each(Finding::log);
            // Four programs, the kubeconfig, and a file each.
            let checks =
                PROGRAMS.len() + 1 + helmfiles.len() + encrypted.len() + usize::from(age_key.is_some());
            Ok(Files { programs, target, helmfiles, encrypted, age_key, checks, warnings })
        }
        _ => Err(findings.0),
    }
}

fn programs(settings: &Settings) -> Result<Programs, Finding> {
    let find = |name| find_program(name, settings.path.as_deref(), &settings.cwd);
    match PROGRAMS.map(find) {
        [Some(helmfile), Some(kubectl), Some(sops), Some(helm)] => {
            Ok(Programs { helmfile, kubectl, sops, helm })
        }
        found => {
            let missing =
                PROGRAMS.iter().zip(found).filter(|(_, path)| path.is_none()).map(|(name, _)| *name);
            let missing: Vec<_> = missing.collect();
            Err(Finding::error("deps", "Missing required deps").with("deps", missing.join(" ")))
        }
    }
}

fn read(path: &Path) -> Result<String, Finding> {
    std::fs::read_to_string(path).map_err(|error| {
        Finding::error("files", "File cannot be read").with("file", path.display()).with("reason", error)
    })
}

fn helmfiles(settings: &Settings, findings: &mut Findings) -> Vec<StateFile> {
    let found = match repository::helmfiles(&settings.root) {
        Ok(found) => found,
        Err(missing) => {
            findings.0.extend(missing);
            return Vec::new();
        }
    };
    let read = |(kind, path): (_, PathBuf)| state_file::read(kind, &path, settings.allow_hooks);
    let mut states = Vec::new();
    for state in found.into_iter().map(read) {
        match state {
            Ok(state) => states.push(state),
            Err(problems) => findings.0.extend(problems),
        }
    }
    states
}

fn age_key(settings: &Settings, redactor: &Redactor, findings: &mut Findings) -> Option<age::Selection> {
    let path = &settings.age_key;
    if !path.exists() && !settings.age_key_named {
        return None;
    }
    let parsed = read(path).and_then(|text| {
        redactor.add([text.as_str()]);
        age::parse(&text).map_err(|error| {
            Finding::error("age-key", "Age key cannot be used")
                .with("file", path.display())
                .with("reason", error)
                .fix("write one with `age-keygen -o age.key`; lines are identities, or comments that start with `#`")
        })
    });
    let key = findings.keep(parsed)?;
    // Reading all files of a repository is worth it only when there is something to choose.
    let recipients = if key.identities.len() > 1 { age::recipients(&settings.root) } else { BTreeSet::new() };
    let selection = age::select(&key, &recipients);
    if !selection.left_out.is_empty() {
        tracing::info!(
            file = %path.display(),
            left_out = %selection.left_out.join(" "),
            reason = "no recipient in this repository",
            "Age identities left out"
        );
    }
    Some(selection)
}
