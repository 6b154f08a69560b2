//! Generated charts with the names and versions that `bootstrap/` uses.
//!
//! The sandbox works without the internet, and measurements with toy charts would mean nothing. So these charts render objects
//! of the same kinds and sizes as the real ones, with the parts of their logic that can make a bootstrap fail: CRDs gated by values, a closed schema, a required anti-affinity, a hook. [`build`] writes all six;
//! [`Chart`] and [`build_one`] let a test make another version, a broken one, or fifty small ones.

mod archive;
mod cert_manager;
mod cilium;
mod coredns;
mod flux_instance;
mod flux_operator;
mod generic;
mod prometheus_operator_crds;
mod prose;
mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

/// The line of a CRD that begins its schema, and its indentation.
const SCHEMA: &str = "openAPIV3Schema:";
const SCHEMA_INDENT: usize = 6;

/// A chart as an archive on disk, and where `bootstrap/` expects to pull it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartArchive {
    /// The `.tgz`.
    pub file: PathBuf,
    /// The repository without scheme and name, for example `ghcr.io/prometheus-community/charts`.
    pub repository: &'static str,
    /// The chart's name, the last part of the repository's path.
    pub name: String,
    /// The chart's version, the tag in the registry.
    pub version: String,
}

/// A chart in memory: its metadata and its files. The builder methods make variants of it.
#[derive(Debug, Clone)]
pub struct Chart {
    name: String,
    version: String,
    app_version: String,
    description: String,
    kube_version: Option<&'static str>,
    repository: &'static str,
    /// Subcharts lie in `charts/NAME/`; each of these names is listed in Chart.yaml as a dependency.
    subcharts: &'static [&'static str],
    files: BTreeMap<String, String>,
}

impl Chart {
    /// The names of the charts that `bootstrap/` installs, in its order.
    pub const NAMES: [&'static str; 6] =
        ["prometheus-operator-crds", "cilium", "coredns", "cert-manager", "flux-operator", "flux-instance"];

    /// One of the charts of [`Self::NAMES`], as `bootstrap/` asks for it.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        match name {
            "prometheus-operator-crds" => prometheus_operator_crds::chart(),
            "cilium" => Ok(cilium::chart()),
            "coredns" => Ok(coredns::chart()),
            "cert-manager" => cert_manager::chart(),
            "flux-operator" => flux_operator::chart(),
            "flux-instance" => Ok(flux_instance::chart()),
            _ => bail!("no chart `{name}`; there are {}", Self::NAMES.join(", ")),
        }
    }

    /// A small chart with a Deployment, a Service, a `ServiceAccount` and a `ConfigMap`, each named after the release: for
    /// a cluster with many releases. It is pulled from `ghcr.io/k3s-boot/charts`.
    #[must_use]
    pub fn generic(name: &str) -> Self {
        generic::chart(name)
    }

    fn new(name: &str, version: &str, repository: &'static str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            app_version: version.to_owned(),
            description: description.to_owned(),
            kube_version: None,
            repository,
            subcharts: &[],
            files: BTreeMap::new(),
        }
    }

    /// The chart's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The chart's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The text of a file in the chart, by its path below the chart's folder.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The same chart under another version. `appVersion`, and with it the images' tags, stays.
    #[must_use]
    pub fn with_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Adds a file or replaces it whole.
    #[must_use]
    pub fn with_file(mut self, path: &str, text: impl Into<String>) -> Self {
        self.files.insert(path.to_owned(), text.into());
        self
    }

    /// Replaces `from` with `to` everywhere in a file. Fails if there is nothing to replace: the test would prove nothing.
    pub fn with_replaced(mut self, path: &str, from: &str, to: &str) -> anyhow::Result<Self> {
        let text = self
            .files
            .get_mut(path)
            .with_context(|| format!("chart `{}` has no file `{path}`", self.name))?;
        if !text.contains(from) {
            bail!("`{from}` does not occur in `{path}` of chart `{}`", self.name);
        }
        *text = text.replace(from, to);
        Ok(self)
    }

    /// The same chart with CRDs that accept everything. The API server and helm spend most of a bootstrap on the schemas of
    /// real sizes: this is for tests that are not about them.
    #[must_use]
    pub fn without_schemas(mut self) -> Self {
        for text in self.files.values_mut().filter(|text| text.contains(SCHEMA)) {
            let mut is_schema = false;
            let mut slim = String::new();
            for line in text.lines() {
                let indent = line.len() - line.trim_start().len();
                is_schema &= indent > SCHEMA_INDENT;
                if is_schema {
                    continue;
                }
                slim.extend([line, "\n"]);
                if line.trim_start() == SCHEMA {
                    is_schema = true;
                    slim.push_str(
                        "        type: object\n        x-kubernetes-preserve-unknown-fields: true\n",
                    );
                }
            }
            *text = slim;
        }
        self
    }

    /// The charts of `bootstrap/` whose CRDs are large, without their schemas.
    pub fn large_without_schemas() -> anyhow::Result<Vec<Self>> {
        ["prometheus-operator-crds", "cert-manager"]
            .into_iter()
            .map(|name| Ok(Self::named(name)?.without_schemas()))
            .collect()
    }

    fn with_files(mut self, files: &[(&str, &str)]) -> Self {
        self.files.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
        self
    }

    /// All files by path, `Chart.yaml` included.
    fn contents(&self) -> BTreeMap<String, String> {
        let mut files = self.files.clone();
        files.insert("Chart.yaml".to_owned(), self.metadata());
        files
    }

    fn metadata(&self) -> String {
        let mut out = format!(
            "apiVersion: v2\nname: {}\nversion: {}\nappVersion: {:?}\ntype: application\ndescription: {}\n",
            self.name, self.version, self.app_version, self.description
        );
        let mut push = |line: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = out.write_fmt(line);
        };
        if let Some(version) = self.kube_version {
            push(format_args!("kubeVersion: \">= {version}\"\n"));
        }
        if !self.subcharts.is_empty() {
            push(format_args!("dependencies:\n"));
            for name in self.subcharts {
                push(format_args!("  - name: {name}\n    version: \"0.0.0\"\n    repository: \"\"\n"));
            }
        }
        out
    }
}

