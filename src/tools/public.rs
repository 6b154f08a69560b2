//! Filters what tools print: errors of templates, YAML parsers and schemas repeat file content, which may be a secret that
//! the redactor does not know.
//!
//! The filters work line by line, before a line reaches the log.

use crate::process::PublicPart;

/// Replaces text that is withheld.
const WITHHELD: &str = "(message withheld: it may contain file content)";

/// The filter for helmfile, and for helm's output in it (helmfile 1.7.4, helm 4.2.4 and 3.21.4).
pub(super) fn helmfile_filter() -> PublicPart {
    let mut content = Content::Absent;
    Box::new(move |line| {
        match &content {
            Content::File(prefix) if line.starts_with(prefix) || line.trim().is_empty() => return None,
            Content::Value if !begins_message(line) => return None,
            Content::Template(before) if !begins_message(line) => {
                let (_, error) = line.rsplit_once(TEMPLATE_ERROR)?;
                let error = format!("{before}: template: {error}");
                content = Content::Absent;
                return Some(message(&error));
            }
            _ => content = Content::Absent,
        }
        if let Some(prefix) = line.strip_suffix(OFFENDING_FILE) {
            content = Content::File(prefix.to_owned());
            return None;
        }
        if let Some(before) = templated_value(line) {
            // The value and the error may follow.
            if let Some((_, error)) = line.rsplit_once(TEMPLATE_ERROR) {
                return Some(message(&format!("{before}: template: {error}")));
            }
            content = Content::Template(before.to_owned());
            return Some(before.to_owned());
        }
        if is_call_error(line) || value_error(line).is_some() {
            content = Content::Value;
        }
        Some(message(line))
    })
}

/// What the lines after a message contain.
enum Content {
    Absent,
    /// A file, up to the end of what follows this prefix: helmfile indents the output of programs.
    File(String),
    /// An argument of a function, or another value.
    Value,
    /// A value that is a template, up to its error; and the message before it.
    Template(String),
}

/// What helmfile prints before a whole environment values file that is not valid YAML (`pkg/state/envvals_loader.go`).
const OFFENDING_FILE: &str = "Offending YAML:";

/// What follows a value that is a template (`pkg/state/release.go`).
const TEMPLATE_ERROR: &str = "\": template: ";

/// The message before a value that is a template.
fn templated_value(line: &str) -> Option<&str> {
    let at = line.find("failed executing template expressions in release ")?;
    Some(&line[..at + line[at..].find(" = \"")?])
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
    if let Some((before, detail)) = line.split_once(": yaml: ").filter(|_| !is_call_error(line)) {
        return format!("{}: yaml: {}", before, yaml_error(&without_unmarshalled(detail)));
    }
    let (before, error) = match line.split_once("error calling ") {
        // Helm 4 inserts a line break before the error.
        Some((before, error)) => {
            (before, error.split_once(": ").or_else(|| Some((error.strip_suffix(':')?, ""))))
        }
        None => (line, None),
    };
    let before = without_unmarshalled(before);
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
    const ERRORS: [&str; 4] = [
        "range can't iterate over ",
        "if/with can't use ",
        "error while running post render on files: ",
        // vals (v0.46.0).
        "expected a map, got ",
    ];
    // helmfile: `pkg/state/envvals_loader.go`, `pkg/state/state.go`, `pkg/maputil/maputil.go`.
    if let Some(typed) = line.find("unexpected type of ")
        && let Some(end) = line[typed..].find(": value=")
    {
        return Some(&line[..typed + end + ": ".len()]);
    }
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
    const MAP_KEY: &str = "invalid map key: ";
    let detail = detail.find(MAP_KEY).map_or(detail, |at| &detail[..at + MAP_KEY.len() - 2]);
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
mod tests;
