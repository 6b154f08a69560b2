//! A release installs cert-manager's custom resource definitions.

use serde_json::Value;

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::desired::releases::Release;

const KIND: &str = "certificates.cert-manager.io";

/// The values with which the chart installs them, the newer one first.
const SWITCHES: [&[&str]; 2] = [&["crds", "enabled"], &["installCRDs"]];

pub(super) const RULE: Rule = Rule {
    id: "cert-manager-crds",
    group: Group::Repository,
    title: "a release installs cert-manager's CRDs",
    why: "By default, the chart does not install its CRDs (`crds.enabled: false`). Without them, the controller \
          crash-loops, and the API check of the chart (startupapicheck) fails the release.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let desired = facts.desired;
    let release = match facts.release_of_chart("cert-manager") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let live = facts.observed.live.as_ref().and_then(|live| live.kinds.as_ref().ok());
    if desired.releases_of_chart("cert-manager").any(|release| installs_crds(&desired.values(release)))
        || live.is_some_and(|kinds| kinds.named(KIND).is_some())
        || is_rendered(facts)
    {
        return Answer::Ok;
    }
    if SWITCHES.iter().any(|path| release.is_open(path)) {
        return Answer::unknown(OPEN);
    }
    let others = others(facts, release);
    // A helmfile that was not read may have a release for them.
    if let Some(reason) = desired.unread().filter(|_| !matches!(others, Others::Theirs)) {
        return Answer::Unknown(reason);
    }
    let severity = match others {
        Others::Theirs => return Answer::Ok,
        Others::Perhaps => Severity::Warning,
        Others::None => Severity::Error,
    };
    let finding = Finding::error(RULE.id, "No release installs cert-manager's CRDs")
        .with("release", release.id())
        .with("key", "crds.enabled")
        .fix("crds:\n  enabled: true");
    Answer::Found(vec![Finding { severity, ..finding }])
}

fn installs_crds(values: &Value) -> bool {
    [values.pointer("/crds/enabled"), values.get("installCRDs")].contains(&Some(&Value::Bool(true)))
}

/// Whether a rendered release contains them.
fn is_rendered(facts: &Facts<'_>) -> bool {
    facts.manifests.objects().any(|(_, object)| {
        object.get("kind").is_some_and(|kind| kind == "CustomResourceDefinition")
            && object.pointer("/metadata/name").is_some_and(|name| name == KIND)
    })
}

/// Whether another release installs the CRDs.
enum Others {
    None,
    /// Its name says CRDs, but not whose.
    Perhaps,
    Theirs,
}

fn others(facts: &Facts<'_>, release: &Release) -> Others {
    let wanted = facts.desired.releases().filter(|other| other.is_wanted() && other.id() != release.id());
    // These are known to install other CRDs.
    let wanted = wanted.filter(|other| !other.chart_name().starts_with("prometheus-operator"));
    let mut found = Others::None;
    for other in wanted {
        let about = |word: &str| other.name.contains(word) || other.chart.contains(word);
        if about("crd") && about("cert-manager") {
            return Others::Theirs;
        }
        if about("crd") {
            found = Others::Perhaps;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::Kind;
    use crate::observed::Live;
    use crate::observed::kinds::{Kinds, Resource};

    const FOUND: &str = "No release installs cert-manager's CRDs";

    fn world(values: &str) -> World {
        World::with_values("cert-manager", "v1.19.2", values)
    }

    #[test]
    fn the_chart_installs_them_on_request() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `cert-manager`"]);
        world("{crds: {enabled: true}}").assert_found(&RULE, &[]);
        world("{installCRDs: true}").assert_found(&RULE, &[]);
        for values in ["{}", "{crds: {enabled: false}}", "{crds: {keep: true}}"] {
            world(values).assert_found(&RULE, &[&format!("error {FOUND}")]);
        }
    }

    #[test]
    fn other_releases_may_install_them() {
        let with = |release: &str| {
            let mut world = world("{}");
            world.add(Kind::Crds, &format!("- {{{release}}}\n"));
            world
        };
        let own = "name: cert-manager, namespace: x, chart: 'oci://r/cert-manager', values: [{crds: {enabled: true}}]";
        with(own).assert_found(&RULE, &[]);
        with("name: cert-manager-crds, chart: ./crds").assert_found(&RULE, &[]);
        with("name: crds, chart: ./all").assert_found(&RULE, &[&format!("warning {FOUND}")]);
        with("name: prometheus-operator-crds, chart: 'oci://r/prometheus-operator-crds'")
            .assert_found(&RULE, &[&format!("error {FOUND}")]);

        let mut there = world("{}");
        let mut kinds = Kinds::default();
        let (plural, group) = KIND.split_once('.').unwrap();
        let resource = Resource { plural: plural.to_owned(), group: group.to_owned(), ..Resource::default() };
        kinds.add("Certificate", resource);
        there.observed.live = Some(Live { kinds: Ok(kinds), ..Live::default() });
        there.assert_found(&RULE, &[]);
        let mut rendered = world("{}");
        let object = serde_json::json!({"kind": "CustomResourceDefinition", "metadata": {"name": KIND}});
        rendered.manifests.objects.insert("x/crds".into(), Ok(vec![object]));
        rendered.assert_found(&RULE, &[]);
    }
}
