//! What Flux's objects report: a pure judgement.

#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod kustomizations;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::base::known_failures::KnownFailure;
use crate::base::url::without_credentials;
use crate::desired::source::SyncSource;
use crate::desired::sync;
pub(crate) use crate::diagnose::flux::kustomizations::Problem;
use crate::diagnose::flux::kustomizations::{End, Key, State, chains, key, state};
use crate::observed::flux::{Flux, Resource, Spec, Sync};

/// How `verify` ends well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Flux syncs the repository.
    Syncing {
        /// The repository's address.
        repository: String,
        /// The revision that was applied.
        revision: String,
    },
    /// There is nothing for Flux to sync.
    NoSource { missing: String },
    /// There is no FluxInstance, nor what `flux bootstrap` makes instead.
    NoFlux,
}

/// What Flux's objects report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is nothing to wait for.
    Done(Outcome),
    /// It is not there yet.
    Waiting {
        /// For what.
        waiting_for: String,
    },
    /// It does not recover by waiting.
    Failed(Problem),
}

/// The verdict, and the problems that Flux's objects report, the gravest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// What follows from the objects.
    pub(crate) verdict: Verdict,
    /// What keeps Flux from taking over.
    pub(crate) blocked: Vec<Problem>,
    /// What the root Kustomization has applied, or what that has applied, and Flux's taking over does not need.
    pub(crate) below: Vec<Problem>,
}

/// The name, of `flux bootstrap`'s choice, of what it makes for its repository, and of their namespace.
const ALONE: &str = "flux-system";

/// The namespace and name of the source and the Kustomization for the cluster itself: those of the FluxInstance, else those
/// that `flux bootstrap` makes.
pub(crate) fn root(flux: &Flux) -> Option<Key<'_>> {
    let Some(instance) = &flux.instance else {
        let made = |found: &Resource| found.kind == "Kustomization" && key(found) == (ALONE, ALONE);
        return flux.resources.iter().any(made).then_some((ALONE, ALONE));
    };
    let namespace = instance.metadata.namespace.as_str();
    Some((namespace, instance.spec.sync.as_ref()?.name.as_deref().unwrap_or(namespace)))
}

/// Judges what Flux's objects report. Flux has taken over when the FluxInstance and the source are ready, the root
/// Kustomization is ready, or is being reconciled again, and each Kustomization that the root one has applied is ready,
/// suspended, has applied its objects, or waits for one that has.
pub(crate) fn judge(flux: &Flux, asked: &SyncSource) -> Judgement {
    let instance = flux.instance.as_ref();
    if let Some(problem) = instance.and_then(stalled) {
        return Judgement {
            verdict: Verdict::Failed(problem.clone()),
            blocked: vec![problem],
            below: Vec::new(),
        };
    }
    let mut findings = Findings::default();
    let unready = instance.filter(|instance| !instance.has("Ready", "True"));
    findings.waiting.extend(unready.map(Resource::words));
    let Some(root) = root(flux) else {
        findings.blocked.extend(unready.and_then(failed));
        return findings.judgement(match instance {
            Some(instance) => {
                Verdict::Done(Outcome::NoSource { missing: format!("`spec.sync` in {}", instance.object()) })
            }
            None if asked.is_installed => {
                Verdict::Waiting { waiting_for: "FluxInstance: not found yet".to_owned() }
            }
            None => Verdict::Done(Outcome::NoFlux),
        });
    };
    let sync = instance.and_then(|instance| instance.spec.sync.as_ref());
    let kind = sync.map_or("GitRepository", |sync| &sync.kind);
    let find = |kind: &str| flux.resources.iter().find(|found| found.kind == kind && key(found) == root);
    let absent = |kind: &str| format!("{kind} {}/{}: not found yet", root.0, root.1);
    let source = find(kind);
    let mut revision = None;
    if let Some(source) = source {
        // Where there is no FluxInstance, nobody but Flux itself chooses the branch, and how it gets to the repository.
        let expected = instance.and_then(|instance| expected_source(instance, asked, root.0));
        let wrong = expected.as_ref().and_then(|expected| wrong_source(source, &expected["spec"]));
        let is_final = expected.is_some() || findings.waiting.is_empty();
        let is_ready = wrong.is_none() && findings.add_source(source, is_final);
        findings.waiting.extend(wrong);
        match find("Kustomization").filter(|_| is_ready) {
            Some(root) => {
                let artifact = source.status.artifact.as_ref().map(|artifact| &artifact.revision);
                findings.add_tree(root, artifact, &flux.resources);
                revision = root.status.last_applied_revision.clone().or(artifact.cloned());
            }
            None if is_ready => findings.waiting.push(absent("Kustomization")),
            None => {}
        }
    } else {
        findings.waiting.push(absent(kind));
    }
    // The operator waits for its objects, and what these report is more exact.
    findings.blocked.extend(unready.and_then(failed));
    findings.judgement(Verdict::Done(Outcome::Syncing {
        repository: source.and_then(|source| address(source).cloned()).unwrap_or_default(),
        revision: revision.unwrap_or_default(),
    }))
}

