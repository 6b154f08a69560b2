//! The store of fetched charts: charts are fetched into a staging folder, and stored completely or not at all.
//!
//! helmfile considers a chart folder in its cache complete as soon as it contains a `Chart.yaml`, so a pull that was
//! interrupted while unpacking would break every later run. Therefore helmfile never pulls into the store: it gets a
//! staging folder that contains hard links to the stored charts.

use std::fs::File;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::error::Error;
use crate::base::files;

/// The parts of a chart's URL and version: `oci://HOST/PATH/NAME:TAG@sha256:…`, and a version that may have a digest too
/// (helmfile 1.7.4, `parseOCIChartRef` and `getOCIQualifiedChartName` in `pkg/state/state.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin<'a> {
    /// The URL without tag and digest.
    pub base: &'a str,
    /// The version, or else the tag; empty for the newest version, or if only a digest pins the chart.
    pub version: &'a str,
    pub digest: Option<&'a str>,
}

impl<'a> Pin<'a> {
    /// Parses the keys `chart` and `version` of a release. Only the URL of a registry can have a tag or a digest.
    pub(crate) fn of(chart: &'a str, version: &'a str) -> Self {
        let (version, version_digest) = match version.split_once('@') {
            Some((version, digest)) => (version, Some(digest)),
            None => (version, None),
        };
        if !chart.starts_with("oci://") {
            return Self { base: chart, version, digest: version_digest };
        }
        let (base, digest) = match chart.split_once('@') {
            Some((base, digest)) => (base, Some(digest)),
            None => (chart, None),
        };
        let (base, tag) = match base.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => (before, tag),
            _ => (base, ""),
        };
        Self {
            base,
            version: if version.is_empty() { tag } else { version },
            digest: digest.or(version_digest),
        }
    }

    /// The chart's name: the last part of the URL.
    pub(crate) fn name(&self) -> &'a str {
        self.base.trim_end_matches('/').rsplit('/').next().unwrap_or(self.base)
    }
}

/// A reference to a chart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChartRef {
    /// The chart as in the helmfile: `oci://HOST/PATH/NAME`, with tag and digest if it has them.
    pub chart: String,
    /// The version (see [`Pin::version`]).
    pub version: String,
    /// The digest that pins the chart, if any: `sha256:…`.
    pub digest: Option<String>,
}

impl ChartRef {
    /// The chart of a release with these values of `chart` and `version`.
    pub(crate) fn new(chart: &str, version: &str) -> Self {
        let pin = Pin::of(chart, version);
        let digest = pin.digest.map(ToOwned::to_owned);
        Self { chart: chart.to_owned(), version: pin.version.to_owned(), digest }
    }

    /// The path of the chart's version in helmfile's cache folder (`getOCIChartPath` and `safeVersionPath` in helmfile
    /// 1.7.4, `pkg/state`).
    fn version_path(&self) -> PathBuf {
        let name = self.chart.replace([':', '.', '&'], "_").replace("//", "_");
        let version = self.version.replace(['=', '>', '<', '!', '|', '~', '^', ' ', ',', '*'], "_");
        // No part may be empty: the marker beside the folder is named after it.
        [name, version].iter().filter(|part| !part.is_empty()).collect()
    }

    /// The chart's own folder in a folder with the layout of helmfile's cache.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        root.join(self.version_path()).join(Pin::of(&self.chart, "").name())
    }

    /// The URL for helm, with the digest if one pins the chart.
    pub(crate) fn address(&self) -> String {
        let base = Pin::of(&self.chart, "").base;
        self.digest.as_ref().map_or_else(|| base.to_owned(), |digest| format!("{base}@{digest}"))
    }

    /// The version for helm's `--version`; none if a digest pins the chart.
    pub(crate) fn asked_version(&self) -> Option<&str> {
        Some(self.version.as_str()).filter(|version| self.digest.is_none() && !version.is_empty())
    }

    /// Whether the chart's folder always holds the same chart. A range of versions may resolve to another chart later, and
    /// helmfile's folder name contains neither a digest in `version` nor the URL of a named repository.
    pub(crate) fn is_exact(&self) -> bool {
        let is_address = self.chart.contains("://");
        is_address
            && if self.digest.is_some() {
                self.chart.contains('@')
            } else {
                exact_version(&self.version).is_some()
            }
    }
}

