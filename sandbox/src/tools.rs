//! The programs the sandbox needs, built once from Go modules and shared by all checkouts.
//!
//! A program on PATH is taken if it is exactly the right version, else the one in the cache, else it is built into a
//! staging folder that is then renamed: a tool is in the cache whole or not at all.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::process::run;

/// What `kube-apiserver` calls itself, and the kubelet of every node.
pub const KUBERNETES_VERSION: &str = "v1.36.3+k3s1";

/// The oldest Go that builds everything (helmfile's go.mod asks for it).
const GO: (u32, u32, u32) = (1, 26, 2);

/// One thing in the cache: some programs or files of one version.
struct Tool {
    name: &'static str,
    version: &'static str,
    files: &'static [&'static str],
    /// Arguments that make the first of `files` print its version, and the text that must be in it.
    probe: Option<(&'static [&'static str], &'static str)>,
    source: Source,
}

enum Source {
    /// `go install` of these packages.
    Install { packages: &'static [&'static str], ldflags: &'static str },
    /// `go build tool` in `sandbox/go/NAME`: for modules with `replace` lines, which `go install` refuses.
    Module { folder: &'static str, ldflags: &'static str },
    /// YAML files from folders of a module.
    Files { module: &'static str, folders: &'static [&'static str] },
}

const HELM: Tool = Tool {
    name: "helm",
    version: "4.2.4",
    files: &["helm"],
    probe: Some((&["version", "--short"], "v4.2.4")),
    source: Source::Install {
        packages: &["helm.sh/helm/v4/cmd/helm@v4.2.4"],
        ldflags: "-X helm.sh/helm/v4/internal/version.version=v4.2.4",
    },
};

const KUBERNETES: Tool = Tool {
    name: "kubernetes",
    version: "1.36.3",
    files: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd"],
    probe: Some((&["--version"], KUBERNETES_VERSION)),
    source: Source::Module {
        folder: "kubernetes",
        // Charts look at the server's version; `+k3s1` makes the server call itself k3s.
        ldflags: "-X k8s.io/component-base/version.gitVersion=v1.36.3+k3s1 \
                  -X k8s.io/component-base/version.gitMajor=1 \
                  -X k8s.io/component-base/version.gitMinor=36 \
                  -X k8s.io/component-base/version.gitTreeState=clean",
    },
};

const KWOK: Tool = Tool {
    name: "kwok",
    version: "0.8.0",
    files: &["kwok"],
    probe: Some((&["--version"], "v0.8.0")),
    source: Source::Install { packages: &["sigs.k8s.io/kwok/cmd/kwok@v0.8.0"], ldflags: "" },
};

const SOPS: Tool = Tool {
    name: "sops",
    version: "3.13.2",
    files: &["sops"],
    probe: Some((&["--disable-version-check", "--version"], "sops 3.13.2")),
    source: Source::Install { packages: &["github.com/getsops/sops/v3/cmd/sops@v3.13.2"], ldflags: "" },
};

const AGE: Tool = Tool {
    name: "age",
    version: "1.3.1",
    files: &["age", "age-keygen"],
    probe: Some((&["--version"], "v1.3.1")),
    source: Source::Install {
        packages: &["filippo.io/age/cmd/age@v1.3.1", "filippo.io/age/cmd/age-keygen@v1.3.1"],
        ldflags: "",
    },
};

const REGISTRY: Tool = Tool {
    name: "registry",
    version: "3.1.1",
    files: &["registry"],
    // Its version is only known to builds from its own Makefile.
    probe: None,
    source: Source::Install {
        packages: &["github.com/distribution/distribution/v3/cmd/registry@v3.1.1"],
        ldflags: "",
    },
};

const HELMFILE: Tool = Tool {
    name: "helmfile",
    version: "1.7.4",
    files: &["helmfile"],
    probe: Some((&["version", "-o", "short"], "1.7.4")),
    source: Source::Module { folder: "helmfile", ldflags: "-X go.szostok.io/version.version=v1.7.4" },
};

const KUSTOMIZE_CONTROLLER: Tool = Tool {
    name: "kustomize-controller",
    version: "1.7.3",
    files: &["kustomize-controller"],
    probe: None,
    source: Source::Module { folder: "kustomize-controller", ldflags: "" },
};

const TASK: Tool = Tool {
    name: "task",
    version: "3.53.1",
    files: &["task"],
    probe: Some((&["--version"], "3.53.1")),
    source: Source::Install { packages: &["github.com/go-task/task/v3/cmd/task@v3.53.1"], ldflags: "" },
};

/// The other supported major version of Helm; only tests ask for it.
const HELM_3: Tool = Tool {
    name: "helm",
    version: "3.21.4",
    files: &["helm"],
    probe: Some((&["version", "--short"], "v3.21.4")),
    source: Source::Install {
        packages: &["helm.sh/helm/v3/cmd/helm@v3.21.4"],
        ldflags: "-X helm.sh/helm/v3/internal/version.version=v3.21.4",
    },
};

const KWOK_STAGES: Tool = Tool {
    name: "kwok-stages",
    version: "0.8.0",
    files: &["pod-ready.yaml", "pod-complete.yaml", "pod-delete.yaml", "kwok.x-k8s.io_stages.yaml"],
    probe: None,
    source: Source::Files {
        module: "sigs.k8s.io/kwok@v0.8.0",
        folders: &["kustomize/stage/pod/fast", "kustomize/crd/bases"],
    },
};

const KUSTOMIZE_CRDS: Tool = Tool {
    name: "kustomize-controller-crds",
    version: "1.7.3",
    files: &["kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
    probe: None,
    source: Source::Files {
        module: "github.com/fluxcd/kustomize-controller@v1.7.3",
        folders: &["config/crd/bases"],
    },
};

const SOURCE_CRDS: Tool = Tool {
    name: "source-controller-crds",
    version: "1.7.3",
    files: &[
        "source.toolkit.fluxcd.io_buckets.yaml",
        "source.toolkit.fluxcd.io_externalartifacts.yaml",
        "source.toolkit.fluxcd.io_gitrepositories.yaml",
        "source.toolkit.fluxcd.io_ocirepositories.yaml",
    ],
    probe: None,
    source: Source::Files {
        module: "github.com/fluxcd/source-controller@v1.7.3",
        folders: &["config/crd/bases"],
    },
};

const ALL: [&Tool; 13] = [
    &HELM,
    &KUBERNETES,
    &KWOK,
    &SOPS,
    &AGE,
    &REGISTRY,
    &HELMFILE,
    &KUSTOMIZE_CONTROLLER,
    &TASK,
    &HELM_3,
    &KWOK_STAGES,
    &KUSTOMIZE_CRDS,
    &SOURCE_CRDS,
];

/// The programs, ready to run.
#[derive(Clone, Debug)]
pub struct Tools {
    folders: Vec<PathBuf>,
    path_dir: PathBuf,
}

impl Tools {
    /// Finds or builds everything. `progress` gets a line for each tool that is built, at its start and its end.
    ///
    /// The first time takes about 14 minutes on two cores, then it takes no time.
    pub fn install(progress: &dyn Fn(&str)) -> Result<Self> {
        let cache = cache_dir()?.join("tools");
        let mut folders = Vec::new();
        let mut lock = None;
        for (index, tool) in ALL.iter().enumerate() {
            let cached = cache.join(format!("{}-{}", tool.name, tool.version));
            if let Some(folder) = on_path(tool) {
                folders.push(folder);
                continue;
            }
            if !tool.is_in(&cached) {
                if lock.is_none() {
                    require_go()?;
                    lock = Some(lock_file(&cache, progress)?);
                }
                // Another process may have built it while this one waited.
                if !tool.is_in(&cached) {
                    let what = format!("[{}/{}] {} {}", index + 1, ALL.len(), tool.name, tool.version);
                    progress(&format!("{what}: building"));
                    let started = Instant::now();
                    tool.build(&cache, &cached)
                        .with_context(|| format!("cannot build {} {}", tool.name, tool.version))?;
                    progress(&format!("{what}: built in {} s", started.elapsed().as_secs()));
                }
            }
            folders.push(cached);
        }
        let mut tools = Self { folders, path_dir: PathBuf::new() };
        tools.path_dir = tools.link(&cache)?;
        Ok(tools)
    }

    /// A folder with just the programs that a bootstrap needs, for the front of PATH.
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

    /// kwok's stages for pods that do what is expected of them, and the CRD of stages.
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

impl Tool {
    fn same_as(&self, other: &Self) -> bool {
        self.name == other.name && self.version == other.version
    }

    fn is_in(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| folder.join(file).is_file())
    }

    fn build(&self, cache: &Path, target: &Path) -> Result<()> {
        let staging = staging(cache)?;
        match &self.source {
            Source::Install { packages, ldflags } => {
                for package in *packages {
                    run(go("install", ldflags).arg(package).env("GOBIN", staging.path()))?;
                }
            }
            Source::Module { folder, ldflags } => {
                run(go("build", ldflags)
                    .arg("-o")
                    .arg(staging.path().join(""))
                    .arg("tool")
                    .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(folder)))?;
            }
            Source::Files { module, folders } => {
                let module = download(module)?;
                for folder in *folders {
                    copy_yaml(&module.join(folder), staging.path())?;
                }
            }
        }
        name_etcd(staging.path())?;
        if let Some(missing) = self.files.iter().find(|file| !staging.path().join(file).is_file()) {
            bail!("the build made no `{missing}`");
        }
        if target.exists() {
            fs::remove_dir_all(target).with_context(|| format!("cannot remove `{}`", target.display()))?;
        }
        rename(staging, target)
    }
}

/// etcd's main package lies at its module's top, so Go names the program after the path's last element.
fn name_etcd(folder: &Path) -> Result<()> {
    for name in ["server", "v3"] {
        if folder.join(name).is_file() {
            fs::rename(folder.join(name), folder.join("etcd"))?;
        }
    }
    Ok(())
}

fn go(verb: &str, ldflags: &str) -> Command {
    let mut command = Command::new("go");
    command
        .args([verb, "-ldflags", format!("-s -w {ldflags}").trim_end()])
        // Without cgo no C compiler is needed, and the programs are the same everywhere.
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS");
    command
}

fn download(module: &str) -> Result<PathBuf> {
    let output = run(Command::new("go").args(["mod", "download", "-json", module]).current_dir("/"))?;
    let about: Value = serde_json::from_slice(&output.stdout)?;
    Ok(PathBuf::from(about["Dir"].as_str().context("`go mod download` named no folder")?))
}

fn copy_yaml(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name()
            && path.extension() == Some(OsStr::new("yaml"))
        {
            fs::write(to.join(name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// The folder on PATH that holds the tool, all of it and in the right version.
fn on_path(tool: &Tool) -> Option<PathBuf> {
    let (arguments, version) = tool.probe?;
    let first = tool.files.first()?;
    let path = env::var_os("PATH")?;
    let folder = env::split_paths(&path).find(|folder| folder.join(first).is_file())?;
    if !folder.is_absolute() || !tool.is_in(&folder) {
        return None;
    }
    let output = Command::new(folder.join(first)).args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).contains(version).then_some(folder)
}

fn require_go() -> Result<()> {
    let needed = format!("{}.{}.{}", GO.0, GO.1, GO.2);
    let Ok(output) = Command::new("go").args(["env", "GOVERSION"]).current_dir("/").output() else {
        bail!(
            "the sandbox builds its tools with Go, and there is no `go` on PATH: install Go {needed} or newer"
        );
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if parse_go_version(&version).is_none_or(|found| found < GO) {
        bail!("the sandbox builds its tools with Go {needed} or newer, `go` on PATH is `{version}`");
    }
    Ok(())
}

fn parse_go_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    Some((next()?, next()?, next().unwrap_or(0)))
}

fn lock_file(cache: &Path, progress: &dyn Fn(&str)) -> Result<Flock<File>> {
    fs::create_dir_all(cache).with_context(|| format!("cannot make `{}`", cache.display()))?;
    let path = cache.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, _)) => {
            progress("another process builds tools; waiting for it");
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .with_context(|| format!("cannot lock `{}`", path.display()))
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// A folder beside the final ones, so that a rename is all that is left to do.
pub(crate) fn staging(cache: &Path) -> Result<tempfile::TempDir> {
    fs::create_dir_all(cache).with_context(|| format!("cannot make `{}`", cache.display()))?;
    tempfile::Builder::new()
        .prefix(".staging-")
        .tempdir_in(cache)
        .with_context(|| format!("cannot make a folder in `{}`", cache.display()))
}

/// Moves a staging folder to its place; what another process put there in the meantime is as good.
pub(crate) fn rename(staging: tempfile::TempDir, target: &Path) -> Result<()> {
    match fs::rename(staging.path(), target) {
        Ok(()) => {
            // Nothing is left to be removed under the old name.
            let _: PathBuf = staging.keep();
            Ok(())
        }
        Err(_) if target.is_dir() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make `{}`", target.display())),
    }
}

/// Names the folder of [`cache_dir`] in a shell whose home is the sandbox' own.
pub(crate) const CACHE: &str = "K3S_BOOT_SANDBOX_CACHE";

/// Where the sandbox keeps what all checkouts share: `$K3S_BOOT_SANDBOX_CACHE`, else
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
    fn go_versions_are_compared_by_number() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26, 8)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27, 0)));
        assert_eq!(parse_go_version("go1.26"), Some((1, 26, 0)));
        assert_eq!(parse_go_version("devel"), None);
        assert!(parse_go_version("go1.9.2").is_some_and(|version| version < GO));
    }

    #[test]
    fn every_tool_is_found_under_its_own_folder() {
        let folders = ALL.iter().map(|tool| PathBuf::from(format!("/{}-{}", tool.name, tool.version)));
        let tools = Tools { folders: folders.collect(), path_dir: PathBuf::new() };
        assert_eq!(tools.helm(), Path::new("/helm-4.2.4/helm"));
        assert_eq!(tools.helm_3(), Path::new("/helm-3.21.4/helm"));
        assert_eq!(tools.kubectl(), Path::new("/kubernetes-1.36.3/kubectl"));
    }
}
