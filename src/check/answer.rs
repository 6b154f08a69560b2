//! What a rule answers, and what it has to have looked at for that.

use crate::base::finding::Finding;

/// What a rule answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The rule looked at what it is about, and nothing is wrong with it.
    Ok,
    /// There is nothing here that the rule is about, for this reason.
    NotApplicable(String),
    /// The rule could not look at all that it is about, for this reason. Never stops anything.
    Unknown(String),
    /// Problems, or things that are good to know.
    Found(Vec<Finding>),
}

impl Answer {
    /// The answer of a rule for which there is nothing to look at.
    #[must_use]
    pub fn not_applicable(reason: impl Into<String>) -> Self {
        Self::NotApplicable(reason.into())
    }

    /// The answer of a rule that could not look.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }

    /// The answer of a rule that has looked at the one thing that it is about. A rule that may have had nothing to look
    /// at counts with an [`Inspection`].
    #[must_use]
    pub fn judged(findings: impl IntoIterator<Item = Finding>) -> Self {
        let findings: Vec<_> = findings.into_iter().collect();
        if findings.is_empty() { Self::Ok } else { Self::Found(findings) }
    }
}

/// What a rule has looked at so far. An inspection of nothing is never [`Answer::Ok`].
#[derive(Debug, Default)]
pub struct Inspection {
    looked_at: usize,
    findings: Vec<Finding>,
    missed: Vec<String>,
}

impl Inspection {
    /// One more thing was looked at, and this was found.
    pub fn look(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.looked_at += 1;
        self.find(findings);
    }

    /// This was found, too, where nothing more was looked at.
    pub fn find(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// One more thing could not be looked at, for this reason.
    pub fn miss(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.missed.contains(&reason) {
            self.missed.push(reason);
        }
    }

    /// The answer: findings come before what was missed, for they are true all the same. `none` is the reason why there
    /// is nothing to look at, should that be so.
    #[must_use]
    pub fn answer(self, none: &str) -> Answer {
        if !self.findings.is_empty() {
            Answer::Found(self.findings)
        } else if !self.missed.is_empty() {
            Answer::Unknown(self.missed.join(", "))
        } else if self.looked_at > 0 {
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
    fn only_what_was_looked_at_is_ok() {
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
