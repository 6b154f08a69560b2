//! Filters what tools print: errors of templates, YAML parsers and schemas repeat file content, which may be a secret that
//! the redactor does not know.
//!
//! The filters work line by line, before a line reaches the log.

use crate::process::PublicPart;

/// Replaces text that is withheld.
const WITHHELD: &str = "(message withheld: it may contain file content)";

/// The filter for helmfile, and for helm's output in it (helmfile 1.7.4, helm 4.2.4 and 3.21.4).
pub(super) fn helmfile_filter() -> PublicPart {
    let mut in_file_content = false;
    Box::new(move |line| {
        if in_file_content && !begins_message(line) {
            return None;
        }
        // An argument of a function may have many lines.
        in_file_content = is_call_error(line) || value_error(line).is_some();
        Some(message(line))
    })
}

/// Whether a line contains the error of a template function that repeats its arguments.
fn is_call_error(line: &str) -> bool {
    let function =
        |error: &str| error.split(':').next().is_some_and(|function| !SAFE_FUNCTIONS.contains(&function));
    line.split("error calling ").skip(1).any(function)
}

/// Functions whose errors only contain text of the template's author, paths, or another function's error.
const SAFE_FUNCTIONS: [&str; 11] = [
    "required",
    "fail",
    "requiredEnv",
    "readFile",
    "readDir",
    "readDirEntries",
    "isFile",
    "isDir",
    "include",
    "tpl",
    "template",
];

/// Whether a line is a message of helmfile that follows the content of a file.
fn begins_message(line: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "in ",
        "err ",
        "errors:",
        "Upgrading release=",
        "Listing releases matching ",
        "Building dependency release=",
        "Templating release=",
        "Pulling ",
        "hook[",
        "ARGS:",
        "EXIT STATUS",
        "COMBINED OUTPUT:",
    ];
    BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
}

fn message(line: &str) -> String {
    if let Some(violation) = schema_violation(line) {
        return violation;
    }
    if let Some(before) = value_error(line) {
        return format!("{before}{WITHHELD}");
    }
    if let Some((before, detail)) = line.split_once(MANIFEST_ERROR) {
        return format!("{before}{MANIFEST_ERROR}{}", yaml_error(&without_unmarshalled(detail)));
    }
    let (before, error) = match line.split_once("error calling ") {
        // Helm 4 inserts a line break before the error.
        Some((before, error)) => {
            (before, error.split_once(": ").or_else(|| Some((error.strip_suffix(':')?, ""))))
        }
        None => (line, None),
    };
    let before = without_value(&without_unmarshalled(before));
    match error {
        Some((function, detail)) => {
            let error = format!("{before}error calling {function}: {}", call_error(function, detail));
            error.trim_end().to_owned()
        }
        None => before,
    }
}

/// The part of a line before a repeated value: in an error of Go's templates (`text/template/exec.go` of Go 1.26), or in
/// the output of a post-renderer, which reads all manifests.
fn value_error(line: &str) -> Option<&str> {
    const ERRORS: [&str; 3] =
        ["range can't iterate over ", "if/with can't use ", "error while running post render on files: "];
    ERRORS.iter().find_map(|error| Some(&line[..line.find(error)? + error.len()]))
}

/// How helm's error about a manifest that is not YAML begins (`pkg/releaseutil/manifest_sorter.go`).
const MANIFEST_ERROR: &str = "error converting YAML to JSON: ";

/// Filters the error of a template function; most of them repeat their arguments.
fn call_error(function: &str, detail: &str) -> String {
    match function {
        "include" | "tpl" | "template" => message(detail),
        _ if SAFE_FUNCTIONS.contains(&function) => detail.to_owned(),
        // `fromYaml` appends its whole argument (`pkg/tmpl/context_funcs.go`).
        _ if detail.starts_with("yaml: ") => {
            yaml_error(detail.split(", offending yaml: ").next().unwrap_or_default())
        }
        "fetchSecretValue" | "expandSecretRefs" => secret_error(detail),
        _ => WITHHELD.to_owned(),
    }
}

/// Removes quoted text from a YAML error: file content, or the name of an anchor or key.
fn yaml_error(detail: &str) -> String {
    let detail = detail.split("invalid map key: ").next().unwrap_or_default();
    let mut quoted = None;
    let mut left = String::with_capacity(detail.len());
    for character in detail.chars() {
        let opens = matches!(character, '"' | '`') || (character == '\'' && left.ends_with("anchor "));
        match quoted {
            Some(quote) if quote == character => quoted = None,
            Some(_) => {}
            None if opens => quoted = Some(character),
            None => left.push(character),
        }
    }
    left.trim_end().to_owned()
}

