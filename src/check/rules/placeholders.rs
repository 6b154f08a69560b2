//! Values contain no `${VAR}` placeholders, and none that became empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::releases::Release;
use crate::desired::substitutions::{Definition, HelmRelease, Placeholder, Substitutions, split};

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

/// How many paths of values a finding shows.
const MAX_PATHS: usize = 5;

pub(super) const RULE: Rule = Rule {
    id: "placeholders",
    group: Group::Repository,
    title: "values contain no ${VAR} placeholders",
    why: "`${VAR}` is Flux's variable substitution (`postBuild`), which works on manifests that Flux applies. helmfile \
          does not substitute it: values of a HelmRelease reach the chart unchanged. `expandenv` in a template does, but \
          replaces a variable that is not set, and each with a default, by nothing. A variable that nothing in the \
          repository defines may belong to the application, and is information only.",
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
            inspection.look(of_release(release, &values, &facts.desired.substitutions));
        }
    }
    inspection.answer("no release has values")
}

/// What became of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It is still there.
    Left,
    /// `expandenv` has replaced it by nothing.
    Emptied,
}

/// A text in values, which are a tree.
struct Leaf<'a> {
    path: Vec<String>,
    text: &'a str,
    /// Whether other programs replace variables in it, as far as its place and its form show that.
    is_program: bool,
}

fn of_release(release: &Release, values: &Value, known: &Substitutions) -> Vec<Finding> {
    let raw = known.helm_release(release);
    if raw.is_some_and(|raw| raw.is_excluded) {
        // Flux leaves its placeholders as they are too.
        return Vec::new();
    }
    let manifest = raw.map(|raw| raw.file.as_path());
    let mut found: BTreeMap<(Outcome, Severity, Placeholder), Vec<String>> = BTreeMap::new();
    let mut add = |outcome, text: &Leaf<'_>, placeholder: Placeholder| {
        let is_flux = known.definition(&placeholder.name, manifest).is_some()
            // Flux replaces every placeholder of a HelmRelease that it substitutes at all.
            || (placeholder.has_operator && known.is_used && raw.is_some());
        let severity = match (is_flux, text.is_program) {
            (true, _) => Severity::Warning,
            (false, false) if known.configured.contains(&placeholder.name) => Severity::Warning,
            (false, false) => Severity::Info,
            (false, true) => return,
        };
        let paths = found.entry((outcome, severity, placeholder)).or_default();
        let path = text.path.join(".");
        if !paths.contains(&path) {
            paths.push(path);
        }
    };
    for text in texts(values) {
        for (_, placeholder) in split(text.text).0 {
            add(Outcome::Left, &text, placeholder);
        }
    }
    for text in raw.into_iter().flat_map(|raw| texts(&raw.values)) {
        for placeholder in emptied(&text, values, known, manifest) {
            add(Outcome::Emptied, &text, placeholder);
        }
    }
    // One block for all variables: two with the same key cannot both be pasted.
    let is_missing = |name: &&str| !known.set.contains(*name) && known.environment_lines([*name]).is_some();
    let names = found.keys().map(|(_, _, placeholder)| placeholder.name.clone()).collect::<Vec<_>>();
    let missing: Vec<_> = names.iter().map(String::as_str).filter(is_missing).collect();
    let lines = known.environment_lines(missing.iter().copied());
    let findings = found.into_iter().map(|((outcome, severity, placeholder), paths)| {
        let lines = lines.as_deref().filter(|_| missing.contains(&placeholder.name.as_str()));
        finding(release, outcome, severity, &placeholder, &paths, (known, raw, lines))
    });
    findings.collect()
}

