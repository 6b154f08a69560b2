//! Files named as encrypted are encrypted.

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Inspection, Needs, Rule};
use crate::desired::encrypted::EncryptedState;
use crate::desired::sops_config;

pub(super) const RULE: Rule = Rule {
    id: "sops-plain",
    group: Group::Secrets,
    title: "files named as encrypted are encrypted",
    why: "A `*.sops.yaml` file without a `sops:` block is a secret in plain text, and the Git history keeps it.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    // Files in bootstrap/ are reported by `sops`.
    let others = facts.desired.encrypted.iter().filter(|file| !file.in_bootstrap);
    let mut inspection = Inspection::default();
    for file in others {
        let path = file.path.display();
        match file.state {
            EncryptedState::Encrypted { .. } => inspection.look(None),
            EncryptedState::Unreadable => inspection.miss(format!("{path} cannot be read")),
            EncryptedState::FromGit(from_git) => {
                let finding = from_git.finding(RULE.id, &file.path);
                inspection.look(Some(Finding { severity: Severity::Warning, ..finding }));
            }
            EncryptedState::Plain => {
                let recipients = facts.desired.age_key.as_ref().map_or(&[][..], |key| &key.public);
                let config = facts.desired.sops_config.as_deref();
                let encrypt = sops_config::encrypt_command(&file.path, config, recipients);
                let finding = Finding::warning(RULE.id, "File named as encrypted is plain text");
                inspection.look(Some(finding.with("file", file.path.display()).fix(format!(
                    "{encrypt} && git add {path}  # and change its secrets: the Git history keeps the old text"
                ))));
            }
        }
    }
    if let Err(reason) = &facts.desired.tracked {
        inspection.miss(reason);
    }
    inspection.answer("Git tracks no file named as encrypted")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check::fixture::World;
    use crate::desired::AgeKey;
    use crate::desired::encrypted::{EncryptedFile, FromGit};

    #[test]
    fn plain_text_is_reported_once() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["- Git tracks no file named as encrypted"]);
        world.desired.tracked = Err("no Git".to_owned());
        world.assert_found(&RULE, &["unknown no Git"]);
        world.desired.tracked = Ok(BTreeSet::new());
        let encrypted = EncryptedState::Encrypted { age: Vec::new(), others: true };
        let file = |state, in_bootstrap| {
            let path = "k/a.sops.yaml".into();
            EncryptedFile { path, in_bootstrap, state, ..EncryptedFile::default() }
        };
        world.desired.encrypted = vec![
            file(encrypted, false),
            file(EncryptedState::Unreadable, false),
            file(EncryptedState::Plain, true),
        ];
        world.assert_found(&RULE, &["unknown k/a.sops.yaml cannot be read"]);
        world.desired.encrypted.remove(1);
        world.assert_found(&RULE, &[]);
        world.desired.encrypted.push(file(EncryptedState::FromGit(FromGit::Pointer), false));
        world.assert_found(&RULE, &["warning Encrypted file is a Git LFS pointer"]);
        world.desired.encrypted.pop();
        world.desired.encrypted.push(file(EncryptedState::Plain, false));
        world.assert_found(&RULE, &["warning File named as encrypted is plain text"]);
        world.desired.age_key = Some(AgeKey { public: vec!["age1me".to_owned()], ..AgeKey::default() });
        let fix = "sops --config /dev/null encrypt --age age1me --encrypted-regex '^(data|stringData)$' --in-place k/a.sops.yaml && \
                   git add k/a.sops.yaml  # and change its secrets: the Git history keeps the old text";
        assert_eq!(world.fix(&RULE), fix);
        world.desired.sops_config = Some("creation_rules: [{age: age1me}]".to_owned());
        assert!(world.fix(&RULE).starts_with("sops encrypt --in-place k/a.sops.yaml && git add"));
    }
}
