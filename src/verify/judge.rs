//! What Flux's objects say: a pure judgement.

use std::collections::BTreeSet;

use crate::desired::Desired;
use crate::observed::flux::{Flux, Resource};
use crate::url::without_credentials;

/// What Flux's objects say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Flux syncs the repository.
    Syncing {
        /// The repository's address.
        repository: String,
        /// The revision that was applied.
        revision: String,
    },
    /// There is nothing for Flux to sync.
    NoSource {
        /// What is missing.
        missing: String,
    },
    /// It is not there yet.
    Waiting {
        /// For what.
        waiting_for: String,
    },
    /// Waiting will not mend it.
    Failed {
        /// The object, as `Kind namespace/name`.
        object: String,
        /// Flux's own words.
        reason: String,
    },
}

/// What the helmfiles ask Flux to sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    url: Option<String>,
    reference: Option<String>,
}

impl Asked {
    /// The repository's address, if one is asked for.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref().filter(|url| !url.is_empty())
    }

    /// Reads it from the values of the release that makes the FluxInstance.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let release =
            desired.releases().find(|release| release.value(&["instance", "sync", "url"]).is_some());
        let value = |key| {
            let value = release?.value(&["instance", "sync", key])?.as_str()?;
            Some(value.to_owned())
        };
        Self { url: value("url"), reference: value("ref") }
    }
}

/// The name, of `flux bootstrap`'s choice, of what it makes for its repository, and of their namespace.
const ALONE: &str = "flux-system";

/// The namespace and name of the source and the Kustomization for the cluster itself: those of the FluxInstance, else those
/// that `flux bootstrap` makes.
pub(super) fn root(flux: &Flux) -> Option<(&str, &str)> {
    let Some(instance) = &flux.instance else {
        let made = |found: &Resource| {
            found.kind == "Kustomization" && found.metadata.name == ALONE && found.metadata.namespace == ALONE
        };
        return flux.resources.iter().any(made).then_some((ALONE, ALONE));
    };
    let namespace = instance.metadata.namespace.as_str();
    Some((namespace, instance.spec.sync.as_ref()?.name.as_deref().unwrap_or(namespace)))
}

