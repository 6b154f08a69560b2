//! Only its owner can read the age key.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};

/// The permissions of group and others.
const GROUP_AND_OTHERS: u32 = 0o077;

pub(super) const RULE: Rule = Rule {
    id: "age-key-mode",
    group: Group::Secrets,
    title: "only its owner can read the age key",
    why: "Anyone who can read the age key can read every secret in the repository and in its history. age-keygen \
          creates the file with mode 0600.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let key = match facts.age_key_file() {
        Ok(key) => key,
        Err(answer) => return answer,
    };
    let Some(mode) = key.mode else {
        return Answer::not_applicable("Kubernetes or systemd mounts the age key");
    };
    Answer::judged((mode & GROUP_AND_OTHERS != 0).then(|| {
        Finding::warning(RULE.id, "Age key is readable by other users")
            .with("file", key.path.display())
            .with("mode", format!("{mode:04o}"))
            .fix(format!("chmod 600 {}", key.path.display()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::AgeKey;

    #[test]
    fn only_the_owner_may_read_it() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["- there is no age key"]);
        for (mode, expected) in [(0o600, 0), (0o400, 0), (0o700, 0), (0o640, 1), (0o644, 1), (0o604, 1)] {
            world.desired.age_key =
                Some(AgeKey { path: "/r/age.key".into(), mode: Some(mode), ..AgeKey::default() });
            world.assert_found(&RULE, &["warning Age key is readable by other users"][..expected]);
        }
        assert_eq!(world.detail(&RULE, "mode"), "0604");
        assert_eq!(world.fix(&RULE), "chmod 600 /r/age.key");
        world.desired.age_key = Some(AgeKey { path: "/r/age.key".into(), mode: None, ..AgeKey::default() });
        world.assert_found(&RULE, &["- Kubernetes or systemd mounts the age key"]);
        let is_encrypted = true;
        world.desired.age_key = Some(AgeKey { mode: Some(0o644), is_encrypted, ..AgeKey::default() });
        world.assert_found(&RULE, &["- the age key is in an encrypted file"]);
    }
}
