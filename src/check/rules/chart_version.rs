//! Charts have exact versions.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::releases::Release;
use crate::tools::charts::exact_version;

pub(super) const RULE: Rule = Rule {
    id: "chart-version",
    group: Group::Repository,
    title: "charts have exact versions",
    why: "Without an exact version helm takes the newest one that fits: a fresh cluster gets another chart than the last \
          one did, and a second run may upgrade a release although nothing in the repository has changed.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let mut inspection = facts.inspect_releases();
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    for release in wanted.filter(|release| release.repository.is_some() || release.is_in_registry) {
        inspection.look((!is_exact(release)).then(|| found(release)));
    }
    inspection.answer("no chart comes from a registry")
}

fn is_exact(release: &Release) -> bool {
    release.digest.is_some() || exact_version(&release.version).is_some()
}

fn found(release: &Release) -> Finding {
    let version = if release.version.is_empty() { "the newest" } else { &release.version };
    Finding::warning(RULE.id, "Chart has no exact version")
        .with("release", release.id())
        .with("chart", &release.chart)
        .with("version", version)
        .fix("set `version` to one version, such as `version: 1.2.3`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;

    #[test]
    fn a_range_or_no_version_is_a_warning() {
        World::shipped().assert_found(&RULE, &[]);
        let world = |version: &str| World::of(&format!("- {{name: a, chart: 'oci://r/a'{version}}}\n"));
        for version in ["", ", version: 1.x", ", version: '>=1.2.3'", ", version: '1.2'"] {
            world(version).assert_found(&RULE, &["warning Chart has no exact version"]);
        }
        assert_eq!(world("").detail(&RULE, "version"), "the newest");
        for version in [", version: 1.2.3", ", version: v1.2.3-rc.1", ", version: 1.2.3+build"] {
            world(version).assert_found(&RULE, &[]);
        }
        let pinned = format!("- {{name: a, chart: 'oci://r/a@sha256:{}'}}\n", "0".repeat(64));
        World::of(&pinned).assert_found(&RULE, &[]);
    }
}
