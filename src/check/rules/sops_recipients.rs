//! The age key is a recipient of the encrypted files.

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::encrypted::{EncryptedFile, EncryptedState};
use crate::desired::{AgeKey, Desired};

/// The number of files that are listed.
const MAX_LISTED: usize = 8;

pub(super) const RULE: Rule = Rule {
    id: "sops-recipients",
    group: Group::Secrets,
    title: "the age key is a recipient of the encrypted files",
    why: "If the age key in the cluster cannot decrypt a file, Flux's Kustomization does not become Ready. Each file \
          lists its recipients in plain text, so this can be checked without decrypting.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let key = facts.age_key();
    // Another key has decrypted the files of the bootstrap, as the one that contains this key.
    let is_encrypted = key.as_ref().is_ok_and(|key| key.is_encrypted);
    let synced = facts.desired.synced.as_ref();
    let is_read_by_flux = |file: &EncryptedFile| synced.is_ok_and(|synced| synced.has(&file.path));
    let files = facts.desired.for_cluster();
    let files = files.filter(|file| !(is_encrypted && file.in_bootstrap) || is_read_by_flux(file));
    let mut files = files.filter_map(|file| Some((file, recipients(file)?))).peekable();
    if files.peek().is_none() {
        return facts.without_encrypted();
    }
    let key = match key {
        Ok(key) => key,
        Err(Answer::NotApplicable(reason)) => return Answer::Unknown(reason),
        Err(answer) => return answer,
    };
    let (mut errors, mut warnings, mut split) = (Vec::new(), Vec::new(), Vec::new());
    let mut ssh = [(Severity::Error, Vec::new()), (Severity::Warning, Vec::new())];
    for (file, recipients) in files {
        let severe = blocks_flux(facts.desired, file);
        if recipients.iter().all(|recipient| recipient.starts_with("ssh-")) {
            ssh[usize::from(!severe)].1.push(file);
        } else if !is_among(key, recipients) {
            if severe { &mut errors } else { &mut warnings }.push((file, recipients));
        } else if is_alone(key) && !file.groups.can_decrypt(&key.public) {
            split.push(not_enough(file, severe));
        }
    }
    let found = [(Severity::Error, errors), (Severity::Warning, warnings)];
    let found = found.iter().filter_map(|(severity, files)| report(*severity, key, files));
    let ssh = ssh.iter().filter_map(|(severity, files)| only_ssh(*severity, key, files));
    Answer::judged(found.chain(ssh).chain(split))
}

/// Whether the age key is all that Flux will have, and its public keys are known.
pub(super) fn is_alone(key: &AgeKey) -> bool {
    !key.post_quantum && !key.plugin && !key.is_encrypted
}

fn not_enough(file: &EncryptedFile, severe: bool) -> Finding {
    let path = file.path.display();
    let severity = if severe { Severity::Error } else { Severity::Warning };
    let finding = Finding::error(RULE.id, "Age key alone cannot decrypt a file with key groups");
    Finding { severity, ..finding }
        .with("file", &path)
        .with("key_groups", file.groups.age.len())
        .with("needed", file.groups.threshold)
        .fix(format!(
            "replace `key_groups` in .sops.yaml by `age` with the age key, then, where the file can be decrypted: \
             sops updatekeys {path}"
        ))
}

/// The age recipients of a file that has any.
fn recipients(file: &EncryptedFile) -> Option<&[String]> {
    match &file.state {
        EncryptedState::Encrypted { age, .. } if !age.is_empty() => Some(age),
        _ => None,
    }
}

/// Whether the key is a recipient, or may be one: the public keys of other identity types are unknown.
fn is_among(key: &AgeKey, recipients: &[String]) -> bool {
    let may_be_other = |recipient: &String| recipient.len() != "age1".len() + 58;
    recipients.iter().any(|recipient| {
        key.public.contains(recipient) || ((key.post_quantum || key.plugin) && may_be_other(recipient))
    })
}

/// Whether Flux's own Kustomization fails: it applies the file, and no other type of key can decrypt it.
fn blocks_flux(desired: &Desired, file: &EncryptedFile) -> bool {
    let others = matches!(file.state, EncryptedState::Encrypted { others: true, .. });
    let own = desired.synced.as_ref().is_ok_and(|synced| file.path.starts_with(&synced.path));
    own && !others && !file.in_bootstrap
}

