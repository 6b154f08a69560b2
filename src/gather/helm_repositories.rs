//! Charts of chart repositories that no one has defined: `chart: NAME/CHART`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::files;
use crate::base::finding::{Finding, Severity};
use crate::base::yaml;
use crate::desired::Helmfile;
use crate::desired::releases::Release;
use crate::process::Runner;

/// The chart repositories of the user's helm, by name.
#[derive(Default, Deserialize)]
pub(super) struct HelmRepositories {
    #[serde(default)]
    repositories: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl HelmRepositories {
    /// Reads the file that helm reads (helm 4.2.4, `pkg/cli/environment.go` and `pkg/helmpath`).
    pub(super) fn of_user(runner: &Runner) -> Self {
        let set = |name: &str| runner.variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = || {
            let of_system = if cfg!(target_os = "macos") { "Library/Preferences" } else { ".config" };
            set("HELM_CONFIG_HOME").or_else(|| {
                let base = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(of_system)))?;
                Some(base.join("helm"))
            })
        };
        let file = set("HELM_REPOSITORY_CONFIG").or_else(|| Some(config()?.join("repositories.yaml")));
        let text = file.and_then(|file| files::text(&file, files::LARGEST).ok());
        text.and_then(|text| yaml::parse(&text, yaml::WRITTEN).ok()).unwrap_or_default()
    }

    /// A finding for each repository that the helmfile uses and does not define. `helm` fails on it while the releases are
    /// synced; a repository that the user's helm knows is missing on other machines only. `of_user` reads those.
    pub(super) fn undefined(helmfile: &Helmfile, of_user: impl FnOnce() -> Self) -> Vec<Finding> {
        let mut used: BTreeMap<&str, Vec<&Release>> = BTreeMap::new();
        for release in helmfile.releases.iter().filter(|release| release.is_wanted()) {
            if let Some(name) = repository(release).filter(|_| !is_folder(&helmfile.path, &release.chart)) {
                used.entry(name).or_default().push(release);
            }
        }
        if used.is_empty() {
            return Vec::new();
        }
        let known = of_user();
        used.into_iter().map(|(name, releases)| known.finding(&helmfile.path, name, &releases)).collect()
    }

    fn finding(&self, helmfile: &Path, name: &str, releases: &[&Release]) -> Finding {
        let list = |of: fn(&Release) -> String| {
            let names: BTreeSet<_> = releases.iter().map(|release| of(release)).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let is_known = self.repositories.iter().any(|known| known.name == name);
        // A hook may add the repository.
        let may_be_added = releases.iter().any(|release| !release.hooks.is_empty());
        let severity = if is_known || may_be_added { Severity::Warning } else { Severity::Error };
        let finding = Finding::error("charts", "Helmfile does not define the repository of a chart")
            .with("file", helmfile.display())
            .with("repository", name)
            .with("charts", list(|release| release.chart.clone()))
            .with("releases", list(|release| release.name.clone()));
        let finding = if is_known {
            finding.with("reason", "only helm on this machine knows the repository")
        } else {
            finding
        };
        let finding = finding.fix(format!(
            "add the repository to the helmfile, with its URL:\nrepositories:\n- name: {name}\n  url: https://…\nor use the address of the chart in a registry: `chart: oci://…`"
        ));
        Finding { severity, ..finding }
    }
}

/// The repository of `NAME/CHART` if the helmfile does not define it. helmfile takes any other form for a folder or an address
/// (helmfile 1.7.4, `isLocalChart` in `pkg/state/state.go`).
fn repository(release: &Release) -> Option<&str> {
    let (name, chart) = release.chart.split_once('/')?;
    let is_chart = !chart.is_empty() && !chart.contains(['/', '\\']);
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', ':']);
    (is_chart && is_name && !release.has_repository).then_some(name)
}

/// Whether a chart is a folder: relative to the helmfile, or to a folder above, from which helmfile may be run.
fn is_folder(helmfile: &Path, chart: &str) -> bool {
    helmfile.ancestors().skip(1).any(|folder| folder.join(chart).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Kind;
    use crate::desired::releases::parse;

    #[test]
    fn only_repositories_that_nobody_defines_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bootstrap/01-apps.yaml");
        std::fs::create_dir_all(folder.path().join("bootstrap/charts/own")).unwrap();
        let known = || HelmRepositories { repositories: vec![Named { name: "helm".to_owned() }] };
        let found = |releases: &str| {
            let text = format!(
                "repositories: [{{name: r, url: 'https://r'}}, {{name: o, oci: true}}]\nreleases:\n{releases}"
            );
            let releases = parse(text.as_bytes(), "default").unwrap().releases;
            let path = path.clone();
            let helmfile = Helmfile { kind: Kind::Apps, path, releases, needs_identities: false };
            HelmRepositories::undefined(&helmfile, known)
        };
        let good = [
            "r/a",
            "o/a",
            "oci://h/a",
            "https://h/a.tgz",
            "./a",
            "../a",
            "/a/b",
            "a",
            "a/b/c",
            "charts/own",
            "git::https://h/a",
            "C:/a",
        ];
        for chart in good {
            assert_eq!(found(&format!("- {{name: x, chart: '{chart}'}}\n")), [], "{chart}");
        }
        assert_eq!(found("- {name: x, chart: jetstack/a, installed: false}\n"), []);
        let both = found("- {name: x, chart: jetstack/b}\n- {name: y, chart: jetstack/a}\n");
        assert_eq!(both.len(), 1);
        assert_eq!(
            (both[0].severity, both[0].detail("charts")),
            (Severity::Error, Some("jetstack/a, jetstack/b"))
        );
        assert!(both[0].fix.as_ref().unwrap().contains("- name: jetstack\n"));
        for release in [
            "{name: x, chart: helm/a}",
            "{name: x, chart: jetstack/a, hooks: [{events: [prepare], command: helm}]}",
        ] {
            assert_eq!(found(&format!("- {release}\n"))[0].severity, Severity::Warning, "{release}");
        }
    }
}
