//! What the outcome of `verify` means for a run.

use crate::base::error::Error;
use crate::base::release_id::ReleaseId;
use crate::desired::Desired;
use crate::desired::releases::Release;
use crate::diagnose::flux::Outcome;
use crate::observed::Live;
use crate::plan::Plan;
use crate::plan::options::PlanOptions;
use crate::plan::releases::ReleaseAction;

/// The chart that creates the FluxInstance.
const FLUX_INSTANCE: &str = "flux-instance";

/// Whether Flux has taken over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Takeover {
    /// Flux syncs the repository.
    Syncing {
        /// The repository's address.
        repository: String,
        /// The revision that was applied.
        revision: String,
    },
    /// There is nothing for Flux to sync, or no Flux.
    Missing {
        /// The message of the warning.
        message: &'static str,
        missing: String,
        fix: &'static str,
    },
}

/// What follows from the outcome of `verify`.
///
/// # Errors
///
/// The helmfiles install Flux, the user has not skipped it, and it is missing.
pub(super) fn takeover(
    outcome: Outcome,
    desired: &Desired,
    live: Option<&Live>,
    plan_options: &PlanOptions,
) -> Result<Takeover, Error> {
    let no_source = |missing, fix| {
        let message = if are_installed(plan_options) {
            "Releases are installed, but Flux has no repository to sync"
        } else {
            "Flux has no repository to sync"
        };
        Ok(Takeover::Missing { message, missing, fix })
    };
    match outcome {
        Outcome::Syncing { repository, revision } => Ok(Takeover::Syncing { repository, revision }),
        Outcome::NoSource { missing } => {
            no_source(missing, "set `instance.sync` in the values of flux-instance")
        }
        Outcome::NoFlux if runs_alone(live) => {
            let missing = "GitRepository and Kustomization flux-system/flux-system".to_owned();
            no_source(missing, "flux bootstrap git --help  # creates both")
        }
        Outcome::NoFlux => {
            let makes_it = |release: &&Release| release.installed && release.chart_name() == FLUX_INSTANCE;
            let release = desired.releases().find(makes_it).map(Release::id);
            let fix = match release {
                Some(release) if !is_skipped(&release, plan_options) => {
                    return Err(Error::NoFlux { release });
                }
                Some(_) => "k3s-boot apps",
                None => "add flux-operator and flux-instance to the helmfile",
            };
            let message = if are_installed(plan_options) {
                "Releases are installed, but Flux is not"
            } else {
                "Flux is not installed"
            };
            Ok(Takeover::Missing { message, missing: "FluxInstance".to_owned(), fix })
        }
    }
}

/// Whether this run has created a FluxInstance.
pub(super) fn makes_instance(plan: &Plan) -> bool {
    let synced = |action: &ReleaseAction| action.syncs() && *action != ReleaseAction::Uninstall;
    plan.releases().any(|release| release.to.chart == FLUX_INSTANCE && synced(&release.action))
}

/// Whether all releases of the helmfiles are installed, given that the run came so far.
fn are_installed(plan_options: &PlanOptions) -> bool {
    use crate::base::stages::Stage::{Apps, Crds};

    let skipped = plan_options.stages.has(Crds) || plan_options.stages.has(Apps);
    !skipped && plan_options.releases.is_empty() && plan_options.skip_releases.is_empty()
}

/// Whether the user has selected other releases, or skipped this one.
fn is_skipped(release: &ReleaseId, plan_options: &PlanOptions) -> bool {
    let others = !plan_options.releases.is_empty() && !release.is_among(&plan_options.releases);
    others || release.is_among(&plan_options.skip_releases)
}

fn runs_alone(live: Option<&Live>) -> bool {
    live.and_then(|live| live.claims.as_ref().ok()).is_some_and(|claims| claims.controllers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stages::{SkippedStages, Stage};
    use crate::desired::releases::parse;
    use crate::desired::{Helmfile, Kind};
    use crate::observed::claims::Claims;

    fn desired(chart: &str) -> Desired {
        let text = format!("releases:\n- {{name: flux, namespace: flux-system, chart: 'oci://x/{chart}'}}\n");
        let helmfile = Helmfile {
            kind: Kind::Apps,
            path: "x".into(),
            releases: parse(text.as_bytes(), "default").unwrap().releases,
            needs_identities: false,
        };
        Desired { helmfiles: vec![helmfile], ..Desired::default() }
    }

    fn words(outcome: Outcome, chart: &str, controllers: bool, plan_options: &PlanOptions) -> String {
        let live = Live { claims: Ok(Claims { controllers, ..Claims::default() }), ..Live::default() };
        match takeover(outcome, &desired(chart), Some(&live), plan_options) {
            Ok(Takeover::Missing { message, missing, fix }) => format!("{message} | {missing} | {fix}"),
            Ok(Takeover::Syncing { .. }) => "syncing".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn only_known_releases_are_called_installed() {
        let no_source = || Outcome::NoSource { missing: "x".to_owned() };
        let all = PlanOptions::default();
        let only_verify =
            PlanOptions { stages: SkippedStages::of(&[Stage::Verify], None, &[]), ..PlanOptions::default() };
        let one = PlanOptions { releases: vec!["a".to_owned()], ..PlanOptions::default() };
        let without = PlanOptions { skip_releases: vec!["flux".to_owned()], ..PlanOptions::default() };
        let set = "set `instance.sync` in the values of flux-instance";
        let installed = format!("Releases are installed, but Flux has no repository to sync | x | {set}");
        let unknown = format!("Flux has no repository to sync | x | {set}");
        assert_eq!(words(no_source(), FLUX_INSTANCE, true, &all), installed);
        for plan_options in [&only_verify, &one, &without] {
            assert_eq!(words(no_source(), FLUX_INSTANCE, true, plan_options), unknown);
        }
    }

    #[test]
    fn a_missing_flux_is_an_error_if_it_was_selected() {
        let error = "flux is not installed: release `flux-system/flux` is in the helmfiles, but the cluster has no FluxInstance";
        let all = PlanOptions::default();
        let only_verify =
            PlanOptions { stages: SkippedStages::of(&[Stage::Verify], None, &[]), ..PlanOptions::default() };
        let one = PlanOptions { releases: vec!["a".to_owned()], ..PlanOptions::default() };
        let without = PlanOptions { skip_releases: vec!["flux".to_owned()], ..PlanOptions::default() };
        for plan_options in [&all, &only_verify] {
            assert_eq!(words(Outcome::NoFlux, FLUX_INSTANCE, false, plan_options), error);
        }
        for plan_options in [&one, &without] {
            let expected = "Flux is not installed | FluxInstance | k3s-boot apps";
            assert_eq!(words(Outcome::NoFlux, FLUX_INSTANCE, false, plan_options), expected);
        }
        let add = "FluxInstance | add flux-operator and flux-instance to the helmfile";
        let installed = format!("Releases are installed, but Flux is not | {add}");
        assert_eq!(words(Outcome::NoFlux, "cilium", false, &all), installed);
        let unknown = format!("Flux is not installed | {add}");
        assert_eq!(words(Outcome::NoFlux, "cilium", false, &only_verify), unknown);
        // Flux as `flux install` makes it has no FluxInstance.
        assert!(
            words(Outcome::NoFlux, FLUX_INSTANCE, true, &all)
                .starts_with("Releases are installed, but Flux has")
        );
    }
}
