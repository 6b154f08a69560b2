//! The programs that the sandbox needs, built once from Go modules and shared by all checkouts.
//!
//! Each comes from PATH if that has exactly the right version, else from the cache, else it is built into the cache.

mod build;
mod catalog;

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

pub use self::catalog::KUBERNETES_VERSION;
use self::catalog::{
    AGE, ALL, HELM, HELM_3, HELM_CONTROLLER, HELMFILE, KUBERNETES, KUSTOMIZE_CONTROLLER, KUSTOMIZE_CRDS,
    KWOK, KWOK_STAGES, REGISTRY, SOPS, SOURCE_CONTROLLER, SOURCE_CRDS, TASK, Tool, UsedBy,
};
use crate::output::Progress;
use crate::process::run;

/// The paths of all tools.
#[derive(Clone, Debug)]
pub struct Tools {
    folders: Vec<PathBuf>,
    path_dir: PathBuf,
}

impl Tools {
    /// Finds or builds all tools, also those that only tests need. `progress` gets a line at the start and at the end of each
    /// build.
    pub fn install(progress: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        Self::find_or_build(|_| true, &progress)
    }

    /// Finds or builds the tools that a cluster needs.
    pub(crate) fn install_for_clusters(progress: &dyn Progress) -> Result<Self> {
        Self::find_or_build(|tool| tool.used_by == UsedBy::Clusters, progress)
    }

    /// Finds or builds all tools, also those that only tests need.
    pub(crate) fn install_for_tests(progress: &dyn Progress) -> Result<Self> {
        Self::find_or_build(|_| true, progress)
    }

    /// The same tools, but the `helm` on PATH answers `version --short` with what this helm has answered once. helmfile asks that
    /// whenever it starts, and each answer takes helm 70 ms of processor time: a twelfth of the tests on clusters.
    pub fn with_quick_helm_version(mut self) -> Result<Self> {
        let helm = self.helm();
        let version = run(Command::new(&helm).args(["version", "--short"]))?.stdout;
        let version = String::from_utf8(version).context("the version of helm is not text")?;
        let script = format!(
            "#!/bin/sh\nif [ \"$*\" = 'version --short' ]; then echo '{}'; else exec '{}' \"$@\"; fi\n",
            version.trim(),
            helm.display()
        );
        let cache = cache_dir()?.join("tools");
        let mut hash = Sha256::new();
        hash.update(self.path_dir.as_os_str().as_encoded_bytes());
        hash.update(&script);
        let folder = cache.join(format!("path-{}", hex(&hash.finalize()[..6])));
        if !folder.is_dir() {
            let staging = staging(&cache)?;
            for entry in fs::read_dir(&self.path_dir)? {
                let entry = entry?;
                if entry.file_name() != "helm" {
                    symlink(fs::read_link(entry.path())?, staging.path().join(entry.file_name()))?;
                }
            }
            let file = staging.path().join("helm");
            fs::write(&file, script)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
            rename(staging, &folder)?;
        }
        self.path_dir = folder;
        Ok(self)
    }

    fn find_or_build(is_needed: impl Fn(&Tool) -> bool, progress: &dyn Progress) -> Result<Self> {
        let cache = cache_dir()?.join("tools");
        let mut folders = Vec::new();
        let mut missing = Vec::new();
        for tool in ALL {
            let cached = cache.join(tool.folder());
            if let Some(folder) = build::on_path(tool) {
                folders.push(folder);
                continue;
            }
            if is_needed(tool) && !tool.is_in(&cached) {
                missing.push(tool);
            }
            folders.push(cached);
        }
        if !missing.is_empty() {
            build::build(&missing, &cache, progress)?;
        }
        let mut tools = Self { folders, path_dir: PathBuf::new() };
        tools.path_dir = tools.link(&cache)?;
        Ok(tools)
    }

    /// A folder with the programs that a bootstrap needs, for the front of PATH.
    #[must_use]
    pub fn path_dir(&self) -> &Path {
        &self.path_dir
    }

    /// Helm 4.
    #[must_use]
    pub fn helm(&self) -> PathBuf {
        self.file(&HELM, "helm")
    }

    /// Helm 3.
    #[must_use]
    pub fn helm_3(&self) -> PathBuf {
        self.file(&HELM_3, "helm")
    }

    /// helmfile.
    #[must_use]
    pub fn helmfile(&self) -> PathBuf {
        self.file(&HELMFILE, "helmfile")
    }

