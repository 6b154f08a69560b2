//! Programs, plugins and Helm features that releases use are available.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Inspection, NO_RELEASES, Needs, Rule};
use crate::desired::releases::Release;

pub(super) const RULE: Rule = Rule {
    id: "helm-features",
    group: Group::Repository,
    title: "programs, plugins and Helm features that releases use are available",
    why: "helmfile and Helm look for hook commands, plugins and kustomize only when they reach a release, after the \
          ones before it are installed. Helm 4 accepts only plugins of type `postrenderer/v1` as post-renderers, \
          `secrets` needs the plugin helm-secrets, patches need kustomize, `forceConflicts`, `rollbackOnFailure` and \
          `serverSide` need Helm 4, and `recreatePods` and `force` need Helm 3.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

const NONE: &str = "no release has hooks, a post-renderer, patches or keys of Helm 4";

fn check(facts: &Facts<'_>) -> Answer {
    let mut inspection = facts.inspect_releases();
    inspection.find(facts.reported(RULE.id));
    let mut hooks: BTreeMap<(&Path, &str), Vec<String>> = BTreeMap::new();
    for helmfile in &facts.desired.helmfiles {
        let path = helmfile.path.as_path();
        let uses_features = |release: &&Release| release.is_wanted() && !release.requirements.is_empty();
        for release in helmfile.releases.iter().filter(uses_features) {
            inspection.look(kustomize(facts, path, release));
            post_renderer(facts, path, release, &mut inspection);
            helm_4(facts, release, &mut inspection);
            for command in &release.requirements.hook_commands {
                hooks.entry((path, command)).or_default().push(release.id().to_string());
            }
        }
    }
    let missing = hooks.iter().filter(|((path, command), _)| is_missing(facts, path, command));
    inspection.find(missing.map(|((path, command), releases)| {
        Finding::error(RULE.id, "Hook command not found")
            .with("release", releases.join(", "))
            .with("file", path.display())
            .with("command", command)
            .fix(INSTALL)
    }));
    let any = facts.desired.releases().any(Release::is_wanted);
    inspection.answer(if any { NONE } else { NO_RELEASES })
}

const INSTALL: &str =
    "install it, add it to PATH, or correct its path, which is relative to the helmfile's folder";

fn is_missing(facts: &Facts<'_>, helmfile: &Path, command: &str) -> bool {
    facts.observed.missing_commands.iter().any(|(path, name)| path == helmfile && name == command)
}

fn kustomize(facts: &Facts<'_>, helmfile: &Path, release: &Release) -> Option<Finding> {
    let program = release.requirements.kustomize_program()?;
    is_missing(facts, helmfile, program).then(|| {
        Finding::error(RULE.id, "Kustomize is not installed")
            .with("release", release.id())
            .with("keys", release.requirements.kustomize.join(" "))
            .fix("install it, or set `kustomizeBinary: kubectl kustomize` at the top of the helmfile")
    })
}

fn post_renderer(facts: &Facts<'_>, helmfile: &Path, release: &Release, inspection: &mut Inspection) {
    let Some(renderer) = &release.requirements.post_renderer else { return };
    let found = |message: &str| {
        let finding = Finding::error(RULE.id, message).with("release", release.id());
        finding.with("key", "postRenderer").with("value", renderer)
    };
    match (facts.observed.helm_major(), &facts.observed.post_renderers) {
        (None, _) => inspection.miss(NO_VERSION),
        (Some(3), _) => {
            let missing = is_missing(facts, helmfile, renderer);
            inspection.find(missing.then(|| found("Post-renderer not found").fix(INSTALL)));
        }
        (Some(_), Err(reason)) => inspection.miss(reason),
        (Some(_), Ok(plugins)) => {
            // helmfile 1.7.4 passes on the name of a program without its folder and extension.
            let stem = Path::new(renderer).file_stem().and_then(|stem| stem.to_str());
            let is_installed =
                [Some(renderer.as_str()), stem].iter().flatten().any(|name| plugins.contains(*name));
            let fix = "install it as a plugin of type `postrenderer/v1` and use the name of that plugin, or use Helm 3";
            inspection.find((!is_installed).then(|| found("Post-renderer is not a Helm 4 plugin").fix(fix)));
        }
    }
}

const NO_VERSION: &str = "the version of helm is unknown";

fn helm_4(facts: &Facts<'_>, release: &Release, inspection: &mut Inspection) {
    let keys = &release.requirements.helm_4;
    let old = &release.requirements.helm_3;
    match facts.observed.helm_major() {
        Some(4..) if !old.is_empty() => {
            let finding = Finding::error(RULE.id, "Release needs Helm 3")
                .with("release", release.id())
                .with("keys", old.join(" "))
                .fix("remove the keys, which Helm 4 does not support, or install Helm 3");
            // The first sync works.
            let is_late = *old == ["force"];
            inspection.find(Some(if is_late {
                Finding { severity: Severity::Warning, ..finding }
            } else {
                finding
            }));
        }
        _ if keys.is_empty() && old.is_empty() => {}
        None => inspection.miss(NO_VERSION),
        Some(3) if !keys.is_empty() => inspection.find(Some(
            Finding::error(RULE.id, "Release needs Helm 4")
                .with("release", release.id())
                .with("keys", keys.join(" "))
                .fix("install Helm 4, or remove the keys"),
        )),
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::check::fixture::World;
    use crate::observed::Program;

    const HELMFILE: &str = "- {name: a, namespace: n, chart: ./a, postRenderer: ./bin/render.sh}\n\
        - {name: b, namespace: n, chart: ./a, hooks: [{events: [presync], command: op}]}\n\
        - {name: c, namespace: n, chart: ./a, hooks: [{events: [postsync], command: op}], forceConflicts: true}\n\
        - {name: d, namespace: n, chart: ./a, jsonPatches: [{x: y}], installed: true}\n\
        - {name: e, namespace: n, chart: ./a, jsonPatches: [{x: y}], installed: false}\n\
        - {name: f, namespace: n, chart: ./a}\n";

    fn world(helm: u64, missing: &[&str], plugins: &[&str]) -> World {
        let mut world = World::of(HELMFILE);
        let version = Ok(Some(Version::new(helm, 2, 0)));
        world.observed.programs = vec![Program { name: "helm", path: None, version }];
        let helmfile = world.desired.helmfiles.last().unwrap().path.clone();
        let missing = missing.iter().map(|command| (helmfile.clone(), (*command).to_owned()));
        world.observed.missing_commands = missing.collect();
        world.observed.post_renderers = Ok(plugins.iter().map(|name| (*name).to_owned()).collect());
        world
    }

    #[test]
    fn a_missing_feature_is_an_error_of_its_release() {
        let of = |world: &World| match world.ask(&RULE) {
            Answer::Found(findings) => findings
                .iter()
                .map(|finding| {
                    let release = finding.details.iter().find(|(key, _)| *key == "release").unwrap();
                    format!("{}: {}", release.1, finding.summary)
                })
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(world(4, &[], &["render"]).ask(&RULE), Answer::Ok);
        assert_eq!(of(&world(4, &[], &["other"])), ["n/a: Post-renderer is not a Helm 4 plugin"]);
        assert_eq!(of(&world(3, &[], &[])), ["n/c: Release needs Helm 4"]);
        assert_eq!(
            of(&world(3, &["./bin/render.sh", "op", "kustomize"], &[])),
            [
                "n/a: Post-renderer not found",
                "n/c: Release needs Helm 4",
                "n/d: Kustomize is not installed",
                "n/b, n/c: Hook command not found",
            ]
        );
    }

    #[test]
    fn keys_of_helm_3_are_reported_with_helm_4() {
        let found = |keys: &str, helm: u64| {
            let mut world = World::of(&format!("- {{name: a, namespace: n, chart: ./a, {keys}}}\n"));
            let version = Ok(Some(Version::new(helm, 2, 0)));
            world.observed.programs = vec![Program { name: "helm", path: None, version }];
            match world.ask(&RULE) {
                Answer::Found(findings) => {
                    findings.iter().map(|one| (one.severity, one.summary.clone())).collect()
                }
                _ => Vec::new(),
            }
        };
        let summary = || "Release needs Helm 3".to_owned();
        assert_eq!(found("recreatePods: true", 4), [(Severity::Error, summary())]);
        assert_eq!(found("force: true", 4), [(Severity::Warning, summary())]);
        for (keys, helm) in [("recreatePods: true", 3), ("force: true", 3), ("force: false", 4)] {
            assert_eq!(found(keys, helm), [], "{keys} {helm}");
        }
    }

    #[test]
    fn unread_plugins_are_unknown_and_unused_features_not_applicable() {
        let mut unasked = world(4, &[], &[]);
        unasked.observed.post_renderers = Err("helm did not answer".to_owned());
        assert_eq!(unasked.ask(&RULE), Answer::unknown("helm did not answer"));
        unasked.observed.programs.clear();
        assert_eq!(unasked.ask(&RULE), Answer::unknown(NO_VERSION));
        assert_eq!(
            World::of("- {name: f, namespace: n, chart: ./a}\n").ask(&RULE),
            Answer::not_applicable(NONE)
        );
    }

    #[test]
    fn a_missing_plugin_for_secrets_is_reported() {
        let mut world = World::of("- {name: f, namespace: n, chart: ./a}\n");
        world.desired.problems.push(Finding::error(RULE.id, "Helm plugin for encrypted values is missing"));
        world.assert_found(&RULE, &["error Helm plugin for encrypted values is missing"]);
    }
}
