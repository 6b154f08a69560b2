//! Charts can be rendered with the values they get.

use crate::check::{Answer, Check, Facts, Finding, Group, NOTHING_RENDERED, Rule, Severity, scheduling};
use crate::desired::releases::Release;
use crate::diagnose::known::{Known, find};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "renders",
    group: Group::Releases,
    title: "charts can be rendered with their values",
    why: "Helm refuses values that a chart's schema forbids, and whatever a template of it fails with, when it comes to that \
          release, with the ones before it installed. What a template says may be otherwise once CRDs are there, so that is a \
          warning only.",
    essential: false,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, _: &Live) -> Answer {
    let mut inspection = scheduling::inspect(facts);
    for (release, objects) in &facts.manifests.0 {
        match objects {
            Ok(_) => inspection.look(None),
            // All that was rendered together has the same reason, and one of them has brought it about.
            Err(reason) if is_about(facts, release, reason) => inspection.look(found(release, reason)),
            Err(_) => {}
        }
    }
    inspection.answer(NOTHING_RENDERED)
}

/// Whether helm's words name the chart of this release: `NAME/templates/…`, or `NAME:` before what its schema says.
fn is_about(facts: &Facts<'_>, release: &str, reason: &str) -> bool {
    let releases = || facts.desired.helmfiles.iter().flat_map(|helmfile| &helmfile.releases);
    let chart = releases().find(|one| one.id() == release).map(Release::chart_name);
    chart.is_some_and(|chart| {
        let words =
            [format!("({chart}/"), format!(": {chart}/"), format!("; {chart}:"), format!(" {chart}: -")];
        words.iter().any(|words| reason.contains(words))
    })
}

fn found(release: &str, reason: &str) -> Option<Finding> {
    let known @ Known { id, cause, .. } = find(reason)?;
    let severity = match *id {
        // A key that the chart does not know is told, with those that it knows, where values are looked at.
        "values-schema" if !reason.contains("additional propert") => Severity::Error,
        "template" => Severity::Warning,
        _ => return None,
    };
    let finding = Finding { severity, ..Finding::error(RULE.id, "Chart cannot be rendered with its values") };
    let finding = finding.with("release", release).with("reason", reason).with("cause", cause);
    Some(finding.fix(known.fix(release, None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity::{Error, Warning};
    use crate::check::testing::World;

    const MESSAGE: &str = "Chart cannot be rendered with its values";

    /// All apps are rendered by one helmfile, so they have the same reason.
    fn failing(reason: &str) -> World {
        let mut world = World::healthy();
        for (release, objects) in &mut world.manifests.0 {
            if !release.starts_with("monitoring/") {
                *objects = Err(reason.to_owned());
            }
        }
        world
    }

    #[test]
    fn a_schema_is_an_error_and_a_template_a_warning() {
        assert_eq!(World::healthy().ask(&RULE), Answer::Ok);
        let schema = failing(
            "values don't meet the specifications of the schema(s) in the following chart(s):; cert-manager:; - at \
             '/replicaCount': got string, want number",
        );
        assert_eq!(schema.found(&RULE), [(Error, MESSAGE.to_owned())]);
        assert_eq!(schema.pair(&RULE, "release"), "cert-manager/cert-manager");
        let template = failing(
            "execution error at (cilium/templates/validate.yaml:5:3): Hubble UI requires .Values.hubble.relay.enabled=true",
        );
        assert_eq!(template.found(&RULE), [(Warning, MESSAGE.to_owned())]);
        assert_eq!(template.pair(&RULE, "release"), "kube-system/cilium");
    }

    #[test]
    fn what_other_rules_tell_or_crds_mend_is_unknown() {
        for reason in [
            "values don't meet the specifications of the schema(s) in the following chart(s):; cert-manager:; - at '/crds': \
             additional properties 'when' not allowed",
            "execution error at (cilium/templates/validate.yaml:18:7): Service Monitor requires monitoring.coreos.com/v1 CRDs",
            "its chart is not on this machine",
        ] {
            assert!(matches!(failing(reason).ask(&RULE), Answer::Unknown(_)), "{reason}");
        }
    }
}