/// The placeholders of a text in a HelmRelease that are empty in the rendered values.
fn emptied(
    text: &Leaf<'_>,
    values: &Value,
    known: &Substitutions,
    manifest: Option<&Path>,
) -> Vec<Placeholder> {
    let (parts, rest) = split(text.text);
    // `expandenv` looks up all between the braces as a name.
    let is_empty = |one: &Placeholder| {
        let is_set = known.set.contains(&one.name);
        let is_right = !is_set && one.default.as_deref() == Some("");
        !is_right && (one.has_operator || !is_set)
    };
    if !parts.iter().any(|(_, one)| is_empty(one)) {
        return Vec::new();
    }
    let rendered = text.path.iter().try_fold(values, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    });
    let rendered = match rendered {
        Some(Value::String(rendered)) => rendered.clone(),
        Some(Value::Number(rendered)) => rendered.to_string(),
        Some(Value::Null) => String::new(),
        _ => return Vec::new(),
    };
    // Groups of placeholders that may be empty; a template may have replaced them by another way than `expandenv`.
    let mut pattern = "(?s)^".to_owned();
    let mut is_open = false;
    for (before, one) in &parts {
        let known_value = known.definition(&one.name, manifest).and_then(Definition::inline);
        let value = match known_value.or(one.default.as_deref()) {
            _ if known.set.contains(&one.name) => ".*".to_owned(),
            Some(value) => format!("{}|", regex::escape(value)),
            None => String::new(),
        };
        // Which of two neighbours is empty cannot be seen.
        if is_open && before.is_empty() {
            return Vec::new();
        }
        is_open = value == ".*";
        pattern += &regex::escape(before);
        _ = write!(pattern, "({value})");
    }
    pattern += &regex::escape(rest);
    let Ok(matches) = Regex::new(&format!("{pattern}\\s*$")) else { return Vec::new() };
    // YAML removes white space at both ends.
    let padded = [("", ""), ("", " "), (" ", ""), (" ", " ")];
    let groups = padded.iter().find_map(|(before, after)| {
        let text = format!("{before}{rendered}{after}");
        let groups = matches.captures(&text)?;
        let groups = groups.iter().skip(1).map(|group| group.is_none_or(|group| group.is_empty()));
        Some(groups.collect::<Vec<_>>())
    });
    let Some(groups) = groups else { return Vec::new() };
    let parts = parts.into_iter().map(|(_, one)| one).zip(groups);
    parts.filter(|(one, became_empty)| is_empty(one) && *became_empty).map(|(one, _)| one).collect()
}

fn finding(
    release: &Release,
    outcome: Outcome,
    severity: Severity,
    placeholder: &Placeholder,
    paths: &[String],
    (known, raw, environment): (&Substitutions, Option<&HelmRelease>, Option<&str>),
) -> Finding {
    let summary = match (outcome, severity) {
        (Outcome::Left, Severity::Warning) => "Values contain a placeholder",
        (Outcome::Left, _) => "Values contain a placeholder that nothing in the repository defines",
        (Outcome::Emptied, _) => "Placeholder became empty in values",
    };
    let name = placeholder.name.as_str();
    let mut finding = Finding { severity, ..Finding::warning(RULE.id, summary) }
        .with("release", release.id())
        .with("key", paths.iter().take(MAX_PATHS).map(String::as_str).collect::<Vec<_>>().join(", "))
        .with("placeholder", &placeholder.text);
    if paths.len() > MAX_PATHS {
        finding = finding.with("and_more", paths.len() - MAX_PATHS);
    }
    let definition = known.definition(name, raw.map(|raw| raw.file.as_path()));
    if let Some(definition) = definition {
        finding = finding.with("defined_in", definition.file().display());
    }
    // A variable with a value for each application cannot be one of the environment.
    let own = definition.and_then(Definition::inline).filter(|_| known.has_several_values(name));
    // The values of the template are those of the HelmRelease.
    let is_copied = outcome == Outcome::Emptied
        || raw.is_some_and(|raw| raw.values.to_string().contains(&json_inner(&placeholder.text)));
    let replace = replacement(release, outcome, severity, placeholder, own, is_copied);
    let is_set = own.is_some() || known.set.contains(name);
    let define = match environment.filter(|_| !is_set) {
        Some(lines) => Some(format!("add to k3s-boot.yaml:\n{lines}")),
        None if is_set || placeholder.default.is_some() => None,
        None if outcome == Outcome::Left && severity == Severity::Info => None,
        None => Some(format!("set {name} in your shell, or with `environment` in k3s-boot.yaml")),
    };
    let fix: Vec<_> = replace.into_iter().chain(define).collect();
    finding.fix(fix.join("\n"))
}

/// What to write in a template; none if `expandenv` only needs the variable. `own` is the value for this application.
fn replacement(
    release: &Release,
    outcome: Outcome,
    severity: Severity,
    placeholder: &Placeholder,
    own: Option<&str>,
    is_copied: bool,
) -> Option<String> {
    let Placeholder { name, text, has_operator, default } = placeholder;
    let quoted = |text: &str| Value::from(text).to_string();
    let value = match (own, default) {
        (Some(own), _) if own == release.name => ".Release.Name".to_owned(),
        (Some(own), _) => quoted(own),
        (None, Some(default)) => format!("env \"{name}\" | default {}", quoted(default)),
        (None, None) => format!("requiredEnv \"{name}\""),
    };
    let place = "in the template that reads the values of the HelmRelease";
    let is_plain = !has_operator && own.is_none();
    match (is_copied, is_plain) {
        (true, true) if outcome == Outcome::Emptied => None,
        (true, true) => Some(format!("| toYaml | expandenv  # {place}")),
        (true, false) => {
            let value = if value.contains(' ') && own.is_none() { format!("({value})") } else { value };
            Some(format!("| toYaml | replace {} {value} | expandenv  # {place}", quoted(text)))
        }
        (false, true) if severity == Severity::Warning => Some(format!(
            "{{{{ {value} | quote }}}}  # in a values file that ends in .gotmpl; or `{{{{ readFile \"FILE\" | expandenv }}}}` there, if Flux uses FILE too"
        )),
        (false, _) => Some(format!("{{{{ {value} | quote }}}}  # in a values file that ends in .gotmpl")),
    }
}

