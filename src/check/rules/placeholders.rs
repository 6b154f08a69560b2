//! Values contain no `${VAR}` placeholders.

use serde_json::Value;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::releases::Release;

/// Keys that contain these words hold scripts or manifests, in which other programs replace variables.
const SUBSTITUTED_ELSEWHERE: [&str; 12] = [
    "patch",
    "manifest",
    "objects",
    "resources",
    "extradeploy",
    "configmap",
    "command",
    "args",
    "script",
    "env",
    "lifecycle",
    "containers",
];

pub(super) const RULE: Rule = Rule {
    id: "placeholders",
    group: Group::Repository,
    title: "values contain no ${VAR} placeholders",
    why: "`${VAR}` is Flux's variable substitution (`postBuild.substitute`), which works on manifests that Flux \
          applies. helmfile does not substitute it: values copied from a HelmRelease reach the chart unchanged.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let wanted = facts.desired.releases().filter(|release| release.is_wanted());
    let mut inspection = facts.inspect_releases();
    for release in wanted {
        let values = release.merged();
        if values.as_object().is_some_and(|values| !values.is_empty()) {
            inspection.look(of_release(release, &values));
        }
    }
    inspection.answer("no release has values")
}

fn of_release(release: &Release, values: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    look(values, &mut Vec::new(), &mut |path, variable| {
        findings.push(
            Finding::warning(RULE.id, "Values contain a placeholder")
                .with("release", release.id())
                .with("key", path)
                .with("placeholder", format!("${{{variable}}}"))
                .fix(format!(
                    "{{{{ requiredEnv \"{variable}\" | quote }}}}  # in a values file that ends in .gotmpl"
                )),
        );
    });
    findings
}

fn look(value: &Value, path: &mut Vec<String>, found: &mut impl FnMut(String, &str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !is_substituted_elsewhere(key)) {
                path.push(key.clone());
                look(value, path, found);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push(index.to_string());
                look(value, path, found);
                path.pop();
            }
        }
        Value::String(text) if !is_document(text) => {
            if let Some(variable) = placeholder(text) {
                found(path.join("."), variable);
            }
        }
        _ => {}
    }
}

fn is_substituted_elsewhere(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SUBSTITUTED_ELSEWHERE.iter().any(|word| key.contains(word))
}

/// Whether the text is a script, a manifest or a configuration file.
fn is_document(text: &str) -> bool {
    let start = text.trim_start();
    text.contains('\n')
        && (start.starts_with(['#', '{', '[', '<']) || text.contains("apiVersion:") || text.contains("$("))
}

/// The name of the first variable in `${NAME}` or `${NAME:=default}`; `$${NAME}` is escaped.
fn placeholder(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        let closed = tail.starts_with('}') || tail.starts_with([':', '-', '=']) && tail.contains('}');
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if is_name && closed && !before.ends_with('$') {
            return Some(name);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;

    #[test]
    fn placeholders_are_found_with_their_key() {
        World::shipped().assert_found(&RULE, &[]);
        let world = World::with_values(
            "coredns",
            "1.45.0",
            "{service: {clusterIP: '${CLUSTER_DNS}'}, servers: [{zones: [{zone: 'a.${SECRET_DOMAIN:=x}.'}]}]}",
        );
        let found = "warning Values contain a placeholder";
        world.assert_found(&RULE, &[found, found]);
        assert_eq!(world.detail(&RULE, "key"), "servers.0.zones.0.zone");
        assert_eq!(world.detail(&RULE, "placeholder"), "${SECRET_DOMAIN}");
        assert!(world.fix(&RULE).starts_with("{{ requiredEnv \"SECRET_DOMAIN\" | quote }}"));
    }

    #[test]
    fn variables_of_other_programs_pass() {
        for values in [
            "{a: '$${VAR}'}",
            "{a: '$VAR'}",
            "{a: '${}'}",
            "{a: '${1}'}",
            "{a: '${VAR'}",
            "{a: '{$VAR}'}",
            "{a: '%{VAR}'}",
            "{instance: {kustomize: {patches: [{patch: 'x: ${VAR}'}]}}}",
            "{extraObjects: [{kind: ConfigMap, data: {a: '${VAR}'}}]}",
            "{extraEnv: [{name: A, value: '${VAR}'}]}",
            "{initContainers: [{image: '${VAR}'}]}",
            "{a: \"#!/bin/sh\\necho ${VAR}\"}",
            "{a: \"apiVersion: v1\\nkind: ConfigMap\\ndata: {a: ${VAR}}\"}",
        ] {
            World::with_values("a", "1.0.0", values).assert_found(&RULE, &[]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in crate::base::mutate::text(&["a.${SECRET_DOMAIN:=x}.$${VAR} ${} ${1} ${VAR"])) {
            _ = placeholder(&text);
            _ = placeholder(&near);
        }
    }
}
