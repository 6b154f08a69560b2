//! Charts support this Kubernetes version.

use std::collections::BTreeSet;

use semver::Version;

use super::charts;
use crate::base::finding::Finding;
use crate::base::version_range::meets;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::desired::Desired;
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::tools::requirements;

pub(super) const RULE: Rule = Rule {
    id: "kube-version",
    group: Group::Cluster,
    title: "charts support this Kubernetes version",
    why: "Helm rejects a chart whose `kubeVersion` does not include the version of the server. Cilium 1.18 is tested \
          with Kubernetes 1.30 to 1.33 only (Cilium documentation, Kubernetes compatibility).",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Nodes(check),
};

/// Charts with their major and minor version, and the minor versions of Kubernetes 1 with which they are tested.
const TESTED: [(&str, u64, u64, u64, u64); 1] = [("cilium", 1, 18, 30, 33)];

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let Some(version) = requirements::parse(&live.version) else {
        return Answer::Unknown(format!("`{}` is no version", live.version));
    };
    // Pre-releases and builds count as their final version.
    let version = Version::new(version.major, version.minor, version.patch);
    let mut inspection = facts.inspect_releases();
    let mut absent = Vec::new();
    for release in facts.desired.releases().filter(|release| release.is_wanted()) {
        match facts.desired.charts.get(&release.id()).map(|chart| chart.kube_version.as_deref()) {
            // Without a constraint, a chart accepts every version.
            Some(None) => inspection.look(None),
            Some(Some(asked)) => match meets(asked, &version) {
                Some(met) => inspection.look((!met).then(|| refused(release, asked, &version, live))),
                // Only Helm can evaluate it.
                None => {
                    inspection.miss(format!("`kubeVersion: {asked}` of {} cannot be read", release.chart));
                }
            },
            None => absent.push(release),
        }
        inspection.find(untested(facts.desired, release, live, &version));
    }
    if !absent.is_empty() {
        inspection.miss(charts::not_downloaded(&absent));
    }
    inspection.find(different(live));
    inspection.answer(NO_RELEASES)
}

fn refused(release: &Release, asked: &str, version: &Version, live: &Live) -> Finding {
    Finding::error(RULE.id, "Chart does not support this Kubernetes version")
        .with("release", release.id())
        .with("accepted", asked)
        .with("version", version)
        .fix(format!(
            "choose a chart version that supports it, or install another {} version",
            live.distribution().versioned()
        ))
}

fn untested(desired: &Desired, release: &Release, live: &Live, version: &Version) -> Option<Finding> {
    let chart = desired.charts.get(&release.id()).map_or(release.version.as_str(), |chart| &chart.version);
    let chart = requirements::parse(chart)?;
    let (name, .., oldest, newest) = TESTED.iter().find(|(name, major, minor, ..)| {
        *name == release.chart_name() && (*major, *minor) == (chart.major, chart.minor)
    })?;
    let tested = format!("1.{oldest} to 1.{newest}");
    let with_details = |finding: Finding| {
        finding.with("release", release.id()).with("tested", tested).with("version", version)
    };
    if (version.major, version.minor) < (1, *oldest) {
        let finding =
            Finding::warning(RULE.id, "Kubernetes is older than the versions tested with the chart");
        let kubernetes = live.distribution().versioned();
        return Some(
            with_details(finding)
                .fix(format!("install a newer {kubernetes} version, or an older {name} version")),
        );
    }
    ((version.major, version.minor) > (1, *newest)).then(|| {
        with_details(Finding::info(RULE.id, "Kubernetes is newer than the versions tested with the chart"))
    })
}

fn different(live: &Live) -> Option<Finding> {
    let versions: BTreeSet<_> = live
        .cluster
        .servers()
        .map(|node| node.info.kubelet_version.as_str())
        .filter(|version| !version.is_empty())
        .collect();
    let all = || versions.iter().copied().collect::<Vec<_>>().join(", ");
    (versions.len() > 1).then(|| {
        let summary = format!("Servers run different {} versions", live.distribution().versioned());
        Finding::info(RULE.id, summary).with("versions", all())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Info, Warning};
    use crate::check::testing::World;
    use crate::desired::chart::Chart;

    /// A healthy cluster with all charts downloaded.
    fn with_charts() -> World {
        let mut world = World::healthy();
        let releases = world.desired.releases();
        let chart = |version: &str| Chart { version: version.to_owned(), ..Chart::default() };
        world.desired.charts = releases.map(|one| (one.id(), chart(&one.version))).collect();
        world
    }

    #[test]
    fn an_unsupported_version_is_an_error() {
        let mut world = with_charts();
        let chart = |constraint: &str| Chart {
            kube_version: Some(constraint.to_owned()),
            version: "v1.19.2".to_owned(),
            ..Chart::default()
        };
        world.desired.charts.insert("cert-manager/cert-manager".into(), chart(">= 1.22.0-0"));
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.desired.charts.insert("cert-manager/cert-manager".into(), chart("<1.33"));
        let message = "Chart does not support this Kubernetes version";
        assert_eq!(world.found(&RULE), [(Error, message.to_owned())]);
        world.desired.charts.insert("cert-manager/cert-manager".into(), chart("newest"));
        let unread = "`kubeVersion: newest` of oci://quay.io/jetstack/charts/cert-manager cannot be read";
        assert_eq!(world.ask(&RULE), Answer::unknown(unread));
        world.without("cert-manager");
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.desired.charts.remove(&"kube-system/cilium".into());
        assert_eq!(world.ask(&RULE), Answer::unknown("not downloaded: cilium 1.18.6"));
        world.desired.helmfiles.iter_mut().for_each(|helmfile| helmfile.releases.clear());
        assert!(world.is_not_applicable(&RULE));
    }

    #[test]
    fn an_untested_version_is_a_warning_or_information() {
        let mut world = with_charts();
        let cases = [
            ("v1.29.15+k3s1", Warning, "Kubernetes is older than the versions tested with the chart"),
            ("v1.36.3+k3s1", Info, "Kubernetes is newer than the versions tested with the chart"),
        ];
        for (version, severity, message) in cases {
            version.clone_into(&mut world.live_mut().version);
            assert_eq!(world.found(&RULE), [(severity, message.to_owned())]);
        }
        "v1.30.0+k3s1".clone_into(&mut world.live_mut().version);
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world
            .desired
            .charts
            .insert("kube-system/cilium".into(), Chart { version: "1.19.4".to_owned(), ..Chart::default() });
        "v1.36.3+k3s1".clone_into(&mut world.live_mut().version);
        assert_eq!(world.ask(&RULE), Answer::Ok, "nothing is known of other versions");
        "newest".clone_into(&mut world.live_mut().version);
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }

    #[test]
    fn servers_of_different_versions_are_information() {
        let mut world = with_charts();
        "v1.32.1+k3s1".clone_into(&mut world.agent("agent").info.kubelet_version);
        assert_eq!(world.ask(&RULE), Answer::Ok);
        "v1.33.5+k3s1".clone_into(&mut world.server("b", &["server"]).info.kubelet_version);
        assert_eq!(world.found(&RULE), [(Info, "Servers run different k3s versions".to_owned())]);
        world.talos();
        "v1.33.1".clone_into(&mut world.live_mut().version);
        "v1.33.0".clone_into(&mut world.live_mut().cluster.nodes[0].info.kubelet_version);
        assert_eq!(world.found(&RULE), [(Info, "Servers run different Kubernetes versions".to_owned())]);
    }
}