/// The problem of a FluxInstance that reports that it will not go on.
pub(crate) fn stalled_instance(flux: &Flux) -> Option<Problem> {
    stalled(flux.instance.as_ref()?)
}

/// A resource that reports that it will not go on.
pub(crate) fn stalled(resource: &Resource) -> Option<Problem> {
    let condition = resource.condition("Stalled").filter(|condition| condition.status == "True")?;
    Some(Problem::new(resource, condition, true))
}

/// A resource that is tried again and has failed so far.
fn failed(resource: &Resource) -> Option<Problem> {
    let condition = resource.condition("Ready").filter(|condition| condition.status == "False")?;
    Some(Problem::new(resource, condition, false))
}

/// The source that flux-operator creates, with what was asked for; `None` if a patch may change it.
fn expected_source(instance: &Resource, asked: &SyncSource, namespace: &str) -> Option<Value> {
    let Sync { kind, url, r#ref: reference, name } = instance.spec.sync.as_ref()?;
    let url = asked.url.as_ref().unwrap_or(url);
    let reference = asked.reference.as_ref().or(reference.as_ref());
    let sync = json!({"kind": kind, "url": url, "ref": reference, "name": name});
    sync::objects(&json!({"sync": sync, "kustomize": instance.spec.kustomize}), namespace).source
}

/// The address of a source.
fn address(source: &Resource) -> Option<&String> {
    source.spec.url.as_ref().or(source.spec.endpoint.as_ref())
}

/// How a source differs from the specification that is expected, if it does.
fn wrong_source(source: &Resource, expected: &Value) -> Option<String> {
    let Spec { url, r#ref: reference, endpoint, bucket_name, .. } = &source.spec;
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let fields = [
        ("url", text(url)),
        ("endpoint", text(endpoint)),
        ("ref", reference.clone()),
        ("bucketName", text(bucket_name)),
    ];
    let differs = |(key, has): &(&str, Option<Value>)| {
        let expected = expected.get(key).filter(|expected| has.as_ref() != Some(*expected))?;
        let has = has.as_ref().map_or("none".to_owned(), shown);
        Some(format!("{}: has {key} `{has}`, expected `{}`", source.object(), shown(expected)))
    };
    fields.iter().find_map(differs)
}

/// A URL, or the values of a reference.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => without_credentials(text),
        Value::Object(map) => map.values().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// What is found on the way to a verdict.
#[derive(Default)]
struct Findings {
    waiting: Vec<String>,
    blocked: Vec<Problem>,
    below: Vec<Problem>,
}

impl Findings {
    /// The judgement, with this verdict if there is nothing to wait for.
    fn judgement(self, done: Verdict) -> Judgement {
        let Self { waiting, mut blocked, below } = self;
        dedup(&mut blocked);
        blocked.sort_by_key(|problem| !problem.is_permanent);
        let waiting_for = blocked.first().map(Problem::words).or(waiting.into_iter().next());
        let verdict = match (blocked.first(), waiting_for) {
            (Some(problem), _) if problem.is_permanent => Verdict::Failed(problem.clone()),
            (_, Some(waiting_for)) => Verdict::Waiting { waiting_for },
            (_, None) => done,
        };
        let is_blocked = |problem: &Problem| blocked.iter().any(|one| one.object == problem.object);
        let mut below: Vec<_> = below.into_iter().filter(|problem| !is_blocked(problem)).collect();
        dedup(&mut below);
        Judgement { verdict, blocked, below }
    }

    /// Adds a problem. As long as something above it is about to change, it may recover by that.
    fn block(&mut self, problem: Problem, is_settled: bool) {
        self.blocked.push(Problem { is_permanent: problem.is_permanent && is_settled, ..problem });
    }

    /// Adds what keeps the source from being ready; gives whether it is. With `is_final`, the operator is not about to change it.
    fn add_source(&mut self, source: &Resource, is_final: bool) -> bool {
        let is_settled = self.waiting.is_empty();
        if source.spec.suspend {
            self.waiting.push(suspended(source));
        } else if let Some(problem) = stalled(source) {
            self.block(problem, is_settled);
        } else if let Some(problem) = failed(source) {
            let is_permanent = problem.known().is_some_and(KnownFailure::is_permanent);
            self.blocked.push(Problem { is_permanent: is_permanent && is_final, ..problem });
        } else if !source.has("Ready", "True") {
            self.waiting.push(source.words());
        } else {
            return true;
        }
        false
    }

    /// Adds what keeps the root Kustomization and those that it has applied from being at work, and what fails below them.
    fn add_tree(&mut self, root: &Resource, artifact: Option<&String>, resources: &[Resource]) {
        let ends = chains(resources);
        let is_settled = self.waiting.is_empty() && has_applied(root, artifact);
        let again = root.has("Ready", "Unknown") && root.status.last_applied_revision.is_some();
        let mut last = None;
        match state(root) {
            State::Suspended => self.waiting.push(suspended(root)),
            // Its health may be that of the Kustomizations that it has applied.
            State::Unhealthy(problem) => last = Some(problem),
            State::Failed(problem) => self.block(problem, self.waiting.is_empty()),
            State::Dependent => {
                self.waiting.push(root.words());
                self.add_end(root, &ends, false);
            }
            State::CheckingHealth | State::Pending if !again => self.waiting.push(root.words()),
            State::Ready | State::CheckingHealth | State::Pending => {}
        }
        for one in descendants(root, resources) {
            let decides = one.applied_by() == Some(key(root));
            match state(one) {
                State::Failed(problem) if decides => self.block(problem, is_settled),
                State::Dependent if decides => self.add_end(one, &ends, is_settled),
                State::Pending if decides => self.waiting.push(one.words()),
                State::Failed(problem) | State::Unhealthy(problem) => self.below.push(problem),
                State::Dependent => {
                    if let Some(End::Broken(problem)) = ends.get(&key(one)) {
                        self.below.push(problem.clone());
                    }
                }
                State::Suspended | State::Ready | State::CheckingHealth | State::Pending => {}
            }
        }
        self.below.extend(broken_sources(root, resources));
        self.blocked.extend(last);
    }

    /// Adds what is at the end of the chain of one that waits by `dependsOn`, unless that is at work.
    fn add_end(&mut self, waiting: &Resource, ends: &BTreeMap<Key<'_>, End<'_>>, is_settled: bool) {
        match ends.get(&key(waiting)) {
            Some(End::AtWork) => {}
            Some(End::Broken(problem)) => self.block(problem.clone(), is_settled),
            Some(End::Pending(resource)) => self.waiting.push(resource.words()),
            None => self.waiting.push(waiting.words()),
        }
    }
}

fn suspended(resource: &Resource) -> String {
    format!("{}: suspended", resource.object())
}

/// Keeps the first of several problems with the same object.
fn dedup(problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.object.clone()));
}

/// Whether the root Kustomization has applied what its source has.
fn has_applied(root: &Resource, artifact: Option<&String>) -> bool {
    let revision =
        root.status.last_attempted_revision.as_ref().or(root.status.last_applied_revision.as_ref());
    let is_current = artifact.is_none() || revision.is_none() || artifact == revision;
    is_current && matches!(state(root), State::Ready | State::CheckingHealth | State::Unhealthy(_))
}

/// The sources that the root Kustomization, or one below it, has applied, and that fail.
fn broken_sources(root: &Resource, resources: &[Resource]) -> Vec<Problem> {
    let tree: BTreeSet<_> = descendants(root, resources).into_iter().chain([root]).map(key).collect();
    let applied = resources.iter().filter(|resource| {
        resource.kind != "Kustomization"
            && !resource.spec.suspend
            && resource.applied_by().is_some_and(|parent| tree.contains(&parent))
    });
    applied.filter_map(|source| stalled(source).or_else(|| failed(source))).collect()
}

/// The Kustomizations that the root one has applied, and those that these have applied.
pub(crate) fn descendants<'a>(root: &'a Resource, resources: &'a [Resource]) -> Vec<&'a Resource> {
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

#[cfg(test)]
mod tests;
