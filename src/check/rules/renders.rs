//! Charts render with their values.

use std::collections::BTreeSet;

use super::values_keys;
use crate::base::finding::{Finding, Severity};
use crate::base::known_failures::{Origin, find};
use crate::base::release_id::ReleaseId;
use crate::check::{Answer, Check, Facts, Group, NOTHING_RENDERED, Needs, Rule, scheduling};
use crate::desired::manifests::RenderFailure;
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::plan::needs_rendering;

pub(super) const RULE: Rule = Rule {
    id: "renders",
    group: Group::Releases,
    title: "charts render with their values",
    why: "Helm rejects values that violate the schema of a chart, and reports errors of its templates, only when it \
          reaches that release, after the ones before it are installed. A template that depends on the cluster \
          (`lookup`, `.Capabilities`) may succeed there, so it is only a warning.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let mut inspection = scheduling::inspect(facts);
    let manifests = facts.manifests;
    manifests.objects.values().filter(|objects| objects.is_ok()).for_each(|_| inspection.look(None));
    let is_synced =
        |release: &&Release| needs_rendering(release, facts.desired, live, &facts.options.plan_options);
    let synced: BTreeSet<_> = facts.desired.releases().filter(is_synced).map(Release::id).collect();
    let failures = manifests.failures.iter().filter(|(release, _)| synced.contains(*release));
    inspection.find(failures.filter_map(|(release, failure)| found(facts, release, failure)));
    inspection.answer(NOTHING_RENDERED)
}

/// The finding, unless another rule reports it or the problem may be gone when the release is synced.
fn found(facts: &Facts<'_>, release: &ReleaseId, failure: &RenderFailure) -> Option<Finding> {
    let RenderFailure { reason, depends_on_cluster } = failure;
    let known = find(Origin::Template, reason);
    match known.map(|known| known.id) {
        Some("values-schema") if has_only_unknown_keys(reason) && is_rejected_key(facts, release) => {
            return None;
        }
        // `helm-features` looks for the plugin or program.
        None if reason.contains("--post-renderer") => return None,
        // `kube-version` compares the cluster's version, and helm has compared its own.
        None if reason.contains("which is incompatible with Kubernetes") => return None,
        Some("values-schema" | "template") | None => {}
        Some(_) => return None,
    }
    let severity = if *depends_on_cluster { Severity::Warning } else { Severity::Error };
    let finding = Finding { severity, ..Finding::error(RULE.id, "Chart cannot be rendered with its values") };
    let finding = finding.with("release", release).with("reason", reason);
    Some(match known {
        Some(known) => finding.with("cause", known.cause).fix(known.fix(release, None)),
        None => finding,
    })
}

/// Whether the only violations of the schema are unknown keys.
fn has_only_unknown_keys(reason: &str) -> bool {
    let mut violations = reason.split("- at '").skip(1).peekable();
    violations.peek().is_some() && violations.all(|violation| violation.contains("additional propert"))
}

/// Whether `values-keys` reports a rejected key of this release, with a suggestion.
fn is_rejected_key(facts: &Facts<'_>, release: &ReleaseId) -> bool {
    let Answer::Found(findings) = values_keys::RULE.ask(facts) else { return false };
    let is_rejected = |finding: &Finding| {
        finding.severity == Severity::Error
            && finding.details.iter().any(|(key, value)| *key == "release" && *value == release.to_string())
    };
    findings.iter().any(is_rejected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::{Error, Warning};
    use crate::check::testing::World;
    use crate::desired::chart::Chart;

    const MESSAGE: &str = "Chart cannot be rendered with its values";

    /// A cluster in which helm cannot render this release.
    fn failing(release: &ReleaseId, reason: &str, depends_on_cluster: bool) -> World {
        let mut world = World::healthy();
        let failure = RenderFailure { reason: reason.to_owned(), depends_on_cluster };
        world.manifests.objects.insert(release.to_owned(), Err(reason.to_owned()));
        world.manifests.failures.insert(release.to_owned(), failure);
        world
    }

    #[test]
    fn a_chart_that_does_not_render_is_an_error() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        for (release, reason) in [
            (
                "cert-manager/cert-manager",
                "values don't meet the specifications of the schema(s) in the following chart(s): cert-manager:; - at \
                 '/replicaCount': got string, want number; - at '/crds': additional properties 'when' not allowed",
            ),
            (
                "kube-system/cilium",
                "execution error at (cilium/templates/validate.yaml:5:3): Hubble UI requires .Values.hubble.relay.enabled=true",
            ),
            // Helm 4, and Helm 3.
            (
                "kube-system/coredns",
                "coredns/templates/x.yaml:4:20; executing \"coredns/templates/x.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b",
            ),
            (
                "kube-system/coredns",
                "template: coredns/templates/x.yaml:4:20: executing \"coredns/templates/x.yaml\" at <.Values.a.b>: nil pointer evaluating \
                 interface {}.b",
            ),
            (
                "kube-system/coredns",
                "YAML parse error on coredns/templates/x.yaml: error converting YAML to JSON: yaml: line 3",
            ),
            ("kube-system/coredns", "found in Chart.yaml, but missing in charts/ directory: x"),
        ] {
            let world = failing(&release.into(), reason, false);
            assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())], "{reason}");
            assert_eq!(world.detail(&RULE, "release"), release);
            assert_eq!(world.detail(&RULE, "reason"), reason);
            let warning = failing(&release.into(), reason, true);
            assert_eq!(warning.found(&RULE), [(Warning, MESSAGE.to_owned())], "{reason}");
        }
    }

    #[test]
    fn failures_of_other_rules_and_missing_crds_are_unknown() {
        let release = "kube-system/cilium";
        for reason in [
            "execution error at (cilium/templates/validate.yaml:18:7): Service Monitor requires monitoring.coreos.com/v1 CRDs",
            "chart requires kubeVersion: >= 1.99.0-0 which is incompatible with Kubernetes v1.36.0",
            "helm ended: signal: killed",
            "invalid argument \"bash\" for \"--post-renderer\" flag: plugin: {Name:bash Type:postrenderer/v1} not found",
        ] {
            assert!(
                matches!(failing(&release.into(), reason, false).ask(&RULE), Answer::Unknown(_)),
                "{reason}"
            );
        }
        // The failure is not assigned to a release.
        let mut world = World::healthy();
        world.manifests.objects.insert(release.into(), Err("template: x: executing".to_owned()));
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)));
    }

    #[test]
    fn a_rejected_key_is_reported_once() {
        let release = "cert-manager/cert-manager";
        let reason = "values don't meet the specifications of the schema(s) in the following chart(s): cert-manager:; - at '/crds': \
                      additional properties 'when' not allowed";
        let mut world = failing(&release.into(), reason, false);
        assert_eq!(world.found(&RULE), [(Error, MESSAGE.to_owned())], "no other rule reports it");
        let schema = r#"{"properties":{"crds":{"properties":{"enabled":{}},"additionalProperties":false}}}"#;
        let chart = Chart {
            name: "cert-manager".to_owned(),
            values: "crds: {enabled: false}\n".to_owned(),
            schema: Some(schema.to_owned()),
            ..Chart::default()
        };
        world.desired.charts.insert(release.into(), chart);
        world.values("cert-manager", "crds: {enabled: true, when: now}");
        assert!(matches!(world.ask(&RULE), Answer::Unknown(_)), "{:?}", world.ask(&RULE));
    }
}
