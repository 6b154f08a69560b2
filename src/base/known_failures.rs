//! Known failures, recognized by the messages of Helm, the API server, kubelets and Flux.

mod api;
mod flux;
mod git;
mod helm;
mod images;
mod kustomize;
mod logs;
mod pods;
mod registry;
mod scheduling;
mod shape;

use std::sync::LazyLock;

use crate::base::known_failures::shape::{Shape, Shapes, reasons_of_scheduler};
use crate::base::release_id::ReleaseId;

pub use self::shape::Origin;

/// What waiting does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It may resolve itself within seconds, so that a retry helps.
    Transient,
    /// Waiting may resolve it, or not.
    Unknown,
    /// Waiting cannot resolve it: the cluster rejects the objects of the chart.
    Permanent,
}

/// A message from which a known failure was made.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub origin: Origin,
    /// The program that printed it, with its version, and where it was published unless it was recorded with the sandbox.
    pub by: &'static str,
    pub message: &'static str,
}

const fn sample(origin: Origin, by: &'static str, message: &'static str) -> Sample {
    Sample { origin, by, message }
}

#[derive(Debug)]
pub struct KnownFailure {
    pub id: &'static str,
    pub(super) outlook: Outlook,
    shapes: &'static [Shape],
    pub samples: &'static [Sample],
    pub cause: &'static str,
    /// The fix; `{release}`, `{namespace}`, `{name}` and `{pod}` are placeholders.
    pub(super) fix: &'static str,
}

impl KnownFailure {
    /// Whether waiting cannot resolve it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.outlook == Outlook::Permanent
    }

    /// Whether it may resolve itself within seconds.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.outlook == Outlook::Transient
    }

    /// The fix for an object that is not of a release, if the fix names no release.
    #[must_use]
    pub fn general_fix(&self) -> Option<&'static str> {
        Some(self.fix).filter(|fix| !fix.contains('{'))
    }

    /// The fix for a release and, if known, its pod.
    #[must_use]
    pub fn fix(&self, release: &ReleaseId, pod: Option<&str>) -> String {
        let namespace = if release.namespace.is_empty() { "default" } else { &release.namespace };
        self.fix
            .replace("{release}", &release.to_string())
            .replace("{namespace}", namespace)
            .replace("{name}", &release.name)
            .replace("{pod}", pod.unwrap_or("POD"))
    }
}

/// The known failure that a message fits. A message that fits several has no certain cause, and so none.
pub(crate) fn find(origin: Origin, message: &str) -> Option<&'static KnownFailure> {
    if let [only] = fitting(origin, message)[..] {
        return table().nth(only);
    }
    // A node that is not ready yet may accept what the others do not, so the order of the table decides between the reasons.
    let reasons = reasons_of_scheduler(message).filter(|_| origin == Origin::State)?;
    let first = reasons.filter_map(|reason| fitting(Origin::State, reason).into_iter().min()).min()?;
    table().nth(first)
}

/// The rows of the table that a message fits.
fn fitting(origin: Origin, message: &str) -> Vec<usize> {
    static SHAPES: LazyLock<Shapes<usize>> = LazyLock::new(|| {
        let all = table().enumerate();
        Shapes::new(
            all.flat_map(|(row, known)| known.shapes.iter().map(move |shape| (row, *shape))).collect(),
        )
    });
    SHAPES.fitting(origin, message)
}

/// All known failures.
pub fn table() -> impl Iterator<Item = &'static KnownFailure> {
    let all = [
        scheduling::TABLE,
        logs::TABLE,
        pods::TABLE,
        images::TABLE,
        registry::TABLE,
        helm::TABLE,
        api::TABLE,
        flux::TABLE,
        kustomize::TABLE,
        git::TABLE,
    ];
    all.into_iter().flatten()
}

#[cfg(test)]
mod tests;
