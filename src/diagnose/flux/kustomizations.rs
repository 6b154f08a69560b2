//! The states of Kustomizations, and what those that wait by `dependsOn` wait for: pure functions.
//!
//! The reasons are those of kustomize-controller 1.7 (`internal/controller/kustomization_controller.go`) and of
//! `apis/meta/conditions.go` in fluxcd/pkg.

use std::collections::BTreeMap;

use crate::base::known_failures::{KnownFailure, Origin, find};
use crate::base::object_ref::ObjectRef;
use crate::observed::flux::{Condition, Dependency, Resource};

/// Namespace and name of a Kustomization.
pub(crate) type Key<'a> = (&'a str, &'a str);

/// An object that cannot be reconciled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) object: ObjectRef,
    /// Why, as `Reason: message` in the words of Flux.
    pub(crate) reason: String,
    /// What to do, where that is known without the reason.
    pub(crate) fix: Option<&'static str>,
    /// Whether it surely does not recover without a new commit or another key.
    pub(crate) is_permanent: bool,
}

impl Problem {
    /// The failure that a resource reports in this condition.
    pub(crate) fn new(resource: &Resource, condition: &Condition, is_permanent: bool) -> Self {
        let reason = format!("{}: {}", condition.reason, condition.message);
        Self { object: resource.object(), reason, fix: None, is_permanent }
    }

    /// Object and reason in one text.
    pub(crate) fn words(&self) -> String {
        format!("{}: {}", self.object, self.reason)
    }

    /// The known failure that its reason fits.
    pub(crate) fn known(&self) -> Option<&'static KnownFailure> {
        find(Origin::Flux, &self.words())
    }

    /// What to do about it, or where to look. With `is_late` the timeout has expired.
    pub(crate) fn advice(&self, is_late: bool) -> String {
        // It is no release: a fix that names one is none.
        let known = self.fix.or_else(|| self.known().and_then(KnownFailure::general_fix));
        if let Some(fix) = known {
            return fix.to_owned();
        }
        let ObjectRef { kind, namespace, name } = &self.object;
        let more = if is_late { "  # to wait longer, set --verify-timeout and --timeout" } else { "" };
        format!("kubectl --namespace {namespace} describe {} {name}{more}", kind.to_lowercase())
    }
}

/// The state of a Kustomization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Switched off by its owner.
    Suspended,
    /// Applied and healthy.
    Ready,
    /// Its objects are applied; their health is waited for.
    CheckingHealth,
    /// Its objects are applied, and they are not healthy.
    Unhealthy(Problem),
    /// Waits for others by `dependsOn`.
    Dependent,
    /// Its objects could not be applied.
    Failed(Problem),
    /// Not reconciled yet, or being reconciled.
    Pending,
}

/// The state of a Kustomization.
pub(crate) fn state(kustomization: &Resource) -> State {
    if kustomization.spec.suspend {
        return State::Suspended;
    }
    if let Some(stalled) = kustomization.condition("Stalled").filter(|stalled| stalled.status == "True") {
        return State::Failed(Problem::new(kustomization, stalled, true));
    }
    let Some(ready) = kustomization.condition("Ready") else { return State::Pending };
    match (ready.status.as_str(), ready.reason.as_str()) {
        ("True", _) => State::Ready,
        ("False", "DependencyNotReady") => State::Dependent,
        ("False", "HealthCheckFailed") => State::Unhealthy(Problem::new(kustomization, ready, false)),
        // Since 1.8 a health check ends so when another reconciliation has been requested, which then begins.
        ("False", "HealthCheckCanceled") => State::CheckingHealth,
        ("False", _) => State::Failed(Problem::new(kustomization, ready, is_permanent(ready))),
        _ if kustomization.is_checking_health() => State::CheckingHealth,
        _ => State::Pending,
    }
}

/// Whether a failure surely stays until there is a new commit or another key. What another Kustomization may bring, such
/// as CRDs, namespaces (`ReconciliationFailed`) or what `postBuild.substituteFrom` names, and what is fetched from
/// elsewhere while building, may recover.
fn is_permanent(ready: &Condition) -> bool {
    let message = ready.message.as_str();
    match ready.reason.as_str() {
        _ if cannot_decrypt(ready) => true,
        // `kustomize build failed: …`, or a file that is no Kubernetes object. Remote bases have an address.
        "BuildFailed" => !message.contains("post build failed") && !message.contains("://"),
        // Other words of this reason: the artifact is not there yet, or could not be fetched.
        "ArtifactFailed" => message.contains("kustomization path not found"),
        // A file that is encrypted with SOPS, while `spec.decryption` is missing.
        "ReconciliationFailed" => message.contains("configuring decryption is required"),
        _ => false,
    }
}

/// kustomize-controller's words for a key that does not fit (its `decryptor.go`): `decryption failed for …`,
/// `failed to import '…' data from … decryption Secret …`, `cannot get … decryption Secret`.
fn cannot_decrypt(ready: &Condition) -> bool {
    let words = ready.message.to_lowercase();
    words.contains("decrypt") && ["failed", "cannot", "error"].iter().any(|word| words.contains(word))
}

/// Namespace and name of a Kustomization.
pub(crate) fn key(resource: &Resource) -> Key<'_> {
    (&resource.metadata.namespace, &resource.metadata.name)
}

/// What is at the end of a chain of `dependsOn`.
#[derive(Clone, Debug)]
pub(crate) enum End<'a> {
    /// A Kustomization that is not reconciled yet.
    Pending(&'a Resource),
    /// One that is applied and whose health is waited for, or that its owner has suspended: Flux can do no more.
    AtWork,
    /// One that cannot be reconciled or does not exist, or there is no end.
    Broken(Problem),
}

