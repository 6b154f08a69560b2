//! What can be found out before anything is changed: rules, each a pure function in a file of its own.

mod address;
#[cfg(test)]
mod fixture;
mod k3s;
pub mod rules;
mod scheduling;
#[cfg(test)]
pub(crate) mod testing;
pub mod versions;

use crate::desired::Desired;
use crate::logger::{self, Level};
use crate::manifests::Manifests;
use crate::observed::{Live, Observed};
use crate::settings::Settings;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is good to know.
    Info,
    /// It deserves a look.
    Warning,
    /// It makes this bootstrap fail or do harm.
    Error,
}

impl Severity {
    /// Its word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A problem: what was found, where, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found it.
    pub rule: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What was found and where.
    pub pairs: Vec<(&'static str, String)>,
    /// Whether it is on the log already.
    pub told: bool,
}

impl Finding {
    /// A finding that stops the run.
    #[must_use]
    pub fn error(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, severity: Severity::Error, message: message.into(), pairs: Vec::new(), told: false }
    }

    /// A finding that does not stop the run.
    #[must_use]
    pub fn warning(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, message) }
    }

    /// What is good to know.
    #[must_use]
    pub fn info(rule: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, ..Self::error(rule, message) }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.pairs.push((key, value.to_string()));
        self
    }

    /// Adds what to type or to change; always the last detail.
    #[must_use]
    pub fn fix(self, fix: impl std::fmt::Display) -> Self {
        self.with("fix", fix)
    }

    /// Writes it on the log.
    pub fn log(&self) {
        let level = match self.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Warn,
            Severity::Error => Level::Error,
        };
        logger::log(level, &self.message, &self.pairs);
    }
}

/// Collects findings of steps that go on after a problem.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Keeps the finding of a failed step, gives the value of a good one.
    pub fn keep<T>(&mut self, result: Result<T, Finding>) -> Option<T> {
        result.map_err(|finding| self.0.push(finding)).ok()
    }
}

/// Everything that rules look at. Nothing of it is read from anywhere by a rule itself.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What the user said.
    pub settings: &'a Settings,
    /// What the helmfiles and the repository ask for.
    pub desired: &'a Desired,
    /// What stands.
    pub observed: &'a Observed,
    /// The manifests of releases that are not as wanted yet.
    pub manifests: &'a Manifests,
}

impl Facts<'_> {
    /// What reading found for this rule: files and answers that could not be read tell so where they are read, for only
    /// there the line is known.
    #[must_use]
    pub fn told(&self, rule: &str) -> Vec<Finding> {
        let all = self.desired.problems.iter().chain(&self.observed.problems);
        all.filter(|finding| finding.rule == rule).cloned().collect()
    }
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is well, or the rule has nothing to look at here.
    Ok,
    /// It could not be found out, for this reason. Never stops anything.
    Unknown(String),
    /// Problems, or things that are good to know.
    Found(Vec<Finding>),
}

impl From<Vec<Finding>> for Answer {
    fn from(findings: Vec<Finding>) -> Self {
        if findings.is_empty() { Self::Ok } else { Self::Found(findings) }
    }
}

impl From<Option<Finding>> for Answer {
    fn from(finding: Option<Finding>) -> Self {
        Self::from(Vec::from_iter(finding))
    }
}

/// What a rule looks at.
#[derive(Clone, Copy)]
pub enum Check {
    /// Nothing of its own: it tells what reading found (see [`Facts::told`]).
    Told,
    /// Files, programs and charts: it runs with `--offline` too.
    Files(fn(&Facts<'_>) -> Answer),
    /// What leads to a cluster or a registry: not asked with `--offline`, for nothing of it is looked at then.
    Online(fn(&Facts<'_>) -> Answer),
    /// The cluster; unknown as long as that does not answer.
    Cluster(fn(&Facts<'_>, &Live) -> Answer),
    /// Nodes: as [`Check::Cluster`], and once more when all nodes have registered.
    Nodes(fn(&Facts<'_>, &Live) -> Answer),
}

/// Under which heading a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Variables and programs.
    Environment,
    /// Helmfiles, values and charts.
    Repository,
    /// The age key and encrypted files.
    Secrets,
    /// Which cluster, and by what right.
    Kubeconfig,
    /// The API server.
    Cluster,
    /// How k3s was started.
    K3s,
    /// Nodes and what is to run on them.
    Nodes,
    /// Cluster DNS and the API server's address.
    Dns,
    /// What Helm and Flux have done already.
    Releases,
}

impl Group {
    /// The heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Environment => "Environment",
            Self::Repository => "Repository",
            Self::Secrets => "Secrets",
            Self::Kubeconfig => "Kubeconfig",
            Self::Cluster => "Cluster",
            Self::K3s => "k3s",
            Self::Nodes => "Nodes",
            Self::Dns => "DNS and API address",
            Self::Releases => "Helm and Flux",
        }
    }
}

/// A rule.
pub struct Rule {
    /// Its name, for `--skip-check` and `--explain`.
    pub id: &'static str,
    /// Its heading.
    pub group: Group,
    /// What is in order when it finds nothing.
    pub title: &'static str,
    /// Why it matters, and where the fact comes from.
    pub why: &'static str,
    /// Whether nothing can go on without it, so that it cannot be skipped.
    pub essential: bool,
    /// What it looks at.
    pub check: Check,
}

impl Rule {
    /// Whether it has nothing to look at without a cluster.
    #[must_use]
    pub fn needs_cluster(&self) -> bool {
        matches!(self.check, Check::Cluster(_) | Check::Nodes(_))
    }

    /// Whether it has something to look at with `--offline`.
    #[must_use]
    pub fn works_offline(&self) -> bool {
        !self.needs_cluster() && !matches!(self.check, Check::Online(_))
    }

    /// Asks it.
    #[must_use]
    pub fn ask(&self, facts: &Facts<'_>) -> Answer {
        match (self.check, &facts.observed.live) {
            (Check::Told, _) => facts.told(self.id).into(),
            (Check::Files(check) | Check::Online(check), _) => check(facts),
            (Check::Cluster(check) | Check::Nodes(check), Some(live)) => check(facts, live),
            (Check::Cluster(_) | Check::Nodes(_), None) => {
                Answer::Unknown("the cluster does not answer".to_owned())
            }
        }
    }
}

/// What became of a rule.
pub struct Outcome {
    /// The rule.
    pub rule: &'static Rule,
    /// Its answer; none when the user skipped it.
    pub answer: Option<Answer>,
}

impl Outcome {
    /// Whether it found out whether all is well.
    #[must_use]
    pub fn answered(&self) -> bool {
        matches!(self.answer, Some(Answer::Ok | Answer::Found(_)))
    }

    /// What it found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match &self.answer {
            Some(Answer::Found(findings)) => findings,
            _ => &[],
        }
    }

    /// The heaviest of what it found.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.findings().iter().map(|finding| finding.severity).max()
    }
}

/// Asks all rules that `wanted` picks.
#[must_use]
pub fn run(facts: &Facts<'_>, wanted: impl Fn(&Rule) -> bool) -> Vec<Outcome> {
    let settings = facts.settings;
    let ask = |rule: &'static Rule| {
        let skipped = settings.skip_checks.iter().any(|id| id == rule.id);
        let idle = settings.offline && !rule.works_offline();
        Outcome { rule, answer: (!skipped && !idle).then(|| rule.ask(facts)) }
    };
    rules::ALL.iter().copied().filter(|rule| wanted(rule)).map(ask).collect()
}
