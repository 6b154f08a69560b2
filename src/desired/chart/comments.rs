//! Keys in comments of a chart's `values.yaml`: they have no default, but an effect.

use std::collections::{BTreeMap, BTreeSet};

/// The commented keys, by the path of the map to which they may belong.
pub(crate) type Commented = BTreeMap<Vec<String>, BTreeSet<String>>;

/// The maximum number of lines; the largest charts have some thousand.
const MAX_LINES: usize = 100_000;

const MAX_DEPTH: usize = 32;

/// Reads the comments. Their indentation is unreliable, so a key counts in every map to which it may belong.
pub(crate) fn read(values: &str) -> Commented {
    let mut found = Commented::new();
    let mut open: Vec<(usize, &str)> = Vec::new();
    for line in values.lines().take(MAX_LINES) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if let Some(comment) = text.strip_prefix('#') {
            let comment = comment.trim_start_matches(['#', ' ', '\t']);
            if let Some(key) = key(comment) {
                for place in places(&open, indent) {
                    found.entry(place).or_default().insert(key.to_owned());
                }
            } else if let Some(path) = documented(comment) {
                add(&mut found, path);
            }
        } else if let Some(key) = key(text) {
            open.retain(|(other, _)| *other < indent);
            // Deeper keys would make every comment slower, and nobody sets them.
            if open.len() < MAX_DEPTH {
                open.push((indent, key));
            }
        }
    }
    found
}

/// The maps to which a comment may belong: by its indentation, or by the line before it.
fn places(open: &[(usize, &str)], indent: usize) -> BTreeSet<Vec<String>> {
    let path = |keys: &[(usize, &str)]| keys.iter().map(|(_, key)| (*key).to_owned()).collect::<Vec<_>>();
    let by_indent = open.iter().take_while(|(other, _)| *other < indent).count();
    let around = [open.len(), open.len().saturating_sub(1), by_indent];
    around.into_iter().map(|count| path(&open[..count])).collect()
}

/// The key of a line `key: …`.
fn key(text: &str) -> Option<&str> {
    let (key, rest) = text.split_once(':')?;
    let key = key.trim_matches(['"', '\'']);
    let is_name = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    (is_name && (rest.is_empty() || rest.starts_with(' '))).then_some(key)
}

/// The path in `@param a.b …` and `a.b -- …`, the notations of two documentation generators.
fn documented(comment: &str) -> Option<&str> {
    let mut words = comment.split_whitespace();
    match (words.next()?, words.next()) {
        ("@param", path) => path,
        (path, Some("--")) => Some(path),
        _ => None,
    }
}

fn add(found: &mut Commented, path: &str) {
    let parts: Vec<_> = path.split('.').map(ToOwned::to_owned).take(MAX_DEPTH).collect();
    for depth in 0..parts.len() {
        found.entry(parts[..depth].to_vec()).or_default().insert(parts[depth].clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commented_keys_are_found_in_their_map() {
        let found = read(
            "# top: 1\na:\n# column: 0\n  # inside: x\n  b:\n    c: 1\n    # -- Prose about it\n    ## deep: {}\n  # after: b\nz: {}\n\
             # last: 1\n# @param bitnami.style Words\n# docs.style -- Words\n# some prose: here\n",
        );
        let at = |path: &str| {
            let path: Vec<_> =
                path.split('.').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
            found.get(&path).into_iter().flatten().map(String::as_str).collect::<Vec<_>>()
        };
        assert!(at("a").starts_with(&["after", "column", "inside"]), "{:?}", at("a"));
        assert!(at("a.b").contains(&"deep"));
        for key in ["top", "last", "bitnami", "docs"] {
            assert!(at("").contains(&key), "{key}");
        }
        assert_eq!(at("bitnami"), ["style"]);
        assert!(!at("").contains(&"deep"));
        assert!(!at("").contains(&"prose"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, lines in "([ #a:.-]{0,8}\n){0,8}",
            near in crate::base::mutate::text(&[
                "# top: 1\na:\n# column: 0\n  # inside: x\n  b:\n    c: 1\n    # -- Prose about it\n    ## deep: {}\n  # after: b\nz: {}\n\
                 # @param bitnami.style Words\n# docs.style -- Words\n# some prose: here\n",
            ])) {
            _ = read(&near);
            _ = read(&text);
            _ = read(&lines);
        }
    }
}
