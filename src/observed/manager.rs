//! What manages a release or an object besides k3s-boot.

use std::fmt;

use super::flux::{HELM, KUSTOMIZE, made_by};
use super::inventory::Meta;

/// What manages a release or an object. In text it is `Kind namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manager {
    /// A HelmRelease of Flux.
    HelmRelease { namespace: String, name: String },
    /// A Kustomization of Flux.
    Kustomization { namespace: String, name: String },
    /// A HelmChart, which the Helm controller of k3s installs.
    HelmChart { namespace: String, name: String },
    /// `flux bootstrap` or `flux install`, which the Flux Operator must not take over from.
    FluxWithoutInstance,
}

impl Manager {
    /// The Flux object that manages an object, from Flux's labels.
    pub(crate) fn of(meta: &Meta) -> Option<Self> {
        let made_by = |controller| {
            let made = made_by(controller, |label| meta.labels.get(label).map(String::as_str));
            made.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        };
        let helm_release = made_by(HELM).map(|(namespace, name)| Self::HelmRelease { namespace, name });
        helm_release
            .or_else(|| made_by(KUSTOMIZE).map(|(namespace, name)| Self::Kustomization { namespace, name }))
    }

    /// What manages an object, in text: a Flux object, or a Helm release.
    pub(crate) fn owner(meta: &Meta) -> Option<String> {
        let flux = Self::of(meta).map(|manager| manager.to_string());
        flux.or_else(|| meta.release().map(|release| format!("Helm release {release}")))
    }

    pub(crate) fn is_helm_release(&self) -> bool {
        matches!(self, Self::HelmRelease { .. })
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, namespace, name) = match self {
            Self::HelmRelease { namespace, name } => ("HelmRelease", namespace, name),
            Self::Kustomization { namespace, name } => ("Kustomization", namespace, name),
            Self::HelmChart { namespace, name } => ("HelmChart", namespace, name),
            Self::FluxWithoutInstance => return formatter.write_str("Flux without a FluxInstance"),
        };
        write!(formatter, "{kind} {namespace}/{name}")
    }
}

#[cfg(test)]
impl From<&str> for Manager {
    fn from(text: &str) -> Self {
        let (kind, path) = text.split_once(' ').unwrap();
        let (namespace, name) =
            path.split_once('/').map(|(one, other)| (one.to_owned(), other.to_owned())).unwrap();
        match kind {
            "HelmRelease" => Self::HelmRelease { namespace, name },
            "Kustomization" => Self::Kustomization { namespace, name },
            "HelmChart" => Self::HelmChart { namespace, name },
            _ => panic!("{text}"),
        }
    }
}
