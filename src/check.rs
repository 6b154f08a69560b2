//! The checks before anything is changed: rules, each a pure function of what was read.

mod address;
mod adopted;
mod answer;
pub(crate) mod cluster_identity;
#[cfg(test)]
mod empty;
#[cfg(test)]
mod fixture;
mod k3s;
pub(crate) mod options;
pub(crate) mod rules;
pub(crate) mod scheduling;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use self::answer::{Answer, Inspection};
use crate::base::distribution::Distribution;
use crate::base::finding::{Finding, Severity};
use crate::check::options::CheckOptions;
use crate::desired::distribution::decide;
use crate::desired::encrypted::EncryptedState;
use crate::desired::manifests::Manifests;
use crate::desired::releases::Release;
use crate::desired::{AgeKey, Desired};
use crate::observed::{Live, Observed};

/// Why a rule about all releases does not apply.
const NO_RELEASES: &str = "there are no releases to sync";

/// Why a rule about nodes has no answer.
const NO_NODES: &str = "no node has registered";

/// Why a rule about manifests does not apply: releases that are up to date are not rendered.
const NOTHING_RENDERED: &str = "no release needs to be rendered";

/// Why a rule about a value has no answer: a stand-in takes the place of the value.
const OPEN: &str = "a variable that the values use is not set";

/// The input of all rules. Rules read nothing else.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// What the user asked for.
    pub options: &'a CheckOptions,
    /// What the helmfiles and the repository define.
    pub desired: &'a Desired,
    /// The current state.
    pub observed: &'a Observed,
    /// The manifests of releases that are not up to date.
    pub manifests: &'a Manifests,
}

impl<'a> Facts<'a> {
    /// The distribution of the cluster; while it does not answer, the one that the repository is for.
    pub(crate) fn distribution(&self) -> Distribution {
        let live = self.observed.live.as_ref().map(Live::distribution);
        let known = live.filter(|found| *found != Distribution::Unknown);
        known.unwrap_or_else(|| decide(&self.desired.signs))
    }

    /// Whether the nodes run k3s.
    ///
    /// # Errors
    ///
    /// The answer of a rule about k3s, if they do not, or if that is unknown.
    pub(crate) fn k3s(&self) -> Result<(), Answer> {
        match &self.observed.live {
            Some(live) => k3s::is_k3s(live),
            None if self.distribution().is_k3s() => Ok(()),
            None => Err(Answer::not_applicable(k3s::NOT_SAID)),
        }
    }

    /// The findings that were reported for this rule while reading files and responses: only there the line is known.
    pub(crate) fn reported(&self, rule: &str) -> Vec<Finding> {
        let all = self.desired.problems.iter().chain(&self.observed.problems);
        all.filter(|finding| finding.rule == rule).cloned().collect()
    }