/// kustomize-controller accepts only age identities in `.agekey`, so an SSH key there would break the decryption of all files.
fn only_ssh(severity: Severity, key: &AgeKey, files: &[&EncryptedFile]) -> Option<Finding> {
    files.first()?;
    let names: Vec<_> = files.iter().map(|file| file.path.display().to_string()).collect();
    let finding =
        Finding::error(RULE.id, "Files are encrypted for SSH keys only, which Flux does not support")
            .with("files", listed(&names));
    let finding = match key.public.first() {
        Some(own) => finding.fix(format!(
            "# where the SSH key is; never put it into {}:\n{}",
            key.path.display(),
            add_recipient(own, &names)
        )),
        None => finding.fix("add an age recipient to the files, whose identity Flux gets"),
    };
    Some(Finding { severity, ..finding })
}

fn listed(names: &[String]) -> String {
    let listed = names[..names.len().min(MAX_LISTED)].join(" ");
    match names.len().checked_sub(MAX_LISTED) {
        Some(more) if more > 0 => format!("{listed} and {more} more"),
        _ => listed,
    }
}

fn report(severity: Severity, key: &AgeKey, files: &[(&EncryptedFile, &[String])]) -> Option<Finding> {
    let (_, recipients) = files.first()?;
    let names: Vec<_> = files.iter().map(|(file, _)| file.path.display().to_string()).collect();
    let finding = Finding::error(RULE.id, "Age key is not a recipient of encrypted files")
        .with("age_key", key.path.display())
        .with("public", key.public.join(" "))
        .with("files", listed(&names))
        .with("recipients", recipients.join(" "))
        .fix(fix(key, &names));
    Some(Finding { severity, ..finding })
}

/// `sops rotate` needs no `.sops.yaml`, unlike `sops updatekeys`.
fn add_recipient(own: &str, files: &[String]) -> String {
    let each = files.join(" ");
    format!(
        "for file in {each}; do sops rotate --in-place --add-age {own} $file; done\n\
         # and list it in .sops.yaml, if there is one"
    )
}