/// Writes the six charts into `dir`, which must exist, and returns where each belongs.
pub fn build(dir: &Path) -> anyhow::Result<Vec<ChartArchive>> {
    Chart::NAMES.iter().map(|name| build_one(dir, &Chart::named(name)?)).collect()
}

/// Writes a chart into `dir`, which must exist. The bytes depend only on the chart.
pub fn build_one(dir: &Path, chart: &Chart) -> anyhow::Result<ChartArchive> {
    let file = dir.join(format!("{}-{}.tgz", chart.name, chart.version));
    let bytes = archive::pack(&chart.name, &chart.contents())
        .with_context(|| format!("cannot pack chart `{}`", chart.name))?;
    std::fs::write(&file, bytes).with_context(|| format!("cannot write `{}`", file.display()))?;
    Ok(ChartArchive {
        file,
        repository: chart.repository,
        name: chart.name.clone(),
        version: chart.version.clone(),
    })
}

/// A cache key for the archives, which changes whenever [`build`] would write something else.
///
/// It is a hash of the sources of the charts: generating the charts takes longer.
#[must_use]
pub fn fingerprint() -> String {
    let files = FILES.iter().copied().flatten().flat_map(|(path, text)| [*path, *text]);
    let mut hash = Sha256::new();
    for source in SOURCES.iter().copied().chain(files) {
        // The length marks where each text ends.
        hash.update(source.len().to_le_bytes());
        hash.update(source);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The code and the types that generate charts.
const SOURCES: &[&str] = &[
    include_str!("charts.rs"),
    include_str!("charts/archive.rs"),
    include_str!("charts/cert_manager.rs"),
    include_str!("charts/cilium.rs"),
    include_str!("charts/coredns.rs"),
    include_str!("charts/flux_instance.rs"),
    include_str!("charts/flux_operator.rs"),
    include_str!("charts/generic.rs"),
    include_str!("charts/prometheus_operator_crds.rs"),
    include_str!("charts/prose.rs"),
    include_str!("charts/schema.rs"),
    schema::CORE,
    cert_manager::TYPES,
    flux_operator::TYPES,
    prometheus_operator_crds::TYPES,
];

/// The files that are copied into charts.
const FILES: &[&[(&str, &str)]] = &[
    cert_manager::FILES,
    cilium::FILES,
    coredns::FILES,
    flux_instance::FILES,
    flux_operator::FILES,
    generic::FILES,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crds_without_schemas_keep_everything_else() {
        let name = "charts/crds/templates/crd-prometheuses.yaml";
        let full = Chart::named("prometheus-operator-crds").unwrap();
        let slim = full.clone().without_schemas();
        let (full, slim) = (full.file(name).unwrap(), slim.file(name).unwrap());
        assert!(full.len() > 700_000 && slim.len() < 2_000, "{}", slim.len());
        let (before, _) = full.split_once("openAPIV3Schema:\n").unwrap();
        let (_, after) = full.split_once("\n    served: true\n").unwrap();
        let schema =
            "openAPIV3Schema:\n        type: object\n        x-kubernetes-preserve-unknown-fields: true\n";
        assert_eq!(slim, format!("{before}{schema}    served: true\n{after}"));
    }

    #[test]
    fn archives_are_the_same_every_time() {
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let archives = build(one.path()).unwrap();
        for (a, b) in archives.iter().zip(build(two.path()).unwrap()) {
            assert_eq!(std::fs::read(&a.file).unwrap(), std::fs::read(&b.file).unwrap(), "{}", a.name);
        }
        let names: Vec<_> =
            archives.iter().map(|a| format!("{}/{}:{}", a.repository, a.name, a.version)).collect();
        assert_eq!(
            names,
            [
                "ghcr.io/prometheus-community/charts/prometheus-operator-crds:19.1.0",
                "quay.io/cilium/charts/cilium:1.18.6",
                "ghcr.io/coredns/charts/coredns:1.45.0",
                "quay.io/jetstack/charts/cert-manager:v1.19.2",
                "ghcr.io/controlplaneio-fluxcd/charts/flux-operator:0.37.1",
                "ghcr.io/controlplaneio-fluxcd/charts/flux-instance:0.37.1",
            ]
        );
    }

    #[test]
    fn a_variant_differs_and_a_replacement_without_a_match_is_an_error() {
        let chart = Chart::named("coredns").unwrap().with_version("1.45.1");
        assert!(chart.metadata().contains("version: 1.45.1\nappVersion: \"1.13.1\"\n"));
        let chart = chart.with_replaced("templates/deployment.yaml", "Default", "ClusterFirst").unwrap();
        assert!(chart.file("templates/deployment.yaml").unwrap().contains("ClusterFirst"));
        let error = chart.with_replaced("values.yaml", "no such text", "").unwrap_err();
        assert_eq!(error.to_string(), "`no such text` does not occur in `values.yaml` of chart `coredns`");
        assert!(
            Chart::named("corednss").unwrap_err().to_string().starts_with("no chart `corednss`; there are")
        );
    }
}