/// Filters the error of vals (v0.46.0), which repeats a value of an unexpected type.
fn secret_error(detail: &str) -> String {
    if detail.starts_with("expected <nil>") {
        return "the key does not exist".to_owned();
    }
    if detail.starts_with("expected map[") {
        return "the key is a map, not a string".to_owned();
    }
    let known = ["Error getting data key: ", "no value found for key ", "no such file or directory"];
    let is_known = known.iter().any(|words| detail.contains(words));
    if is_known { detail.to_owned() } else { WITHHELD.to_owned() }
}

/// Removes the value in backticks from ``cannot unmarshal !!str `abc…` into int`` (go-yaml's `decode.go`).
fn without_unmarshalled(line: &str) -> String {
    let Some((before, rest)) = line.split_once("cannot unmarshal !!") else { return line.to_owned() };
    let into = rest.rfind(" into ").map_or("", |at| &rest[at..]);
    let kind = rest.split([' ', '`']).next().unwrap_or_default();
    format!("{before}cannot unmarshal !!{kind}{into}")
}

/// Removes a value that helmfile prints with `%v`.
fn without_value(line: &str) -> String {
    match line.split_once("unexpected type of value in release values: value=") {
        Some((before, _)) => format!("{before}unexpected type of value in release values"),
        None => line.to_owned(),
    }
}

/// Removes the value from a schema violation (jsonschema v6, `kind/kind.go`): `- at '/path': got string, want integer`;
/// `'value' does not match pattern '^x'`; `maximum: got 12, want 10`.
fn schema_violation(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix("- at '")?;
    let (path, violation) = rest.split_once("': ")?;
    let indent = &line[..line.len() - line.trim_start().len()];
    let violation = match violation.strip_prefix('\'') {
        Some(quoted) => {
            let connectors = ["' does not match pattern ", "' is not valid "];
            let found = connectors.iter().filter_map(|words| quoted.rfind(words)).max();
            let rest = found.map_or(WITHHELD, |at| quoted[at + 1..].trim_start());
            // The text after the name of a format repeats the value.
            rest.split_once(": ").map_or(rest, |(rest, _)| rest)
        }
        None => violation,
    };
    let violation = match violation.split_once("got ").zip(violation.split_once(", want ")) {
        Some(((before, got), (_, want))) if !is_type(got) => format!("{before}want {want}"),
        _ => violation.to_owned(),
    };
    Some(format!("{indent}- at '{path}': {violation}"))
}

/// Whether a schema violation contains the type of the value, and not the value.
fn is_type(got: &str) -> bool {
    const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
    TYPES.iter().any(|name| got.starts_with(&format!("{name},")))
}

/// The filter for helm when it fetches a chart (helm 4.2.4): the error about a stored login repeats it.
pub(super) fn registry_filter() -> PublicPart {
    Box::new(|line| {
        let (before, _) = line.split_once(LOGIN_ERROR).unwrap_or((line, ""));
        Some(if before == line { before.to_owned() } else { format!("{before}{LOGIN_ERROR}(withheld)") })
    })
}

/// How the error about a stored login begins (oras-go, `registry/remote/credentials`).
const LOGIN_ERROR: &str = "failed to decode auth field: ";

/// The filter for sops (sops 3.13.2): passes only lines that are known to contain no file content.
pub(super) fn sops_filter() -> PublicPart {
    Box::new(|line| Some(sops_message(line)))
}

/// How lines without file content begin.
const SOPS_MESSAGES: [&str; 14] = [
    "Failed to get the data key",
    "Group ",
    "age1",
    "- |",
    "|",
    "Recovery failed because",
    "order for SOPS to recover",
    "but none were",
    "sops metadata not found",
    "Found sops entry that is not a mapping",
    "No Major.Minor.Patch elements found",
    "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: ",
    "Error getting data key: ",
    "Could not load secret key",
];

