//! The stages of a bootstrap.

use std::collections::BTreeSet;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

/// A stage that can be skipped; the preflight, the check of the cluster's identity and the lock cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Wait until the nodes have registered
    Nodes,
    /// Create the namespaces
    Namespaces,
    /// Apply the age key and the other secrets
    Secrets,
    /// Apply the manifests that `k3s-boot.yaml` names
    Manifests,
    /// Sync the helmfile for custom resource definitions
    Crds,
    /// Sync the helmfile for everything else
    Apps,
    /// Wait until Flux syncs the repository
    Verify,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 7] =
        [Self::Nodes, Self::Namespaces, Self::Secrets, Self::Manifests, Self::Crds, Self::Apps, Self::Verify];

    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::Secrets => "secrets",
            Self::Manifests => "manifests",
            Self::Crds => "crds",
            Self::Apps => "apps",
            Self::Verify => "verify",
        }
    }
}

/// The stages to skip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedStages(BTreeSet<Stage>);

impl SkippedStages {
    /// The stages that these flags skip. An empty `only` means all stages.
    #[must_use]
    pub fn of(only: &[Stage], from: Option<Stage>, skip: &[Stage]) -> Self {
        let is_selected = |stage: &Stage| {
            (only.is_empty() || only.contains(stage))
                && from.is_none_or(|from| *stage >= from)
                && !skip.contains(stage)
        };
        Self(Stage::ALL.into_iter().filter(|stage| !is_selected(stage)).collect())
    }

    /// Whether a stage is skipped.
    #[must_use]
    pub fn has(&self, stage: Stage) -> bool {
        self.0.contains(&stage)
    }

    /// Whether all stages are skipped.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.len() == Stage::ALL.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_select_stages() {
        let left = |only: &[Stage], from, skip: &[Stage]| {
            let left = SkippedStages::of(only, from, skip);
            Stage::ALL.into_iter().filter(|stage| !left.has(*stage)).map(Stage::name).collect::<Vec<_>>()
        };
        assert_eq!(left(&[], None, &[]), Stage::ALL.map(Stage::name));
        assert_eq!(left(&[Stage::Secrets, Stage::Verify], None, &[]), ["secrets", "verify"]);
        assert_eq!(left(&[], Some(Stage::Crds), &[Stage::Apps]), ["crds", "verify"]);
        assert!(left(&[Stage::Apps], None, &[Stage::Apps]).is_empty());
        assert!(SkippedStages::of(&[Stage::Apps], None, &[Stage::Apps]).is_all());
        assert_eq!(SkippedStages::of(&[], None, &[]), SkippedStages::default());
    }
}
