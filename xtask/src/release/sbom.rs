//! The software bill of materials of the program.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{folder, package, source_date};
use crate::program::{cargo_program, run, workspace};

/// The name of the files that cargo-cyclonedx writes beside each Cargo.toml of the workspace.
const NAME: &str = "sbom-of-release";

/// Writes the crates that the program contains, for all targets, as JSON of `CycloneDX`.
pub(super) fn make() -> Result<()> {
    // renovate: datasource=crate depName=cargo-cyclonedx
    let program = cargo_program("cargo-cyclonedx", "0.5.9")?;
    let package = package()?;
    let target = folder().join(format!("{}-{}.cdx.json", package.name, package.version));
    run(Command::new(program)
        .args(["cyclonedx", "--quiet", "--format=json", "--spec-version=1.5", "--target=all"])
        .args(["--no-build-deps", "--override-filename", NAME])
        // For the time in the document, and for one without a random serial number.
        .env("SOURCE_DATE_EPOCH", source_date()?.to_string())
        .current_dir(workspace()))?;
    for member in ["sandbox", "xtask"] {
        std::fs::remove_file(workspace().join(member).join(format!("{NAME}.json")))?;
    }
    let made = workspace().join(format!("{NAME}.json"));
    let text = std::fs::read_to_string(&made).with_context(|| format!("cannot read {}", made.display()))?;
    std::fs::remove_file(made)?;
    // The crates of the workspace are identified by their paths on this machine.
    let folder = format!("path+file://{}", workspace().display());
    std::fs::write(target, text.replace(&folder, "path+file:///k3s-boot"))?;
    Ok(())
}
