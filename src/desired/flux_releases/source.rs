//! The charts of HelmReleases: from an `OCIRepository`, a `HelmRepository` or a `HelmChart`.

use std::path::PathBuf;

use serde_yaml::Value;

use super::{FluxObjects, Object, is_open, text};
use crate::base::fact::Fact;
use crate::tools::charts::{Pin, exact_version};

/// The chart that Flux will install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FluxChart {
    /// The file that sets the version, relative to the root of the repository.
    pub file: PathBuf,
    pub name: String,
    /// The URL of the chart in a registry, or of its chart repository.
    pub url: String,
    pub version: ChartVersion,
    /// The digest that pins the chart, if any: `sha256:…`.
    pub digest: Option<String>,
}

/// Which version of a chart Flux will install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChartVersion {
    Exact(String),
    /// The newest one that meets this constraint.
    Range(String),
    /// A tag such as `latest`, or none.
    Unknown,
}

impl ChartVersion {
    /// A version or a constraint.
    fn of(version: &str) -> Self {
        if exact_version(version).is_some() {
            Self::Exact(version.to_owned())
        } else {
            Self::Range(version.to_owned())
        }
    }
}

impl FluxObjects {
    /// The chart of a HelmRelease in this namespace.
    pub(super) fn chart(&self, object: &Object, namespace: &str) -> Fact<FluxChart> {
        let chart = if let Some(reference) = super::get(&object.document, &["spec", "chartRef"]) {
            let source = self.source(object, namespace, reference)?;
            match source.kind() {
                "OCIRepository" => from_registry(source)?,
                "HelmChart" => self.templated_chart(source, namespace, &["spec"])?,
                kind => return Err(format!("the chart comes from a source of kind {kind}")),
            }
        } else {
            self.templated_chart(object, namespace, &["spec", "chart", "spec"])?
        };
        let version = match &chart.version {
            ChartVersion::Exact(version) | ChartVersion::Range(version) => version.as_str(),
            ChartVersion::Unknown => "",
        };
        let digest = chart.digest.as_deref().unwrap_or_default();
        if [chart.name.as_str(), &chart.url, version, digest].into_iter().any(is_open) {
            return Err("its source uses variables of Flux".to_owned());
        }
        Ok(chart)
    }

    /// The chart that a HelmChart or the template of one describes, at this path.
    fn templated_chart(&self, object: &Object, namespace: &str, path: &[&str]) -> Fact<FluxChart> {
        let template = super::get(&object.document, path).unwrap_or(&Value::Null);
        let chart = text(template, &["chart"]).ok_or("it names no chart")?;
        let reference = template.get("sourceRef").ok_or("it names no source")?;
        let source = self.source(object, namespace, reference)?;
        if source.kind() != "HelmRepository" {
            return Err(format!("the chart comes from a {}", source.kind()));
        }
        let url = source.text(&["spec", "url"]).ok_or("its HelmRepository has no URL")?.trim_end_matches('/');
        let is_registry = url.starts_with("oci://");
        Ok(FluxChart {
            file: object.file.clone(),
            name: Pin::of(chart, "").name().to_owned(),
            url: if is_registry { format!("{url}/{chart}") } else { url.to_owned() },
            version: ChartVersion::of(text(template, &["version"]).unwrap_or("*")),
            digest: None,
        })
    }

    /// The source that an object refers to. A name may stand for several objects, in several namespaces or clusters.
    fn source(&self, object: &Object, namespace: &str, reference: &Value) -> Fact<&Object> {
        let field = |key| text(reference, &[key]).unwrap_or_default();
        let (kind, name) = (field("kind"), field("name"));
        let namespace = text(reference, &["namespace"]).unwrap_or(namespace);
        let rank = |source: &Object| {
            let common = source.folder().iter().zip(object.folder().iter()).take_while(|(a, b)| a == b);
            (self.namespaces(source).iter().any(|one| one == namespace), common.count())
        };
        let sources = self.sources.iter().filter(|source| source.kind() == kind && source.name() == name);
        let ranked: Vec<_> = sources.map(|source| (rank(source), source)).collect();
        let best = ranked.iter().map(|(rank, _)| *rank).max();
        let mut best = ranked.iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, source)| *source);
        let Some(found) = best.next() else {
            return Err(format!("the repository has no {kind} {name}"));
        };
        if best.any(|other| other.document.get("spec") != found.document.get("spec")) {
            return Err(format!("the repository has several {kind} {name}"));
        }
        Ok(found)
    }
}

/// The chart of an `OCIRepository`. Its digest takes precedence over its range, and that over its tag
/// (source-controller 1.7.3, `getArtifactRef`).
fn from_registry(source: &Object) -> Fact<FluxChart> {
    let url = source.text(&["spec", "url"]).ok_or("its OCIRepository has no URL")?;
    let reference = |key| source.text(&["spec", "ref", key]);
    let tag = reference("tag").unwrap_or_default();
    // A tag may have a digest. Helm writes `+` as `_`, which a tag cannot have.
    let (tag, tag_digest) = tag.split_once('@').map_or((tag, None), |(tag, digest)| (tag, Some(digest)));
    let tag = tag.replace('_', "+");
    let digest = reference("digest").or(tag_digest.filter(|_| reference("semver").is_none()));
    let version = match reference("semver").filter(|_| digest.is_none()) {
        Some(range) => ChartVersion::of(range),
        None if exact_version(&tag).is_some() || is_open(&tag) => ChartVersion::Exact(tag),
        None => ChartVersion::Unknown,
    };
    Ok(FluxChart {
        file: source.file.clone(),
        name: Pin::of(url, "").name().to_owned(),
        url: url.trim_end_matches('/').to_owned(),
        version,
        digest: digest.map(ToOwned::to_owned),
    })
}
