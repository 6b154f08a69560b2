//! Reads all YAML but the configuration, which `config/tree.rs` reads with its own limits. Text that would take the parser
//! minutes, or fill the memory, is refused before.

pub mod kubernetes;
mod scan;

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use self::scan::Refused;

/// The size limit of files that people write: helmfiles, Kustomizations, kubeconfigs, values of a chart.
pub const WRITTEN: usize = 4 * 1024 * 1024;

/// The size limit of text that programs print: manifests, and states with all values.
pub const PRINTED: usize = 8 * 1024 * 1024;

/// The limits of a text.
struct Limits {
    tokens: usize,
    depth: usize,
    directives: usize,
    blanks: usize,
}

/// Far more than any real text has (the CRDs of the Prometheus operator have 4 MB and 300,000 tokens), but few enough to be
/// read within two seconds by a build without optimizations.
const LIMITS: Limits = Limits {
    tokens: 800_000,
    // The limit of the deserializer.
    depth: 128,
    directives: 64,
    blanks: 4096,
};

/// The maximum number of values and of [`PIECE`]-byte pieces of text in a document after its aliases are expanded.
const MAX_EXPANDED: usize = 1_000_000;

const PIECE: usize = 16;

/// Why a text cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// The reason, without content of the text. `None` for errors of the parser, which may quote it.
    refused: Option<String>,
    words: String,
}

impl Trouble {
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
    #[must_use]
    pub fn quiet(&self, otherwise: &str) -> String {
        match (&self.refused, self.line, self.column) {
            (Some(reason), Some(line), _) => format!("{reason}, at line {line}"),
            (Some(reason), None, _) => reason.clone(),
            (None, Some(line), Some(column)) => format!("line {line}, column {column}"),
            (None, _, _) => otherwise.to_owned(),
        }
    }

    /// The location, or the reason why the text was refused, without content of the text.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        Some(self.quiet("")).filter(|place| !place.is_empty())
    }

    /// Whether the text was refused before parsing.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

/// The message of the parser, which may quote the text.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Reads the one document of a text of at most `largest` bytes.
///
/// # Errors
///
/// The text cannot be parsed.
pub fn parse<T: DeserializeOwned>(text: &str, largest: usize) -> Result<T, Trouble> {
    check_limits(text, largest)?;
    serde_yaml::from_str(text).map_err(|error| Trouble::parser(&error))
}

/// Reads the documents of a text of at most `largest` bytes, up to the first error.
pub fn documents<T: DeserializeOwned>(
    text: &str,
    largest: usize,
) -> impl Iterator<Item = Result<T, Trouble>> {
    read_documents(text, largest, |document| T::deserialize(document))
}

/// Like [`documents`], with `read` for each document.
fn read_documents<'t, T>(
    text: &'t str,
    largest: usize,
    read: impl Fn(serde_yaml::Deserializer<'t>) -> Result<T, serde_yaml::Error>,
) -> impl Iterator<Item = Result<T, Trouble>> {
    let (refused, text) = match check_limits(text, largest) {
        Ok(()) => (None, Some(text)),
        Err(error) => (Some(Err(error)), None),
    };
    let documents = text.into_iter().flat_map(serde_yaml::Deserializer::from_str);
    let read = documents.map(move |document| read(document).map_err(|error| Trouble::parser(&error)));
    let mut all = refused.into_iter().chain(read);
    let mut failed = false;
    // Stop after an error: the parser would panic in the rest of a document with an unknown alias.
    std::iter::from_fn(move || {
        let next = if failed { None } else { all.next() };
        failed |= matches!(next, Some(Err(_)));
        next
    })
}

/// Refuses text that would take too long.
fn check_limits(text: &str, largest: usize) -> Result<(), Trouble> {
    if text.len() > largest {
        return Err(Trouble::refused(None, format!("larger than {} MiB", largest / 1024 / 1024)));
    }
    let cost =
        scan::cost(text, &LIMITS).map_err(|Refused { line, reason }| Trouble::refused(Some(line), reason))?;
    if cost.aliases == 0 {
        return Ok(());
    }
    // It is read twice, so it may be half as large. Only people write aliases, programs do not.
    if cost.tokens > LIMITS.tokens / 2 || text.len() > largest / 2 {
        return Err(Trouble::refused(None, "too large for a text with aliases"));
    }
    check_aliases(text)
}

