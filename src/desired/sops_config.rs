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
    pub groups: KeyGroups,
    /// Why sops refuses to encrypt with it, if it does.
    pub refused: Option<&'static str>,
}

/// The age recipients in each key group, and how many groups are needed to decrypt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyGroups {
    pub age: Vec<Vec<String>>,
    pub threshold: usize,
}

impl KeyGroups {
    /// `threshold` is `shamir_threshold`; by default all groups are needed.
    pub(crate) fn new(age: Vec<Vec<String>>, threshold: Option<&Value>) -> Self {
        let threshold = threshold.and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        let threshold = threshold.filter(|number| *number > 0 && age.len() > 1).unwrap_or(age.len());
        Self { age, threshold }
    }

    /// Whether these keys are in enough groups.
    pub(crate) fn can_decrypt(&self, keys: &[String]) -> bool {
        let has_key = |group: &&Vec<String>| group.iter().any(|recipient| keys.contains(recipient));
        self.age.iter().filter(has_key).count() >= self.threshold
    }
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
    let broken = |reason: &str| format!(".sops.yaml is {reason}");
    let mut config: Value = yaml::parse(text, WRITTEN).map_err(|error| {
        broken(&if error.is_refused() { error.without_content("") } else { "not valid YAML".to_owned() })
    })?;
    config.apply_merge().map_err(|_| broken("not valid YAML"))?;
    let rules = config.get("creation_rules").and_then(Value::as_sequence);
    rules.into_iter().flatten().map(creation).collect()
}

fn creation(rule: &Value) -> Result<Creation, String> {
    let pattern = rule.get("path_regex").and_then(Value::as_str).filter(|pattern| !pattern.is_empty());
    let path = pattern.map(Regex::new).transpose();
    let path = path.map_err(|_| "a path_regex in .sops.yaml is not supported".to_owned())?;
    let groups = rule.get("key_groups").and_then(Value::as_sequence).filter(|groups| !groups.is_empty());
    // With key groups, sops ignores the keys beside them.
    let groups = groups.map_or_else(|| vec![rule], |groups| groups.iter().collect());
    let groups = groups.into_iter().map(|group| {
        let mut age = Vec::new();
        add_group(group, &mut age, 0);
        age
    });
    let groups = KeyGroups::new(groups.collect(), rule.get("shamir_threshold"));
    Ok(Creation { path, age: groups.age.concat(), refused: refused(rule, &groups), groups })
}

/// The fields of which a rule has one at most (sops, `configFromRule` in `config/config.go`).
const SELECTIONS: [&str; 6] = [
    "encrypted_suffix",
    "unencrypted_suffix",
    "encrypted_regex",
    "unencrypted_regex",
    "encrypted_comment_regex",
    "unencrypted_comment_regex",
];

fn refused(rule: &Value, groups: &KeyGroups) -> Option<&'static str> {
    let is_set = |key: &&str| rule.get(*key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if SELECTIONS.iter().filter(|key| is_set(key)).count() > 1 {
        return Some("it has several of encrypted_regex, encrypted_suffix and the like");
    }
    let is_split = groups.age.len() > 1 && !(2..=groups.age.len()).contains(&groups.threshold);
    is_split.then_some("shamir_threshold must be at least 2 and at most the number of key groups")
}

/// Adds the age recipients of a key group, and of the groups that it merges.
fn add_group(group: &Value, age: &mut Vec<String>, depth: usize) {
    add_keys(group, age);
    // The parser limits the depth, but an alias costs nothing.
    let merged = group.get("merge").and_then(Value::as_sequence).filter(|_| depth < MAX_MERGED);
    merged.into_iter().flatten().for_each(|group| add_group(group, age, depth + 1));
}

/// How deep key groups merge others.
const MAX_MERGED: usize = 20;

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

    #[test]
    fn rules_are_read_as_sops_reads_them() {
        let only = |rule: &str| creations(rule).unwrap().pop().unwrap();
        let merged =
            only("x: &age {age: age1me, encrypted_regex: a}\ncreation_rules: [{<<: *age, path_regex: k}]");
        assert_eq!(merged.age, ["age1me"]);
        assert!(merged.matches(Path::new("k/a")) && merged.refused.is_none());
        let groups = |more: &str| {
            only(&format!(
                "creation_rules: [{{age: age1other, key_groups: [{{age: [age1me]}}, {{merge: [{{merge: [{{age: ['age1a,age1b']}}]}}]}}], {more}}}]"
            ))
        };
        let me = ["age1me".to_owned()];
        let both = groups("a: b");
        assert_eq!(both.age, ["age1me", "age1a", "age1b"]);
        assert!(!both.groups.can_decrypt(&me) && both.refused.is_none());
        assert!(both.groups.can_decrypt(&["age1me".to_owned(), "age1b".to_owned()]));
        for (rule, is_refused) in [
            (groups("shamir_threshold: 1"), true),
            (groups("shamir_threshold: 3"), true),
            (groups("shamir_threshold: 2"), false),
            (only("creation_rules: [{age: a, shamir_threshold: 3}]"), false),
            (only("creation_rules: [{age: a, encrypted_regex: x, unencrypted_suffix: y}]"), true),
        ] {
            assert_eq!(rule.refused.is_some(), is_refused, "{rule:?}");
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
