//! Packages of other package managers, for the archives that exist.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::{Package, files, folder, package, sha256};
use crate::program::workspace;

/// Stands for the repository in files that are not published.
pub(super) const PLACEHOLDER: &str = "OWNER/k3s-boot";

/// Templates in `packaging/`, and what is made of them.
const TEMPLATES: [(&str, &str); 2] =
    [("homebrew.rb.j2", "k3s-boot.rb"), ("aqua-registry.yaml.j2", "aqua-registry.yaml")];

/// An archive of the release.
#[derive(Debug, Serialize)]
struct Archive {
    file: String,
    sha256: String,
}

/// What the templates can use.
#[derive(Serialize)]
struct Values<'a> {
    version: &'a str,
    description: &'a str,
    license: &'a str,
    owner: &'a str,
    name: &'a str,
    archives: &'a BTreeMap<String, Archive>,
}

/// Fills in the templates.
pub(super) fn make(repository: &str) -> Result<()> {
    let package = package()?;
    let prefix = format!("{}-{}-", package.name, package.version);
    let mut archives = BTreeMap::new();
    for path in files()? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = file.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tar.gz"));
        if let Some(platform) = target.and_then(platform) {
            archives.insert(platform, Archive { sha256: sha256(&path)?, file });
        }
    }
    for (template, name) in TEMPLATES {
        let text = std::fs::read_to_string(workspace().join("packaging").join(template))
            .with_context(|| format!("cannot read packaging/{template}"))?;
        let filled = fill(&text, &package, repository, &archives)
            .with_context(|| format!("cannot fill in packaging/{template}"))?;
        std::fs::write(folder().join(name), filled)?;
    }
    Ok(())
}

/// The name of a target in the templates.
fn platform(target: &str) -> Option<String> {
    let (architecture, rest) = target.split_once('-')?;
    let system = ["linux", "darwin"].into_iter().find(|system| rest.contains(system))?;
    Some(format!("{system}_{architecture}"))
}

fn fill(
    template: &str,
    package: &Package,
    repository: &str,
    archives: &BTreeMap<String, Archive>,
) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(
        SyntaxConfig::builder()
            // Those of Jinja are aqua's.
            .block_delimiters("[%", "%]")
            .variable_delimiters("[[", "]]")
            .comment_delimiters("[#", "#]")
            .keep_trailing_newline(true)
            .trim_blocks(true)
            .build()?,
    );
    let (owner, name) = repository.split_once('/').context("the repository is not OWNER/NAME")?;
    let Package { version, description, license, .. } = package;
    let values = Values { version, description, license, owner, name, archives };
    Ok(environment.render_str(template, Serde(values))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, targets: &[&str]) -> String {
        let archive = |target: &&str| {
            let file = format!("k3s-boot-1.2.3-{target}.tar.gz");
            (platform(target).unwrap(), Archive { sha256: format!("sum of {target}"), file })
        };
        let package = Package {
            name: "k3s-boot".to_owned(),
            version: "1.2.3".to_owned(),
            description: "Does it".to_owned(),
            license: "MIT".to_owned(),
            repository: None,
        };
        let text = std::fs::read_to_string(workspace().join("packaging").join(template)).unwrap();
        fill(&text, &package, "me/k3s-boot", &targets.iter().map(archive).collect()).unwrap()
    }

    #[test]
    fn the_formula_has_every_archive_with_its_checksum() {
        let all = [
            "aarch64-apple-darwin",
            "x86_64-apple-darwin",
            "aarch64-unknown-linux-musl",
            "x86_64-unknown-linux-musl",
        ];
        let formula = filled("homebrew.rb.j2", &all);
        for target in all {
            let url = format!(
                "url \"https://github.com/me/k3s-boot/releases/download/v1.2.3/k3s-boot-1.2.3-{target}.tar.gz\"\n      \
                 sha256 \"sum of {target}\"\n"
            );
            assert!(formula.contains(&url), "{target}:\n{formula}");
        }
        let formula = filled("homebrew.rb.j2", &["x86_64-unknown-linux-gnu"]);
        assert_eq!(formula.matches("url ").count(), 1, "{formula}");
        assert!(!formula.contains("on_macos"), "{formula}");
    }

    #[test]
    fn the_aqua_package_leaves_the_variables_of_aqua() {
        let package = filled("aqua-registry.yaml.j2", &[]);
        for line in [
            "    repo_owner: me\n",
            "    asset: k3s-boot-{{trimV .Version}}-{{.Arch}}-{{.OS}}.{{.Format}}\n",
            "      signer_workflow: me/k3s-boot/.github/workflows/release.yml\n",
        ] {
            assert!(package.contains(line), "{line}{package}");
        }
    }
}
