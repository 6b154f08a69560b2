//! The age key is not in Git.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};

pub(super) const RULE: Rule = Rule {
    id: "age-key-git",
    group: Group::Secrets,
    title: "the age key is not in Git",
    why: "Everyone who can read the repository knows an age key that was pushed, permanently: the Git history keeps \
          it after the file is removed.",
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
    Answer::judged(tracked.then(|| {
        let path = path.display();
        Finding::error(RULE.id, "Age key is in Git").with("file", key.path.display()).fix(format!(
            "git rm --cached {path} && echo /{path} >> .gitignore\n\
             # the Git history still has it: create a new key with `age-keygen`, add its public key to .sops.yaml, run \
             `sops updatekeys` on every encrypted file, and change the secrets themselves"
        ))
    }))
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
        world.assert_found(&RULE, &[]);
        world.desired.tracked = Ok(["age.key".into()].into());
        world.assert_found(&RULE, &["error Age key is in Git"]);
        assert!(world.fix(&RULE).starts_with("git rm --cached age.key && echo /age.key >> .gitignore\n"));
        world.desired.age_key = Some(AgeKey { path: "/elsewhere/age.key".into(), ..AgeKey::default() });
        world.assert_found(&RULE, &["- the age key is outside the repository"]);
        let is_encrypted = true;
        world.desired.age_key = Some(AgeKey { mode: 0o644, is_encrypted, ..AgeKey::default() });
        world.assert_found(&RULE, &["- the age key is in an encrypted file"]);
    }
}
