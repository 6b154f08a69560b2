//! A chart on this machine: what its files tell without rendering it.

pub mod comments;
pub mod content;
pub mod reads;
pub mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::content::Content;
use crate::files::{self, LARGEST};
use crate::yaml::{self, PRINTED, WRITTEN, kubernetes};

/// A chart on this machine.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The versions of Kubernetes that it asks for.
    pub kube_version: Option<String>,
    /// Whether its maintainers call it deprecated.
    pub deprecated: bool,
    /// The names, and aliases, of its subcharts.
    pub subcharts: Vec<String>,
    /// Whether it has any: they may lie there without being named.
    pub has_subcharts: bool,
    /// Its `values.yaml`, with comments.
    pub values: String,
    /// Its `values.schema.json`.
    pub schema: Option<String>,
    /// All its templates, one after the other.
    pub templates: String,
    /// What is in its files, but for those of subcharts.
    pub content: Content,
    /// What is in all of its files, subcharts included: equal for equal charts, whoever reads them (see
    /// [`crate::charts::digest`]).
    pub digest: Option<String>,
    /// Whether templates of other charts may read its values: of libraries, or of subcharts that are not there.
    pub read_by_others: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    version: String,
    #[serde(default)]
    kube_version: Option<String>,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    dependencies: Option<Vec<Dependency>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    #[serde(default)]
    alias: Option<String>,
}

impl Chart {
    /// Reads a chart's folder; `None` when it holds none. Its digest is told by who keeps it.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let text = read(&folder.join("Chart.yaml"))?;
        let metadata: Metadata = yaml::parse(&text, WRITTEN).ok()?;
        let mut files = BTreeMap::new();
        let content = Content::read(folder, |name, bytes| _ = files.insert(name.to_owned(), bytes));
        let mut templates = String::new();
        for (_, bytes) in files {
            templates.push_str(&String::from_utf8_lossy(&bytes));
            templates.push('\n');
        }
        let dependencies: Vec<_> = metadata.dependencies.into_iter().flatten().collect();
        let read_by_others =
            dependencies.iter().any(|one| !is_application(&folder.join("charts").join(&one.name)));
        Some(Self {
            folder: folder.to_owned(),
            name: metadata.name,
            version: metadata.version,
            kube_version: metadata.kube_version.filter(|version| !version.is_empty()),
            deprecated: metadata.deprecated,
            has_subcharts: !dependencies.is_empty()
                || files::read_folder(&folder.join("charts")).next().is_some(),
            subcharts: dependencies
                .into_iter()
                .flat_map(|one| std::iter::once(one.name).chain(one.alias))
                .collect(),
            values: read(&folder.join("values.yaml")).unwrap_or_default(),
            schema: read(&folder.join("values.schema.json")),
            templates,
            content,
            digest: None,
            read_by_others,
        })
    }

    /// Forgets its texts; what is known of it stays.
    pub fn forget_texts(&mut self) {
        self.values = String::new();
        self.templates = String::new();
        self.schema = None;
    }

    /// Its own values, as Helm reads them.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub fn defaults(&self) -> Result<serde_json::Value, String> {
        let first = kubernetes::documents(&self.values, PRINTED).next();
        first
            .unwrap_or(Ok(serde_json::Value::Null))
            .map_err(|_| format!("values.yaml of the chart {} is not valid YAML", self.name))
    }

    /// Whether its templates and values were read in full.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.values.is_empty() && (self.templates.len() as u64) < LARGEST
    }
}

/// Whether a folder holds a subchart that reads its own values only.
fn is_application(folder: &Path) -> bool {
    let metadata = read(&folder.join("Chart.yaml"))
        .and_then(|text| yaml::parse::<serde_yaml::Value>(&text, WRITTEN).ok());
    metadata.is_some_and(|metadata| metadata.get("type").is_none_or(|kind| kind != "library"))
}

fn read(path: &Path) -> Option<String> {
    files::text(path, LARGEST).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_becomes_a_chart() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert!(Chart::read(folder.path()).is_none());
        write(
            "Chart.yaml",
            "name: a\nversion: 1.0.0\nappVersion: '2'\nkubeVersion: '>=1.21.0-0'\ndependencies:\n- {name: sub, alias: other}\n",
        );
        write("values.yaml", "# k: 1\n");
        write("templates/deep/a.yaml", "{{ .Values.k }}");
        let chart = Chart::read(folder.path()).unwrap();
        assert_eq!(chart.name, "a");
        assert_eq!(chart.kube_version.as_deref(), Some(">=1.21.0-0"));
        assert_eq!(chart.subcharts, ["sub", "other"]);
        assert!(chart.read_by_others, "the subchart is not there");
        write("charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\n");
        assert!(!Chart::read(folder.path()).unwrap().read_by_others);
        write("charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\ntype: library\n");
        assert!(Chart::read(folder.path()).unwrap().read_by_others);
        assert_eq!((chart.values.as_str(), chart.templates.as_str()), ("# k: 1\n", "{{ .Values.k }}\n"));
        assert!(chart.schema.is_none());
    }

    proptest::proptest! {
        #![proptest_config(crate::observed::odd::fewer())]

        #[test]
        fn no_chart_makes_it_panic(metadata in crate::observed::odd::near(&[
            "apiVersion: v2\nname: a\nversion: 1.0.0\nappVersion: '2'\nkubeVersion: '>=1.21.0-0'\ndeprecated: false\ntype: application\n\
             dependencies:\n- {name: sub, alias: other, repository: 'oci://x'}\n",
        ]), values in crate::observed::odd::near(&["# k: 1\nlist: [a]\nmap: &m {b: 1}\nother: *m\n"])) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("Chart.yaml"), metadata).unwrap();
            std::fs::write(folder.path().join("values.yaml"), values).unwrap();
            if let Some(chart) = Chart::read(folder.path()) {
                _ = (chart.defaults(), chart.is_whole());
            }
        }
    }
}
