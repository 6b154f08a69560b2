//! The repository that Flux is asked to sync.

use crate::desired::Desired;

/// What the helmfiles ask Flux to sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncSource {
    /// The repository's address as the helmfile has it.
    pub(crate) url: Option<String>,
    /// The Git reference.
    pub(crate) reference: Option<String>,
    /// Whether this run has made a FluxInstance.
    pub(crate) is_installed: bool,
}

impl SyncSource {
    /// The repository's address, if one is asked for.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref().filter(|url| !url.is_empty())
    }

    /// Reads it from the values of the release that makes the FluxInstance.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let release =
            desired.releases().find(|release| release.value(&["instance", "sync", "url"]).is_some());
        let value = |key| {
            let value = release?.value(&["instance", "sync", key])?.as_str()?;
            Some(value.to_owned())
        };
        Self { url: value("url"), reference: value("ref"), is_installed: false }
    }

    /// With whether this run has made a FluxInstance, so that one is waited for: of several API servers one may not know
    /// the new kind yet.
    #[must_use]
    pub fn installed(self, is_installed: bool) -> Self {
        Self { is_installed, ..self }
    }
}
