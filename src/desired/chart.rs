//! A local or downloaded chart: what its files show without rendering it.

pub(crate) mod comments;
pub(crate) mod content;
pub(crate) mod reads;
pub(crate) mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::content::Content;
use crate::base::files::{self, LARGEST};
use crate::base::yaml::{self, PRINTED, WRITTEN, kubernetes};

/// A local or downloaded chart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    pub folder: PathBuf,
    pub name: String,
    pub version: String,
    /// The constraint on the Kubernetes version.
    pub kube_version: Option<String>,
    /// The names and aliases of its subcharts.
    pub subcharts: Vec<String>,
    /// Whether it has subcharts: the folder may contain some without listing them.
    pub has_subcharts: bool,
    /// The `values.yaml`, with comments.
    pub values: String,
    /// The `values.schema.json`.
    pub schema: Option<String>,
    /// All templates, concatenated.
    pub templates: String,
    /// Hashes of its files, without those of subcharts.
    pub content: Content,
    /// A digest of all files, including subcharts (see [`crate::tools::charts::digest`]).
    pub digest: Option<String>,
    /// Whether templates of other charts may read its values: of libraries, or of missing subcharts.
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
    dependencies: Option<Vec<Dependency>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    #[serde(default)]
    alias: Option<String>,
}

impl Chart {
    /// Reads the folder of a chart, without the digest; `None` if it is not a chart.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
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

    /// Frees the memory of its texts.
    pub(crate) fn forget_texts(&mut self) {
        self.values = String::new();
        self.templates = String::new();
        self.schema = None;
    }

    /// The default values, as Helm parses them.
    ///
    /// # Errors
    ///
    /// Why they cannot be parsed.
    pub(crate) fn defaults(&self) -> Result<serde_json::Value, String> {
        let first = kubernetes::documents(&self.values, PRINTED).next();
        first
            .unwrap_or(Ok(serde_json::Value::Null))
            .map_err(|_| format!("values.yaml of the chart {} is not valid YAML", self.name))
    }

    /// Whether its templates and values were read completely.
    pub(crate) fn is_whole(&self) -> bool {
        !self.values.is_empty() && (self.templates.len() as u64) < LARGEST
    }
}

/// Whether a folder contains a subchart that reads only its own values.
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
        assert!(chart.read_by_others, "the subchart is missing");
        write("charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\n");
        assert!(!Chart::read(folder.path()).unwrap().read_by_others);
        write("charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\ntype: library\n");
        assert!(Chart::read(folder.path()).unwrap().read_by_others);
        assert_eq!((chart.values.as_str(), chart.templates.as_str()), ("# k: 1\n", "{{ .Values.k }}\n"));
        assert!(chart.schema.is_none());
    }

    proptest::proptest! {
        #![proptest_config(crate::base::mutate::slow_config())]

        #[test]
        fn no_chart_makes_it_panic(metadata in crate::base::mutate::text(&[
            "apiVersion: v2\nname: a\nversion: 1.0.0\nappVersion: '2'\nkubeVersion: '>=1.21.0-0'\ntype: application\n\
             dependencies:\n- {name: sub, alias: other, repository: 'oci://x'}\n",
        ]), values in crate::base::mutate::text(&["# k: 1\nlist: [a]\nmap: &m {b: 1}\nother: *m\n"])) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("Chart.yaml"), metadata).unwrap();
            std::fs::write(folder.path().join("values.yaml"), values).unwrap();
            if let Some(chart) = Chart::read(folder.path()) {
                _ = (chart.defaults(), chart.is_whole());
            }
        }
    }
}
