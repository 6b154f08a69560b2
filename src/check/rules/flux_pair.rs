//! flux-operator, flux-instance and the Flux manifests have matching versions.

use semver::Version;
use serde_json::Value;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Inspection, NO_RELEASES, Needs, OPEN, Rule};
use crate::desired::STAND_IN;
use crate::desired::releases::Release;

/// The first flux-operator version that builds every Flux version: older ones fail with 2.9 and later, which `latest` is.
const BUILDS_ALL: Version = Version::new(0, 54, 0);

/// The newest minor version of Flux 2 that flux-operator versions before [`BUILDS_ALL`] build.
const NEWEST_BUILT: u64 = 8;

const MANIFESTS: &str = "oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests";

pub(super) const RULE: Rule = Rule {
    id: "flux-pair",
    group: Group::Repository,
    title: "flux-operator and flux-instance match",
    why: "flux-operator before 0.54.0 cannot build Flux 2.9, which `flux-operator-manifests:latest` contains since \
          2026-06-30: the FluxInstance stays Stalled with `doc is missing path: \"/spec/versions/1/schema…` \
          (fluxcd/flux2#5965), while Helm reports the release as deployed.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let pair = facts
        .release_of_chart("flux-operator")
        .and_then(|operator| facts.release_of_chart("flux-instance").map(|instance| (operator, instance)));
    let (operator, instance) = match pair {
        Ok(pair) => pair,
        Err(answer) => return answer,
    };
    let desired = facts.desired;
    let unknown = |release: &Release| format!("the version of {} is unknown", release.chart);
    let Some(version) = desired.chart_version(operator) else {
        return Answer::Unknown(unknown(operator));
    };
    let mut inspection = Inspection::default();
    match desired.chart_version(instance) {
        None => inspection.miss(unknown(instance)),
        Some(other) => inspection.look((other != version).then(|| {
            Finding::warning(RULE.id, "Charts flux-operator and flux-instance have different versions")
                .with("flux_operator", &version)
                .with("flux_instance", other)
                .fix(format!("version: {version}  # of the release {}", instance.id()))
        })),
    }
    let values = desired.values(instance);
    let distribution = values.pointer("/instance/distribution").unwrap_or(&Value::Null);
    if text(distribution, "artifact").contains(STAND_IN) {
        inspection.miss(OPEN);
    } else {
        inspection.look(manifests(&version, instance, distribution));
    }
    inspection.answer(NO_RELEASES)
}

