//! The report of `k3s-boot version`, as text or JSON.

use std::fmt::Write as _;

use schemars::JsonSchema;
use semver::Version;
use serde::Serialize;

use super::SchemaVersion;
use crate::base::escape::escaped;
use crate::base::fact::Fact;
use crate::observed::Program;
use crate::tools::requirements;

/// The report of `k3s-boot version`, as `-o json` prints it.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct VersionReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// The version of k3s-boot.
    pub version: String,
    /// The Git commit that it was built from, with `-dirty` if files had been changed; absent if that is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The target triple that it was built for.
    pub target: String,
    /// The programs that k3s-boot runs.
    pub programs: Vec<ProgramVersion>,
}

/// A program.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ProgramVersion {
    pub name: String,
    /// The path; absent if it is not installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The version, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether k3s-boot supports the version.
    pub supported: bool,
    /// The versions that k3s-boot supports.
    pub accepted: String,
}

impl VersionReport {
    pub(crate) fn new(programs: &[Program], versions: &[(&'static str, Fact<Option<Version>>)]) -> Self {
        let programs = programs.iter().map(|program| {
            let found = versions.iter().find(|(name, _)| *name == program.name);
            let version = found.and_then(|(_, version)| version.clone().ok().flatten());
            ProgramVersion {
                name: program.name.to_owned(),
                path: program.path.as_ref().map(|path| path.display().to_string()),
                supported: requirements::check(program.name, version.as_ref()).is_ok(),
                version: version.as_ref().map(ToString::to_string),
                accepted: requirements::accepted_words(program.name).to_owned(),
            }
        });
        Self {
            schema_version: SchemaVersion,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Both are set by build.rs.
            commit: option_env!("K3S_BOOT_COMMIT").map(ToOwned::to_owned),
            target: env!("K3S_BOOT_TARGET").to_owned(),
            programs: programs.collect(),
        }
    }

    /// A line for k3s-boot and each program.
    pub(crate) fn text(&self) -> String {
        let commit = self.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {commit}"));
        let mut text = format!("k3s-boot {} ({}{commit})\n", self.version, self.target);
        for ProgramVersion { name, path, version, supported, accepted } in &self.programs {
            let version = match (path, version) {
                (None, _) => "not installed",
                (Some(_), None) => "unknown version",
                (Some(_), Some(version)) => version,
            };
            let verdict = if *supported { "supported" } else { "not supported" };
            let path = path.as_deref().map_or_else(String::new, |path| format!(" {path}"));
            _ = writeln!(text, "{name} {}", escaped(&format!("{version}{path} ({verdict}: {accepted})")));
        }
        text
    }
}
