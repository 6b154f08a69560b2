//! What can be checked without starting a program.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::files;
use crate::base::files::{Entry, LARGEST};
use crate::base::finding::{Finding, Findings};
use crate::base::redact::Redactor;
use crate::desired::state_file::{self, StateFile};
use crate::desired::{AgeKey, age, objects, repository, sops_config};
use crate::observed::Program;
use crate::process::find_program;
use crate::settings::{PROGRAMS, Settings, missing_env};
use crate::tools::kubeconfig;

/// Of many things of a kind that are wrong, the first ones are told.
const MOST_TOLD: usize = 20;

/// What the files say, before any program runs.
pub struct Files {
    /// The programs.
    pub programs: Vec<Program>,
    /// The cluster that is meant, if any is.
    pub target: Option<kubeconfig::Target>,
    pub(super) helmfiles: Vec<StateFile>,
    pub(super) encrypted: Vec<PathBuf>,
    pub(super) age_key: Option<(AgeKey, age::Selection)>,
    /// How many scripts have the name of the original one.
    pub(super) scripts: usize,
    /// What was found to be wrong.
    pub problems: Vec<Finding>,
}

/// Finds out what is needed to look at the cluster and nothing else: kubectl and the kubeconfig.
#[must_use]
pub fn files_for_looking(settings: &Settings, redactor: &Redactor) -> Files {
    // A configuration that cannot be read may name another cluster.
    let mut findings = Findings(settings.config_problems.clone());
    let programs = programs(settings, &["kubectl"], &mut findings);
    let target = target(settings, &mut findings);
    // Not needed; but should it stand in what the cluster says, nobody shall see it.
    if let Ok(text) = files::text(&settings.age_key, age::LARGEST) {
        redactor.add([text.as_str()]);
    }
    Files {
        programs,
        target,
        helmfiles: Vec::new(),
        encrypted: Vec::new(),
        age_key: None,
        scripts: 0,
        problems: findings.0,
    }
}

/// Finds out all that can be found out without starting a program.
#[must_use]
pub fn files(settings: &Settings, redactor: &Redactor) -> Files {
    let mut findings = Findings(settings.config_problems.clone());
    let programs = programs(settings, &PROGRAMS, &mut findings);
    let target = target(settings, &mut findings);
    let namespace = target.clone().unwrap_or_default().namespace;
    let helmfiles = helmfiles(settings, &namespace, &mut findings);
    let age_key = age_key(settings, redactor, &mut findings);
    let mut encrypted = Vec::new();
    let named = settings.secret_files.clone();
    let config = files::text(&settings.root.join(".sops.yaml"), LARGEST).ok();
    let recipients = age_key.as_ref().map_or(&[][..], |(key, _)| &key.public);
    for path in named.unwrap_or_else(|| repository::encrypted_files(&settings.root)) {
        let relative = path.strip_prefix(&settings.root).unwrap_or(&path);
        let encrypt = sops_config::encrypt_command(relative, config.as_deref(), recipients);
        let good = findings.keep(
            read("sops", &path, LARGEST).and_then(|text| objects::check_encrypted(&path, &text, &encrypt)),
        );
        encrypted.extend(good.map(|()| path));
    }
    if settings.namespaces.is_none() {
        let unusable = repository::unusable_folders(&settings.root);
        findings.0.extend(unusable.iter().take(MOST_TOLD).map(|folder| {
            let finding = Finding::warning("namespaces", "Folder cannot be a namespace")
                .with("folder", folder.display());
            let more = unusable.len().saturating_sub(MOST_TOLD);
            let finding = if more > 0 { finding.with("and_more", more) } else { finding };
            finding.fix("use lower-case letters, digits and `-`")
        }));
    }
    let (scripts, old) = old_scripts(settings);
    findings.0.extend(old);
    Files { programs, target, helmfiles, encrypted, age_key, scripts, problems: findings.0 }
}

/// How many scripts have the name of the one that k3s-boot replaces, and those that are it. Others are known by what they
/// do.
fn old_scripts(settings: &Settings) -> (usize, Vec<Finding>) {
    let places = ["bootstrap/scripts/bootstrap-apps.sh", "scripts/bootstrap-apps.sh"];
    let scripts: Vec<_> = places
        .iter()
        .filter_map(|place| Some((place, files::text(&settings.root.join(place), LARGEST).ok()?)))
        .collect();
    let old = |(place, text): &(&&str, String)| {
        let syncs = text.contains("helmfile") && text.contains("01-apps.yaml");
        (syncs && !text.contains("00-crds")).then(|| {
            Finding::warning("old-script", "Old bootstrap script is still there")
                .with("file", place)
                .with("lacks", "00-crds.yaml, encrypted files, a look at whether Flux syncs")
                .fix(format!("rm {place}  # and run `k3s-boot apps` in its place"))
        })
    };
    (scripts.len(), scripts.iter().filter_map(old).collect())
}