fn sops_message(line: &str) -> String {
    // The message repeats a value that is not encrypted.
    if let Some((before, _)) = line.split_once("Input string ") {
        return format!("{before}input does not match sops' data format");
    }
    // The MAC is a hash of the file's values.
    if line.starts_with("MAC mismatch") {
        return "MAC mismatch".to_owned();
    }
    if line.starts_with("yaml: ") {
        return yaml_error(&without_unmarshalled(line));
    }
    let text = line.trim_start();
    // go-yaml lists its errors below the first line.
    if text.strip_prefix("line ").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit())) {
        return yaml_error(&without_unmarshalled(line));
    }
    let is_known = text.is_empty() || SOPS_MESSAGES.iter().any(|beginning| text.starts_with(beginning));
    if is_known { line.to_owned() } else { WITHHELD.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(public: PublicPart, talk: &str) -> String {
        talk.lines().filter_map(public).collect::<Vec<_>>().join("\n")
    }

    /// Output of helmfile 1.7.4 with helm 4.2.4, and what passes the filter.
    const HELMFILE: &[(&str, &str)] = &[
        (
            "in h.yaml: failed to render values files \"v.yaml.gotmpl\": failed to render [v.yaml.gotmpl], because of template: stringTemplate:1:4: executing \"stringTemplate\" at <fromYaml (readFile \"../k8s/hr.yaml\")>: error calling fromYaml: yaml: line 1: did not find expected key, offending yaml: spec:\n  values:\n    a: b\n   bad: CANARY: x: y\n\nin h.yaml: after",
            "in h.yaml: failed to render values files \"v.yaml.gotmpl\": failed to render [v.yaml.gotmpl], because of template: stringTemplate:1:4: executing \"stringTemplate\" at <fromYaml (readFile \"../k8s/hr.yaml\")>: error calling fromYaml: yaml: line 1: did not find expected key\nin h.yaml: after",
        ),
        (
            "in h.yaml: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `CANARY-...` into map[string]interface {}",
            "in h.yaml: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str into map[string]interface {}",
        ),
        (
            "  line 1: cannot unmarshal !!seq into map[string]interface {}",
            "  line 1: cannot unmarshal !!seq into map[string]interface {}",
        ),
        (
            "in h.yaml: yaml: line 2: mapping values are not allowed in this context",
            "in h.yaml: yaml: line 2: mapping values are not allowed in this context",
        ),
        (
            "x at <fetchSecretValue \"ref+sops://../s.sops.yaml#/top\">: error calling fetchSecretValue: expected map[other:two pw:CANARY] to be string",
            "x at <fetchSecretValue \"ref+sops://../s.sops.yaml#/top\">: error calling fetchSecretValue: the key is a map, not a string",
        ),
        (
            "x at <f>: error calling fetchSecretValue: expected <nil> to be string",
            "x at <f>: error calling fetchSecretValue: the key does not exist",
        ),
        (
            "x: error calling fetchSecretValue: expand sops://../s.sops.yaml#/top/pw: Error getting data key: 0 successful groups required, got 0",
            "x: error calling fetchSecretValue: expand sops://../s.sops.yaml#/top/pw: Error getting data key: 0 successful groups required, got 0",
        ),
        (
            "x: error calling mustToDate: parsing time \"CANARY\" as \"2006\": cannot parse \"CANARY\" as \"2006\"",
            "x: error calling mustToDate: (message withheld: it may contain file content)",
        ),
        (
            "x: error calling include: template: c/a.tpl:1:2: executing \"a\" at <b>: error calling atoi: strconv.Atoi: parsing \"CANARY\": invalid syntax",
            "x: error calling include: template: c/a.tpl:1:2: executing \"a\" at <b>: error calling atoi: (message withheld: it may contain file content)",
        ),
        (
            "x: error calling requiredEnv: required env var `K3S_API_HOST` is not set",
            "x: error calling requiredEnv: required env var `K3S_API_HOST` is not set",
        ),
        ("x: error calling required: set a.b", "x: error calling required: set a.b"),
        (
            "x: error calling fetchSecretValue: expected map[a:CANARY-1\nCANARY-2\n\nCANARY-3] to be string\nerr 1: y",
            "x: error calling fetchSecretValue: the key is a map, not a string\nerr 1: y",
        ),
        (
            "  - at '/a': value must be 'ok'\n  - at '/n': got string, want integer\n  - at '/p': 'CANARY' does not match pattern '^x'",
            "  - at '/a': value must be 'ok'\n  - at '/n': got string, want integer\n  - at '/p': does not match pattern '^x'",
        ),
        (
            "- at '/m': maximum: got 12345678, want 10\n- at '/f': 'CANARY' is not valid email: missing @ in CANARY\n- at '/l': minLength: got 3, want 8\n- at '': additional properties 'x' not allowed",
            "- at '/m': maximum: want 10\n- at '/f': is not valid email\n- at '/l': minLength: want 8\n- at '': additional properties 'x' not allowed",
        ),
        (
            "  Error: incl/templates/cm.yaml:1:6\n    executing \"incl/templates/cm.yaml\" at <include \"x.y\" .>:\n      error calling include:\n  \
             incl/templates/_h.tpl:2:10\n    executing \"x.y\" at <.Values.deep.er.key>:\n      nil pointer evaluating interface {}.er\n  \
             Use --debug flag to render out invalid YAML",
            "  Error: incl/templates/cm.yaml:1:6\n    executing \"incl/templates/cm.yaml\" at <include \"x.y\" .>:\n      error calling include:\n  \
             incl/templates/_h.tpl:2:10\n    executing \"x.y\" at <.Values.deep.er.key>:\n      nil pointer evaluating interface {}.er\n  \
             Use --debug flag to render out invalid YAML",
        ),
        (
            "    executing \"a\" at <atoi .Values.a>:\n      error calling atoi:\n        strconv.Atoi: parsing \"CANARY\": invalid syntax\n\nCOMBINED OUTPUT:\n  x",
            "    executing \"a\" at <atoi .Values.a>:\n      error calling atoi: (message withheld: it may contain file content)\nCOMBINED OUTPUT:\n  x",
        ),
        (
            "template: c/a.yaml:1:9: executing \"c/a.yaml\" at <.Values.a>: range can't iterate over CANARY\nCANARY\nin h.yaml: after",
            "template: c/a.yaml:1:9: executing \"c/a.yaml\" at <.Values.a>: range can't iterate over (message withheld: it may contain file content)\nin h.yaml: after",
        ),
        (
            "  Error: error while running post render on files: error while running command /bin/x. error output:\n  x: CANARY: command not found\n\nCOMBINED OUTPUT:\n",
            "  Error: error while running post render on files: (message withheld: it may contain file content)\nCOMBINED OUTPUT:",
        ),
        (
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 3: did not find expected ',' or '}'",
        ),
        (
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: unknown anchor 'CANARY' referenced",
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: unknown anchor  referenced",
        ),
        (
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: invalid map key: map[interface {}]interface {}{\"CANARY\":1}",
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml:",
        ),
        (
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 5: key \"CANARY\" already set in map",
            "  Error: YAML parse error on c/a.yaml: error converting YAML to JSON: yaml: line 5: key  already set in map",
        ),
        (
            "failed: unexpected type of value in release values: value=CANARY, type=string",
            "failed: unexpected type of value in release values",
        ),
        (
            "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system",
            "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system",
        ),
    ];

    /// Output of sops 3.13.2, and what passes the filter.
    const SOPS: &[(&str, &str)] = &[
        (
            "Error decrypting tree: Error walking tree: Could not decrypt value: Input string CANARY does not match sops' data format",
            "Error decrypting tree: Error walking tree: Could not decrypt value: input does not match sops' data format",
        ),
        (
            "Cannot decrypt MAC: Input string CANARY does not match sops' data format",
            "Cannot decrypt MAC: input does not match sops' data format",
        ),
        ("MAC mismatch. File has 444F, computed CANARY", "MAC mismatch"),
        (
            "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed",
            "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed",
        ),
        (
            "yaml: mapping values are not allowed in this context",
            "yaml: mapping values are not allowed in this context",
        ),
        (
            "parsing time \"CANARY\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"CANARY\" as \"2006\"",
            "(message withheld: it may contain file content)",
        ),
        ("sops metadata not found", "sops metadata not found"),
        (
            "yaml: unmarshal errors:\n  line 21: mapping key \"CANARY\" already defined at line 6",
            "yaml: unmarshal errors:\n  line 21: mapping key  already defined at line 6",
        ),
        ("    - | failed to load age identities.", "    - | failed to load age identities."),
    ];

    #[test]
    fn stored_login_is_withheld() {
        let error = r#"Error: GET "https://h/v2/x": failed to decode auth field: invalid config format: auth 'CANARY' does not conform"#;
        let expected = r#"Error: GET "https://h/v2/x": failed to decode auth field: (withheld)"#;
        assert_eq!(shown(registry_filter(), error), expected);
        assert_eq!(shown(registry_filter(), "Error: not found"), "Error: not found");
    }

    #[test]
    fn file_content_is_withheld() {
        for (talk, expected) in HELMFILE {
            assert_eq!(shown(helmfile_filter(), talk), *expected);
        }
        for (talk, expected) in SOPS {
            assert_eq!(shown(sops_filter(), talk), *expected);
        }
        for (_, expected) in HELMFILE.iter().chain(SOPS) {
            assert!(!expected.contains("CANARY"), "{expected}");
        }
    }

    proptest::proptest! {
        #[test]
        fn filtering_never_panics(near in crate::base::mutate::text(&[
            "in h.yaml: x: error calling fromYaml: yaml: line 1: did not find \"a\", offending yaml: spec:",
            "  - at '/p': 'CANARY' does not match pattern '^x'\n- at '/m': maximum: got 12, want 10\n- at '/f': 'a' is not valid b: c",
            "  line 1: cannot unmarshal !!str `CANARY-...` into map[string]interface {}",
            "MAC mismatch. File has 444F, computed ABC",
        ])) {
            _ = (shown(helmfile_filter(), &near), shown(sops_filter(), &near));
        }
    }
}
