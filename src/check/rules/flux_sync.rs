//! Flux has a source to sync.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::base::finding::Finding;
use crate::base::url::{Url, without_credentials};
use crate::check::cluster_identity::repository;
use crate::check::{Answer, Check, Facts, Group, Inspection, NO_RELEASES, Needs, OPEN, Rule};
use crate::desired::STAND_IN;
use crate::desired::sync::SyncObjects;
use crate::desired::synced::below;

pub(super) const RULE: Rule = Rule {
    id: "flux-sync",
    group: Group::Repository,
    title: "Flux has a source to sync",
    why: "Without `instance.sync.url`, a FluxInstance becomes Ready and syncs nothing. With it, the chart renders a \
          missing `ref` or `path` as null. Flux rejects `git@host:me/home.git` and a branch name instead of \
          `refs/heads/main` only after everything is installed.",
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
    let reference = match text("kind") {
        "Bucket" => "my-bucket  # the name of the bucket",
        "OCIRepository" => "latest",
        _ => "refs/heads/main",
    };
    let needed = [("ref", reference), ("path", "kubernetes/flux/cluster")];
    let needed = needed.into_iter().filter(|(key, _)| text(key).is_empty());
    let findings = needed.map(|(key, example)| {
        found("Flux source is incomplete")
            .with("key", format!("instance.sync.{key}"))
            .fix(format!("instance:\n  sync:\n    {key}: {example}"))
    });
    let mut inspection = Inspection::default();
    inspection.look(findings);
    let SyncObjects { source, kustomization } = facts.desired.sync_objects(release);
    match &source {
        Some(source) => inspection.find(problems(source).into_iter().map(|problem| {
            let Problem { key, value, reason, fix } = problem;
            let severity = facts.severity_for(release);
            Finding { severity, ..found("Flux cannot sync from this source") }
                .with("key", format!("instance.sync.{key}"))
                .with("value", value)
                .with("reason", reason)
                .fix(format!("instance:\n  sync:\n    {fix}"))
        })),
        None => inspection.miss("a patch may change the source"),
    }
    let path = kustomization.as_ref().and_then(|object| object.pointer("/spec/path")?.as_str());
    if let (Some(source), Some(path)) = (&source, path) {
        inspection
            .find(missing_path(facts, source, path).map(|finding| finding.with("release", release.id())));
    }
    if ["url", "ref", "path", "kind"].iter().any(|key| text(key).contains(STAND_IN)) {
        inspection.miss(OPEN);
    }
    inspection.answer(NO_RELEASES)
}

/// The folder that Flux applies is not in Git, and the source is this repository.
fn missing_path(facts: &Facts<'_>, source: &Value, path: &str) -> Option<Finding> {
    let url = source.pointer("/spec/url").and_then(Value::as_str)?;
    let is_own = source["kind"] == "GitRepository"
        && facts.desired.origin.as_ref().is_some_and(|origin| repository(origin) == repository(url));
    let folder = below(Path::new(""), path).filter(|_| is_own && !path.contains(STAND_IN))?;
    // Paths are sorted by component, so those below a folder follow it.
    let mut below = facts.desired.tracked.as_ref().ok()?.range(folder.clone()..);
    let has_files = below.next().is_some_and(|file| file.starts_with(&folder) && *file != folder);
    (!has_files).then(|| {
        Finding::warning(RULE.id, "The folder that Flux applies is not in Git")
            .with("key", "instance.sync.path")
            .with("value", path)
            .fix("set it to a folder of this repository, or add the folder to Git and push it")
    })
}

/// A field of the source that can never work.
struct Problem {
    key: &'static str,
    value: String,
    reason: String,
    fix: String,
}

impl Problem {
    fn new(key: &'static str, value: &str, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key, value: without_credentials(value), reason: reason.into(), fix: fix.into() }
    }
}