/// Refuses aliases that expand to too many values. The parser limits only the number of aliases.
fn check_aliases(text: &str) -> Result<(), Trouble> {
    let left = Cell::new(MAX_EXPANDED);
    for document in serde_yaml::Deserializer::from_str(text) {
        match Count(&left).deserialize(document) {
            Ok(()) => {}
            Err(_) if left.get() == 0 => {
                return Err(Trouble::refused(None, "aliases expand to too many values"));
            }
            // Reported when the text is parsed.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Visits a document with its aliases expanded, and fails when the limit is reached.
#[derive(Clone, Copy)]
struct Count<'a>(&'a Cell<usize>);

impl Count<'_> {
    fn take<E: de::Error>(self, size: usize) -> Result<(), E> {
        let left = self.0.get().saturating_sub(1 + size / PIECE);
        self.0.set(left);
        if left == 0 { Err(E::custom("too much")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.take(0)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.take(0)?;
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.take(0)?;
        while map.next_key_seed(self)?.is_some() {
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let ((), contents) = tagged.variant_seed(self)?;
        de::VariantAccess::newtype_variant_seed(contents, self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde::Deserialize as _;
    use serde_yaml::Value;

    use super::*;

    fn all(text: &str) -> Result<Vec<Value>, Trouble> {
        documents(text, PRINTED).collect()
    }

    /// The processor time of this thread.
    fn processor_time() -> Duration {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
    }

    fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
        let start = processor_time();
        let done = work();
        (done, processor_time().saturating_sub(start))
    }

    fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
        (0..count).fold(String::new(), |text, n| text + &line(n))
    }

    fn by_parser(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
        serde_yaml::Deserializer::from_str(text).map(Value::deserialize).collect()
    }

    fn refused(text: &str, reason: &str) {
        let (error, took) = timed(|| all(text).unwrap_err());
        let start: String = text.chars().take(20).collect();
        println!("{start:?}: {} bytes, {took:?}, {reason}", text.len());
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(error.is_refused() && error.quiet("").starts_with(reason), "{start:?} {error:?}");
        assert_eq!(parse::<Value>(text, PRINTED).unwrap_err(), error);
    }

    #[test]
    fn slow_texts_are_refused() {
        let line = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
        let laughs = format!("a0: &a0 [x, x]\n{}", (1..7).map(line).collect::<String>());
        let wide = |of: &str| format!("a: &a {of}\nb: [{}]\n", "*a,".repeat(20_000));
        let cases = [
            ("x".repeat(PRINTED + 1), "larger than 8 MiB"),
            ("[".repeat(1 << 20), "nested too deeply, at line 1"),
            ("a: 1\nb: ".to_owned() + &"{a: ".repeat(1 << 20), "nested too deeply, at line 2"),
            ("[],".repeat(1 << 20), "too many keys and values"),
            ("- ".repeat(1 << 20), "too many keys and values"),
            ("---\n".repeat(1 << 20), "too many keys and values"),
            ("%TAG !a! b\n".repeat(100_000), "too many `%` directives"),
            (format!("a: \"{}\"", " ".repeat(5000)), "too many consecutive blanks"),
            (format!("a: |\n  b{}\n  c", "\n".repeat(5000)), "too many consecutive blanks"),
            (format!("a: &a b\nc: *a\nd:\n{}", "- x\n".repeat(250_000)), "too large for a text with aliases"),
            (wide(&format!("[{}]", "x,".repeat(1000))), "aliases expand to too many values"),
            (wide(&"x".repeat(10_000)), "aliases expand to too many values"),
        ];
        for (text, reason) in &cases {
            refused(text, reason);
        }
        // The parser has a limit for this.
        assert_eq!(all(&laughs).unwrap_err().to_string(), "repetition limit exceeded");
    }

    /// Each is at the limits; `--nocapture` shows how long they take.
    #[test]
    fn accepted_texts_are_read_quickly() {
        let tokens = LIMITS.tokens;
        let cases = [
            ("open", "[".repeat(128) + &"x,".repeat(tokens / 2 - 128)),
            ("open maps", "{a: ".repeat(128) + &"x: 1,".repeat(tokens / 4 - 128)),
            ("long keys", "[".repeat(127) + &format!("[{}],", "a ".repeat(500)).repeat(8000)),
            ("dashes", "- ".repeat(tokens)),
            ("list", "- x\n".repeat(tokens / 2)),
            ("keys", lines(tokens / 3, |n| format!("a{n}: 1\n"))),
            ("documents", "--- a\n".repeat(tokens / 2)),
            ("anchors", lines(tokens / 3, |n| format!("- &a{n} x\n"))),
            ("tags", "%TAG !a! b\n---\n".to_owned() + &"- !x y\n".repeat(tokens / 3 - 2)),
            ("words", "word ".repeat(PRINTED / 5)),
            ("block", format!("a: |\n{}", "  some words and more\n".repeat(PRINTED / 22 - 1))),
            ("blanks", format!("a: \"{}{}\"", " ".repeat(4000), "a b ".repeat(PRINTED / 4 - 2000))),
            ("aliases", "a: &a b\nc:\n".to_owned() + &"- *a\n".repeat(tokens / 4 - 8)),
            ("cycle", "a: &a [*a]\n".to_owned()),
        ];
        for (name, text) in cases {
            let (read, took) = timed(|| all(&text).map(|all| all.len()));
            println!("{name}: {} bytes, {took:?}, {:.60?}", text.len(), read);
            assert!(!read.is_err_and(|error| error.is_refused()), "{name} is not at the limits");
            // Without optimizations, and on a machine that has other work.
            assert!(took < Duration::from_secs(5), "{name}: {took:?}");
        }
    }

    #[test]
    fn real_texts_are_read() {
        // Like the CRDs of the Prometheus operator: block style, deep, with the scalar `=`.
        let deep = lines(40, |n| format!("{}properties:\n", "  ".repeat(n)));
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
        for text in [crds, dashboards, build, aliases, String::new(), "\u{feff}a: 1\n".to_owned()] {
            let read = all(&text);
            assert!(read.is_ok(), "{text:.200} {:?}", read.err());
        }
    }

    #[test]
    fn errors_have_a_location_and_quiet_ones_no_content() {
        let error = parse::<u64>("\nCANARY\n", WRITTEN).unwrap_err();
        assert_eq!(error.quiet("not a number"), "line 2, column 1");
        assert!(error.to_string().contains("CANARY"), "{error}");
        assert_eq!(parse::<u64>("1\n---\n2\n", WRITTEN).unwrap_err().quiet("not one"), "not one");
        let read: Vec<_> = documents::<u64>("1\n---\nx\n---\n3\n", WRITTEN).collect();
        assert!(matches!(read.as_slice(), [Ok(1), Err(_)]), "{read:?}");
        for unknown in ["a: [*x]\n", "a: {<<: *x}\nb: 1\n"] {
            let read: Vec<_> = documents::<Value>(unknown, WRITTEN).collect();
            assert!(matches!(read.as_slice(), [Err(_)]), "{read:?}");
        }
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Sequence(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
            Value::Mapping(map) => {
                1 + map.iter().flat_map(|(key, value)| [depth(key), depth(value)]).max().unwrap_or(0)
            }
            Value::Tagged(tagged) => depth(&tagged.value),
            _ => 0,
        }
    }

    /// Pieces of YAML that confuse a scanner that cannot tell text from syntax.
    const PIECES: &str = "(a|b c|: |:|- |-|\n|\n  |\n    |\n- |\\[|\\]|\\{|\\}|, |,|'|''|\"|\\\\|\\\\\"|# | #|#|\\|\n|\\|2-\n|>\n|&x |\\*x |!t |!<\\[> |\\? |\\?|---\n|\\.\\.\\.\n|--- |\t|\r\n|%A b\n|ä|\u{85}|\u{2028}|\u{feff}){0,16}";

    proptest! {
        #[test]
        fn no_text_that_people_write_makes_it_panic(text in crate::observed::odd::near(&[
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

        #[test]
        fn open_brackets_are_counted(text in PIECES) {
            let cost = scan::cost(&text, &LIMITS).unwrap();
            let read = by_parser(&text);
            if let Ok(read) = read {
                prop_assert_eq!(cost.open, 0, "{:?} {:?}", read, cost);
                let deepest = read.iter().map(depth).max().unwrap_or(0);
                prop_assert!(cost.depth <= deepest, "{:?} {:?}", read, cost);
            }
            // What is a bracket for the parser must not be text for the scanner.
            let text = text + "\n" + &"[".repeat(140);
            let read = by_parser(&text);
            match (read, scan::cost(&text, &LIMITS)) {
                (Ok(_), found) => prop_assert!(found.is_ok(), "{found:?}"),
                (Err(error), found) => {
                    let end = text.chars().count();
                    let message = error.to_string();
                    let at_the_end = error.location().is_some_and(|place| place.index() >= end);
                    if at_the_end && message.contains("parsing a flow node") {
                        prop_assert!(found.is_err(), "{message} {found:?}");
                    }
                }
            }
        }
    }
}