/// A text as it is in JSON, without the quotes.
fn json_inner(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.trim_matches('"').to_owned()
}

/// The texts in values, with their paths.
fn texts(values: &Value) -> Vec<Leaf<'_>> {
    let mut found = Vec::new();
    add_texts(values, &mut Vec::new(), false, &mut found);
    found
}

fn add_texts<'a>(value: &'a Value, path: &mut Vec<String>, is_program: bool, found: &mut Vec<Leaf<'a>>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                add_texts(value, path, is_program || is_substituted_elsewhere(key), found);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push(index.to_string());
                add_texts(value, path, is_program, found);
                path.pop();
            }
        }
        Value::String(text) if text.contains("${") => {
            let is_program = is_program || is_document(text);
            found.push(Leaf { path: path.clone(), text, is_program });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::substitutions::read;

    /// A world with a release `app` in `media`, and the files of its repository.
    fn world(values: &str, files: &[(&str, &str)], set: &[&str]) -> World {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let paths: Vec<_> = files.iter().map(|(name, _)| name.into()).collect();
        let mut world = World::of(&format!(
            "- name: app\n  namespace: media\n  chart: ./app\n  values:\n    - {values}\n"
        ));
        world.desired.substitutions = read(root.path(), paths.iter());
        world.desired.substitutions.set = set.iter().map(|name| (*name).to_owned()).collect();
        world
    }

    const SECRETS: (&str, &str) = (
        "cluster-secrets.sops.yaml",
        "kind: Secret\nmetadata: {name: cluster-secrets}\nstringData: {DOMAIN: 'ENC[x]'}\nsops: {mac: x}\n",
    );
    const KUSTOMIZATION: (&str, &str) = (
        "ks.yaml",
        "kind: Kustomization\nspec: {path: ./, postBuild: {substitute: {VIP: 10.0.0.9}, substituteFrom: [{kind: Secret, name: cluster-secrets}]}}\n",
    );

    fn helm_release(values: &str) -> String {
        format!("kind: HelmRelease\nmetadata: {{name: app, namespace: media}}\nspec:\n  values: {values}\n")
    }

    const FOUND: &str = "warning Values contain a placeholder";
    const UNDEFINED: &str = "info Values contain a placeholder that nothing in the repository defines";
    const EMPTY: &str = "warning Placeholder became empty in values";

    #[test]
    fn placeholder_that_the_repository_defines_is_found() {
        World::shipped().assert_found(&RULE, &[]);
        let values =
            "{host: 'a.${DOMAIN}', list: [{b: '${DOMAIN}'}], extraEnv: [{value: '${DOMAIN}/${OTHER}'}]}";
        let release = helm_release(values);
        let world = |set: &[&str]| world(values, &[SECRETS, ("hr.yaml", &release)], set);
        let unset = world(&[]);
        unset.assert_found(&RULE, &[FOUND]);
        assert_eq!(unset.detail(&RULE, "key"), "extraEnv.0.value, host, list.0.b");
        assert_eq!(unset.detail(&RULE, "placeholder"), "${DOMAIN}");
        assert_eq!(unset.detail(&RULE, "defined_in"), "cluster-secrets.sops.yaml");
        let expand = "| toYaml | expandenv  # in the template that reads the values of the HelmRelease";
        assert_eq!(
            unset.fix(&RULE),
            format!("{expand}\nadd to k3s-boot.yaml:\nenvironment:\n  files: [cluster-secrets.sops.yaml]")
        );
        assert_eq!(world(&["DOMAIN"]).fix(&RULE), expand);
        let mark = "annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}";
        let excluded = release.replace("namespace: media", &format!("namespace: media, {mark}"));
        self::world(values, &[SECRETS, ("hr.yaml", &excluded)], &[]).assert_found(&RULE, &[]);
    }

    /// Two blocks with the same key could not both be pasted.
    #[test]
    fn findings_of_a_release_share_one_block() {
        let values = "{a: '${DOMAIN}', b: '${VIP}'}";
        let files = [SECRETS, KUSTOMIZATION, ("hr.yaml", &helm_release(values))];
        let Answer::Found(findings) = world(values, &files, &[]).ask(&RULE) else { panic!("no findings") };
        let blocks: Vec<_> = findings
            .iter()
            .map(|finding| finding.fix.as_deref().unwrap().split_once("environment:").unwrap().1)
            .collect();
        let block = "\n  files: [cluster-secrets.sops.yaml]\n  variables:\n    VIP: \"10.0.0.9\"";
        assert_eq!(blocks, [block; 2]);
    }

    #[test]
    fn default_needs_more_than_expandenv() {
        let values = "{a: '${OTHER:=x \"y\"}'}";
        let release = helm_release(values);
        let files = [KUSTOMIZATION, ("hr.yaml", release.as_str())];
        let left = world(values, &files, &[]);
        left.assert_found(&RULE, &[FOUND]);
        let fix = left.fix(&RULE);
        let replace =
            r#"| toYaml | replace "${OTHER:=x \"y\"}" (env "OTHER" | default "x \"y\"") | expandenv  # in"#;
        assert!(fix.starts_with(replace) && !fix.contains('\n'), "{fix}");
        // Set or not, `expandenv` looks for a variable of another name.
        for set in [&[][..], &["OTHER"]] {
            let emptied = world("{a: null}", &files, set);
            emptied.assert_found(&RULE, &[EMPTY]);
            assert_eq!(emptied.fix(&RULE), fix);
        }
        // Without Flux' substitution it may be a variable of the application.
        world(values, &[("hr.yaml", release.as_str())], &[]).assert_found(&RULE, &[UNDEFINED]);
    }

    #[test]
    fn variable_that_became_empty_is_found() {
        let release = helm_release(
            "{a: '${DOMAIN}', b: 'x.${VIP}/${DOMAIN}', c: 'sh -c ${SHELL_VARIABLE}', args: ['${MINE}']}",
        );
        let files = [SECRETS, KUSTOMIZATION, ("hr.yaml", release.as_str())];
        let expanded = world("{a: null, b: x.10.0.0.9/, c: 'sh -c', args: [null]}", &files, &["VIP"]);
        expanded.assert_found(&RULE, &["info Placeholder became empty in values", EMPTY]);
        let values = "{a: example.org, b: x.10.0.0.9/example.org, c: other, args: [x]}";
        world(values, &files, &["VIP"]).assert_found(&RULE, &[]);
        world("{a: null, b: 'x./'}", &files, &["VIP", "DOMAIN"]).assert_found(&RULE, &[]);
        let inline = world("{b: x./example.org}", &files, &["DOMAIN"]);
        assert_eq!(inline.detail(&RULE, "key"), "b");
        assert_eq!(
            inline.fix(&RULE),
            "add to k3s-boot.yaml:\nenvironment:\n  variables:\n    VIP: \"10.0.0.9\""
        );
    }

    #[test]
    fn variable_of_each_application_is_replaced() {
        let values = "{a: '${APP}', b: '${APP}-${PART}'}";
        let release = helm_release(values);
        let kustomization = |app: &str, part: &str| {
            format!(
                "kind: Kustomization\nspec: {{path: ./{app}, postBuild: {{substitute: {{APP: {app}, PART: {part}}}}}}}\n"
            )
        };
        let (app, other) = (kustomization("app", "one"), kustomization("other", "two"));
        let files = [("app/hr.yaml", release.as_str()), ("ks.yaml", &app), ("x.yaml", &other)];
        let left = world(values, &files, &[]);
        left.assert_found(&RULE, &[FOUND, FOUND]);
        let place = "| expandenv  # in the template that reads the values of the HelmRelease";
        assert_eq!(left.fix(&RULE), format!("| toYaml | replace \"${{APP}}\" .Release.Name {place}"));
        let emptied = world("{a: app, b: 'app-'}", &files, &[]);
        emptied.assert_found(&RULE, &[EMPTY]);
        assert_eq!(emptied.fix(&RULE), format!("| toYaml | replace \"${{PART}}\" \"one\" {place}"));
        world("{a: app, b: app-one}", &files, &[]).assert_found(&RULE, &[]);
    }

    #[test]
    fn undefined_placeholder_is_information() {
        let values =
            "{service: {clusterIP: '${CLUSTER_DNS}'}, servers: [{zones: [{zone: 'a.${DATA:=x}.'}]}]}";
        let world = World::with_values("coredns", "1.45.0", values);
        world.assert_found(&RULE, &[UNDEFINED, UNDEFINED]);
        assert_eq!(world.detail(&RULE, "key"), "service.clusterIP");
        assert_eq!(
            world.fix(&RULE),
            "{{ requiredEnv \"CLUSTER_DNS\" | quote }}  # in a values file that ends in .gotmpl"
        );
        // Variables of the configuration are meant for values.
        let mut world = world;
        world.desired.substitutions.configured.insert("CLUSTER_DNS".to_owned());
        world.assert_found(&RULE, &[UNDEFINED, FOUND]);
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
}
