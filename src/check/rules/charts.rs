//! Charts are available.

use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::releases::Release;

pub(super) const RULE: Rule = Rule {
    id: "charts",
    group: Group::Repository,
    title: "charts are available",
    why: "helmfile pulls charts before it installs anything, but those of the apps only after the CRDs are \
          installed: a tag that no longer exists stops a fresh cluster half-way.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(downloaded),
};

/// Whether the charts of registries and repositories were downloaded.
pub(super) fn downloaded(facts: &Facts<'_>) -> Answer {
    let mut inspection = facts.inspect_releases();
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let (downloaded, missing): (Vec<_>, Vec<_>) = wanted
        .filter(|release| release.repository.is_some() || release.chart.starts_with("oci://"))
        .partition(|release| facts.desired.charts.contains_key(&release.id()));
    for _ in downloaded {
        inspection.look(None);
    }
    if !missing.is_empty() {
        inspection.miss(not_downloaded(&missing));
    }
    inspection.answer("no chart comes from a registry")
}

/// The reason when the charts of these releases were not downloaded.
pub(super) fn not_downloaded(releases: &[&Release]) -> String {
    let name = |release: &&Release| format!("{} {}", release.chart_name(), release.version);
    let names: Vec<_> = releases.iter().map(|release| name(release).trim_end().to_owned()).collect();
    format!("not downloaded: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Finding;
    use crate::check::fixture::World;

    #[test]
    fn a_chart_that_was_not_downloaded_is_unknown() {
        let mut world = World::shipped();
        world.assert_found(&RULE, &["unknown not downloaded: prometheus-operator-crds 19.1.0"]);
        world.desired.charts.remove(&"kube-system/cilium".into());
        world
            .desired
            .charts
            .insert("monitoring/prometheus-operator-crds".into(), crate::desired::chart::Chart::default());
        world.assert_found(&RULE, &["unknown not downloaded: cilium 1.18.6"]);
        world.add_charts();
        world.assert_found(&RULE, &[]);
        world.desired.problems.push(Finding::error("charts", "Chart cannot be fetched"));
        world.assert_found(&RULE, &["error Chart cannot be fetched"]);
        World::of("- {name: a, chart: ./charts/a}\n- {name: b, chart: 'oci://r/b', installed: false}\n")
            .assert_found(&RULE, &["- no chart comes from a registry"]);
    }
}
