//! Reads everything that needs no program.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::commands;
use super::repository_files::{self, RepositoryFiles};
use crate::base::distribution::Distribution;
use crate::base::files;
use crate::base::files::{Entry, LARGEST};
use crate::base::finding::{Finding, Findings};
use crate::base::redact::Redactor;
use crate::desired::distribution::decide;
use crate::desired::namespaces::{self, Declared};
use crate::desired::objects::sops_age;
use crate::desired::state_file::{self, StateFile};
use crate::desired::{AgeKey, age, encrypted, repository, sops_config};
use crate::observed::Program;
use crate::process::find_program;
use crate::settings::{PROGRAMS, Settings, missing_env};
use crate::tools::kubeconfig;

/// What was read without running a program.
#[derive(Default)]
pub(crate) struct Files {
    /// The required programs.
    pub programs: Vec<Program>,
    /// The target cluster, if one is selected.
    pub target: Option<kubeconfig::Target>,
    pub(super) helmfiles: Vec<StateFile>,
    pub(super) encrypted: Vec<PathBuf>,
    pub(super) age_key: Option<(AgeKey, age::Selection)>,
    /// The finding that there is no age key, unless a file shows that it has one.
    pub(super) no_age_key: Option<Finding>,
    /// The namespaces that the repository declares.
    pub(super) declared: Declared,
    pub(super) repository: RepositoryFiles,
    /// How many files have the name of the original `bootstrap-apps.sh`.
    pub(super) scripts: usize,
    /// The problems that were found.
    pub problems: Vec<Finding>,
}

/// Reads only what is needed to read the cluster: kubectl's path and the kubeconfig.
pub(crate) fn files_for_looking(settings: &Settings, redactor: &Redactor) -> Files {
    // An invalid configuration may select another cluster.
    let mut findings = Findings(settings.config_problems.clone());
    let programs = programs(settings, &["kubectl"], &mut findings);
    let target = target(settings, || repository_files::distribution(settings), &mut findings);
    // The key is not needed, but must be redacted if the cluster's answers contain it.
    if let Ok(text) = files::text(&settings.age_key, age::LARGEST) {
        redactor.add([text.as_str()]);
    }
    Files { programs, target, problems: findings.0, ..Files::default() }
}

/// Finds only the programs.
pub(crate) fn files_for_versions(settings: &Settings) -> Files {
    Files { programs: programs(settings, &PROGRAMS, &mut Findings::default()), ..Files::default() }
}

/// Reads everything that needs no program.
pub(crate) fn files(settings: &Settings, redactor: &Redactor) -> Files {
    let mut findings = Findings(settings.config_problems.clone());
    let programs = programs(settings, &PROGRAMS, &mut findings);
    let repository = repository_files::read(settings);
    let target = target(settings, || decide(&repository.signs), &mut findings);
    let namespace = target.clone().unwrap_or_default().namespace;
    let helmfiles = helmfiles(settings, &namespace, &mut findings);
    findings.0.extend(commands::problems(settings, helmfiles.iter().map(|state| state.path.as_path())));
    let age_key = age_key(settings, redactor, &mut findings);
    // The CI of a repository should not have the key.
    let is_missing = !settings.offline && !has_key_file(settings);
    let mut no_age_key = is_missing.then(|| no_age_key(settings));
    let mut applied = Vec::new();
    let named = settings.secret_files.clone();
    let is_named = named.is_some();
    let config = files::text(&settings.root.join(".sops.yaml"), LARGEST).ok();
    let recipients = age_key.as_ref().map_or(&[][..], |(key, _)| &key.public);
    for path in named.unwrap_or_else(|| repository::encrypted_files(&settings.root)) {
        let relative = settings.relative(&path);
        let encrypt = sops_config::encrypt_command(relative, config.as_deref(), recipients);
        let good = findings.keep(read("sops", &path, LARGEST).and_then(|text| {
            no_age_key = no_age_key.take().filter(|_| !sops_age::is_named(&text));
            encrypted::check_encrypted(&path, &text, &encrypt)?;
            Ok(is_named || encrypted::has_manifests(&text))
        }));
        match good {
            Some(true) => applied.push(path),
            Some(false) => findings.0.push(
                Finding::info("sops", "Encrypted file has no manifests and is not applied")
                    .with("file", path.display()),
            ),
            None => {}
        }
    }
    let mut declared = namespaces::declared(&settings.root);
    findings.0.append(&mut declared.problems);
    if settings.namespaces.is_none() {
        findings.0.append(&mut declared.invalid_names);
    }
    let (scripts, old) = old_scripts(settings);
    findings.0.extend(old);
    Files {
        programs,
        target,
        helmfiles,
        encrypted: applied,
        age_key,
        no_age_key,
        declared,
        repository,
        scripts,
        problems: findings.0,
    }
}

/// How many files have the name of the script that k3s-boot replaces, and findings for those that still do its work.
fn old_scripts(settings: &Settings) -> (usize, Vec<Finding>) {
    let places = ["bootstrap/scripts/bootstrap-apps.sh", "scripts/bootstrap-apps.sh"];
    let scripts: Vec<_> = places
        .iter()
        .filter_map(|place| Some((place, files::text(&settings.root.join(place), LARGEST).ok()?)))
        .collect();
    let old = |(place, text): &(&&str, String)| {
        let syncs = text.contains("helmfile") && text.contains("01-apps.yaml");
        (syncs && !text.contains("00-crds")).then(|| {
            Finding::warning("old-script", "Old bootstrap script still exists")
                .with("file", place)
                .with("missing", "00-crds.yaml, encrypted files, verification of Flux")
                .fix(format!("rm {place}  # and run `k3s-boot apps` instead"))
        })
    };
    (scripts.len(), scripts.iter().filter_map(old).collect())
}

