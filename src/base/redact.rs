//! Removes secret values from text before it is printed or logged.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The replacement for a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Shorter values (`true`, `admin`) are common in ordinary text: redacting them would garble the text and protect nothing.
const MIN_LENGTH: usize = 8;

/// Knows every secret value of this run; clones share the values.
///
/// ```
/// use k3s_boot::internals::Redactor;
///
/// let redactor = Redactor::default();
/// redactor.add(["correct horse"]);
/// assert_eq!(redactor.apply("password: correct horse"), "password: [redacted]");
/// // Also as base64, as in a Secret.
/// assert_eq!(redactor.apply("password: Y29ycmVjdCBob3JzZQ=="), "password: [redacted]");
/// ```
#[derive(Clone, Default)]
pub struct Redactor {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Default)]
struct Inner {
    patterns: Vec<String>,
    /// The patterns as a set: a secret may have thousands of lines.
    known: HashSet<String>,
    matcher: Option<AhoCorasick>,
}

/// Escapes a text as Go's `%q` and JSON do.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t")
}

/// A text inside longer base64: encoded for each of the three possible offsets in a group, without the characters that
/// depend on the bytes before or after it.
fn inside_base64(text: &str) -> impl Iterator<Item = String> + '_ {
    (0..3).map(|shift| {
        let bytes = [&[0; 3][..shift], text.as_bytes()].concat();
        let whole = bytes.len() / 3 * 3;
        let encoded = STANDARD.encode(&bytes[..whole]);
        encoded.get([0, 2, 3][shift]..).unwrap_or_default().to_owned()
    })
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Adds secrets: redacts each line of a value, and its base64 and escaped forms.
    pub fn add<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let Ok(mut inner) = self.inner.write() else { return };
        let before = inner.patterns.len();
        for secret in secrets.into_iter().filter(|secret| secret.len() >= MIN_LENGTH) {
            let whole = [STANDARD.encode(secret), STANDARD.encode(secret.trim_end())];
            let lines = secret.lines().map(str::trim).filter(|line| line.len() >= MIN_LENGTH);
            let forms = lines.flat_map(|line| [line.to_owned(), escaped(line)]);
            for pattern in forms.chain(whole).chain(inside_base64(secret.trim_end())) {
                if pattern.len() >= MIN_LENGTH && inner.known.insert(pattern.clone()) {
                    inner.patterns.push(pattern);
                }
            }
        }
        if inner.patterns.len() > before {
            inner.matcher =
                AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&inner.patterns).ok();
        }
    }

    /// Replaces every known secret by [`REDACTED`].
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