/// Whether a version's folder ([`ChartRef::version_path`]) always holds the same chart.
fn is_exact_place(place: &Path) -> bool {
    let mut parts = place.iter().filter_map(|part| part.to_str());
    let is_digest = |part: &str| part.contains("@sha256_");
    parts.clone().next_back().is_some_and(|part| exact_version(part).is_some()) || parts.any(is_digest)
}

/// The version of a chart, if it is exact and not a range; Helm accepts a leading `v`.
pub(crate) fn exact_version(version: &str) -> Option<Version> {
    Version::parse(version.trim_start_matches('v')).ok()
}

/// How the `Chart.yaml` of a placeholder begins.
const STAND_IN: &str = "# placeholder for a chart that is missing\n";

/// Marks a chart folder as complete: written beside the folder after everything else, compared before the chart is used.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Marker {
    #[serde(flatten)]
    size: Size,
    /// See [`digest`].
    digest: String,
}

/// The size of a folder, which shows files that were lost in a power failure.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
struct Size {
    files: u64,
    bytes: u64,
}

/// The digest of all files in a chart's folder, including subcharts: the same for the same chart on every machine.
///
/// # Errors
///
/// When a file cannot be read.
pub(crate) fn digest(folder: &Path) -> std::io::Result<String> {
    let mut all: Vec<_> = files::walk(folder, |_| true).filter(|entry| !entry.kind.is_dir()).collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    let mut hasher = Sha256::new();
    for entry in all {
        let name = entry.path.strip_prefix(folder).unwrap_or(&entry.path).as_os_str().as_encoded_bytes();
        let bytes = files::bytes(&entry.path, files::LARGEST).map_err(files::Unreadable::into_io)?;
        // Hash the lengths too, so that no two charts hash the same bytes.
        for part in [name, &bytes] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    let mut hash = format!("{:x}", hasher.finalize());
    hash.truncate(DIGEST_LENGTH);
    Ok(hash)
}

/// How many hexadecimal digits of SHA-256 a digest has.
const DIGEST_LENGTH: usize = 32;

/// The file that is locked while the store is read or changed.
const LOCK: &str = ".lock";

/// The charts that earlier runs fetched.
#[derive(Clone, Debug)]
pub(crate) struct ChartStore {
    root: PathBuf,
}

impl ChartStore {
    /// A store in this folder, which need not exist yet.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder, which has the layout of helmfile's cache.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The digest of a stored chart, as computed when the chart was fetched.
    pub(crate) fn digest(&self, chart: &ChartRef) -> Option<String> {
        read_marker(&self.root.join(chart.version_path())).map(|marker| marker.digest)
    }

    /// Locks the store against other runs until the file is dropped; they may be for another cluster. A read-only store
    /// needs no lock.
    fn lock(&self) -> Option<File> {
        std::fs::create_dir_all(&self.root).ok()?;
        let file = File::create(self.root.join(LOCK)).ok()?;
        file.lock().ok().map(|()| file)
    }

    /// Links the stored charts among `charts` into a staging folder.
    ///
    /// # Errors
    ///
    /// When a file cannot be linked or copied.
    pub(crate) fn seed(&self, staging: &Path, charts: &[ChartRef]) -> Result<(), Error> {
        let _lock = if self.root.is_dir() { self.lock() } else { None };
        for chart in charts.iter().filter(|chart| chart.is_exact()) {
            let from = self.root.join(chart.version_path());
            if is_complete(&from) {
                link_tree(&from, &staging.join(chart.version_path()))?;
            }
        }
        Ok(())
    }

    /// Creates an empty placeholder for each chart that is missing, so that helmfile renders without it.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub(crate) fn stand_in(staging: &Path, charts: &[ChartRef]) -> Result<(), Error> {
        for chart in charts {
            let folder = chart.folder(staging);
            if folder.exists() {
                continue;
            }
            let failed = |source| Error::File { action: "make", path: folder.clone(), source };
            let text = format!("{STAND_IN}apiVersion: v2\nname: stand-in\nversion: 0.0.0\n");
            std::fs::create_dir_all(&folder).map_err(failed)?;
            std::fs::write(folder.join("Chart.yaml"), text).map_err(failed)?;
        }
        Ok(())
    }

    /// Replaces the placeholder of a chart by the chart in `fetched`, if it is there. Both folders have the layout of
    /// helmfile's cache.
    ///
    /// # Errors
    ///
    /// When a folder cannot be moved.
    pub(crate) fn replace_stand_in(staging: &Path, chart: &ChartRef, fetched: &Path) -> Result<(), Error> {
        let (from, to) = (chart.folder(fetched), chart.folder(staging));
        if !from.is_dir() {
            return Ok(());
        }
        let failed = |source| Error::File { action: "store the chart", path: to.clone(), source };
        std::fs::remove_dir_all(&to).map_err(failed)?;
        std::fs::rename(&from, &to).map_err(failed)
    }

    /// Whether a chart's folder contains only a placeholder.
    pub(crate) fn is_stand_in(folder: &Path) -> bool {
        files::text(&folder.join("Chart.yaml"), files::LARGEST).is_ok_and(|text| text.starts_with(STAND_IN))
    }

    /// Moves every chart that is not stored yet from a staging folder into the store.
    ///
    /// # Errors
    ///
    /// When a folder cannot be moved.
    pub(crate) fn publish(&self, staging: &Path) -> Result<(), Error> {
        let folders = version_folders(staging);
        // Locking creates the store, so lock only if there is something to store.
        let _lock = if folders.is_empty() { None } else { self.lock() };
        for folder in folders {
            let Ok(place) = folder.strip_prefix(staging) else {
                continue;
            };
            // The folder is that of a version; the digest is that of the chart's own folder in it.
            let chart = version_chart(&folder).unwrap_or_else(|| folder.clone());
            if Self::is_stand_in(&chart) {
                continue;
            }
            let target = self.root.join(place);
            if is_exact_place(place) && is_complete(&target) {
                continue;
            }
            let failed = |source| Error::File { action: "store the chart", path: target.clone(), source };
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(failed)?;
            }
            if target.exists() {
                // An incomplete chart, or the newest of a range. Move it away first: a folder cannot be replaced atomically.
                let old = staging.join(format!("old-{}", flat_name(&target)));
                std::fs::rename(&target, old).map_err(failed)?;
            }
            let marker =
                Marker { size: measure(&folder).map_err(failed)?, digest: digest(&chart).map_err(failed)? };
            std::fs::rename(&folder, &target).map_err(failed)?;
            let text = serde_json::to_vec(&marker).map_err(|error| failed(error.into()))?;
            std::fs::write(marker_path(&target), text).map_err(failed)?;
        }
        Ok(())
    }
}