/// What the API server rejects (the schemas of flux-operator and source-controller), or Flux does not understand.
fn problems(source: &Value) -> Vec<Problem> {
    let text = |pointer: &str| {
        let text = source.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| !text.contains(STAND_IN)).unwrap_or_default()
    };
    let kind = text("/kind");
    let (address, reference, providers) = match kind {
        "GitRepository" => (
            git_url(text("/spec/url")),
            git_reference(text("/spec/ref/name")),
            &["generic", "aws", "azure", "github"][..],
        ),
        "OCIRepository" => (
            oci_url(text("/spec/url")),
            oci_tag(text("/spec/ref/tag")),
            &["generic", "aws", "azure", "gcp"][..],
        ),
        "Bucket" => (
            endpoint(text("/spec/endpoint"), text("/spec/provider")),
            None,
            &["generic", "aws", "azure", "gcp"][..],
        ),
        _ => {
            let reason = "it is not one of GitRepository, OCIRepository, Bucket";
            let problem = Problem::new("kind", kind, reason, "kind: GitRepository");
            return Some(problem).filter(|_| !kind.is_empty()).into_iter().collect();
        }
    };
    let provider = Some(text("/spec/provider")).filter(|name| !name.is_empty() && !providers.contains(name));
    let provider = provider.map(|name| {
        let reason = format!("the providers of a {kind} are {}", providers.join(", "));
        Problem::new("provider", name, reason, "provider: generic")
    });
    let interval = text("/spec/interval");
    let interval = (!is_duration(interval)).then(|| {
        Problem::new("interval", interval, "it is not a duration such as `1m` or `1h30m`", "interval: 1m")
    });
    [address, reference, provider, interval].into_iter().flatten().collect()
}

/// Whether a text is a duration as the schema describes it, or empty.
fn is_duration(text: &str) -> bool {
    let pattern = Regex::new(r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$");
    text.is_empty() || pattern.is_ok_and(|pattern| pattern.is_match(text))
}

fn git_url(url: &str) -> Option<Problem> {
    let problem = |reason: &str, fix: &str| Some(Problem::new("url", url, reason, format!("url: {fix}")));
    let example = "https://github.com/ME/home.git";
    let Some(parsed) = Url::parse(url) else {
        return match url.split_once(':') {
            _ if url.is_empty() => None,
            Some((host, path)) if !host.contains('/') => problem(
                "Flux supports `ssh://`, `https://` and `http://` only",
                &format!("ssh://{host}/{path}"),
            ),
            _ => problem("it has no scheme; Flux supports `ssh://`, `https://` and `http://`", example),
        };
    };
    if !matches!(parsed.scheme, "ssh" | "http" | "https") {
        return problem("Flux supports `ssh://`, `https://` and `http://` only", example);
    }
    let path = parsed.rest.split_once('/').map_or("", |(_, path)| path);
    match parsed.host_and_port() {
        _ if parsed.authority().is_empty() => problem("it has no host", example),
        (name, Some(port)) if !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let user = if parsed.scheme == "ssh" { "git@" } else { "" };
            let fixed = format!("{}://{user}{name}/{port}/{path}", parsed.scheme);
            problem("the text after the host's `:` is not a port", fixed.trim_end_matches('/'))
        }
        _ => None,
    }
}

fn git_reference(name: &str) -> Option<Problem> {
    let is_full = name.is_empty() || name.starts_with("refs/") || name == "HEAD";
    (!is_full).then(|| {
        let reason =
            "Flux compares the full name of a reference, such as `refs/heads/main` or `refs/tags/v1.0.0`";
        let branch = name.trim_start_matches("heads/").trim_start_matches("origin/");
        Problem::new("ref", name, reason, format!("ref: refs/heads/{branch}"))
    })
}

