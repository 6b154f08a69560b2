//! The repository's `.sops.yaml`: for which recipients new files are encrypted.

use std::path::Path;

use regex::Regex;
use serde_yaml::Value;

use crate::base::yaml::{self, WRITTEN};

/// A creation rule.
#[derive(Debug)]
pub(crate) struct Creation {
    /// The `path_regex`; `None` matches every file.
    pub path: Option<Regex>,
    /// The age recipients.
    pub age: Vec<String>,
}

impl Creation {
    /// Whether it matches a file, by its path relative to the root.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.path.as_ref().is_none_or(|regex| regex.is_match(&path.to_string_lossy()))
    }
}

/// The command that encrypts a file, to be run in the root, to which `path` is relative. `config` is the text
/// of `.sops.yaml`, `recipients` are the public keys of the age key.
///
/// Without a creation rule for the file, `sops encrypt` fails: with no `.sops.yaml` unless recipients are given, and with the
/// rules of other files even then (`no matching creation rules found`, sops 3.13).
pub(crate) fn encrypt_command(path: &Path, config: Option<&str>, recipients: &[String]) -> String {
    let file = path.display();
    let rules = config.and_then(|text| creations(text).ok());
    if rules.is_some_and(|rules| rules.iter().any(|rule| rule.matches(path))) {
        return format!("sops encrypt --in-place {file}");
    }
    if recipients.is_empty() {
        return format!(
            "add a creation rule for {file} to .sops.yaml (https://getsops.io/docs), then: \
             sops encrypt --in-place {file}"
        );
    }
    let recipients = recipients.join(",");
    format!(
        "sops --config /dev/null encrypt --age {recipients} --encrypted-regex '^(data|stringData)$' --in-place {file}"
    )
}

/// The creation rules in order.
///
/// # Errors
///
/// Why the file cannot be parsed.
pub(crate) fn creations(text: &str) -> Result<Vec<Creation>, String> {
    let config: Value = yaml::parse(text, WRITTEN).map_err(|error| {
        let reason = if error.is_refused() { error.without_content("") } else { "not valid YAML".to_owned() };
        format!(".sops.yaml is {reason}")
    })?;
    let rules = config.get("creation_rules").and_then(Value::as_sequence);
    rules.into_iter().flatten().map(creation).collect()
}

fn creation(rule: &Value) -> Result<Creation, String> {
    let pattern = rule.get("path_regex").and_then(Value::as_str).filter(|pattern| !pattern.is_empty());
    let path = pattern.map(Regex::new).transpose();
    let path = path.map_err(|_| "a path_regex in .sops.yaml is not supported".to_owned())?;
    let mut age = Vec::new();
    add_keys(rule, &mut age);
    for group in rule.get("key_groups").and_then(Value::as_sequence).into_iter().flatten() {
        add_keys(group, &mut age);
        for merged in group.get("merge").and_then(Value::as_sequence).into_iter().flatten() {
            add_keys(merged, &mut age);
        }
    }
    Ok(Creation { path, age })
}

/// Adds the recipients in `age`: a list, or text with commas.
fn add_keys(holder: &Value, keys: &mut Vec<String>) {
    let texts: Vec<&str> = match holder.get("age") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Sequence(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let each = texts.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    keys.extend(each.filter(|key| !key.is_empty()).map(ToOwned::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_encrypted_by_the_rule_for_it_or_for_the_age_key() {
        let command = |config: Option<&str>, recipients: &[&str]| {
            let recipients: Vec<_> = recipients.iter().map(|one| (*one).to_owned()).collect();
            encrypt_command(Path::new("k/a.sops.yaml"), config, &recipients)
        };
        let plain = "sops encrypt --in-place k/a.sops.yaml";
        assert_eq!(command(Some("creation_rules: [{age: age1me}]"), &["age1me"]), plain);
        assert_eq!(command(Some("creation_rules: [{path_regex: ^k/, age: age1me}]"), &[]), plain);
        let with_key = "sops --config /dev/null encrypt --age age1me --encrypted-regex '^(data|stringData)$' --in-place k/a.sops.yaml";
        for config in [None, Some("creation_rules: [{path_regex: ^b/, age: age1me}]"), Some("[")] {
            assert_eq!(command(config, &["age1me"]), with_key, "{config:?}");
            let fix = command(config, &[]);
            assert!(fix.starts_with("add a creation rule ") && fix.ends_with(plain), "{fix}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_rules_make_it_panic(text in crate::base::mutate::text(&[
            "creation_rules:\n  - path_regex: (bootstrap|kubernetes)/.*\\.sops\\.ya?ml\n    encrypted_regex: ^(data|stringData)$\n    age: age1other, age1me\n  \
             - key_groups: [{age: [age1me], merge: [{age: [age1me]}]}]\nstores: {yaml: {indent: 2}}\n",
        ])) {
            _ = creations(&text);
        }
    }
}
