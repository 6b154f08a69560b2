//! The programs that k3s-boot runs, built from the modules that the sandbox tests them with.
//!
//! Every dependency is pinned by its hash in `go.sum`, both architectures are built on one machine, and what the tests ran
//! is what is published. Binaries of the projects would have to be downloaded and verified in four ways.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Arch;
use crate::program::{output, print_progress, run, workspace};

struct Program {
    name: &'static str,
    /// The folder of the module in `sandbox/go/` that requires it.
    folder: &'static str,
    module: &'static str,
    package: &'static str,
    /// The variables that hold the version of the program.
    version: &'static [&'static str],
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "helm",
        folder: "kubernetes",
        module: "helm.sh/helm/v4",
        package: "helm.sh/helm/v4/cmd/helm",
        version: &["helm.sh/helm/v4/internal/version.version"],
    },
    Program {
        name: "helmfile",
        folder: "helmfile",
        module: "github.com/helmfile/helmfile",
        package: "github.com/helmfile/helmfile",
        version: &["go.szostok.io/version.version"],
    },
    Program {
        name: "kubectl",
        folder: "kubernetes",
        module: "k8s.io/kubernetes",
        package: "k8s.io/kubernetes/cmd/kubectl",
        version: &["k8s.io/component-base/version.gitVersion"],
    },
    // Its version is a constant.
    Program {
        name: "sops",
        folder: "helmfile",
        module: "github.com/getsops/sops/v3",
        package: "github.com/getsops/sops/v3/cmd/sops",
        version: &[],
    },
];

/// Builds all programs into a folder.
pub(super) fn build(arch: Arch, folder: &Path) -> Result<()> {
    for program in &PROGRAMS {
        let version = program.module("{{.Version}}")?;
        print_progress(&format!("building {} {version} for {}", program.name, arch.name()));
        let set = program.version.iter().map(|variable| format!(" -X {variable}={version}"));
        let flags = format!("-ldflags=-s -w{}", set.collect::<String>());
        // Stamps of Git would be those of this repository.
        run(go(program)
            .args(["build", "-buildvcs=false", &flags, "-o"])
            .arg(folder.join(program.name))
            .arg(program.package)
            .env("GOARCH", arch.name()))?;
    }
    Ok(())
}

/// Copies the licenses of all programs, with which they have to be distributed.
pub(super) fn copy_licenses(target: &Path) -> Result<()> {
    let mut folders = vec![("k3s-boot", workspace())];
    for program in &PROGRAMS {
        folders.push((program.name, PathBuf::from(program.module("{{.Dir}}")?)));
    }
    for (name, folder) in folders {
        let license = folder.join("LICENSE");
        let text = fs::read(&license).with_context(|| format!("cannot read {}", license.display()))?;
        fs::create_dir_all(target.join(name))?;
        fs::write(target.join(name).join("LICENSE"), text)?;
    }
    Ok(())
}

impl Program {
    /// What `go list -m` says about its module.
    fn module(&self, format: &str) -> Result<String> {
        let text = output(go(self).args(["list", "-m", "-f", format, self.module]))?.trim().to_owned();
        if text.is_empty() {
            bail!("`go list` printed nothing for {}", self.module);
        }
        Ok(text)
    }
}

/// Go in the folder of a program's module.
fn go(program: &Program) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(workspace().join("sandbox/go").join(program.folder))
        // Without C, Go links statically.
        .env("CGO_ENABLED", "0")
        .env("GOOS", "linux")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off");
    command
}