/// Judges what Flux's objects say.
#[must_use]
pub fn judge(flux: &Flux, asked: &Asked) -> Verdict {
    let instance = flux.instance.as_ref();
    if let Some(failed) = instance.and_then(stalled) {
        return failed;
    }
    if let Some(instance) = instance.filter(|instance| instance.ready() != Some("True")) {
        return Verdict::Waiting { waiting_for: instance.words() };
    }
    let Some((namespace, name)) = root(flux) else {
        let missing = match instance {
            Some(instance) => format!("`spec.sync` in {}", instance.id()),
            None => "a FluxInstance".to_owned(),
        };
        return Verdict::NoSource { missing };
    };
    let sync = instance.and_then(|instance| instance.spec.sync.as_ref());
    let find = |kind: &str| {
        let here = |found: &&Resource| found.metadata.namespace == namespace && found.metadata.name == name;
        flux.resources.iter().filter(here).find(|found| found.kind == kind)
    };
    let absent =
        |kind: &str| Verdict::Waiting { waiting_for: format!("{kind} {namespace}/{name}: not there yet") };
    let kind = sync.map_or("GitRepository", |sync| &sync.kind);
    let Some(source) = find(kind) else {
        return absent(kind);
    };
    let Some(root) = find("Kustomization") else {
        return absent("Kustomization");
    };
    let has = source.spec.url.clone().unwrap_or_default();
    let url = asked.url.as_ref().or(sync.map(|sync| &sync.url)).unwrap_or(&has);
    // Where there is no FluxInstance, nobody but Flux itself chooses the branch, and how it gets to the repository.
    let not_yet = sync
        .and_then(|sync| wrong_source(source, url, asked.reference.as_ref().or(sync.r#ref.as_ref())))
        .or_else(|| trouble(source, false))
        .or_else(|| trouble(root, true))
        .or_else(|| children(root, &flux.resources));
    let artifact = source.status.artifact.as_ref().map(|artifact| artifact.revision.clone());
    not_yet.unwrap_or_else(|| Verdict::Syncing {
        repository: if sync.is_some() { url.clone() } else { has.clone() },
        revision: root.status.last_applied_revision.clone().or(artifact).unwrap_or_default(),
    })
}

/// A FluxInstance that says of itself that it will not go on, and its words.
#[must_use]
pub fn stalled_instance(flux: &Flux) -> Option<(String, String)> {
    match stalled(flux.instance.as_ref()?)? {
        Verdict::Failed { object, reason } => Some((object, reason)),
        _ => None,
    }
}

/// A resource that says of itself that it will not go on.
fn stalled(resource: &Resource) -> Option<Verdict> {
    let condition = resource.condition("Stalled").filter(|condition| condition.status == "True")?;
    Some(Verdict::Failed {
        object: resource.id(),
        reason: format!("{}: {}", condition.reason, condition.message),
    })
}

fn wrong_source(source: &Resource, url: &str, reference: Option<&String>) -> Option<Verdict> {
    let waiting = |what: String| Some(Verdict::Waiting { waiting_for: format!("{}: {what}", source.id()) });
    let has = source.spec.url.as_deref().unwrap_or_default();
    if has != url {
        let (has, url) = (without_credentials(has), without_credentials(url));
        return waiting(format!("has url `{has}`, asked for is `{url}`"));
    }
    let has = source.spec.r#ref.as_ref().and_then(|reference| reference.name.as_ref());
    if source.kind == "GitRepository" && reference.is_some() && has != reference {
        let has = has.map_or("none", String::as_str);
        return waiting(format!("has ref `{has}`, asked for is `{}`", reference.map_or("", String::as_str)));
    }
    None
}

/// What keeps a source or Kustomization from being in order. While it is being reconciled again, a Kustomization that
/// has applied a revision before counts as syncing.
fn trouble(resource: &Resource, applies: bool) -> Option<Verdict> {
    if resource.spec.suspend {
        return Some(Verdict::Waiting { waiting_for: format!("{}: it is suspended", resource.id()) });
    }
    if let Some(failed) = stalled(resource).or_else(|| cannot_decrypt(resource)) {
        return Some(failed);
    }
    match resource.ready() {
        Some("True") => None,
        Some("Unknown") if applies && resource.status.last_applied_revision.is_some() => None,
        _ => Some(Verdict::Waiting { waiting_for: resource.words() }),
    }
}

/// kustomize-controller's words for a key that does not fit (its `decryptor.go`): `decryption failed for …`,
/// `failed to import '…' data from … decryption Secret …`, `cannot get … decryption Secret`.
fn cannot_decrypt(resource: &Resource) -> Option<Verdict> {
    let condition = resource.condition("Ready").filter(|condition| condition.status == "False")?;
    let words = condition.message.to_lowercase();
    let failed =
        words.contains("decrypt") && ["failed", "cannot", "error"].iter().any(|word| words.contains(word));
    failed.then(|| Verdict::Failed {
        object: resource.id(),
        reason: format!("{}: {}", condition.reason, condition.message),
    })
}

/// The Kustomizations that the root one applied, and those that these applied: there a wrong key shows.
fn children(root: &Resource, resources: &[Resource]) -> Option<Verdict> {
    let mut verdict = None;
    for child in descendants(root, resources) {
        match child_trouble(child, resources) {
            // What cannot mend is said even when something else is still waited for.
            Some(failed @ Verdict::Failed { .. }) => return Some(failed),
            Some(waiting) => verdict = verdict.or(Some(waiting)),
            None => {}
        }
    }
    verdict
}

pub(super) fn descendants<'a>(root: &'a Resource, resources: &'a [Resource]) -> Vec<&'a Resource> {
    let key =
        |resource: &'a Resource| (resource.metadata.namespace.as_str(), resource.metadata.name.as_str());
    let mut known = BTreeSet::from([key(root)]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for resource in resources.iter().filter(|resource| resource.kind == "Kustomization") {
            let ours = resource.applied_by().is_some_and(|parent| known.contains(&parent));
            if ours && known.insert(key(resource)) {
                found.push(resource);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// As [`trouble`], but what the repository's owner decides is no trouble: a suspended one, one whose applied objects
/// are not healthy, and one that waits for such a one.
fn child_trouble(child: &Resource, resources: &[Resource]) -> Option<Verdict> {
    if child.spec.suspend || has_applied(child) {
        return None;
    }
    let trouble = trouble(child, true)?;
    let waits_for_another =
        child.condition("Ready").is_some_and(|ready| ready.reason == "DependencyNotReady");
    let dependency_is_at_work = || {
        child.spec.depends_on.iter().any(|dependency| {
            let namespace = dependency.namespace.as_ref().unwrap_or(&child.metadata.namespace);
            let named = |other: &&Resource| {
                other.kind == "Kustomization"
                    && other.metadata.name == dependency.name
                    && other.metadata.namespace == *namespace
            };
            resources
                .iter()
                .find(named)
                .is_some_and(|other| other.ready() != Some("True") && has_applied(other))
        })
    };
    (!(waits_for_another && dependency_is_at_work())).then_some(trouble)
}

/// Whether its objects were applied, and only their health is waited for.
fn has_applied(resource: &Resource) -> bool {
    let checking =
        |reason: &str| matches!(reason, "HealthCheckFailed" | "Progressing" | "ProgressingWithRetry");
    match resource.condition("Ready") {
        Some(ready) if ready.status == "False" => ready.reason == "HealthCheckFailed",
        Some(ready) => checking(&ready.reason) && resource.status.last_applied_revision.is_some(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::*;
    use crate::observed::odd::odd;

    const URL: &str = "ssh://git@example.org/home.git";

    fn resource(kind: &str, name: &str, spec: impl serde::Serialize, ready: (&str, &str, &str)) -> Resource {
        let (status, reason, message) = ready;
        serde_json::from_value(json!({
            "kind": kind,
            "metadata": {"name": name, "namespace": "flux-system", "generation": 1},
            "spec": spec,
            "status": {"observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]}}))
        .unwrap()
    }

    const OK: (&str, &str, &str) = ("True", "Succeeded", "fine");

    fn instance() -> Resource {
        resource(
            "FluxInstance",
            "flux",
            json!({"sync": {"kind": "GitRepository", "url": URL, "ref": "refs/heads/main"}}),
            OK,
        )
    }

    fn source() -> Resource {
        resource("GitRepository", "flux-system", json!({"url": URL, "ref": {"name": "refs/heads/main"}}), OK)
    }

    fn root() -> Resource {
        let mut root = resource("Kustomization", "flux-system", json!({}), OK);
        root.status.last_applied_revision = Some("main@sha1:1".to_owned());
        root
    }

    fn child(name: &str, parent: &str, ready: (&str, &str, &str)) -> Resource {
        let mut child = resource("Kustomization", name, json!({}), ready);
        let label = |name: &str| format!("kustomize.toolkit.fluxcd.io/{name}");
        child.metadata.labels =
            [(label("name"), parent.to_owned()), (label("namespace"), "flux-system".to_owned())].into();
        child
    }

    fn judged(resources: Vec<Resource>) -> Verdict {
        judge(&Flux { instance: Some(instance()), resources }, &Asked::default())
    }

    fn syncing() -> Verdict {
        Verdict::Syncing { repository: URL.to_owned(), revision: "main@sha1:1".to_owned() }
    }

    #[track_caller]
    fn waits_for(verdict: &Verdict, words: &str) {
        match verdict {
            Verdict::Waiting { waiting_for } => assert!(waiting_for.contains(words), "{waiting_for}"),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn fails_with(verdict: &Verdict, words: &str) {
        match verdict {
            Verdict::Failed { object, reason } => {
                assert!(format!("{object} {reason}").contains(words), "{object} {reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn syncing_is_said_only_when_all_is_ready() {
        assert_eq!(judged(vec![source(), root()]), syncing());
        waits_for(&judged(vec![root()]), "GitRepository flux-system/flux-system: not there yet");
        waits_for(&judged(vec![source()]), "Kustomization flux-system/flux-system: not there yet");
        assert!(matches!(judge(&Flux::default(), &Asked::default()), Verdict::NoSource { .. }));
    }

    #[test]
    fn an_old_condition_says_nothing_about_a_new_spec() {
        let mut old = source();
        old.metadata.generation = 2;
        waits_for(&judged(vec![old, root()]), "not looked at yet");
    }

    #[test]
    fn an_instance_without_sync_has_no_source_and_a_stalled_one_fails() {
        let mut without = instance();
        without.spec.sync = None;
        let flux = Flux { instance: Some(without), resources: Vec::new() };
        let verdict = judge(&flux, &Asked::default());
        assert_eq!(
            verdict,
            Verdict::NoSource { missing: "`spec.sync` in FluxInstance flux-system/flux".to_owned() }
        );
        let mut stalled = instance();
        stalled.status.conditions = vec![
            serde_json::from_value(json!({"type": "Stalled", "status": "True", "reason": "BuildFailed", "message": "doc is missing path"})).unwrap(),
        ];
        fails_with(
            &judge(&Flux { instance: Some(stalled), resources: Vec::new() }, &Asked::default()),
            "BuildFailed: doc is missing path",
        );
    }

    #[test]
    fn flux_may_run_without_an_instance() {
        let flux = |resources| Flux { instance: None, resources };
        let mut branch = source();
        branch.spec.r#ref = None;
        let asked =
            Asked { url: Some("https://example.org/home".to_owned()), reference: Some("x".to_owned()) };
        assert_eq!(judge(&flux(vec![branch.clone(), root()]), &asked), syncing());
        waits_for(
            &judge(&flux(vec![root()]), &asked),
            "GitRepository flux-system/flux-system: not there yet",
        );
        let mut other = root();
        "apps".clone_into(&mut other.metadata.name);
        assert!(matches!(judge(&flux(vec![branch, other]), &asked), Verdict::NoSource { .. }));
    }

    #[test]
    fn the_source_must_be_the_one_that_was_asked_for() {
        let asked = Asked { url: Some("https://other".to_owned()), reference: None };
        let flux = Flux { instance: Some(instance()), resources: vec![source(), root()] };
        waits_for(&judge(&flux, &asked), "asked for is `https://other`");
        let mut branch = source();
        branch.spec.r#ref = None;
        waits_for(&judged(vec![branch, root()]), "has ref `none`");
        let mut suspended = root();
        suspended.spec.suspend = true;
        waits_for(&judged(vec![source(), suspended]), "suspended");
    }

    #[test]
    fn a_root_that_is_reconciled_again_counts_as_syncing() {
        let mut again = root();
        again.status.conditions[0].status = "Unknown".to_owned();
        assert_eq!(judged(vec![source(), again.clone()]), syncing());
        again.status.last_applied_revision = None;
        waits_for(&judged(vec![source(), again]), "Kustomization");
    }

    #[test]
    fn a_wrong_key_shows_in_a_child_of_a_child() {
        let wrong = (
            "False",
            "BuildFailed",
            "decryption failed for 'secret': Error getting data key: 0 successful groups required",
        );
        let resources =
            vec![source(), root(), child("apps", "flux-system", OK), child("deep", "apps", wrong)];
        fails_with(&judged(resources), "Kustomization flux-system/deep BuildFailed: decryption failed");
        let import =
            ("False", "BuildFailed", "failed to import 'age.agekey' data from sops decryption Secret");
        fails_with(&judged(vec![source(), root(), child("apps", "flux-system", import)]), "failed to import");
        let foreign = child("tenant", "somebody-else", wrong);
        assert_eq!(judged(vec![source(), root(), foreign]), syncing());
    }

    #[test]
    fn what_the_owner_of_the_repository_decides_is_no_trouble() {
        let unhealthy = child("apps", "flux-system", ("False", "HealthCheckFailed", "timeout"));
        let mut waits =
            child("later", "flux-system", ("False", "DependencyNotReady", "dependency not ready"));
        waits.spec.depends_on =
            vec![crate::observed::flux::Dependency { name: "apps".to_owned(), namespace: None }];
        let mut suspended = child("off", "flux-system", ("False", "X", "x"));
        suspended.spec.suspend = true;
        assert_eq!(judged(vec![source(), root(), unhealthy.clone(), waits.clone(), suspended]), syncing());
        // Its dependency is about to be applied, or already Ready: it will be looked at soon.
        for dependency in
            [child("apps", "flux-system", OK), child("apps", "flux-system", ("Unknown", "Progressing", ""))]
        {
            waits_for(
                &judged(vec![source(), root(), dependency, waits.clone()]),
                "Kustomization flux-system/",
            );
        }
        let fresh = child("apps", "flux-system", ("False", "ArtifactFailed", "source not found"));
        waits_for(&judged(vec![source(), root(), fresh]), "ArtifactFailed");
    }

    fn odd_resource() -> impl Strategy<Value = Resource> {
        let name = || "[ab]|flux-system".prop_map(|name| json!(name));
        let label = |name: &str| format!("kustomize.toolkit.fluxcd.io/{name}");
        let reasons =
            &["Succeeded", "BuildFailed", "DependencyNotReady", "HealthCheckFailed", "Progressing"][..];
        let ready = (select(&["True", "False", "Unknown"][..]), select(reasons), ".{0,40}|decrypt", 0..3_i64);
        (select(&["Kustomization", "GitRepository", "OCIRepository"][..]), name(), name(), name(), ready, any::<bool>()).prop_flat_map(
            move |(kind, name, parent, needed, (status, reason, message, seen), suspend)| {
                let resource = json!({"kind": kind, "metadata": {"name": name, "namespace": "flux-system", "generation": 1,
                        "labels": {label("name"): parent, label("namespace"): "flux-system"}},
                    "spec": {"suspend": suspend, "url": URL, "dependsOn": [{"name": needed}], "ref": {"name": "refs/heads/main"}},
                    "status": {"observedGeneration": seen, "lastAppliedRevision": "main@sha1:1", "artifact": {"revision": "x"},
                        "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]}});
                odd(&resource.to_string()).prop_map(move |odd| {
                    serde_json::from_value(odd).unwrap_or_else(|_| serde_json::from_value(resource.clone()).unwrap())
                })
            },
        )
    }

    proptest! {
        #[test]
        fn no_objects_make_it_panic(resources in proptest::collection::vec(odd_resource(), 0..8), with_instance: bool, url: Option<String>) {
            let flux = Flux { instance: with_instance.then(instance), resources };
            _ = judge(&flux, &Asked { url, reference: None });
        }
    }
}
