//! Encrypted files in bootstrap/ can be decrypted.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "sops",
    group: Group::Secrets,
    title: "encrypted files in bootstrap/ can be decrypted",
    why: "They are applied before Flux is installed: without its deploy key, Flux cannot fetch the repository.",
    essential: true,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    facts.findings_or(RULE.id, read)
}

fn read(facts: &Facts<'_>) -> Answer {
    if !facts.desired.encrypted.iter().any(|file| file.in_bootstrap) {
        return Answer::not_applicable("bootstrap/ has no encrypted files");
    }
    let sops = facts.observed.programs.iter().find(|program| program.name == "sops");
    if facts.settings.offline {
        Answer::unknown("nothing is decrypted with --offline")
    } else if sops.is_none_or(|sops| sops.path.is_none()) {
        Answer::unknown("sops is not installed")
    } else {
        Answer::Ok
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
    fn files_that_were_not_decrypted_are_unknown() {
        let mut world = World::shipped();
        world.settings.offline = true;
        world.assert_found(&RULE, &["- bootstrap/ has no encrypted files"]);
        world.desired.encrypted.push(EncryptedFile { in_bootstrap: true, ..EncryptedFile::default() });
        world.assert_found(&RULE, &["unknown nothing is decrypted with --offline"]);
        world.settings.offline = false;
        let sops = |path| Program { name: "sops", path, version: Err("not asked".to_owned()) };
        world.observed.programs = vec![sops(Some("/bin/sops".into()))];
        world.assert_found(&RULE, &[]);
        world.observed.programs = vec![sops(None)];
        world.assert_found(&RULE, &["unknown sops is not installed"]);
        world.desired.problems.push(Finding::error("sops", "Encrypted file is plain text"));
        world.assert_found(&RULE, &["error Encrypted file is plain text"]);
    }
}
