//! Charts are in their registries.

use crate::check::{Answer, Check, Facts, Group, Rule};

pub(super) const RULE: Rule = Rule {
    id: "charts",
    group: Group::Repository,
    title: "charts are in their registries",
    why: "helmfile pulls charts before it installs anything, but the apps only after the CRDs were installed; a tag that is gone stops a fresh cluster half-way.",
    essential: true,
    check: Check::Files(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let told = facts.told(RULE.id);
    let missing = if facts.settings.offline { not_here(facts) } else { Vec::new() };
    if !told.is_empty() || missing.is_empty() {
        return told.into();
    }
    Answer::Unknown(format!("no registry is asked, and not on this machine: {}", missing.join(", ")))
}

/// The charts of registries that are not on this machine.
fn not_here(facts: &Facts<'_>) -> Vec<String> {
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let missing = wanted.filter(|release| {
        release.chart.starts_with("oci://") && !facts.desired.charts.contains_key(&release.id())
    });
    missing
        .map(|release| format!("{} {}", release.chart_name(), release.version).trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;

    #[test]
    fn offline_only_the_charts_on_this_machine_are_known() {
        let mut world = World::shipped();
        world.says(&RULE, &[]);
        world.desired.charts.remove("kube-system/cilium");
        world.desired.charts.insert(
            "monitoring/prometheus-operator-crds".to_owned(),
            crate::desired::chart::Chart::default(),
        );
        world.says(&RULE, &[]);
        world.settings.offline = true;
        world.says(&RULE, &["unknown no registry is asked, and not on this machine: cilium 1.18.6"]);
        world.desired.problems.push(Finding::error("charts", "Chart cannot be fetched"));
        world.says(&RULE, &["error Chart cannot be fetched"]);
        let mut local =
            World::of("- {name: a, chart: ./charts/a}\n- {name: b, chart: 'oci://r/b', installed: false}\n");
        local.settings.offline = true;
        local.says(&RULE, &[]);
    }
}
