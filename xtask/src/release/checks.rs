//! Checks that tag, version, repository and changelog agree, before anything is built.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};

use super::{Package, package};
use crate::program::workspace;

/// Prints the notes of a release.
///
/// # Errors
///
/// If the tag, Cargo.toml and the changelog do not agree.
pub(super) fn print_notes(tag: &str, repository: Option<&str>) -> Result<()> {
    let changelog = std::fs::read_to_string(workspace().join("CHANGELOG.md"))?;
    let notes = notes(&package()?, &changelog, tag, repository)?;
    std::io::stdout().write_all(notes.as_bytes()).context("cannot write to stdout")
}

fn notes(package: &Package, changelog: &str, tag: &str, repository: Option<&str>) -> Result<String> {
    let version = &package.version;
    if tag != format!("v{version}") {
        bail!("the tag is `{tag}`, but Cargo.toml has version {version}");
    }
    if let Some(repository) = repository {
        // `cargo binstall` looks for archives there.
        let expected = format!("https://github.com/{repository}");
        if package.repository.as_ref() != Some(&expected) {
            bail!("set `repository = \"{expected}\"` in `[workspace.package]` of Cargo.toml");
        }
    }
    let (heading, text) = section(changelog, version)
        .with_context(|| format!("CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`"))?;
    if !is_date(heading.trim_start_matches([' ', '-'])) {
        bail!("the section of {version} in CHANGELOG.md has no date: write `## [{version}] - YYYY-MM-DD`");
    }
    if text.trim().is_empty() {
        bail!("the section of {version} in CHANGELOG.md is empty");
    }
    Ok(format!("{}\n", text.trim()))
}

/// What follows `## [VERSION]` on its line, and the text below it.
fn section<'a>(changelog: &'a str, version: &str) -> Option<(&'a str, &'a str)> {
    let title = format!("## [{version}]");
    let start = changelog.find(&format!("\n{title}"))? + 1 + title.len();
    let (heading, rest) = changelog.get(start..)?.split_once('\n')?;
    let end = rest.find("\n## ").unwrap_or(rest.len());
    Some((heading, rest.get(..end)?))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([4, 2, 2])
        && parts.concat().bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n* Next\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n* One\n\n\
                             ## [1.1.0]\n\n* Two\n\n## [1.0.0] - 2026-11-01\n";

    fn notes_of(version: &str, tag: &str, repository: Option<&str>) -> Result<String, String> {
        let package = Package {
            name: "k3s-boot".to_owned(),
            version: version.to_owned(),
            description: String::new(),
            license: String::new(),
            repository: Some("https://github.com/me/k3s-boot".to_owned()),
        };
        notes(&package, CHANGELOG, tag, repository).map_err(|error| error.to_string())
    }

    #[test]
    fn notes_are_the_section_of_the_version() {
        assert_eq!(notes_of("1.2.0", "v1.2.0", Some("me/k3s-boot")).unwrap(), "### Added\n\n* One\n");
    }

    #[test]
    fn what_does_not_agree_is_an_error() {
        for (version, tag, repository, expected) in [
            ("1.2.0", "v1.2.1", None, "the tag is `v1.2.1`, but Cargo.toml has version 1.2.0"),
            ("1.2.0", "1.2.0", None, "the tag is `1.2.0`"),
            (
                "1.2.0",
                "v1.2.0",
                Some("you/k3s-boot"),
                "set `repository = \"https://github.com/you/k3s-boot\"`",
            ),
            ("1.3.0", "v1.3.0", None, "has no section `## [1.3.0]"),
            ("1.1.0", "v1.1.0", None, "has no date"),
            ("1.0.0", "v1.0.0", None, "is empty"),
        ] {
            let error = notes_of(version, tag, repository).unwrap_err();
            assert!(error.contains(expected), "{tag}: {error}");
        }
    }
}
