//! YAML of others: texts within limits. How deep the values nest, and how often aliases repeat, the parser limits itself.

pub(crate) mod kubernetes;

use std::collections::HashSet;
use std::fmt;

use serde::de::DeserializeOwned;

/// The size limit of files that people write: helmfiles, Kustomizations, kubeconfigs, values of a chart.
pub(crate) const WRITTEN: usize = 4 * 1024 * 1024;

/// The size limit of text that programs print: manifests, and states with all values.
pub(crate) const PRINTED: usize = 8 * 1024 * 1024;

/// Far more than any real text leaves open: the deserializer goes 128 deep.
const MAX_OPEN_BRACKETS: usize = 1000;

/// The number of aliases times the size of the text, in bytes.
const MAX_EXPANDED_SIZE: usize = 64 * 1024 * 1024;

/// Why a text cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// The reason, without content of the text. `None` for errors of the parser, which may quote it.
    refused: Option<String>,
    words: String,
}

impl YamlError {
    fn refused(line: Option<usize>, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { line, column: None, words: reason.clone(), refused: Some(reason) }
    }

    fn parser(error: &serde_yaml::Error) -> Self {
        let place = error.location();
        Self {
            line: place.as_ref().map(serde_yaml::Location::line),
            column: place.as_ref().map(serde_yaml::Location::column),
            refused: None,
            words: error.to_string(),
        }
    }

    /// The reason or location, without content of the text, which may be secret; `otherwise` if the parser reports no
    /// location.
    pub(crate) fn without_content(&self, otherwise: &str) -> String {
        match (&self.refused, self.line, self.column) {
            (Some(reason), Some(line), _) => format!("{reason}, at line {line}"),
            (Some(reason), None, _) => reason.clone(),
            (None, Some(line), Some(column)) => format!("line {line}, column {column}"),
            (None, _, _) => otherwise.to_owned(),
        }
    }

    /// The location, or the reason why the text was refused, without content of the text.
    pub(crate) fn place(&self) -> Option<String> {
        Some(self.without_content("")).filter(|place| !place.is_empty())
    }

    /// Whether the text was refused before parsing.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

/// The message of the parser, which may quote the text.
impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Reads the one document of a text of at most `largest` bytes.
///
/// # Errors
///
/// The text cannot be parsed.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, largest: usize) -> Result<T, YamlError> {
    check_limits(text, largest)?;
    serde_yaml::from_str(without_mark(text)).map_err(|error| YamlError::parser(&error))
}

/// Reads the documents of a text of at most `largest` bytes, up to the first error.
pub(crate) fn documents<T: DeserializeOwned>(
    text: &str,
    largest: usize,
) -> impl Iterator<Item = Result<T, YamlError>> {
    read_documents(text, largest, |document| T::deserialize(document))
}

/// Like [`documents`], with `read` for each document.
fn read_documents<'t, T>(
    text: &'t str,
    largest: usize,
    read: impl Fn(serde_yaml::Deserializer<'t>) -> Result<T, serde_yaml::Error>,
) -> impl Iterator<Item = Result<T, YamlError>> {
    let (refused, text) = match check_limits(text, largest) {
        Ok(()) => (None, Some(text)),
        Err(error) => (Some(Err(error)), None),
    };
    let documents = text.map(without_mark).into_iter().flat_map(serde_yaml::Deserializer::from_str);
    let read = documents.map(move |document| read(document).map_err(|error| YamlError::parser(&error)));
    let mut all = refused.into_iter().chain(read);
    let mut failed = false;
    // Stop after an error: the parser would panic in the rest of a document with an unknown alias.
    std::iter::from_fn(move || {
        let next = if failed { None } else { all.next() };
        failed |= matches!(next, Some(Err(_)));
        next
    })
}

/// A text without the byte order mark of editors on Windows, which the parser takes for a part of the first key.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Refuses a text that would take the parser minutes or fill the memory: it looks at all open brackets for each token, and
/// limits how often aliases repeat, but not how much they repeat.
///
/// # Errors
///
/// Which limit the text exceeds.
pub(crate) fn check_limits(text: &str, largest: usize) -> Result<(), YamlError> {
    if text.len() > largest {
        return Err(YamlError::refused(None, format!("larger than {} MiB", largest / 1024 / 1024)));
    }
    if max_open_brackets(text) > MAX_OPEN_BRACKETS {
        return Err(YamlError::refused(None, "nested too deep"));
    }
    if count_aliases(text).saturating_mul(text.len()) > MAX_EXPANDED_SIZE {
        return Err(YamlError::refused(None, "its aliases stand for too much"));
    }
    Ok(())
}

/// How many brackets are open at most. Outside of brackets, one counts only where a value begins: elsewhere it is text. In
/// quotes and literal texts brackets count too, but few texts have many that stay open.
fn max_open_brackets(text: &str) -> usize {
    let (mut open, mut max) = (0_usize, 0);
    let mut begins = true;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' if begins || open > 0 => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        max = max.max(open);
        begins = matches!(byte, b'\n' | b':' | b'-' | b'?') || (begins && byte == b' ');
    }
    max
}

