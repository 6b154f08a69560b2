//! The age key is not in Git.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};

pub(super) const RULE: Rule = Rule {
    id: "age-key-git",
    group: Group::Secrets,
    title: "the age key is not in Git",
    why: "Everyone who can read the repository knows an age key that was pushed, permanently: the Git history keeps \
          it after the file is removed. The next `git add .` adds a key that no `.gitignore` names.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let key = match facts.age_key_file() {
        Ok(key) => key,
        Err(answer) => return answer,
    };
    let Ok(path) = key.path.strip_prefix(&facts.options.root) else {
        return Answer::not_applicable("the age key is outside the repository");
    };
    let tracked = match &facts.desired.tracked {
        Ok(tracked) => tracked.contains(path),
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let ignore = format!("echo /{} >> .gitignore", path.display());
    let found = |finding: Finding| Answer::Found(vec![finding.with("file", key.path.display())]);
    if tracked {
        let path = path.display();
        return found(Finding::error(RULE.id, "Age key is in Git").fix(format!(
            "git rm --cached {path} && {ignore}\n\
             # the Git history still has it: create a new key with `age-keygen`, add its public key to .sops.yaml, run \
             `sops updatekeys` on every encrypted file, and change the secrets themselves"
        )));
    }
    match facts.desired.adds_age_key {
        Some(true) => found(Finding::warning(RULE.id, "Git does not ignore the age key").fix(ignore)),
        Some(false) => Answer::Ok,
        None => Answer::unknown("it is unknown whether Git ignores the age key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::AgeKey;

    #[test]
    fn a_tracked_key_is_an_error() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["- there is no age key"]);
        world.desired.age_key = Some(AgeKey { path: "/repository/age.key".into(), ..AgeKey::default() });
        world.desired.tracked = Err("not asked".to_owned());
        world.assert_found(&RULE, &["unknown not asked"]);
        world.desired.tracked = Ok(["README.md".into(), "age.key.sops.yaml".into()].into());
        world.assert_found(&RULE, &["unknown it is unknown whether Git ignores the age key"]);
        world.desired.adds_age_key = Some(true);
        world.assert_found(&RULE, &["warning Git does not ignore the age key"]);
        assert_eq!(world.fix(&RULE), "echo /age.key >> .gitignore");
        world.desired.adds_age_key = Some(false);
        world.assert_found(&RULE, &[]);
        world.desired.tracked = Ok(["age.key".into()].into());
        world.assert_found(&RULE, &["error Age key is in Git"]);
        assert!(world.fix(&RULE).starts_with("git rm --cached age.key && echo /age.key >> .gitignore\n"));
        world.desired.age_key = Some(AgeKey { path: "/elsewhere/age.key".into(), ..AgeKey::default() });
        world.assert_found(&RULE, &["- the age key is outside the repository"]);
        let is_encrypted = true;
        world.desired.age_key = Some(AgeKey { mode: Some(0o644), is_encrypted, ..AgeKey::default() });
        world.assert_found(&RULE, &["- the age key is in an encrypted file"]);
    }
}