/// What is wrong with the manifests that flux-operator builds.
fn manifests(operator: &Version, instance: &Release, distribution: &Value) -> Option<Finding> {
    let artifact = text(distribution, "artifact");
    let found = |finding: Finding| {
        finding
            .with("release", instance.id())
            .with("artifact", if artifact.is_empty() { "the default, `latest`" } else { artifact })
            .with("flux_operator", operator)
            .fix(format!("instance:\n  distribution:\n    artifact: {MANIFESTS}:v{operator}"))
    };
    match tag(artifact) {
        Some("latest") if *operator >= BUILDS_ALL => None,
        Some("latest") => match minor(&version(distribution)) {
            Minor::Pinned(minor) if minor <= NEWEST_BUILT => None,
            Minor::Unclear => {
                Some(found(Finding::warning(RULE.id, "Flux manifests may be too new for flux-operator")))
            }
            Minor::Pinned(_) | Minor::Newest => {
                Some(found(Finding::error(RULE.id, "Flux manifests are too new for flux-operator")))
            }
        },
        Some(tag) if tag.trim_start_matches('v') != operator.to_string() => {
            Some(found(Finding::warning(RULE.id, "Flux manifests belong to another flux-operator version")))
        }
        _ => None,
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The requested Flux version; `2.7` without quotes is a number.
fn version(distribution: &Value) -> String {
    match distribution.get("version") {
        Some(Value::String(version)) => version.clone(),
        Some(Value::Number(version)) => version.to_string(),
        _ => String::new(),
    }
}

/// The tag of the manifests; none if a digest pins them, or if they are not those of flux-operator.
fn tag(artifact: &str) -> Option<&str> {
    if artifact.is_empty() {
        return Some("latest");
    }
    let (name, digest) =
        artifact.split_once('@').map_or((artifact, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let (image, tag) = last.split_once(':').map_or((last, None), |(image, tag)| (image, Some(tag)));
    match (image, tag) {
        ("flux-operator-manifests", Some(tag)) if tag != "latest" || digest.is_none() => Some(tag),
        ("flux-operator-manifests", None) if digest.is_none() => Some("latest"),
        _ => None,
    }
}

/// The requested minor version of Flux 2.
enum Minor {
    Pinned(u64),
    Newest,
    Unclear,
}

/// `2.7.x`, `2.7.5` and `2.7` pin a minor; `2.x`, the chart's default, is the newest; other ranges are not checked.
fn minor(version: &str) -> Minor {
    if version.is_empty() || matches!(version, "2.x" | "2.*" | "2" | "*" | "x") {
        return Minor::Newest;
    }
    let mut parts = version.trim_start_matches(['v', '=', '~', ' ']).split('.');
    let (major, minor) = (parts.next(), parts.next().and_then(|minor| minor.parse().ok()));
    let plain = parts.all(|part| part == "x" || part == "*" || part.parse::<u64>().is_ok());
    match (major, minor) {
        (Some("2"), Some(minor)) if plain => Minor::Pinned(minor),
        _ => Minor::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::release_id::ReleaseId;
    use crate::check::fixture::World;

    fn world(operator: &str, instance: &str, distribution: &str) -> World {
        World::of(&format!(
            "- {{name: flux-operator, chart: 'oci://r/flux-operator', version: {operator}}}\n\
             - {{name: flux-instance, chart: 'oci://r/flux-instance', version: {instance}, \
             values: [{{instance: {{distribution: {{{distribution}}}}}}}]}}\n"
        ))
    }

    const TOO_NEW: &str = "error Flux manifests are too new for flux-operator";
    const UNCLEAR: &str = "warning Flux manifests may be too new for flux-operator";
    const OTHER: &str = "warning Flux manifests belong to another flux-operator version";
    const DIFFER: &str = "warning Charts flux-operator and flux-instance have different versions";

    #[test]
    fn the_pair_and_its_manifests() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/flux-operator'}\n")
            .assert_found(&RULE, &["- no release uses the chart `flux-instance`"]);
        let own = "artifact: 'oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:v0.37.1'";
        let latest = "artifact: 'oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:latest'";
        let cases: [(&str, &str, &str, &[&str]); 17] = [
            ("0.37.1", "0.37.1", own, &[]),
            ("0.37.1", "0.37.1", "", &[TOO_NEW]),
            ("0.37.1", "0.37.1", latest, &[TOO_NEW]),
            ("0.37.1", "0.37.1", "version: 2.x", &[TOO_NEW]),
            ("0.37.1", "0.37.1", "version: 2.9.x", &[TOO_NEW]),
            ("0.37.1", "0.37.1", "version: 2.7.x", &[]),
            ("0.37.1", "0.37.1", "version: '=2.7.5'", &[]),
            ("0.37.1", "0.37.1", "version: 2.7", &[]),
            ("0.37.1", "0.37.1", "version: '>=2.7 <2.9'", &[UNCLEAR]),
            ("0.58.1", "0.58.1", "", &[]),
            ("0.38.1", "0.38.1", own, &[OTHER]),
            ("0.37.1", "0.36.0", own, &[DIFFER]),
            ("0.36.0", "0.37.1", "", &[DIFFER, TOO_NEW]),
            (
                "0.37.1",
                "0.37.1",
                "artifact: 'oci://harbor.example/flux-operator-manifests:v0.30.0'",
                &[OTHER],
            ),
            ("0.37.1", "0.37.1", "artifact: 'oci://harbor.example/mine:latest'", &[]),
            ("0.37.1", "0.37.1", "artifact: 'oci://x:5000/flux-operator-manifests:latest@sha256:00'", &[]),
            (
                "0.37.1",
                "0.37.1",
                "artifact: stand-in.invalid",
                &["unknown a variable that the values use is not set"],
            ),
        ];
        for (operator, instance, distribution, expected) in cases {
            let world = world(operator, instance, distribution);
            println!("{operator} {instance} {distribution}");
            world.assert_found(&RULE, expected);
        }
        let fix = world("0.37.1", "0.37.1", "").fix(&RULE);
        assert!(
            fix.ends_with("artifact: oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:v0.37.1")
        );
    }

    #[test]
    fn a_version_range_is_unknown_unless_the_chart_was_downloaded() {
        let mut world = world("'>=0'", "'>=0'", "");
        world.assert_found(&RULE, &["unknown the version of oci://r/flux-operator is unknown"]);
        for name in ["flux-operator", "flux-instance"] {
            let chart = crate::check::fixture::chart(name, "0.37.1").unwrap();
            world.desired.charts.insert(ReleaseId::new("default", name), chart);
        }
        world.assert_found(&RULE, &[TOO_NEW]);
    }
}