fn target(
    settings: &Settings,
    distribution: impl FnOnce() -> Distribution,
    findings: &mut Findings,
) -> Option<kubeconfig::Target> {
    if settings.offline {
        return None;
    }
    if settings.kubeconfig.is_empty() {
        findings.0.push(no_kubeconfig(settings));
        return None;
    }
    let loaded = kubeconfig::load(&settings.kubeconfig, settings.context.as_deref()).map_err(|finding| {
        let exists = settings.kubeconfig.iter().any(|file| file.exists());
        if exists && finding.summary != kubeconfig::NO_CONTEXTS {
            return finding;
        }
        finding.fix(format!("{}, and set KUBECONFIG to its path", distribution().kubeconfig()))
    });
    let (target, missing) = findings.keep(loaded)?;
    findings.0.extend(missing.iter().map(|file| {
        Finding::warning("kubeconfig", "Kubeconfig file not found, skipping it")
            .with("file", file.display())
            .fix("remove it from KUBECONFIG")
    }));
    Some(target)
}

/// The finding that KUBECONFIG is not set: without it, kubectl and helm would silently use the file in the home folder.
fn no_kubeconfig(settings: &Settings) -> Finding {
    let finding = missing_env(&["KUBECONFIG"]);
    match &settings.default_kubeconfig {
        Some(file) if file.is_file() => finding.fix("export KUBECONFIG=~/.kube/config"),
        _ => finding,
    }
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
                .fix(format!("install {}, or add it to PATH", from.join(", "))),
        );
    }
    programs
}

/// The home page of a program.
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
        Err(finding) => {
            findings.0.push(if settings.root_is_guessed {
                finding.with("also_searched", "all folders above")
            } else {
                finding
            });
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

/// Whether any file of the repository has references that helmfile resolves: a template may read a file whose path is only
/// known when it is rendered.
fn has_references(root: &Path) -> bool {
    let enters = |entry: &Entry| entry.name() != ".git" && entry.name() != "node_modules";
    files::walk(root, enters)
        .filter(|entry| entry.kind.is_file())
        .filter_map(|entry| files::text(&entry.path, LARGEST).ok())
        .any(|text| state_file::refers_to_secrets(&text))
}

fn has_key_file(settings: &Settings) -> bool {
    settings.age_key.exists() || settings.age_key_named
}

fn no_age_key(settings: &Settings) -> Finding {
    Finding::warning("age-key", "No age key, Flux cannot decrypt the repository")
        .with("file", settings.age_key_name().display())
        .fix("save the age key that this repository is encrypted for as this file")
}

fn age_key(
    settings: &Settings,
    redactor: &Redactor,
    findings: &mut Findings,
) -> Option<(AgeKey, age::Selection)> {
    let path = &settings.age_key;
    if !has_key_file(settings) {
        return None;
    }
    let name = settings.age_key_name();
    let parsed = read("age-key", path, age::LARGEST).and_then(|text| {
        redactor.add([text.as_str()]);
        age::parse(&text).map_err(|error| {
            let finding = Finding::error("age-key", "Age key cannot be used")
                .with("file", name.display())
                .with("reason", error);
            // A new key decrypts nothing that exists.
            finding.fix(if age::recipients(&settings.root).is_empty() {
                "create one with `age-keygen -o age.key`; each line is an identity, or a comment that starts with `#`"
            } else {
                "save the identity (`AGE-SECRET-KEY-1…`) of a recipient that this repository is encrypted for; each line is an identity, or a comment that starts with `#`"
            })
        })
    });
    let key = findings.keep(parsed)?;
    // Reading all files of a repository is only worth it when there is more than one identity.
    let recipients = if key.identities.len() > 1 { age::recipients(&settings.root) } else { BTreeSet::new() };
    let selection = age::select(&key, &recipients);
    if !selection.skipped.is_empty() {
        tracing::info!(
            file = %name.display(),
            skipped = %selection.skipped.join(" "),
            reason = "no file in this repository is encrypted for them",
            "Skipping age identities"
        );
    }
    let kept = |identity: &&age::Identity| {
        identity.public.as_ref().is_none_or(|public| !selection.skipped.contains(public))
    };
    let kept: Vec<_> = key.identities.iter().filter(kept).collect();
    let facts = AgeKey {
        path: name,
        mode: (!is_mounted(path)).then(|| mode(path)),
        public: kept.iter().filter_map(|identity| identity.public.clone()).collect(),
        post_quantum: kept.iter().any(|identity| identity.is_post_quantum()),
        plugin: kept.iter().any(|identity| identity.is_plugin()),
        is_encrypted: false,
    };
    Some((facts, selection))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |file| file.permissions().mode() & 0o777)
}

/// Whether a file is mounted with a mode that cannot be changed: a part of a Secret volume, whose mode `fsGroup` decides
/// (Kubernetes 1.36, `pkg/volume/util/atomic_writer.go`), or a credential of a unit of systemd, which an ACL makes look readable
/// by the group (<https://github.com/systemd/systemd/issues/29435>).
fn is_mounted(path: &Path) -> bool {
    path.starts_with("/run/credentials")
        || std::fs::read_link(path).is_ok_and(|target| target.starts_with("..data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_systemd_are_mounted() {
        assert!(is_mounted(Path::new("/run/credentials/k3s-boot.service/age.key")));
        assert!(!is_mounted(Path::new("/run/age.key")));
    }

    #[test]
    fn old_script_is_recognized_by_its_content() {
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
