//! Which releases Flux or k3s manages.

use std::fmt::Write as _;

use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::check::k3s::Servers;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::helm_charts::{Addon, HelmChart, JOB_LABEL, UNMANAGED};
use crate::observed::inventory::Meta;
use crate::observed::manager::Manager;
use crate::plan::helm_charts::{Obstacle, obstacle};
use crate::plan::releases::owner;

pub(super) const RULE: Rule = Rule {
    id: "flux-owned",
    group: Group::Releases,
    title: "releases that Flux or a Helm controller manages are known",
    why: "A release that a HelmRelease of Flux or a HelmChart of k3s manages is left alone, even while that is \
          suspended: two managers would revert each other's changes indefinitely, and plain helmfile downgrades what \
          Flux has upgraded. `--adopt` takes a release over. A HelmChart that is just deleted uninstalls its release, \
          and so does one that is removed from its file on a server.",
    essential: false,
    needs: Needs::Owners,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let claims = match &live.claims {
        Ok(claims) => claims,
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let managed = |release: &Release| {
        let owner = owner(release, live)?;
        let id = release.id();
        let adopted = facts.options.plan_options.adopts(&id);
        let charts: Vec<_> = claims.charts_of(&id).map(|chart| (chart, obstacle(chart))).collect();
        // An obstacle counts only for what is asked, and is shown before it is.
        let blocked = charts.iter().find(|(_, obstacle)| obstacle.is_some()).or(charts.first());
        let finding = match blocked {
            Some((_, Some(_))) if adopted => {
                Finding::error(RULE.id, "Release cannot be taken over from the Helm controller yet")
            }
            _ if adopted => Finding::warning(RULE.id, "Release is adopted from its manager"),
            _ => {
                let is_chart = matches!(owner, Manager::HelmChart { .. });
                let manager = if is_chart { "the Helm controller" } else { "Flux" };
                Finding::info(RULE.id, format!("Release is managed by {manager}, and left alone"))
            }
        };
        let finding = finding.with("release", &id).with("owner", &owner);
        let suspended = claims.owner_of(&id).is_some_and(|claim| claim.suspended);
        let finding = if suspended { finding.with("suspended", "yes") } else { finding };
        Some(match blocked {
            Some((chart, obstacle)) => with_chart(finding, &id, chart, obstacle.as_ref(), adopted, live),
            None => finding,
        })
    };
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let mut inspection = facts.inspect_releases();
    wanted.for_each(|release| inspection.look(managed(release)));
    inspection.answer(NO_RELEASES)
}

/// Adds how k3s lets go of a release, or why it does not.
fn with_chart(
    finding: Finding,
    release: &ReleaseId,
    chart: &HelmChart,
    obstacle: Option<&Obstacle>,
    adopted: bool,
    live: &Live,
) -> Finding {
    let take_over = format!("k3s-boot apps --adopt {release}");
    let Meta { namespace, name, .. } = &chart.meta;
    match obstacle {
        // k3s-boot does it.
        None if adopted => finding.with(
            "impact",
            "the HelmChart is removed, and the release stays; if a server still has its file, it applies the \
             HelmChart again when it starts, and nothing in the cluster shows that",
        ),
        None => finding.fix(take_over),
        Some(obstacle @ Obstacle::File(addon)) => {
            let servers = Servers::of(live);
            let finding = finding.with("file", &addon.source).with("servers", servers.names());
            let finding = if adopted { finding.with("reason", obstacle) } else { finding };
            finding.fix(file_steps(chart, addon, &servers, &take_over))
        }
        Some(Obstacle::Bundled) if !adopted => finding,
        Some(obstacle) => {
            let finding = finding.with(if adopted { "reason" } else { "take_over" }, obstacle);
            match obstacle {
                Obstacle::Job(_) => finding.fix(format!(
                    "kubectl --namespace {namespace} get jobs --selector {JOB_LABEL}={name}"
                )),
                Obstacle::Bundled => finding.fix(format!(
                    "keep the bundled release with --skip-release {release}, or disable the component before you \
                     install the release"
                )),
                Obstacle::Owner(_) => {
                    finding.fix("remove the HelmChart there first, without deleting it in the cluster")
                }
                _ => finding,
            }
        }
    }
}

/// How to remove the file of a HelmChart, in an order in which k3s does not uninstall the release. Everything but commands is
/// commented out.
fn file_steps(chart: &HelmChart, addon: &Addon, servers: &Servers<'_>, take_over: &str) -> String {
    let Meta { namespace, name, .. } = &chart.meta;
    let mut text = String::new();
    if !chart.is_unmanaged() {
        _ = writeln!(
            text,
            "# 1. the Helm controller leaves the release as it is\n\
             kubectl --namespace {namespace} annotate --overwrite helmcharts.helm.cattle.io {name} {UNMANAGED}=true"
        );
    }
    let others: Vec<_> =
        addon.kinds.iter().filter(|kind| !kind.starts_with("HelmChart")).map(String::as_str).collect();
    if !others.is_empty() {
        _ = writeln!(
            text,
            "# 2a. the file also has objects of {}: copy them to a file with another name",
            others.join(", ")
        );
    }
    let place = if servers.are_containers {
        "on the host of the servers, where it is mounted"
    } else {
        "on every server"
    };
    _ = write!(
        text,
        "# 2. {place} ({}), delete the file; do not empty or disable it, because then what was in it is deleted:\n\
         #    rm {}\n\
         # 3. let the servers forget the file\n\
         kubectl --namespace kube-system delete --ignore-not-found addons.k3s.cattle.io {}\n\
         # 4. take the release over\n\
         {take_over}",
        servers.names(),
        addon.source,
        addon.name,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity;
    use crate::check::options::CheckOptions;
    use crate::check::testing::World;
    use crate::desired::manifests::Manifests;
    use crate::desired::releases::parse;
    use crate::desired::{Desired, Helmfile, Kind};
    use crate::observed::Observed;
    use crate::observed::claims::{Claim, Claims};
    use crate::observed::helm_charts::ChartState;
    use crate::plan::helm_charts::tests::{addon, chart, unmanaged};

    fn answer(claims: Claims) -> Answer {
        let text = b"releases:\n- {name: cilium, namespace: kube-system, chart: c}\n- {name: flux-instance, namespace: flux-system, chart: 'oci://x/flux-instance'}\n";
        let helmfile = Helmfile {
            kind: Kind::Apps,
            path: "x".into(),
            releases: parse(text, "default").unwrap().releases,
            needs_identities: false,
        };
        let desired = Desired { helmfiles: vec![helmfile], ..Desired::default() };
        let facts = Facts {
            options: &CheckOptions::default(),
            desired: &desired,
            observed: &Observed::default(),
            manifests: &Manifests::default(),
        };
        check(&facts, &Live { claims: Ok(claims), ..Live::default() })
    }

    #[test]
    fn managers_are_reported_and_never_stop_a_run() {
        assert_eq!(answer(Claims::default()), Answer::Ok);
        let claim = Claim {
            manager: "HelmRelease kube-system/cilium".into(),
            release: "kube-system/cilium".into(),
            suspended: true,
        };
        let Answer::Found(found) = answer(Claims { helm_releases: vec![claim], ..Claims::default() }) else {
            panic!()
        };
        assert_eq!((found.len(), found[0].severity), (1, Severity::Info));
        assert_eq!(found[0].details[1].1, "HelmRelease kube-system/cilium");
        let Answer::Found(found) = answer(Claims { controllers: true, ..Claims::default() }) else {
            panic!()
        };
        assert_eq!((found.len(), found[0].severity), (1, Severity::Info));
        assert_eq!(found[0].details[0].1, "flux-system/flux-instance", "flux-operator is not managed");
    }

    /// The finding about Cilium, which this HelmChart installs.
    fn found(chart: HelmChart, adopt: bool) -> Finding {
        let mut world = World::healthy();
        world.server("b", &["server"]);
        if adopt {
            world.options.plan_options.take = vec!["cilium".to_owned()];
        }
        world.live_mut().claims = Ok(Claims { helm_charts: vec![chart], ..Claims::default() });
        let Answer::Found(mut found) = world.ask(&RULE) else { panic!() };
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    fn with_file(chart: HelmChart, kinds: &[&str]) -> HelmChart {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let addon = Addon { kinds, ..addon() };
        HelmChart { state: Ok(ChartState { addon: Some(addon), ..ChartState::default() }), ..chart }
    }

    #[test]
    fn a_file_on_the_servers_is_named_with_the_order_of_the_steps() {
        let steps = [
            "# 1. the Helm controller leaves the release as it is",
            "kubectl --namespace kube-system annotate --overwrite helmcharts.helm.cattle.io cilium helmcharts.helm.cattle.io/unmanaged=true",
            "# 2. on every server (a, b), delete the file; do not empty or disable it, because then what was in it is deleted:",
            "#    rm /var/lib/rancher/k3s/server/manifests/cilium.yaml",
            "# 3. let the servers forget the file",
            "kubectl --namespace kube-system delete --ignore-not-found addons.k3s.cattle.io cilium",
            "# 4. take the release over",
            "k3s-boot apps --adopt kube-system/cilium",
        ];
        let kinds = ["HelmChart", "HelmChartConfig"];
        let finding = found(with_file(chart(), &kinds), false);
        assert_eq!(finding.summary, "Release is managed by the Helm controller, and left alone");
        assert_eq!(finding.detail("file"), Some("/var/lib/rancher/k3s/server/manifests/cilium.yaml"));
        assert_eq!((finding.detail("servers"), finding.detail("reason")), (Some("a, b"), None));
        assert_eq!(finding.fix.unwrap(), steps.join("\n"));
        let finding = found(with_file(unmanaged(), &kinds), true);
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.summary, "Release cannot be taken over from the Helm controller yet");
        assert!(finding.detail("reason").unwrap().starts_with("the servers apply the HelmChart again"));
        assert_eq!(finding.fix.unwrap(), steps[2..].join("\n"));
        let fix = found(with_file(chart(), &["HelmChart", "Namespace", "Secret"]), false).fix.unwrap();
        assert!(
            fix.contains("\n# 2a. the file also has objects of Namespace, Secret: copy them to"),
            "{fix}"
        );
    }

    #[test]
    fn a_chart_without_a_file_is_taken_over_and_a_bundled_one_is_not() {
        let finding = found(chart(), false);
        assert_eq!(
            (finding.severity, finding.fix.as_deref()),
            (Severity::Info, Some("k3s-boot apps --adopt kube-system/cilium"))
        );
        let finding = found(chart(), true);
        assert_eq!(
            (finding.severity, finding.summary.as_str()),
            (Severity::Warning, "Release is adopted from its manager")
        );
        assert!(finding.detail("impact").unwrap().contains("the release stays"));
        let mut bundled = chart();
        bundled
            .meta
            .annotations
            .insert("objectset.rio.cattle.io/owner-name".to_owned(), "traefik".to_owned());
        let finding = found(bundled.clone(), false);
        assert_eq!((finding.severity, finding.fix), (Severity::Info, None));
        let finding = found(bundled, true);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.fix.unwrap().contains("--skip-release kube-system/cilium"));
    }
}
