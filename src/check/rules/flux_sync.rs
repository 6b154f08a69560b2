//! Flux has a source to sync.

use serde_json::Value;

use crate::check::{Answer, Check, Facts, Finding, Group, Inspection, NO_RELEASES, Needs, OPEN, Rule};
use crate::desired::STAND_IN;

pub(super) const RULE: Rule = Rule {
    id: "flux-sync",
    group: Group::Repository,
    title: "Flux has a source to sync",
    why: "Without `instance.sync.url`, a FluxInstance becomes Ready and syncs nothing. With it, the chart renders a \
          missing `ref` or `path` as null.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let release = match facts.release_of_chart("flux-instance") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let values = facts.desired.values(release);
    let sync = values.pointer("/instance/sync").unwrap_or(&Value::Null);
    let text = |key: &str| sync.get(key).and_then(Value::as_str).unwrap_or_default();
    let found = |message: &str| Finding::warning(RULE.id, message).with("release", release.id());
    if text("url").is_empty() {
        let fix = "instance:\n  sync:\n    kind: GitRepository\n    url: https://github.com/ME/home.git\n    \
                   ref: refs/heads/main\n    path: kubernetes/flux/cluster\n    pullSecret: SECRET  # of a private repository";
        let found = found("Flux has no source to sync");
        return Answer::Found(vec![found.with("key", "instance.sync.url").fix(fix)]);
    }
    // A bucket has no references.
    let needed = [("ref", "refs/heads/main"), ("path", "kubernetes/flux/cluster")];
    let needed = needed.into_iter().filter(|(key, _)| text(key).is_empty());
    let needed = needed.filter(|(key, _)| *key == "path" || text("kind") != "Bucket");
    let findings = needed.map(|(key, example)| {
        found("Flux source is incomplete")
            .with("key", format!("instance.sync.{key}"))
            .fix(format!("instance:\n  sync:\n    {key}: {example}"))
    });
    let mut inspection = Inspection::default();
    inspection.look(findings);
    if ["url", "ref", "path", "kind"].iter().any(|key| text(key).contains(STAND_IN)) {
        inspection.miss(OPEN);
    }
    inspection.answer(NO_RELEASES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;

    #[test]
    fn the_source_is_complete() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `flux-instance`"]);
        let nothing = "warning Flux has no source to sync";
        let half = "warning Flux source is incomplete";
        let cases: [(&str, &[&str]); 8] = [
            ("{}", &[nothing]),
            ("{instance: {sync: {}}}", &[nothing]),
            ("{instance: {sync: {url: ''}}}", &[nothing]),
            (
                "{instance: {sync: {url: stand-in.invalid, ref: x, path: y}}}",
                &["unknown a variable that the values use is not set"],
            ),
            ("{instance: {sync: {url: x}}}", &[half, half]),
            ("{instance: {sync: {url: x, ref: y}}}", &[half]),
            ("{instance: {sync: {url: x, path: y}}}", &[half]),
            ("{instance: {sync: {kind: Bucket, url: x, path: y}}}", &[]),
        ];
        for (values, expected) in cases {
            World::with_values("flux-instance", "0.37.1", values).assert_found(&RULE, expected);
        }
    }
}
