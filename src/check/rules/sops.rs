//! Encrypted files of bootstrap/ decrypt.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "sops",
    group: Group::Secrets,
    title: "encrypted files of bootstrap/ decrypt",
    why: "They go into the cluster before Flux is there: a deploy key that cannot be decrypted keeps Flux from its repository.",
    essential: true,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let told = facts.told(RULE.id);
    let sops = facts.observed.programs.iter().find(|program| program.name == "sops");
    let reason = if facts.settings.offline {
        Some("nothing is decrypted with --offline")
    } else {
        sops.filter(|sops| sops.path.is_none()).map(|_| "sops is not there")
    };
    let any = facts.desired.encrypted.iter().any(|file| file.in_bootstrap);
    match reason {
        Some(reason) if any && told.is_empty() => Answer::Unknown(reason.to_owned()),
        _ => told.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;
    use crate::desired::encrypted::EncryptedFile;
    use crate::observed::Program;

    #[test]
    fn what_is_not_decrypted_is_not_known_to_decrypt() {
        let mut world = World::shipped();
        world.settings.offline = true;
        world.says(&RULE, &[]);
        world.desired.encrypted.push(EncryptedFile { in_bootstrap: true, ..EncryptedFile::default() });
        world.says(&RULE, &["unknown nothing is decrypted with --offline"]);
        world.settings.offline = false;
        world.says(&RULE, &[]);
        world.observed.programs =
            vec![Program { name: "sops", path: None, version: Err("not asked".to_owned()) }];
        world.says(&RULE, &["unknown sops is not there"]);
        world.desired.problems.push(Finding::error("sops", "Encrypted file is plain text"));
        world.says(&RULE, &["error Encrypted file is plain text"]);
    }
}
