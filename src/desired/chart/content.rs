//! What is in a chart, to be compared with what helm has stored of one.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use crate::base::files::{self, LARGEST};

/// The files of the largest charts have 10 MB.
const MOST: u64 = 64 * 1024 * 1024;

/// What helm keeps elsewhere in its record, or not at all.
const ELSEWHERE: [&str; 6] = [
    "Chart.lock",
    "Chart.yaml",
    "requirements.lock",
    "requirements.yaml",
    "values.schema.json",
    "values.yaml",
];

/// The files that helm leaves out, by their patterns; only when there is none, all of them count.
const IGNORE: &str = ".helmignore";

/// A hash of each file of a chart, but of those that describe it and of its subcharts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<String, u64>);

impl Content {
    /// Adds a file, by its path in the chart.
    pub fn add(&mut self, name: impl Into<String>, bytes: &[u8]) {
        let mut hasher = std::hash::DefaultHasher::new();
        bytes.hash(&mut hasher);
        self.0.insert(name.into(), hasher.finish());
    }

    /// Reads the files of a chart's folder; `on_template` gets each template with its name. Links to folders are not
    /// followed.
    pub(super) fn read(chart: &Path, mut on_template: impl FnMut(&str, Vec<u8>)) -> Self {
        let mut content = Self::default();
        let mut left = MOST;
        let subcharts = chart.join("charts");
        for entry in files::walk(chart, |folder| folder.path != subcharts) {
            let Ok(name) = entry.path.strip_prefix(chart) else { continue };
            let name = name.to_string_lossy();
            let linked = entry.kind.is_symlink() && entry.path.is_file();
            if !(entry.kind.is_file() || linked)
                || ELSEWHERE.contains(&name.as_ref())
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

    /// The first file that differs from what helm has `stored`, or that one of the two has not.
    #[must_use]
    pub fn difference<'a>(&'a self, stored: &'a Self) -> Option<&'a str> {
        let changed = stored.0.iter().find(|(name, hash)| self.0.get(*name) != Some(*hash));
        let ignores = self.0.contains_key(IGNORE);
        let counts = |name: &str| {
            let own = name.starts_with("templates/") || name.starts_with("crds/");
            // helm leaves hidden templates out.
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
    fn the_first_difference_is_named() {
        let stored = content(&[("templates/a.yaml", "a"), ("files/x", "x")]);
        let cases = [
            (&[("templates/a.yaml", "a"), ("files/x", "x")][..], None),
            (&[("templates/a.yaml", "b"), ("files/x", "x")], Some("templates/a.yaml")),
            (&[("templates/a.yaml", "a")], Some("files/x")),
            (&[("templates/a.yaml", "a"), ("files/x", "x"), ("files/y", "y")], Some("files/y")),
            // It may be left out by a pattern; a template is not.
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
    fn a_folder_is_read_without_what_describes_it() {
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
