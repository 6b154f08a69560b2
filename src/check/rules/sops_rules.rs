//! `.sops.yaml` lists the age key.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;

use super::sops_recipients::is_alone;
use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::encrypted::EncryptedState;
use crate::desired::sops_config::{self, Creation, KeyGroups};

pub(super) const RULE: Rule = Rule {
    id: "sops-rules",
    group: Group::Secrets,
    title: ".sops.yaml lists the age key",
    why: "The first creation rule whose `path_regex` matches decides for whom a file is encrypted. If it does not \
          list the age key, Flux cannot decrypt what the next `sops encrypt` or `sops updatekeys` writes.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let Some(text) = &facts.desired.sops_config else {
        return Answer::not_applicable("there is no .sops.yaml");
    };
    let key = match facts.age_key() {
        Ok(key) => key,
        Err(answer) => return answer,
    };
    if key.public.is_empty() {
        return Answer::Unknown("the public key of the age key is unknown".to_owned());
    }
    let creations = match sops_config::creations(text) {
        Ok(creations) if creations.is_empty() => {
            return Answer::not_applicable(".sops.yaml has no creation rules");
        }
        Ok(creations) => creations,
        Err(reason) => return Answer::Unknown(reason),
    };
    let mut wrong: BTreeMap<Option<usize>, Vec<&Path>> = BTreeMap::new();
    let mut files = facts.desired.for_cluster().filter(|file| is_for_age(&file.state)).peekable();
    if files.peek().is_none() {
        return facts.without_encrypted();
    }
    for file in files {
        let first = creations.iter().position(|creation| creation.matches(&file.path));
        let is_listed = first.and_then(|index| creations.get(index)).is_some_and(|creation| {
            let lists_key = creation.age.iter().any(|recipient| key.public.contains(recipient));
            let is_enough = !is_alone(key) || creation.groups.can_decrypt(&key.public);
            // A rule without age is for other types of keys.
            creation.refused.is_none() && (creation.age.is_empty() || (lists_key && is_enough))
        });
        if !is_listed {
            wrong.entry(first).or_default().push(&file.path);
        }
    }
    let own = key.public.join(",");
    Answer::judged(wrong.iter().map(|(rule, files)| report(*rule, &creations, files, &own)))
}

fn is_for_age(state: &EncryptedState) -> bool {
    matches!(state, EncryptedState::Encrypted { age, .. } if !age.is_empty())
}

