//! What can be found out before anything is changed: rules, each a pure function in a file of its own.

mod address;
mod adopted;
mod answer;
#[cfg(test)]
mod empty;
#[cfg(test)]
mod fixture;
mod k3s;
pub mod rules;
mod scheduling;
#[cfg(test)]
pub(crate) mod testing;
pub mod versions;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::answer::{Answer, Inspection};
use crate::desired::encrypted::EncryptedState;
use crate::desired::releases::Release;
use crate::desired::{AgeKey, Desired};
use crate::logger::{self, Level};
use crate::manifests::Manifests;
use crate::observed::{Live, Observed};
use crate::settings::Settings;

/// Why a rule about all releases has nothing to look at.
const NO_RELEASES: &str = "there are no releases to sync";

/// Why a rule about nodes could not look at any.
const NO_NODES: &str = "no node has registered";

/// Why a rule about manifests has nothing to look at: what is up to date is not rendered.
const NOTHING_RENDERED: &str = "no release needs to be rendered";

/// Why a rule about a value could not look at it: a stand-in has its place.
const OPEN: &str = "a variable that the values use is not set";

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
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

impl<'a> Facts<'a> {
    /// What reading found for this rule: files and answers that could not be read tell so where they are read, for only
    /// there the line is known.
    #[must_use]
    pub fn told(&self, rule: &str) -> Vec<Finding> {
        let all = self.desired.problems.iter().chain(&self.observed.problems);
        all.filter(|finding| finding.rule == rule).cloned().collect()
    }

    /// What reading found for this rule; if it found nothing, what `read` answers about whether there was anything to read.
    #[must_use]
    pub fn findings_or(&self, rule: &str, read: impl FnOnce(&Self) -> Answer) -> Answer {
        let found = self.told(rule);
        if found.is_empty() { read(self) } else { Answer::Found(found) }
    }

    /// The release to sync that has this chart.
    ///
    /// # Errors
    ///
    /// The answer of a rule that is about this release, when no helmfile is known to name one.
    pub fn release_of_chart(&self, chart: &str) -> Result<&'a Release, Answer> {
        let release = self.desired.release_of_chart(chart);
        release.ok_or_else(|| self.without(format!("no release uses the chart `{chart}`")))
    }

    /// The release to sync that brings the cluster's network.
    ///
    /// # Errors
    ///
    /// As [`Self::release_of_chart`].
    pub fn cni(&self) -> Result<&'a Release, Answer> {
        self.desired.cni().ok_or_else(|| self.without("no release installs a known CNI"))
    }

    /// The answer of a rule that is about releases of which none was found: a helmfile that was not read may have them.
    #[must_use]
    pub fn without(&self, none: impl Into<String>) -> Answer {
        self.desired.unread().map_or_else(|| Answer::not_applicable(none), Answer::Unknown)
    }

    /// An inspection of releases: those of a helmfile that was not read are missed.
    #[must_use]
    pub fn inspect_releases(&self) -> Inspection {
        let mut inspection = Inspection::default();
        self.desired.unread().into_iter().for_each(|reason| inspection.miss(reason));
        inspection
    }

    /// The age key that goes into the cluster.
    ///
    /// # Errors
    ///
    /// The answer of a rule that is about this key, when there is none or it cannot be read.
    pub fn age_key(&self) -> Result<&'a AgeKey, Answer> {
        let broken = || self.told("age-key").iter().any(|finding| finding.severity == Severity::Error);
        self.desired.age_key.as_ref().ok_or_else(|| {
            if broken() {
                Answer::unknown("the age key cannot be read")
            } else {
                Answer::not_applicable("there is no age key")
            }
        })
    }

    /// The answer of a rule about files that are encrypted with age and meant for the cluster, when none is known.
    #[must_use]
    pub fn without_encrypted(&self) -> Answer {
        let Desired { tracked, encrypted, synced, .. } = self.desired;
        let any = encrypted.iter().any(|file| matches!(file.state, EncryptedState::Encrypted { .. }));
        match (tracked, synced) {
            (Err(reason), _) => Answer::Unknown(reason.clone()),
            // What of the repository Flux is to apply is not known.
            (_, Err(reason)) if any => Answer::Unknown(reason.clone()),
            _ => Answer::not_applicable("no encrypted file is meant for the cluster"),
        }
    }

    /// Why nothing is known of the cluster.
    #[must_use]
    pub fn unanswered(&self) -> &'static str {
        let kubectl = self.observed.programs.iter().find(|program| program.name == "kubectl");
        if !self.told("api").is_empty() {
            "the cluster does not answer"
        } else if self.observed.target.is_none() {
            "no kubeconfig was read"
        } else if kubectl.is_some_and(|kubectl| kubectl.path.is_none()) {
            "kubectl is not installed"
        } else {
            "the cluster was not queried"
        }
    }
}

/// What a rule looks at.
#[derive(Clone, Copy)]
pub enum Check {
    /// What reading found (see [`Facts::told`]); when it found nothing, the function answers whether there was
    /// anything to read.
    Told(fn(&Facts<'_>) -> Answer),
    /// Files, programs and charts: it runs with `--offline` too.
    Files(fn(&Facts<'_>) -> Answer),
    /// What leads to a cluster or a registry: not asked with `--offline`, for nothing of it is looked at then.
    Online(fn(&Facts<'_>) -> Answer),
    /// The cluster; unknown as long as that does not answer.
    Cluster(fn(&Facts<'_>, &Live) -> Answer),
    /// Nodes: as [`Check::Cluster`], and once more when all nodes have registered.
    Nodes(fn(&Facts<'_>, &Live) -> Answer),
}

/// Why a rule about a cluster or a registry has nothing to look at.
const OFFLINE: &str = "it needs the cluster or a registry, and --offline contacts neither";

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
            (Check::Told(read), _) => facts.findings_or(self.id, read),
            (Check::Files(check) | Check::Online(check), _) => check(facts),
            (Check::Cluster(check) | Check::Nodes(check), Some(live)) => check(facts, live),
            (Check::Cluster(_) | Check::Nodes(_), None) => Answer::unknown(facts.unanswered()),
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
        let answer = || if idle { Answer::not_applicable(OFFLINE) } else { rule.ask(facts) };
        Outcome { rule, answer: (!skipped).then(answer) }
    };
    rules::ALL.iter().copied().filter(|rule| wanted(rule)).map(ask).collect()
}
