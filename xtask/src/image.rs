//! The container image with k3s-boot and the programs that it runs.

mod check;
mod programs;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use flate2::read::GzDecoder;

use crate::program::{output, print_progress, run, workspace};
use crate::release;

/// The user of the image, which is `nonroot` in other images without a shell too
/// (<https://github.com/GoogleContainerTools/distroless>).
const USER: u32 = 65532;

/// What is done with the image.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Step {
    /// Build the image with buildah, as NAME:VERSION-ARCH
    Build {
        /// Architecture (repeatable) [default: this machine]
        ///
        /// The program of another one comes from its archive in `target/release-files/`.
        #[arg(long)]
        arch: Vec<Arch>,
        /// Name of the image
        #[arg(long, default_value = NAME)]
        name: String,
        /// URL of the source, for the labels
        #[arg(long, default_value = "")]
        source: String,
    },
    /// Run the image with podman against the sandbox, as different users with a read-only root
    Check {
        /// Use runc without systemd and lower limits, as inside of a container
        #[arg(long)]
        restricted: bool,
    },
}

const NAME: &str = "localhost/k3s-boot";

/// An architecture, as Go and OCI name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As target triples name it.
    fn rust_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn of_host() -> Result<Self> {
        let name = std::env::consts::ARCH;
        let arch = Self::value_variants().iter().copied().find(|arch| arch.rust_name() == name);
        arch.with_context(|| format!("no image is made for {name}"))
    }
}

/// Runs a step.
///
/// # Errors
///
/// If a program is missing or fails, or the image does not work.
pub(crate) fn run_step(step: Step) -> Result<()> {
    match step {
        Step::Build { arch, name, source } => {
            let arch = if arch.is_empty() { vec![Arch::of_host()?] } else { arch };
            build(&arch, &name, &source)
        }
        Step::Check { restricted } => check::check(&tag(NAME, Arch::of_host()?)?, restricted),
    }
}

fn tag(name: &str, arch: Arch) -> Result<String> {
    Ok(format!("{name}:{}-{}", release::package()?.version, arch.name()))
}

fn build(archs: &[Arch], name: &str, source: &str) -> Result<()> {
    let context = workspace().join("target/image");
    if context.exists() {
        fs::remove_dir_all(&context).with_context(|| format!("cannot remove {}", context.display()))?;
    }
    write_root(&context.join("root"))?;
    for &arch in archs {
        let folder = context.join(arch.name());
        fs::create_dir_all(&folder)?;
        copy_program(arch, &folder.join("k3s-boot"))?;
        programs::build(arch, &folder)?;
    }
    programs::copy_licenses(&context.join("root/usr/share/licenses"))?;
    let version = release::package()?.version;
    let commit = output(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(workspace()))?;
    let time = release::source_date()?;
    for &arch in archs {
        let tag = tag(name, arch)?;
        print_progress(&format!("building {tag}"));
        run(Command::new("buildah")
            // Nothing runs in this build, so no other architecture has to be emulated.
            .args(["build", "--quiet", "--isolation=chroot", "--format=oci", "--layers=false"])
            .args(["--os=linux", "--arch", arch.name(), "--timestamp", &time.to_string(), "--tag", &tag])
            .args(["--build-arg", &format!("TARGETARCH={}", arch.name())])
            .args(["--build-arg", &format!("VERSION={version}")])
            .args(["--build-arg", &format!("REVISION={}", commit.trim())])
            .args(["--build-arg", &format!("SOURCE={source}")])
            .arg("--file")
            .arg(workspace().join("packaging/Containerfile"))
            .arg(&context))?;
        let size = output(Command::new("buildah").args(["images", "--format={{.Size}}", &tag]))?;
        print_progress(&format!("built {tag}: {}", size.trim()));
    }
    Ok(())
}

/// The files of the image that are the same for all architectures.
fn write_root(root: &Path) -> Result<()> {
    let write = |name: &str, text: &[u8]| -> Result<()> {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let user = format!("k3s-boot:x:{USER}:{USER}:k3s-boot:/data:/sbin/nologin\n");
    write("etc/passwd", format!("root:x:0:0:root:/data:/sbin/nologin\n{user}").as_bytes())?;
    write("etc/group", format!("root:x:0:\nk3s-boot:x:{USER}:\n").as_bytes())?;
    write("etc/ssl/certs/ca-certificates.crt", &certificates()?)?;
    fs::create_dir_all(root.join("repository"))?;
    // As /tmp: the user of a container may be any.
    fs::create_dir_all(root.join("data"))?;
    fs::set_permissions(root.join("data"), Permissions::from_mode(0o1777))?;
    Ok(())
}

/// The certificates of the Debian package `ca-certificates`, without those that were added to this machine.
fn certificates() -> Result<Vec<u8>> {
    let folder = workspace().join("target/ca-certificates");
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    run(Command::new("apt-get").args(["download", "--quiet", "ca-certificates"]).current_dir(&folder))?;
    let package = files(&folder)?.pop().context("apt-get has downloaded no package `ca-certificates`")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
    let mut certificates = Vec::new();
    for file in files(&folder.join("usr/share/ca-certificates/mozilla"))? {
        certificates.extend(fs::read(file)?);
        certificates.push(b'\n');
    }
    if certificates.is_empty() {
        bail!("the package `ca-certificates` contains no certificates");
    }
    Ok(certificates)
}

/// The files in a folder, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// The program as it is released: from its archive, which is made if it is for this machine.
fn copy_program(arch: Arch, target: &Path) -> Result<()> {
    let is_ours = |name: &str| name.contains(&format!("-{}-", arch.rust_name())) && name.contains("-linux-");
    let find = || -> Option<PathBuf> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = files(&release::folder()).ok()?;
        files.into_iter().find(|path| is_ours(&name(path)) && name(path).ends_with(".tar.gz"))
    };
    if find().is_none() && arch == Arch::of_host()? {
        release::run(Some(release::Step::Archive { target: None }))?;
    }
    let path = find().with_context(|| format!("target/release-files/ has no archive for {}", arch.name()))?;
    print_progress(&format!("taking k3s-boot from {}", path.display()));
    let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(&path)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.file_name() == Some("k3s-boot".as_ref()) {
            entry.unpack(target)?;
            return Ok(());
        }
    }
    bail!("{} contains no program", path.display())
}