impl End<'_> {
    /// Of several ends the largest decides.
    fn rank(&self) -> u8 {
        match self {
            Self::Pending(_) => 0,
            Self::AtWork => 1,
            Self::Broken(problem) => 2 + u8::from(problem.is_permanent),
        }
    }
}

/// For each Kustomization that waits by `dependsOn`, what is at the end of its chain.
pub(crate) fn chains(resources: &[Resource]) -> BTreeMap<Key<'_>, End<'_>> {
    let all = resources.iter().filter(|resource| resource.kind == "Kustomization");
    let all: BTreeMap<_, _> = all.map(|resource| (key(resource), resource)).collect();
    let mut waiting: Vec<_> =
        all.values().copied().filter(|resource| state(resource) == State::Dependent).collect();
    let mut ends = BTreeMap::new();
    // Each round finds the ends of those that wait for what is known by now; those that go in circles are left.
    loop {
        let before = waiting.len();
        waiting.retain(|resource| match end(resource, &all, &ends) {
            Some(end) => ends.insert(key(resource), end).is_some(),
            None => true,
        });
        if waiting.len() == before {
            break;
        }
    }
    let circling: BTreeMap<_, _> = waiting.iter().map(|resource| (key(resource), *resource)).collect();
    ends.extend(circling.iter().map(|(key, resource)| (*key, End::Broken(cycle(resource, &circling)))));
    ends
}

/// What a Kustomization waits for; nothing as long as that is not known of one that it waits for.
fn end<'a>(
    waiting: &'a Resource,
    all: &BTreeMap<Key<'a>, &'a Resource>,
    ends: &BTreeMap<Key<'a>, End<'a>>,
) -> Option<End<'a>> {
    let mut decides: Option<End<'a>> = None;
    for dependency in dependencies(waiting) {
        let end = match all.get(&dependency) {
            None => End::Broken(missing(waiting, dependency)),
            Some(other) => match state(other) {
                State::Suspended if other.has("Ready", "True") && !is_outdated(waiting, dependency) => {
                    continue;
                }
                State::Ready => continue,
                State::Suspended | State::CheckingHealth | State::Unhealthy(_) => End::AtWork,
                State::Failed(problem) => End::Broken(problem),
                State::Pending => End::Pending(other),
                State::Dependent => ends.get(&dependency)?.clone(),
            },
        };
        if decides.as_ref().is_none_or(|decides| end.rank() > decides.rank()) {
            decides = Some(end);
        }
    }
    // With all of them ready, it will be reconciled soon.
    Some(decides.unwrap_or(End::Pending(waiting)))
}

/// What a Kustomization waits for. Where an expression decides whether another is ready, only the Kustomization itself
/// reports that it is not: `dependency 'namespace/name' is not ready according to readyExpr eval`.
fn dependencies(waiting: &Resource) -> impl Iterator<Item = Key<'_>> {
    waiting.spec.depends_on.iter().filter_map(move |Dependency { name, namespace, ready_expr }| {
        let dependency = (namespace.as_deref().unwrap_or(&waiting.metadata.namespace), name.as_str());
        (ready_expr.is_none() || reports(waiting, dependency, "readyExpr")).then_some(dependency)
    })
}

/// Whether one that is ready has applied an older revision than the source has now: a suspended one stays so.
fn is_outdated(waiting: &Resource, dependency: Key<'_>) -> bool {
    reports(waiting, dependency, "revision is not up to date")
}

/// Whether a Kustomization reports this about one that it waits for (`checkDependencies`). It reports one at a time.
fn reports(waiting: &Resource, (namespace, name): Key<'_>, words: &str) -> bool {
    waiting.condition("Ready").is_some_and(|Condition { message, .. }| {
        message.contains(&format!("'{namespace}/{name}'")) && message.contains(words)
    })
}

/// Another Kustomization may still bring it.
fn missing(waiting: &Resource, (namespace, name): Key<'_>) -> Problem {
    Problem {
        object: ObjectRef::new("Kustomization", namespace, name),
        reason: format!("NotFound: {} depends on it", waiting.object()),
        fix: Some("correct `dependsOn` in the Git repository, or add the Kustomization, and push"),
        is_permanent: false,
    }
}

/// The cycle that a Kustomization is part of, or waits for. Each of `circling` waits for another of them.
fn cycle<'a>(start: &'a Resource, circling: &BTreeMap<Key<'a>, &'a Resource>) -> Problem {
    let next = |at: &'a Resource| dependencies(at).find_map(|dependency| circling.get(&dependency).copied());
    let mut path = vec![start];
    let mut seen = BTreeMap::from([(key(start), 0)]);
    let mut at = start;
    while let Some(other) = next(at) {
        if let Some(first) = seen.insert(key(other), path.len()) {
            path.drain(..first);
            break;
        }
        path.push(other);
        at = other;
    }
    // It is the same cycle wherever one comes into it.
    let first = (0..path.len()).min_by_key(|at| path.get(*at).map(|resource| key(resource)));
    path.rotate_left(first.unwrap_or_default());
    let names = path.iter().chain(path.first()).map(|one| format!("{}/{}", key(one).0, key(one).1));
    Problem {
        object: path.first().unwrap_or(&start).object(),
        reason: format!(
            "DependencyNotReady: cycle in `dependsOn`: {}",
            names.collect::<Vec<_>>().join(" → ")
        ),
        fix: Some("remove one `dependsOn` of the cycle from the Git repository, and push"),
        is_permanent: true,
    }
}