fn report(rule: Option<usize>, creations: &[Creation], files: &[&Path], own: &str) -> Finding {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let found = |message: &str| Finding::warning(RULE.id, message);
    let Some(creation) = rule.and_then(|index| creations.get(index)) else {
        let finding = found("No creation rule in .sops.yaml matches an encrypted file");
        let fix = format!("add a rule:\n- path_regex: …\n  age: {own}");
        return finding.with("files", names.join(" ")).fix(fix);
    };
    let path = creation.path.as_ref().map_or("every path", Regex::as_str);
    let about = |finding: Finding| finding.with("path_regex", path).with("files", names.join(" "));
    if let Some(reason) = creation.refused {
        let finding = about(found("Creation rule in .sops.yaml is refused by sops"));
        return finding.with("reason", reason).fix("correct that rule");
    }
    let lists_key = creation.age.iter().any(|recipient| own.split(',').any(|own| own == recipient));
    if lists_key {
        let KeyGroups { age, threshold } = &creation.groups;
        return about(found("Creation rule in .sops.yaml needs more key groups than the age key is in"))
            .with("key_groups", age.len())
            .with("needed", threshold)
            .fix(format!("replace `key_groups` of that rule by `age: {own}`"));
    }
    about(found("Creation rule in .sops.yaml does not list the age key"))
        .with("age", creation.age.join(","))
        .fix(format!("add {own} to `age` of that rule"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::AgeKey;
    use crate::desired::synced::Synced;

    const NOT_NAMED: &str = "warning Creation rule in .sops.yaml does not list the age key";
    const NO_RULE: &str = "warning No creation rule in .sops.yaml matches an encrypted file";

    const TOO_MANY: &str = "warning Creation rule in .sops.yaml needs more key groups than the age key is in";
    const REFUSED: &str = "warning Creation rule in .sops.yaml is refused by sops";

    fn world(config: &str) -> World {
        let mut world = World::shipped();
        world.desired.age_key = Some(AgeKey { public: vec!["age1me".to_owned()], ..AgeKey::default() });
        world.desired.synced = Ok(Synced { path: "kubernetes".into(), ..Synced::default() });
        for (path, in_bootstrap) in [("bootstrap/a.sops.yaml", true), ("kubernetes/b.sops.yaml", false)] {
            world.encrypt(path, in_bootstrap, ["age1me".to_owned()]);
        }
        world.desired.sops_config = Some(config.to_owned());
        world
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let mut shipped = World::shipped();
        shipped.assert_found(&RULE, &["- there is no .sops.yaml"]);
        shipped.desired.sops_config = Some("creation_rules: [{age: age1other}]".to_owned());
        shipped.assert_found(&RULE, &["- there is no age key"]);
        shipped.desired.age_key = Some(AgeKey { public: vec!["age1me".to_owned()], ..AgeKey::default() });
        shipped.assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
        let cases: [(&str, &[&str]); 18] = [
            ("creation_rules: [{age: age1me}]", &[]),
            ("creation_rules: [{age: 'age1other, age1me'}]", &[]),
            ("creation_rules: [{age: [age1other, age1me]}]", &[]),
            ("creation_rules: [{key_groups: [{age: [age1me]}]}]", &[]),
            ("creation_rules: [{key_groups: [{merge: [{age: [age1me]}]}]}]", &[]),
            ("creation_rules: [{pgp: X}]", &[]),
            ("x: &me {age: age1me}\ncreation_rules: [{<<: *me}]", &[]),
            ("creation_rules: [{key_groups: [{age: [age1me]}, {pgp: [X]}]}]", &[TOO_MANY]),
            ("creation_rules: [{age: age1me, key_groups: [{age: [age1other]}]}]", &[NOT_NAMED]),
            ("creation_rules: [{age: age1me, encrypted_regex: a, encrypted_suffix: b}]", &[REFUSED]),
            ("creation_rules: []", &["- .sops.yaml has no creation rules"]),
            ("{}", &["- .sops.yaml has no creation rules"]),
            ("creation_rules: [{age: age1other}]", &[NOT_NAMED]),
            ("creation_rules: [{path_regex: '^talos/', age: age1other}, {age: age1me}]", &[]),
            ("creation_rules: [{path_regex: 'bootstrap/', age: age1other}, {age: age1me}]", &[NOT_NAMED]),
            ("creation_rules: [{path_regex: '(bootstrap|kubernetes)/.*\\.sops\\.ya?ml', age: age1me}]", &[]),
            ("creation_rules: [{path_regex: '^bootstrap/', age: age1me}]", &[NO_RULE]),
            (
                "creation_rules: [{path_regex: '^bootstrap/', age: age1other}, {path_regex: k, age: age1other}]",
                &[NOT_NAMED, NOT_NAMED],
            ),
        ];
        for (config, expected) in cases {
            world(config).assert_found(&RULE, expected);
        }
        let world = world("creation_rules: [{path_regex: 'bootstrap/', age: age1other}, {age: age1me}]");
        assert_eq!(world.detail(&RULE, "files"), "bootstrap/a.sops.yaml");
        assert_eq!(world.fix(&RULE), "add age1me to `age` of that rule");
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        world("creation_rules: [").assert_found(&RULE, &["unknown .sops.yaml is not valid YAML"]);
        world("creation_rules: [{path_regex: '('}]")
            .assert_found(&RULE, &["unknown a path_regex in .sops.yaml is not supported"]);
        let mut world = world("creation_rules: [{age: age1other}]");
        world.desired.age_key = Some(AgeKey { post_quantum: true, ..AgeKey::default() });
        world.assert_found(&RULE, &["unknown the public key of the age key is unknown"]);
        world.desired.age_key = None;
        world.assert_found(&RULE, &["- there is no age key"]);
    }
}
