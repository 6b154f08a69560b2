//! The files of a chart, for comparison with the chart in helm's record.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use crate::base::files::{self, LARGEST};

/// The size limit of all files; the largest charts have 10 MB.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// Files that helm stores elsewhere in its record, or not at all.
const NOT_STORED: [&str; 6] = [
    "Chart.lock",
    "Chart.yaml",
    "requirements.lock",
    "requirements.yaml",
    "values.schema.json",
    "values.yaml",
];

/// The patterns of files that helm skips; without this file, all files count.
const IGNORE: &str = ".helmignore";

/// A hash of each file of a chart, without its metadata and subcharts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content(BTreeMap<String, u64>);

impl Content {
    /// Adds a file, by its path in the chart.
    pub(crate) fn add(&mut self, name: impl Into<String>, bytes: &[u8]) {
        let mut hasher = std::hash::DefaultHasher::new();
        bytes.hash(&mut hasher);
        self.0.insert(name.into(), hasher.finish());
    }

    /// Reads the folder of a chart; `on_template` gets each template with its name. Links to folders are not followed.
    pub(super) fn read(chart: &Path, mut on_template: impl FnMut(&str, Vec<u8>)) -> Self {
        let mut content = Self::default();
        let mut left = MAX_SIZE;
        let subcharts = chart.join("charts");
        for entry in files::walk(chart, |folder| folder.path != subcharts) {
            let Ok(name) = entry.path.strip_prefix(chart) else { continue };
            let name = name.to_string_lossy();
            let linked = entry.kind.is_symlink() && entry.path.is_file();
            if !(entry.kind.is_file() || linked)
                || NOT_STORED.contains(&name.as_ref())
                || name.starts_with("charts/")
            {
                continue;
            }
            let Ok(bytes) = files::bytes(&entry.path, LARGEST.min(left)) else { continue };
            left -= bytes.len() as u64;
            content.add(name.as_ref(), &bytes);
            if name.starts_with("templates/") {
                on_template(&name, bytes);
            }
        }
        content
    }

    /// The first file that differs from the `stored` one, or that is missing in one of the two.
    pub(crate) fn difference<'a>(&'a self, stored: &'a Self) -> Option<&'a str> {
        let changed = stored.0.iter().find(|(name, hash)| self.0.get(*name) != Some(*hash));
        let ignores = self.0.contains_key(IGNORE);
        let counts = |name: &str| {
            let own = name.starts_with("templates/") || name.starts_with("crds/");
            // helm skips hidden templates.
            (own || !ignores) && !name.starts_with("templates/.") && name != IGNORE
        };
        let added = || self.0.keys().find(|name| !stored.0.contains_key(*name) && counts(name));
        changed.map(|(name, _)| name).or_else(added).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)]) -> Content {
        let mut content = Content::default();
        for (name, text) in files {
            content.add(*name, text.as_bytes());
        }
        content
    }

    #[test]
    fn the_first_difference_is_returned() {
        let stored = content(&[("templates/a.yaml", "a"), ("files/x", "x")]);
        let cases = [
            (&[("templates/a.yaml", "a"), ("files/x", "x")][..], None),
            (&[("templates/a.yaml", "b"), ("files/x", "x")], Some("templates/a.yaml")),
            (&[("templates/a.yaml", "a")], Some("files/x")),
            (&[("templates/a.yaml", "a"), ("files/x", "x"), ("files/y", "y")], Some("files/y")),
            // A pattern may skip the file, but not a template.
            (&[("templates/a.yaml", "a"), ("files/x", "x"), ("files/y", "y"), (".helmignore", "y")], None),
            (
                &[
                    ("templates/a.yaml", "a"),
                    ("files/x", "x"),
                    ("templates/b.yaml", ""),
                    (".helmignore", "y"),
                ],
                Some("templates/b.yaml"),
            ),
            (&[("templates/a.yaml", "a"), ("files/x", "x"), ("templates/.b", "")], None),
        ];
        for (files, expected) in cases {
            assert_eq!(content(files).difference(&stored), expected, "{files:?}");
        }
    }

    #[test]
    fn a_folder_is_read_without_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        let names = [
            "Chart.yaml",
            "values.yaml",
            "charts/sub/templates/a",
            "charts/sub.tgz",
            "README.md",
            "templates/deep/a.yaml",
        ];
        for name in names {
            write(name);
        }
        let mut templates = Vec::new();
        let read = Content::read(folder.path(), |name, _| templates.push(name.to_owned()));
        let expected =
            content(&[("README.md", "README.md"), ("templates/deep/a.yaml", "templates/deep/a.yaml")]);
        assert_eq!((read, templates), (expected, vec!["templates/deep/a.yaml".to_owned()]));
    }
}