fn target(settings: &Settings, findings: &mut Findings) -> Option<kubeconfig::Target> {
    if settings.offline {
        return None;
    }
    if settings.kubeconfig.is_empty() {
        findings.0.push(missing_env(&["KUBECONFIG"]));
        return None;
    }
    let (target, missing) =
        findings.keep(kubeconfig::load(&settings.kubeconfig, settings.context.as_deref()))?;
    findings.0.extend(missing.iter().map(|file| {
        Finding::warning("kubeconfig", "Kubeconfig file of the list not found")
            .with("file", file.display())
            .fix("take it out of KUBECONFIG")
    }));
    Some(target)
}

fn programs(settings: &Settings, names: &[&'static str], findings: &mut Findings) -> Vec<Program> {
    let find = |name: &&'static str| Program {
        name,
        path: find_program(name, settings.path.as_deref(), &settings.cwd),
        version: Err("not asked".to_owned()),
    };
    let programs: Vec<_> = names.iter().map(find).collect();
    let missing: Vec<_> =
        programs.iter().filter(|program| program.path.is_none()).map(|program| program.name).collect();
    if !missing.is_empty() {
        let from: Vec<_> = missing.iter().map(|name| format!("{name} ({})", home(name))).collect();
        findings.0.push(
            Finding::error("programs", "Missing required deps")
                .with("deps", missing.join(" "))
                .fix(format!("install {}, or put it on PATH", from.join(", "))),
        );
    }
    programs
}

/// Where a program is told of by those who make it.
fn home(program: &str) -> &'static str {
    match program {
        "helmfile" => "https://helmfile.readthedocs.io",
        "kubectl" => "https://kubernetes.io/docs/tasks/tools/",
        "sops" => "https://getsops.io",
        _ => "https://helm.sh",
    }
}

fn read(rule: &'static str, path: &Path, largest: u64) -> Result<String, Finding> {
    files::text(path, largest).map_err(|error| {
        Finding::error(rule, "File cannot be read").with("file", path.display()).with("reason", error)
    })
}

fn helmfiles(settings: &Settings, namespace: &str, findings: &mut Findings) -> Vec<StateFile> {
    let found = match repository::helmfiles(&settings.root, &settings.helmfiles) {
        Ok(found) => found,
        Err(missing) => {
            let place = format!("{} in {}", repository::FOLDERS, settings.root.display());
            let above = if settings.root_is_guessed { ", and in the folders above it" } else { "" };
            let place = place + above;
            findings.0.extend(missing.into_iter().map(|mut finding| {
                // The fix comes last.
                finding.pairs.insert(1, ("searched", place.clone()));
                finding
            }));
            return Vec::new();
        }
    };
    let read = |(kind, path): (_, PathBuf)| {
        let (mut state, problems) = state_file::read(kind, &path, settings.allow_hooks, namespace);
        findings.0.extend(problems);
        if state.sources.files && !state.sources.secrets && has_references(&settings.root) {
            state.sources.add_secrets();
        }
        state
    };
    found.into_iter().map(read).collect()
}

/// Whether any file of the repository has references that helmfile resolves: a template may read it by a path that is not
/// known before it is rendered.
fn has_references(root: &Path) -> bool {
    let enters = |entry: &Entry| entry.name() != ".git" && entry.name() != "node_modules";
    files::walk(root, enters)
        .filter(|entry| entry.kind.is_file())
        .filter_map(|entry| files::text(&entry.path, LARGEST).ok())
        .any(|text| state_file::refers_to_secrets(&text))
}

fn age_key(
    settings: &Settings,
    redactor: &Redactor,
    findings: &mut Findings,
) -> Option<(AgeKey, age::Selection)> {
    let path = &settings.age_key;
    if !path.exists() && !settings.age_key_named {
        // A repository's CI has no key, and shall have none.
        if !settings.offline {
            findings.0.push(
                Finding::warning("age-key", "No age key, Flux will not be able to decrypt")
                    .with("file", path.display())
                    .fix("put the key that this repository is encrypted for there"),
            );
        }
        return None;
    }
    let parsed = read("age-key", path, age::LARGEST).and_then(|text| {
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
    let kept = |identity: &&age::Identity| {
        identity.public.as_ref().is_none_or(|public| !selection.left_out.contains(public))
    };
    let kept: Vec<_> = key.identities.iter().filter(kept).collect();
    let facts = AgeKey {
        path: path.clone(),
        mode: std::fs::metadata(path).map_or(0, |file| file.permissions().mode() & 0o777),
        public: kept.iter().filter_map(|identity| identity.public.clone()).collect(),
        post_quantum: kept.iter().any(|identity| identity.is_post_quantum()),
        plugin: kept.iter().any(|identity| identity.is_plugin()),
    };
    Some((facts, selection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_script_is_known_by_what_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { root: folder.path().to_owned(), ..Settings::default() };
        let path = folder.path().join("scripts/bootstrap-apps.sh");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let found = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let (scripts, old) = old_scripts(&settings);
            assert_eq!(scripts, 1);
            old.len()
        };
        assert_eq!(found("helmfile --file \"${ROOT_DIR}/bootstrap/helmfile.d/01-apps.yaml\" sync\n"), 1);
        assert_eq!(found("helmfile -f 00-crds.yaml template; helmfile -f 01-apps.yaml sync\n"), 0);
        assert_eq!(found("exec k3s-boot apps\n"), 0);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(old_scripts(&settings), (0, Vec::new()));
    }
}