fn fix(key: &AgeKey, files: &[String]) -> String {
    let path = key.path.display();
    let Some(own) = key.public.first() else {
        return format!("put the key of a recipient into {path}");
    };
    format!(
        "# put the key of a recipient into {path}; or, if SOPS_AGE_KEY_FILE names an identity that can decrypt the \
         files, add yours:\n{}",
        add_recipient(own, files)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::sops_config::KeyGroups;
    use crate::desired::synced::Synced;

    const MESSAGE: &str = "Age key is not a recipient of encrypted files";

    fn public(letter: char) -> String {
        format!("age1{}", letter.to_string().repeat(58))
    }

    fn world(files: &[(&str, bool, &[char], bool)]) -> World {
        let mut world = World::shipped();
        world.desired.age_key = Some(AgeKey {
            path: "/repository/age.key".into(),
            public: vec![public('m')],
            ..AgeKey::default()
        });
        world.desired.synced =
            Ok(Synced { path: "k/flux".into(), further: ["k/apps".into()].into(), decrypts: false });
        for (path, in_bootstrap, recipients, others) in files {
            let age = recipients.iter().map(|letter| public(*letter)).collect();
            let state = EncryptedState::Encrypted { age, others: *others };
            world.desired.encrypted.push(EncryptedFile {
                path: path.into(),
                in_bootstrap: *in_bootstrap,
                state,
                ..EncryptedFile::default()
            });
        }
        world
    }

    #[test]
    fn the_key_must_be_among_the_recipients() {
        World::shipped().assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
        let good = [
            ("k/flux/a.sops.yaml", false, &['x', 'm'] as &[char], false),
            ("bootstrap/a.sops.yaml", true, &['m'], false),
            ("k/flux/kms.sops.yaml", false, &[], true),
            ("elsewhere/a.sops.yaml", false, &['x'], false),
        ];
        world(&good).assert_found(&RULE, &[]);
        let (error, warning) = (format!("error {MESSAGE}"), format!("warning {MESSAGE}"));
        world(&[("k/flux/a.sops.yaml", false, &['x'], false)]).assert_found(&RULE, &[&error]);
        world(&[("k/flux/a.sops.yaml", false, &['x'], true)]).assert_found(&RULE, &[&warning]);
        world(&[("k/apps/a.sops.yaml", false, &['x'], false)]).assert_found(&RULE, &[&warning]);
        let mut world = world(&[("bootstrap/a.sops.yaml", true, &['x'], false)]);
        world.assert_found(&RULE, &[&warning]);
        // Only Flux reads with a key that is encrypted itself.
        world.desired.age_key.as_mut().unwrap().is_encrypted = true;
        world.assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
        world.desired.encrypted[0].path = "k/apps/a.sops.yaml".into();
        world.assert_found(&RULE, &[&warning]);
    }

    #[test]
    fn the_key_must_be_in_enough_key_groups() {
        let mut world = world(&[("k/flux/a.sops.yaml", false, &['x', 'm'], false)]);
        let groups = |threshold: usize| {
            let age = vec![vec![public('m')], vec![public('x')]];
            KeyGroups { age, threshold }
        };
        world.desired.encrypted[0].groups = groups(1);
        world.assert_found(&RULE, &[]);
        world.desired.encrypted[0].groups = groups(2);
        let message = "Age key alone cannot decrypt a file with key groups";
        world.assert_found(&RULE, &[&format!("error {message}")]);
        assert_eq!(world.detail(&RULE, "needed"), "2");
        world.desired.encrypted[0].path = "k/apps/a.sops.yaml".into();
        world.assert_found(&RULE, &[&format!("warning {message}")]);
        // The Secret in the encrypted file may have keys of other types.
        world.desired.age_key.as_mut().unwrap().is_encrypted = true;
        world.assert_found(&RULE, &[]);
    }

    #[test]
    fn ssh_keys_are_nothing_for_flux() {
        let mut world = world(&[("k/flux/a.sops.yaml", false, &['x'], false)]);
        let mut set = |age: &[&str], message: &str| {
            let age = age.iter().map(|name| (*name).to_owned()).collect();
            world.desired.encrypted[0].state = EncryptedState::Encrypted { age, others: false };
            world.assert_found(&RULE, &[message]);
            world.fix(&RULE)
        };
        let fix = set(
            &["ssh-ed25519 AAAA", "ssh-rsa BBBB"],
            "error Files are encrypted for SSH keys only, which Flux does not support",
        );
        assert!(fix.contains("--add-age") && !fix.contains("put the key of a recipient"), "{fix}");
        set(&["ssh-ed25519 AAAA", &public('x')], &format!("error {MESSAGE}"));
    }

    #[test]
    fn many_files_are_one_finding() {
        let names: Vec<_> = (0..10).map(|number| format!("k/flux/{number}.sops.yaml")).collect();
        let files: Vec<_> =
            names.iter().map(|name| (name.as_str(), false, &['x'] as &[char], false)).collect();
        let world = world(&files);
        world.assert_found(&RULE, &[&format!("error {MESSAGE}")]);
        assert!(world.detail(&RULE, "files").ends_with("k/flux/7.sops.yaml and 2 more"));
        assert_eq!(world.detail(&RULE, "recipients"), public('x'));
        assert!(world.fix(&RULE).contains(&public('m')));
    }

    #[test]
    fn unknown_public_keys_are_not_checked() {
        let mut world = world(&[("k/flux/a.sops.yaml", false, &['x'], false)]);
        world.desired.age_key = None;
        world.assert_found(&RULE, &["unknown there is no age key"]);
        world.desired.age_key = Some(AgeKey { post_quantum: true, ..AgeKey::default() });
        world.assert_found(&RULE, &[&format!("error {MESSAGE}")]);
        let age = vec!["age1pq1xyz".to_owned()];
        world.desired.encrypted[0].state = EncryptedState::Encrypted { age, others: false };
        world.assert_found(&RULE, &[]);
        world.desired.encrypted.clear();
        world.desired.age_key = None;
        world.assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
    }
}
