//! Programs run, and their versions are accepted.

use crate::check::{Answer, Check, Facts, Group, Inspection, Rule};
use crate::tools::requirements;

pub(super) const RULE: Rule = Rule {
    id: "versions",
    group: Group::Environment,
    title: "programs run, and their versions are accepted",
    why: "nothing older than helmfile 1.7.1 and nothing newer than helmfile 1 and helm 4 was ever tried, `sops decrypt` \
          came with 3.9, and helmfile asks for helm 3.18 or later.",
    essential: false,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let mut inspection = Inspection::default();
    // Offline, kubectl is not needed, and so not run.
    let needed = |name: &str| !(facts.options.offline && name == "kubectl");
    let programs = facts.observed.programs.iter();
    for program in programs.filter(|program| program.path.is_some() && needed(program.name)) {
        match &program.version {
            Ok(version) => inspection.look(requirements::check(program.name, version.as_ref()).err()),
            Err(reason) => inspection.miss(format!("version of {}: {reason}", program.name)),
        }
    }
    inspection.answer("no program is installed")
}