/// How many words are aliases of an anchor in the text: prose has words like `*string` and `&corev1.Pod`, but not of one name.
fn count_aliases(text: &str) -> usize {
    let words = || text.split(|c: char| c.is_whitespace() || "[]{},".contains(c));
    let anchors: HashSet<_> = words().filter_map(|word| word.strip_prefix('&')).collect();
    if anchors.is_empty() {
        return 0;
    }
    words().filter_map(|word| word.strip_prefix('*')).filter(|name| anchors.contains(name)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_yaml::Value;

    use super::*;

    fn all(text: &str) -> Result<Vec<Value>, YamlError> {
        documents(text, PRINTED).collect()
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_refused() {
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(1000), "*a,".repeat(20_000));
        let cases = [
            ("x".repeat(PRINTED + 1), "larger than 8 MiB"),
            ("[".repeat(1 << 20), "nested too deep"),
            ("{a: ".repeat(1 << 18), "nested too deep"),
            (wide, "its aliases stand for too much"),
        ];
        for (text, reason) in cases {
            let error = all(&text).unwrap_err();
            assert!(error.is_refused() && error.without_content("") == reason, "{error:?}");
        }
        let line = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
        let laughs = format!("a0: &a0 [x, x]\n{}", (1..7).map(line).collect::<Vec<_>>().concat());
        assert_eq!(all(&laughs).unwrap_err().to_string(), "repetition limit exceeded");
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(all(&deep).unwrap_err().to_string().starts_with("recursion limit exceeded"));
    }

    #[test]
    fn real_texts_are_read() {
        // Like the CRDs of the Prometheus operator: block style, deep, with the scalar `=`.
        let deep: Vec<_> = (0..40).map(|n| format!("{}properties:\n", "  ".repeat(n))).collect();
        let deep = deep.concat();
        let field = "- =\n- description: a text with [brackets, {and 'quotes\n  type: string\n";
        let field: Vec<_> = field.lines().map(|line| "  ".repeat(40) + line + "\n").collect();
        let field = field.concat();
        let crds = format!("---\n{deep}{}", field.repeat(15_000));
        assert!(crds.len() > 4_000_000 && crds.len() < PRINTED, "{}", crds.len());
        // Like Grafana dashboards: one line of JSON, as text and as YAML.
        let panel = r#"{"id":1,"targets":[{"expr":"sum(rate(x{a=\"b\"}[5m])) by (c)","refId":"A"}],"gridPos":{"h":1,"w":[]}}"#;
        let json = format!("{{\"panels\":[{}]}}", vec![panel; 3000].join(","));
        let dashboards = format!("data:\n  a.json: |\n    {json}\n  b: {json}\n");
        assert!(json.len() > 300_000);
        // Like the output of `helmfile build` for 50 releases.
        let release =
            "- name: a\n  chart: oci://x/a\n  values:\n  - a: {b: [1, 2]}\n    c: \"{{ .x }}\"\n".repeat(50);
        let build = format!("---\n#  Source: it's \"[here\"\n\nreleases:\n{release}templates: {{}}\n");
        let aliases = "a: &a {b: 1}\nc: *a\nd: [*a, *a]\n".to_owned();
        // Many anchors, which are looked up in one go, and names that are none.
        let anchors: Vec<_> = (0..1000).map(|n| format!("- &a{n} x\n- *a{n}\n")).collect();
        let unused: Vec<_> = (0..100_000).map(|n| format!("- &a{n} x\n")).collect();
        let (anchors, unused) = (anchors.concat(), unused.concat());
        let prose = format!(
            "a: a pointer like &corev1.Pod or *int32\nb: |\n{}",
            "  *int32 and more\n".repeat(200_000)
        );
        for text in [
            crds,
            dashboards,
            build,
            aliases,
            anchors,
            unused,
            prose,
            String::new(),
            "\u{feff}a: 1\n".to_owned(),
        ] {
            let read = all(&text);
            assert!(read.is_ok(), "{text:.200} {:?}", read.err());
        }
    }

    #[test]
    fn byte_order_mark_is_no_content() {
        let marked = "\u{feff}a: 1\nsops: {}\n";
        assert_eq!(all(marked), all("a: 1\nsops: {}\n"));
        assert_eq!(parse::<Value>(marked, WRITTEN), Ok(all(marked).unwrap().remove(0)));
    }

    #[test]
    fn errors_have_a_location_and_quiet_ones_no_content() {
        let error = parse::<u64>("\nCANARY\n", WRITTEN).unwrap_err();
        assert_eq!(error.without_content("not a number"), "line 2, column 1");
        assert!(error.to_string().contains("CANARY"), "{error}");
        assert_eq!(parse::<u64>("1\n---\n2\n", WRITTEN).unwrap_err().without_content("not one"), "not one");
        let read: Vec<_> = documents::<u64>("1\n---\nx\n---\n3\n", WRITTEN).collect();
        assert!(matches!(read.as_slice(), [Ok(1), Err(_)]), "{read:?}");
        for unknown in ["a: [*x]\n", "a: {<<: *x}\nb: 1\n"] {
            let read: Vec<_> = documents::<Value>(unknown, WRITTEN).collect();
            assert!(matches!(read.as_slice(), [Err(_)]), "{read:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_that_people_write_makes_it_panic(text in crate::base::mutate::text(&[
            "# a\na: &x\n  b: [1, {c: 'd'}]\n  <<: *x\ne: |-\n  text\n   more\n? f\n: !!str \"g\\n\"\n",
            "%YAML 1.2\n%TAG !a! tag:example.org,2026:\n---\n- !a!b {a: 1, b: [2, 3]}\n- >2\n    folded\n\n  text\n...\n---\n- *x\n",
        ])) {
            _ = all(&text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_it_panic(text in ".*|[\\[\\]{}:,&*!|>'\"%@`#?a \n-]*") {
            _ = all(&text);
        }
    }
}