    /// The release to sync that uses this chart.
    ///
    /// # Errors
    ///
    /// The answer of a rule about this release, if there is no such release or a helmfile was not read.
    pub(crate) fn release_of_chart(&self, chart: &str) -> Result<&'a Release, Answer> {
        let release = self.desired.release_of_chart(chart);
        release.ok_or_else(|| self.without(format!("no release uses the chart `{chart}`")))
    }

    /// The release to sync that installs the CNI.
    ///
    /// # Errors
    ///
    /// As [`Self::release_of_chart`].
    pub(crate) fn cni(&self) -> Result<&'a Release, Answer> {
        self.desired.cni().ok_or_else(|| self.without("no release installs a known CNI"))
    }

    /// The severity of values that fail the release: they have no effect on a release that Flux or k3s manages.
    pub(crate) fn severity_for(&self, release: &Release) -> Severity {
        let claims = self.observed.live.as_ref().and_then(|live| live.claims.as_ref().ok());
        let is_managed = claims.is_some_and(|claims| claims.owner_of(&release.id()).is_some());
        if is_managed { Severity::Warning } else { Severity::Error }
    }

    /// The answer of a rule that found none of the releases it is about: a helmfile that was not read may have them.
    pub(crate) fn without(&self, none: impl Into<String>) -> Answer {
        self.desired.unread().map_or_else(|| Answer::not_applicable(none), Answer::Unknown)
    }

    /// An inspection of releases, in which those of a helmfile that was not read are missing.
    pub(crate) fn inspect_releases(&self) -> Inspection {
        let mut inspection = Inspection::default();
        self.desired.unread().into_iter().for_each(|reason| inspection.miss(reason));
        inspection
    }

    /// The age key that goes into the cluster.
    ///
    /// # Errors
    ///
    /// The answer of a rule about this key, if there is none or it cannot be read.
    pub(crate) fn age_key(&self) -> Result<&'a AgeKey, Answer> {
        let broken = || self.reported("age-key").iter().any(|finding| finding.severity == Severity::Error);
        self.desired.age_key.as_ref().ok_or_else(|| {
            if broken() {
                Answer::unknown("the age key cannot be read")
            } else {
                Answer::not_applicable("there is no age key")
            }
        })
    }

    /// The key file with the age key.
    ///
    /// # Errors
    ///
    /// As for [`Self::age_key`], or the key is in an encrypted file.
    pub(crate) fn age_key_file(&self) -> Result<&'a AgeKey, Answer> {
        match self.age_key()? {
            key if key.is_encrypted => Err(Answer::not_applicable("the age key is in an encrypted file")),
            key => Ok(key),
        }
    }

    /// The answer of a rule about files that are encrypted with age and meant for the cluster, if none is known.
    pub(crate) fn without_encrypted(&self) -> Answer {
        let Desired { tracked, encrypted, synced, .. } = self.desired;
        let any = encrypted.iter().any(|file| matches!(file.state, EncryptedState::Encrypted { .. }));
        match (tracked, synced) {
            (Err(reason), _) => Answer::Unknown(reason.clone()),
            // It is unknown which files Flux applies.
            (_, Err(reason)) if any => Answer::Unknown(reason.clone()),
            _ => Answer::not_applicable("no encrypted file is meant for the cluster"),
        }
    }

    /// Why nothing is known about the cluster.
    pub(crate) fn unanswered(&self) -> &'static str {
        let kubectl = self.observed.programs.iter().find(|program| program.name == "kubectl");
        if !self.reported("api").is_empty() {
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

/// The function of a rule.
#[derive(Clone, Copy)]
pub(crate) enum Check {
    /// Returns the findings that were reported while reading (see [`Facts::reported`]). Without any, the function decides
    /// whether there was anything to read.
    Reported(fn(&Facts<'_>) -> Answer),
    /// Checks files, programs, charts and access to the cluster.
    Facts(fn(&Facts<'_>) -> Answer),
    /// Checks the cluster: unknown while it does not respond.
    Cluster(fn(&Facts<'_>, &Live) -> Answer),
    /// Checks nodes: like [`Check::Cluster`], and again after all nodes have registered.
    Nodes(fn(&Facts<'_>, &Live) -> Answer),
}

/// What has to be read before the answer of a rule is final, in the order in which it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Files and programs.
    Files,
    /// Access to the cluster or to registries: not applicable with `--offline`.
    Network,
    /// The state of the cluster.
    Cluster,
    /// The managers of releases: if the cluster has Flux, they are known after rendering.
    Owners,
    /// Rendered manifests, and the state of the cluster that is read meanwhile.
    Rendered,
}

/// Why a rule about a cluster or a registry does not apply.
const OFFLINE: &str = "it needs the cluster or a registry, and --offline contacts neither";

/// The heading of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Variables and programs.
    Environment,
    /// Helmfiles, values and charts.
    Repository,
    /// The age key and encrypted files.
    Secrets,
    /// The cluster's address and identity.
    Kubeconfig,
    /// The API server.
    Cluster,
    /// The k3s settings.
    K3s,
    /// Nodes and scheduling.
    Nodes,
    /// Cluster DNS and the API server's address.
    Dns,
    /// Helm releases and Flux.
    Releases,
}

impl Group {
    /// The text of the heading.
    pub(crate) fn title(self) -> &'static str {
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

/// A check with its documentation.
pub(crate) struct Rule {
    /// The name for `--skip-check` and `--explain`.
    pub id: &'static str,
    /// The heading in reports and docs.
    pub group: Group,
    /// What is true if the check passes.
    pub title: &'static str,
    /// Why it matters, with sources.
    pub why: &'static str,
    /// Whether it cannot be skipped.
    pub essential: bool,
    /// What has to be read before the answer is final.
    pub needs: Needs,
    /// The function.
    pub check: Check,
}

impl Rule {
    /// Whether it applies to clusters only.
    pub(crate) fn needs_cluster(&self) -> bool {
        matches!(self.check, Check::Cluster(_) | Check::Nodes(_))
    }

    /// Whether it applies with `--offline`.
    pub(crate) fn works_offline(&self) -> bool {
        !self.needs_cluster() && self.needs != Needs::Network
    }

    /// Runs the check.
    pub(crate) fn ask(&self, facts: &Facts<'_>) -> Answer {
        match (self.check, &facts.observed.live) {
            (Check::Reported(otherwise), _) => match facts.reported(self.id) {
                found if found.is_empty() => otherwise(facts),
                found => Answer::Found(found),
            },
            (Check::Facts(check), _) => check(facts),
            (Check::Cluster(check) | Check::Nodes(check), Some(live)) => check(facts, live),
            (Check::Cluster(_) | Check::Nodes(_), None) => Answer::unknown(facts.unanswered()),
        }
    }
}

/// The result of a rule.
pub(crate) struct Outcome {
    pub rule: &'static Rule,
    /// The answer; none if the user skipped the rule.
    pub answer: Option<Answer>,
}

impl Outcome {
    /// Whether the check passed or failed, rather than being unknown, skipped or not applicable.
    pub(crate) fn answered(&self) -> bool {
        matches!(self.answer, Some(Answer::Ok | Answer::Counted(_) | Answer::Found(_)))
    }

    /// Whether the check is not applicable because the cluster does not run k3s, or the repository does not say that it does.
    pub(crate) fn is_for_another_distribution(&self) -> bool {
        let is_reason = |reason: &String| [k3s::NOT_RUN, k3s::NOT_SAID].contains(&reason.as_str());
        matches!(&self.answer, Some(Answer::NotApplicable(reason)) if is_reason(reason))
    }

    /// The findings, if any.
    pub(crate) fn findings(&self) -> &[Finding] {
        match &self.answer {
            Some(Answer::Found(findings)) => findings,
            _ => &[],
        }
    }

    fn findings_mut(&mut self) -> &mut [Finding] {
        match &mut self.answer {
            Some(Answer::Found(findings)) => findings,
            _ => &mut [],
        }
    }

    /// The highest severity of the findings.
    pub(crate) fn severity(&self) -> Option<Severity> {
        self.findings().iter().map(|finding| finding.severity).max()
    }
}

/// Merges the fixes of these findings that change the same file.
pub(crate) fn merge_fixes<'f>(findings: impl IntoIterator<Item = &'f mut Finding>, live: Option<&Live>) {
    if let Some(live) = live {
        k3s::merge_fixes(findings, live);
    }
}

/// Runs all rules, for a report of their findings.
pub(crate) fn run_all(facts: &Facts<'_>) -> Vec<Outcome> {
    let mut outcomes = run(facts, |_| true);
    merge_fixes(outcomes.iter_mut().flat_map(Outcome::findings_mut), facts.observed.live.as_ref());
    outcomes
}

/// Runs all rules that `wanted` selects.
pub(crate) fn run(facts: &Facts<'_>, wanted: impl Fn(&Rule) -> bool) -> Vec<Outcome> {
    let options = facts.options;
    let ask = |rule: &'static Rule| {
        let skipped = options.skip_checks.iter().any(|id| id == rule.id);
        let idle = options.offline && !rule.works_offline();
        let elsewhere = (rule.group == Group::K3s).then(|| facts.k3s().err()).flatten();
        let answer = || match elsewhere {
            Some(answer @ Answer::NotApplicable(_)) => answer,
            _ if idle => Answer::not_applicable(OFFLINE),
            _ => rule.ask(facts),
        };
        Outcome { rule, answer: (!skipped).then(answer) }
    };
    rules::ALL.iter().copied().filter(|rule| wanted(rule)).map(ask).collect()
}
