//! Recognizes a message by who wrote it, and by its shape.

use std::sync::LazyLock;

use regex::bytes::RegexSet;

/// Who wrote a message, and in which phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// helm, when it fetches a chart.
    Chart,
    /// helm, when it renders a chart.
    Template,
    /// helm, when it installs or upgrades a release; also what the API server answers to helm.
    Release,
    /// kubectl or the API server.
    Api,
    /// The state of a pod, a workload, a volume claim or a node: `REASON: MESSAGE`.
    State,
    /// A line that a container printed.
    Log,
    /// A condition of a Flux object: `KIND NAMESPACE/NAME: REASON: MESSAGE`.
    Flux,
    /// k3s-boot itself, or another program.
    Program,
}

/// All that pass on an answer of the API server.
pub(super) const API: &[Origin] = &[Origin::Api, Origin::Release, Origin::State, Origin::Flux];

/// The clients of the API server.
pub(super) const CLIENTS: &[Origin] = &[Origin::Api, Origin::Release];

pub(super) const CHART: &[Origin] = &[Origin::Chart];
pub(super) const HELM: &[Origin] = &[Origin::Release, Origin::Template];
pub(super) const RELEASE: &[Origin] = &[Origin::Release];
pub(super) const LOG: &[Origin] = &[Origin::Log];
pub(super) const STATE: &[Origin] = &[Origin::State];
pub(super) const FLUX: &[Origin] = &[Origin::Flux];

/// Programs on this machine.
pub(super) const LOCAL: &[Origin] = &[Origin::Program, Origin::Chart, Origin::Template, Origin::Release];

/// The shape of a message: its text, where `*` stands for anything within one part of the message (parts are separated by a
/// colon and a space), and `…` for anything. A part of the message has to start with it. Upper and lower case do not matter:
/// Helm 3 and 4 differ in the first letter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub from: &'static [Origin],
    pub text: &'static str,
    /// Whether it only counts if no other shape fits.
    pub is_fallback: bool,
}

pub(super) const fn shape(from: &'static [Origin], text: &'static str) -> Shape {
    Shape { from, text, is_fallback: false }
}

/// A shape that shows what happened, but not why. It fits what no other shape fits.
pub(super) const fn fallback(from: &'static [Origin], text: &'static str) -> Shape {
    Shape { from, text, is_fallback: true }
}

impl Shape {
    /// As a regular expression of bytes: with Unicode, a few shapes more made each lookup take seconds.
    pub(super) fn pattern(&self) -> String {
        const STARTS: &str = r"(?is-u)(?:^|[:;,.] |[\[(\n]|- |= |\* |\d |init )";
        const WITHIN_A_PART: &str = r"(?:[^:]|:[^ ])*?";
        let text = regex::escape(self.text).replace(r"\*", WITHIN_A_PART).replace('…', ".*?");
        format!("{STARTS}{text}")
    }
}

/// Shapes that are looked up together.
pub(super) struct Shapes<T> {
    all: Vec<(T, Shape)>,
    set: RegexSet,
}

impl<T: Copy + PartialEq> Shapes<T> {
    /// Invalid patterns do not exist: everything but the placeholders is escaped.
    pub(super) fn new(all: Vec<(T, Shape)>) -> Self {
        let set = RegexSet::new(all.iter().map(|(_, shape)| shape.pattern())).unwrap_or_default();
        Self { all, set }
    }

    /// Whose shapes fit a message, each once: fallbacks only if nothing else does.
    pub(super) fn fitting(&self, origin: Origin, message: &str) -> Vec<T> {
        let fitting =
            self.set.matches(message.as_bytes()).into_iter().filter_map(|index| self.all.get(index));
        let fitting: Vec<_> = fitting.filter(|(_, shape)| shape.from.contains(&origin)).collect();
        let has_cause = fitting.iter().any(|(_, shape)| !shape.is_fallback);
        let mut owners = Vec::new();
        for (owner, shape) in fitting {
            if shape.is_fallback != has_cause && !owners.contains(owner) {
                owners.push(*owner);
            }
        }
        owners
    }
}

/// The reasons in a message of the scheduler, which counts nodes by reason: `0/3 nodes are available: 1 Insufficient cpu, 2 …`
/// (Kubernetes 1.36, `FitError` in `pkg/scheduler/framework/types.go`).
pub(super) fn reasons_of_scheduler(message: &str) -> Option<impl Iterator<Item = &str>> {
    static START: LazyLock<Option<regex::Regex>> =
        LazyLock::new(|| regex::Regex::new(r"^(?:FailedScheduling: )?\d+/\d+ nodes are available: ").ok());
    let start = START.as_ref()?.find(message)?;
    let reasons = &message[start.end()..];
    let reasons = reasons.split_once(" preemption: ").map_or(reasons, |(reasons, _)| reasons);
    Some(reasons.split([',', ';']).map(|reason| {
        let reason = reason.trim();
        reason.trim_start_matches(|char: char| char.is_ascii_digit()).trim_start()
    }))
}