/// A path as a single file name, which is unique in a staging folder.
fn flat_name(path: &Path) -> String {
    path.display().to_string().replace('/', "_")
}

fn marker_path(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".whole.json");
    name.into()
}

fn read_marker(folder: &Path) -> Option<Marker> {
    let text = files::bytes(&marker_path(folder), files::LARGEST).ok()?;
    serde_json::from_slice(&text).ok()
}

fn is_complete(folder: &Path) -> bool {
    let stored = read_marker(folder);
    stored.is_some() && stored.map(|marker| marker.size) == measure(folder).ok()
}

/// The chart's folder in the folder of its version.
fn version_chart(folder: &Path) -> Option<PathBuf> {
    let mut below = files::read_folder(folder).map(|entry| entry.path);
    below.find(|path| path.join("Chart.yaml").is_file())
}

fn measure(folder: &Path) -> std::io::Result<Size> {
    let mut size = Size::default();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let below = measure(&entry.path())?;
            size.files += below.files;
            size.bytes += below.bytes;
        } else {
            size.files += 1;
            size.bytes += entry.metadata()?.len();
        }
    }
    Ok(size)
}

fn link_tree(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |source| Error::File { action: "link the chart", path: from.to_owned(), source };
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            link_tree(&entry.path(), &target)?;
            continue;
        }
        match std::fs::hard_link(entry.path(), &target) {
            Ok(()) => {}
            // Two releases use this chart. Copying a file over a link to itself would empty both.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // A file system without hard links.
            Err(_) => _ = std::fs::copy(entry.path(), &target).map_err(failed)?,
        }
    }
    Ok(())
}

/// The folders that hold a chart's folder: `…/VERSION` of `…/VERSION/CHART/Chart.yaml`.
fn version_folders(staging: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![staging.to_owned()];
    while let Some(folder) = folders.pop() {
        // Symbolic links in a chart may point anywhere and form cycles.
        let children = files::read_folder(&folder).filter(|entry| entry.kind.is_dir());
        let children: Vec<_> = children.map(|entry| entry.path).collect();
        if children.iter().any(|child| child.join("Chart.yaml").is_file()) {
            found.push(folder);
        } else {
            folders.extend(children);
        }
    }
    found
}

#[cfg(test)]
mod tests;
