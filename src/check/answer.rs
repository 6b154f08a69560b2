//! The answer of a rule, and what the rule has inspected for it.

use crate::base::finding::Finding;

/// The answer of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The rule has inspected something and found nothing wrong.
    Ok,
    /// As [`Answer::Ok`], with what it has inspected, such as `3 releases`.
    Counted(String),
    /// There is nothing to inspect, for this reason.
    NotApplicable(String),
    /// The rule could not inspect everything, for this reason. Never stops a run.
    Unknown(String),
    /// Problems or information.
    Found(Vec<Finding>),
}

impl Answer {
    /// The answer of a rule that has nothing to inspect.
    pub(crate) fn not_applicable(reason: impl Into<String>) -> Self {
        Self::NotApplicable(reason.into())
    }

    /// The answer of a rule that could not inspect anything.
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }

    /// The answer of a rule that has inspected its only subject. A rule that may have had nothing to inspect counts with
    /// an [`Inspection`].
    pub(crate) fn judged(findings: impl IntoIterator<Item = Finding>) -> Self {
        let findings: Vec<_> = findings.into_iter().collect();
        if findings.is_empty() { Self::Ok } else { Self::Found(findings) }
    }
}

/// What a rule has inspected so far. An inspection of nothing is never [`Answer::Ok`].
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    inspected: usize,
    findings: Vec<Finding>,
    missed: Vec<String>,
}

impl Inspection {
    /// Counts one more thing as inspected, with its findings.
    pub(crate) fn look(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.inspected += 1;
        self.find(findings);
    }

    /// Adds findings without counting anything as inspected.
    pub(crate) fn find(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// Counts one more thing as not inspected, for this reason.
    pub(crate) fn miss(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.missed.contains(&reason) {
            self.missed.push(reason);
        }
    }

    /// The answer. Findings take precedence over what was missed, for they are true all the same. `none` is the reason if
    /// there was nothing to inspect.
    pub(crate) fn answer(self, none: &str) -> Answer {
        if !self.findings.is_empty() {
            Answer::Found(self.findings)
        } else if !self.missed.is_empty() {
            Answer::Unknown(self.missed.join(", "))
        } else if self.inspected > 0 {
            Answer::Ok
        } else {
            Answer::not_applicable(none)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_inspected_is_ok() {
        let answer = |steps: &[&str]| {
            let mut inspection = Inspection::default();
            for step in steps {
                match *step {
                    "fine" => inspection.look(None),
                    "bad" => inspection.look(Some(Finding::error("api", "bad"))),
                    reason => inspection.miss(reason),
                }
            }
            inspection.answer("nothing there")
        };
        assert_eq!(answer(&[]), Answer::not_applicable("nothing there"));
        assert_eq!(answer(&["fine"]), Answer::Ok);
        assert_eq!(answer(&["fine", "late", "late", "gone"]), Answer::unknown("late, gone"));
        assert_eq!(answer(&["late", "bad"]), Answer::judged(Some(Finding::error("api", "bad"))));
    }
}
