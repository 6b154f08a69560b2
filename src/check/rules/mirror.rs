//! Charts come from maintained registries.

use semver::Version;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::desired::releases::Release;
use crate::tools::charts::exact_version;

/// The chart in the mirror, and in the registry where it is maintained.
const MIRROR: &str = "/charts-mirror/cilium";
const ORIGIN: &str = "oci://quay.io/cilium/charts/cilium";

/// The first version that is known to be in the maintained registry.
const FIRST: Version = Version::new(1, 18, 6);

pub(super) const RULE: Rule = Rule {
    id: "mirror",
    group: Group::Repository,
    title: "charts come from maintained registries",
    why: "home-operations/charts-mirror deprecated cilium on 2026-01-13 (#388) and removes its images six months \
          later: an old version then fails with `MANIFEST_UNKNOWN` on a fresh cluster.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let mut inspection = facts.inspect_releases();
    wanted.for_each(|release| inspection.look(release.chart.ends_with(MIRROR).then(|| found(release))));
    inspection.answer(NO_RELEASES)
}

fn found(release: &Release) -> Finding {
    let pinned = exact_version(&release.version);
    let version = pinned.filter(|version| *version >= FIRST).unwrap_or(FIRST);
    Finding::warning(RULE.id, "Chart comes from a deprecated mirror")
        .with("release", release.id())
        .with("chart", &release.chart)
        .with("version", &release.version)
        .fix(format!("chart: {ORIGIN}\nversion: {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;

    fn world(version: &str) -> World {
        let chart = "oci://ghcr.io/home-operations/charts-mirror/cilium";
        World::of(&format!("- {{name: cilium, chart: '{chart}', version: {version}}}\n"))
    }

    #[test]
    fn the_mirror_of_cilium_is_a_warning() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://ghcr.io/home-operations/charts-mirror/other'}\n")
            .assert_found(&RULE, &[]);
        for (version, fixed) in [("1.18.5", "1.18.6"), ("1.19.4", "1.19.4"), ("1.18.x", "1.18.6")] {
            let world = world(version);
            world.assert_found(&RULE, &["warning Chart comes from a deprecated mirror"]);
            assert_eq!(world.fix(&RULE), format!("chart: {ORIGIN}\nversion: {fixed}"));
        }
    }
}
