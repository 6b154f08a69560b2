//! Takes secret values out of text before anybody sees it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Shorter values (`true`, `admin`) stand in ordinary text too: hiding them would garble it and hide nothing.
const SHORTEST: usize = 8;

/// Knows every secret value of this run; clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Default)]
struct Inner {
    patterns: Vec<String>,
    /// The same, for a secret may have many thousand lines.
    known: HashSet<String>,
    matcher: Option<AhoCorasick>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// From now on, hides these values, each line of a value of several lines, and their base64.
    pub fn add<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let Ok(mut inner) = self.inner.write() else { return };
        let before = inner.patterns.len();
        for secret in secrets {
            let encoded = [STANDARD.encode(secret), STANDARD.encode(secret.trim_end())];
            for pattern in secret.lines().map(str::trim).chain(encoded.iter().map(String::as_str)) {
                if pattern.len() >= SHORTEST && inner.known.insert(pattern.to_owned()) {
                    inner.patterns.push(pattern.to_owned());
                }
            }
        }
        if inner.patterns.len() > before {
            inner.matcher =
                AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&inner.patterns).ok();
        }
    }

    /// The text with every known secret replaced by [`REDACTED`].
    #[must_use]
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Ok(inner) = self.inner.read() else {
            return Cow::Borrowed(REDACTED);
        };
        match &inner.matcher {
            Some(matcher) if matcher.is_match(text) => {
                let replacements = vec![REDACTED; inner.patterns.len()];
                Cow::Owned(matcher.replace_all(text, &replacements))
            }
            _ => Cow::Borrowed(text),
        }
    }
}