fn oci_url(url: &str) -> Option<Problem> {
    let problem = |reason: &str, fix: &str| Some(Problem::new("url", url, reason, format!("url: {fix}")));
    let Some(repository) = url.strip_prefix("oci://") else {
        let reason = "it does not start with `oci://`";
        return if url.is_empty() { None } else { problem(reason, "oci://ghcr.io/ME/home") };
    };
    let (_, path) = repository.split_once('/').unwrap_or((repository, ""));
    let name = path.split([':', '@']).next().unwrap_or_default();
    if name.is_empty() {
        return problem("it names no repository of the registry", "oci://ghcr.io/ME/home");
    }
    let tag = path.get(name.len()..).filter(|tag| !tag.is_empty())?;
    problem("the tag belongs into `ref`", url.strip_suffix(tag).unwrap_or(url))
}

/// A tag (OCI distribution specification): Flux passes a version range or a digest as it is.
fn oci_tag(tag: &str) -> Option<Problem> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_valid = tag.len() <= 128 && tag.chars().all(is_inner) && !tag.starts_with(['.', '-']);
    (!is_valid).then(|| Problem::new("ref", tag, "it is not a valid tag", "ref: latest"))
}

/// The endpoint of a bucket: the S3 client takes a host without a scheme.
fn endpoint(url: &str, provider: &str) -> Option<Problem> {
    let host = Url::parse(url).filter(|_| matches!(provider, "" | "generic" | "aws"))?.authority();
    let reason = "the endpoint of a bucket is a host without a scheme";
    Some(Problem::new("url", url, reason, format!("url: {host}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;

    const NEVER: &str = "error Flux cannot sync from this source";

    fn world(sync: &str) -> World {
        World::with_values("flux-instance", "0.59.0", &format!("{{instance: {{sync: {{{sync}}}}}}}"))
    }

    #[test]
    fn the_source_is_complete() {
        World::shipped().assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `flux-instance`"]);
        World::with_values("flux-instance", "0.37.1", "{}")
            .assert_found(&RULE, &["warning Flux has no source to sync"]);
        let nothing = "warning Flux has no source to sync";
        let half = "warning Flux source is incomplete";
        let cases: [(&str, &[&str]); 9] = [
            ("", &[nothing]),
            ("url: ''", &[nothing]),
            (
                "url: stand-in.invalid, ref: refs/x, path: y",
                &["unknown a variable that the values use is not set"],
            ),
            ("url: 'https://x/y'", &[half, half]),
            ("url: 'https://x/y', ref: refs/y", &[half]),
            ("url: 'https://x/y', path: y", &[half]),
            ("kind: Bucket, url: x, path: y", &[half]),
            ("kind: Bucket, url: x, ref: b, path: y", &[]),
            ("kind: OCIRepository, url: 'oci://x/y', path: y", &[half]),
        ];
        for (sync, expected) in cases {
            world(sync).assert_found(&RULE, expected);
        }
        assert!(world("kind: Bucket, url: x, path: y").fix(&RULE).contains("the name of the bucket"));
    }

    #[test]
    fn fields_that_can_never_work_are_errors() {
        let git = |url: &str| format!("url: '{url}', ref: refs/heads/main");
        let cases = [
            (git("git@host:me/home.git"), "url: ssh://git@host/me/home.git"),
            (git("ssh://git@host:me/home.git"), "url: ssh://git@host/me/home.git"),
            (git("https://host:me/home.git"), "url: https://host/me/home.git"),
            (git("github.com/me/home"), "url: https://github.com/ME/home.git"),
            (git("git://github.com/me/home"), "url: https://github.com/ME/home.git"),
            (git("https:///me/home"), "url: https://github.com/ME/home.git"),
            ("url: 'https://h/r', ref: main".to_owned(), "ref: refs/heads/main"),
            ("url: 'https://h/r', ref: origin/main".to_owned(), "ref: refs/heads/main"),
            ("kind: Git, url: 'https://h/r', ref: main".to_owned(), "kind: GitRepository"),
            (format!("{}, provider: gcp", git("https://h/r")), "provider: generic"),
            (format!("{}, interval: 5 min", git("https://h/r")), "interval: 1m"),
            ("kind: OCIRepository, url: 'https://h/r', ref: latest".to_owned(), "url: oci://ghcr.io/ME/home"),
            ("kind: OCIRepository, url: 'oci://h:5000/r:v1', ref: latest".to_owned(), "url: oci://h:5000/r"),
            ("kind: OCIRepository, url: 'oci://h', ref: latest".to_owned(), "url: oci://ghcr.io/ME/home"),
            ("kind: OCIRepository, url: 'oci://h/r', ref: '>=1.0'".to_owned(), "ref: latest"),
            ("kind: Bucket, url: 'https://minio.lan:9000/x', ref: b".to_owned(), "url: minio.lan:9000"),
            ("kind: Bucket, url: minio.lan, ref: b, provider: github".to_owned(), "provider: generic"),
        ];
        for (sync, fix) in cases {
            let world = world(&format!("{sync}, path: k"));
            world.assert_found(&RULE, &[NEVER]);
            assert_eq!(world.fix(&RULE), format!("instance:\n  sync:\n    {fix}"), "{sync}");
        }
        let secret = world("url: 'git://me:CANARY@host/r', ref: refs/heads/main, path: k");
        assert_eq!(secret.detail(&RULE, "value"), "git://host/r");
    }

    #[test]
    fn fields_that_work_pass() {
        for sync in [
            "url: 'ssh://git@[fd00::1]:2222/me/home.git', ref: refs/pull/1/head",
            "url: 'http://git.lan:3000/me/home', ref: HEAD, interval: 1h30m",
            "url: 'https://me:token@github.com/me/home', ref: refs/tags/v1.0.0, provider: github, interval: 1.5m",
            "kind: OCIRepository, url: 'oci://ghcr.io/me/home', ref: v1.0.0, provider: gcp",
            "kind: Bucket, url: 'https://me.blob.core.windows.net', ref: b, provider: azure",
        ] {
            world(&format!("{sync}, path: ./")).assert_found(&RULE, &[]);
        }
    }

    #[test]
    fn patches_decide() {
        let world = |patch: &str| {
            let values = format!(
                "{{instance: {{sync: {{url: 'https://h/r', ref: main, path: k}}, kustomize: {{patches: [{{target: {{kind: GitRepository}}, patch: '{patch}'}}]}}}}}}"
            );
            World::with_values("flux-instance", "0.59.0", &values)
        };
        world("[{op: replace, path: /spec/ref, value: {branch: main}}]").assert_found(&RULE, &[]);
        world("[{op: add, path: /spec/timeout, value: 2m}]").assert_found(&RULE, &[NEVER]);
        world("[{op: move, path: /a, from: /b}]")
            .assert_found(&RULE, &["unknown a patch may change the source"]);
    }

    #[test]
    fn the_folder_must_be_in_this_repository() {
        let mut world = world("url: 'https://host/me/home.git', ref: refs/heads/main, path: ./k/flux");
        world.desired.tracked = Ok(["k/flux-old/a.yaml".into(), "k/fluxes.yaml".into()].into());
        // It is another repository.
        world.assert_found(&RULE, &[]);
        world.desired.origin = Some("git@host:me/home".to_owned());
        world.assert_found(&RULE, &["warning The folder that Flux applies is not in Git"]);
        world.desired.tracked = Ok(["k/flux".into()].into());
        world.assert_found(&RULE, &["warning The folder that Flux applies is not in Git"]);
        world.desired.tracked = Ok(["k/flux/ks.yaml".into()].into());
        world.assert_found(&RULE, &[]);
        world.desired.tracked = Err("no Git".to_owned());
        world.assert_found(&RULE, &[]);
    }

    proptest::proptest! {
        #[test]
        fn no_field_makes_it_panic(text: String, near in crate::base::mutate::text(&["ssh://git@host:22/me/home.git", "oci://h:1/r:v1@x", "1h30.5m"])) {
            for text in [&text, &near] {
                _ = (git_url(text).is_some(), git_reference(text).is_some(), is_duration(text));
                _ = (oci_url(text).is_some(), oci_tag(text).is_some(), endpoint(text, "").is_some());
            }
        }
    }
}