    /// kubectl.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.file(&KUBERNETES, "kubectl")
    }

    /// SOPS.
    #[must_use]
    pub fn sops(&self) -> PathBuf {
        self.file(&SOPS, "sops")
    }

    /// age.
    #[must_use]
    pub fn age(&self) -> PathBuf {
        self.file(&AGE, "age")
    }

    /// age-keygen.
    #[must_use]
    pub fn age_keygen(&self) -> PathBuf {
        self.file(&AGE, "age-keygen")
    }

    /// Task.
    #[must_use]
    pub fn task(&self) -> PathBuf {
        self.file(&TASK, "task")
    }

    pub(crate) fn kubernetes(&self, program: &str) -> PathBuf {
        self.file(&KUBERNETES, program)
    }

    pub(crate) fn kwok(&self) -> PathBuf {
        self.file(&KWOK, "kwok")
    }

    pub(crate) fn registry(&self) -> PathBuf {
        self.file(&REGISTRY, "registry")
    }

    pub(crate) fn kustomize_controller(&self) -> PathBuf {
        self.file(&KUSTOMIZE_CONTROLLER, "kustomize-controller")
    }

    pub(crate) fn helm_controller(&self) -> PathBuf {
        self.file(&HELM_CONTROLLER, "helm-controller")
    }

    pub(crate) fn source_controller(&self) -> PathBuf {
        self.file(&SOURCE_CONTROLLER, "source-controller")
    }

    /// A file with a stage or a CRD of kwok.
    pub(crate) fn kwok_stage(&self, file: &str) -> Result<String> {
        read(&self.file(&KWOK_STAGES, file))
    }

    /// The CRDs of the two Flux controllers, as YAML.
    pub(crate) fn flux_crds(&self) -> Result<Vec<String>> {
        let of = |tool: &'static Tool| tool.files.iter().map(move |file| read(&self.file(tool, file)));
        of(&KUSTOMIZE_CRDS).chain(of(&SOURCE_CRDS)).collect()
    }

    fn file(&self, tool: &Tool, file: &str) -> PathBuf {
        let index = ALL.iter().position(|&one| std::ptr::eq(one, tool) || one.same_as(tool));
        self.folders[index.unwrap_or_default()].join(file)
    }

    fn link(&self, cache: &Path) -> Result<PathBuf> {
        let links = [
            ("helm", self.helm()),
            ("helmfile", self.helmfile()),
            ("kubectl", self.kubectl()),
            ("sops", self.sops()),
            ("age", self.age()),
            ("age-keygen", self.age_keygen()),
            // Not there unless tests have been run.
            ("task", self.task()),
        ];
        let mut hash = Sha256::new();
        for (_, target) in &links {
            hash.update(target.as_os_str().as_encoded_bytes());
            hash.update([0]);
        }
        let folder = cache.join(format!("path-{}", hex(&hash.finalize()[..6])));
        if folder.is_dir() {
            return Ok(folder);
        }
        let staging = staging(cache)?;
        for (name, target) in links {
            symlink(target, staging.path().join(name))?;
        }
        rename(staging, &folder)?;
        Ok(folder)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// A folder in the cache, to be renamed when it is complete.
pub(crate) fn staging(cache: &Path) -> Result<tempfile::TempDir> {
    fs::create_dir_all(cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    tempfile::Builder::new()
        .prefix(".staging-")
        .tempdir_in(cache)
        .with_context(|| format!("cannot create a folder in `{}`", cache.display()))
}

/// Renames a staging folder, unless another process has created the target in the meantime.
pub(crate) fn rename(staging: tempfile::TempDir, target: &Path) -> Result<()> {
    match fs::rename(staging.path(), target) {
        Ok(()) => {
            // It no longer exists under its old name.
            let _: PathBuf = staging.keep();
            Ok(())
        }
        Err(_) if target.is_dir() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot create `{}`", target.display())),
    }
}

/// The variable that overrides [`cache_dir`], for a shell whose HOME is that of a sandbox.
pub(crate) const CACHE: &str = "K3S_BOOT_SANDBOX_CACHE";

/// The folder that all checkouts share: `$K3S_BOOT_SANDBOX_CACHE`, else
/// `$XDG_CACHE_HOME/k3s-boot-sandbox`, else in `~/.cache`.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(CACHE).filter(|folder| Path::new(folder).is_absolute()) {
        return Ok(folder.into());
    }
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        _ => PathBuf::from(env::var_os("HOME").context("neither `XDG_CACHE_HOME` nor `HOME` is set")?)
            .join(".cache"),
    };
    Ok(base.join("k3s-boot-sandbox"))
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_found_under_its_own_folder() {
        let folders = ALL.iter().map(|tool| Path::new("/").join(tool.folder()));
        let tools = Tools { folders: folders.collect(), path_dir: PathBuf::new() };
        assert_eq!(tools.helm(), Path::new("/helm-4.2.4/helm"));
        assert_eq!(tools.helm_3(), Path::new("/helm-3.21.4/helm"));
        assert_eq!(tools.kubectl(), Path::new("/kubernetes-1.36.3/kubectl"));
    }
}
