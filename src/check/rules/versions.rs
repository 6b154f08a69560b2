//! Program versions are supported.

use crate::check::{Answer, Check, Facts, Group, Inspection, Needs, Rule, versions};

pub(super) const RULE: Rule = Rule {
    id: "versions",
    group: Group::Environment,
    title: "program versions are supported",
    why: "k3s-boot is tested with helmfile 1.7.1 and later 1.x versions, and with Helm 3 and 4. helmfile needs Helm \
          3.18 or later, and `sops decrypt` needs sops 3.9.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let mut inspection = Inspection::default();
    // kubectl is not needed offline, and so not run.
    let needed = |name: &str| !(facts.settings.offline && name == "kubectl");
    let programs = facts.observed.programs.iter();
    for program in programs.filter(|program| program.path.is_some() && needed(program.name)) {
        match &program.version {
            Ok(version) => inspection.look(versions::check(program.name, version.as_ref()).err()),
            Err(reason) => inspection.miss(format!("version of {}: {reason}", program.name)),
        }
    }
    inspection.answer("no program is installed")
}
